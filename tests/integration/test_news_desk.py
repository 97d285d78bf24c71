"""The news desk over a real PostgreSQL: committed before told, in order, into one round only."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
import psycopg
import pytest
from support import House, migrated, open_session, plain_config

from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from data.news import News
from data.records import SessionConfig
from data.store import connect
from serve_apps.link import Link
from serve_apps.news_desk import AHEAD_NS, LONGEST_BODY, LONGEST_TEXT, NewsDesk, parse
from serve_apps.wire import Refused

pytestmark = pytest.mark.integration

NOW = 1_800_000_000_000_000_000


@pytest.fixture
def house(postgres: EmbeddedPostgres, home: Home) -> Iterator[House]:
    with migrated(postgres, home) as made:
        yield made


@pytest.fixture
def config(house: House) -> SessionConfig:
    return open_session(house, mode="paper")


def body(config: SessionConfig, name: str = "n1", **changes: Any) -> bytes:
    """An item about BBB, known a second ago."""
    given = {
        "session_id": config.session_id,
        "id": name,
        "symbol": "BBB",
        "ts": NOW - 1_000_000_000,
        "text": "profit beats forecast",
    }
    return msgspec.json.encode(given | changes)


def play(house: House, story: Callable[[NewsDesk, Link], Awaitable[None]], **options: Any) -> None:
    """A coordinator's life with one desk."""

    async def main() -> None:
        link = Link(house.roles.coordinator, "test-news")
        try:
            await story(NewsDesk(link, **options), link)
        finally:
            await link.close()

    asyncio.run(main())


def rows(house: House, query: str) -> list[tuple[Any, ...]]:
    with house.connect() as connection:
        return connection.execute(query).fetchall()


async def enter(link: Link, config: SessionConfig, items: list[News], number: int) -> None:
    """The rows that the round's input statement writes."""
    connection = await link.connection()
    for item in items:
        await connection.execute(
            "INSERT INTO news_round VALUES (%s, %s, %s, %s)",
            (config.session_id, item.id, config.cell, number),
        )


async def refusal(desk: NewsDesk, given: bytes, config: SessionConfig) -> Refused:
    with pytest.raises(Refused) as told:
        await desk.post(given, config, NOW)
    return told.value


def test_an_item_is_in_the_table_before_its_answer_and_comes_once(
    house: House, config: SessionConfig
) -> None:
    async def story(desk: NewsDesk, link: Link) -> None:
        assert await desk.post(body(config), config, NOW) == 202
        (row,) = rows(house, "SELECT id, symbol, ts, text, received_ns FROM news_item")
        assert row == ("n1", "BBB", NOW - 1_000_000_000, "profit beats forecast", NOW)
        assert await desk.post(body(config), config, NOW + 5) == 200
        assert await desk.post(b" " + body(config), config, NOW) == 200
        assert desk.take(config.session_id, 10) == [
            News("n1", 1, NOW - 1_000_000_000, "profit beats forecast")
        ]
        assert await desk.post(body(config), config, NOW) == 200
        assert desk.take(config.session_id, 10) == []

    play(house, story)


@pytest.mark.parametrize("change", [{"symbol": "AAA"}, {"ts": 5}, {"text": "loss"}])
def test_the_same_id_with_other_content_is_a_conflict(
    house: House, config: SessionConfig, change: dict[str, Any]
) -> None:
    async def story(desk: NewsDesk, link: Link) -> None:
        await desk.post(body(config), config, NOW)
        told = await refusal(desk, body(config, **change), config)
        assert (told.problem.status, told.problem.code) == (409, "changed_news")
        assert len(desk) == 1

    play(house, story)
    assert rows(house, "SELECT text FROM news_item") == [("profit beats forecast",)]


def test_items_leave_in_the_order_of_ts_and_id_and_go_back_into_it(
    house: House, config: SessionConfig
) -> None:
    async def story(desk: NewsDesk, link: Link) -> None:
        for name, ts in (("c", 30), ("b", 10), ("a", 30), ("d", 20)):
            await desk.post(body(config, name, ts=ts), config, NOW)
        first = desk.take(config.session_id, 3)
        assert [item.id for item in first] == ["b", "d", "a"]
        await desk.post(body(config, "e", ts=15), config, NOW)
        desk.put_back(first)
        desk.put_back(first)  # a second time changes nothing
        assert [item.id for item in desk.take(config.session_id, 10)] == ["b", "e", "d", "a", "c"]
        assert len(desk) == 0

    play(house, story)


def test_a_restart_reads_what_is_in_no_round(house: House, config: SessionConfig) -> None:
    async def before(desk: NewsDesk, link: Link) -> None:
        for name in ("a", "b", "c"):
            await desk.post(body(config, name), config, NOW)
        entered = desk.take(config.session_id, 1)
        await enter(link, config, entered, 1)
        desk.settled(entered)
        assert [item.id for item in desk.take(config.session_id, 1)] == [
            "b"
        ]  # its round never came

    async def after(desk: NewsDesk, link: Link) -> None:
        await desk.load(config)
        await desk.load(config)
        items = desk.take(config.session_id, 10)
        assert [item.id for item in items] == ["b", "c"]
        assert items[0] == News("b", 1, NOW - 1_000_000_000, "profit beats forecast")
        for name in ("a", "b"):
            assert await desk.post(body(config, name), config, NOW) == 200
        assert len(desk) == 0
        await enter(link, config, items, 2)
        desk.settled(items)
        await desk.load(config)
        assert await desk.post(body(config, "b"), config, NOW) == 200
        assert len(desk) == 0
        # The key holds whatever the desk believes.
        with pytest.raises(psycopg.errors.UniqueViolation):
            await enter(link, config, items[:1], 3)

    play(house, before)
    play(house, after)
    assert rows(house, "SELECT id, round FROM news_round ORDER BY id") == [
        ("a", 1), ("b", 2), ("c", 2),
    ]  # fmt: skip


def test_a_sender_that_goes_away_takes_no_item_with_it(house: House, config: SessionConfig) -> None:
    async def story(desk: NewsDesk, link: Link) -> None:
        post = asyncio.create_task(desk.post(body(config), config, NOW))
        await asyncio.sleep(0)
        post.cancel()
        with pytest.raises(asyncio.CancelledError):
            await post
        async with asyncio.timeout(20):
            while not len(desk):
                await asyncio.sleep(0.01)
        assert await desk.post(body(config), config, NOW) == 200
        assert [item.id for item in desk.take(config.session_id, 10)] == ["n1"]

    play(house, story)


def test_an_item_committed_without_an_answer_is_found_again(
    house: House, config: SessionConfig
) -> None:
    async def story(desk: NewsDesk, link: Link) -> None:
        await desk.load(config)
        # As after a commit whose answer was lost: the table has them, the desk has not.
        for name in ("lost", "lost2"):
            await NewsDesk(link).post(body(config, name), config, NOW)
        assert len(desk) == 0
        with house.connect() as superuser:
            superuser.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'test-news'"
            )
        told = await refusal(desk, body(config, "n1"), config)
        assert (told.problem.status, told.problem.code) == (503, "no_journal")
        assert told.retry_after > 0
        assert await desk.post(body(config, "n1"), config, NOW) == 202
        assert [item.id for item in desk.take(config.session_id, 10)] == ["lost", "lost2", "n1"]

    play(house, story)


def test_the_same_item_from_many_senders_at_once_waits_once(
    house: House, config: SessionConfig
) -> None:
    async def story(desk: NewsDesk, link: Link) -> None:
        posts = [desk.post(body(config, f"n{i % 5}"), config, NOW) for i in range(40)]
        answers = await asyncio.gather(*posts)
        assert sorted(answers) == [200] * 35 + [202] * 5
        assert len(desk.take(config.session_id, 100)) == 5

    play(house, story)


def test_rounds_on_another_thread_get_every_item_once(house: House, config: SessionConfig) -> None:
    got: list[str] = []
    stop = threading.Event()

    def rounds(desk: NewsDesk) -> None:
        for number in itertools.count():
            ended = stop.is_set()
            items = desk.take(config.session_id, 3)
            if items and number % 2:
                desk.put_back(items)
            elif items:
                with connect(house.roles.coordinator, name="test-rounds") as connection:
                    for item in items:
                        connection.execute(
                            "INSERT INTO news_round VALUES (%s, %s, 0, %s)",
                            (config.session_id, item.id, number),
                        )
                desk.settled(items)
                got.extend(item.id for item in items)
            elif ended:
                return

    async def story(desk: NewsDesk, link: Link) -> None:
        thread = threading.Thread(target=rounds, args=(desk,))
        thread.start()
        try:
            for _ in range(3):  # each item is sent three times, while rounds take and settle it
                await asyncio.gather(
                    *(desk.post(body(config, f"n{i}"), config, NOW) for i in range(30)),
                    desk.load(config),
                )
        finally:
            stop.set()
            await asyncio.to_thread(thread.join, 30)
        assert sorted(got) == sorted(f"n{i}" for i in range(30))

    play(house, story)


def test_the_queue_is_bounded_and_empties(house: House, config: SessionConfig) -> None:
    async def story(desk: NewsDesk, link: Link) -> None:
        posts = [desk.post(body(config, f"n{i}"), config, NOW) for i in range(8)]
        answers = await asyncio.gather(*posts, return_exceptions=True)
        accepted = [answer for answer in answers if answer == 202]
        refused = [answer for answer in answers if isinstance(answer, Refused)]
        assert (len(accepted), len(refused)) == (3, 5)
        assert {r.problem.code for r in refused} == {"overloaded"}
        assert all(r.problem.status == 503 and r.retry_after > 0 for r in refused)
        assert len(desk.take(config.session_id, 10)) == 3
        assert await desk.post(body(config, "later"), config, NOW) == 202

    play(house, story, pending_limit=3)
    assert rows(house, "SELECT count(*) FROM news_item") == [(4,)]


def test_more_than_the_bound_in_the_table_comes_in_pieces(
    house: House, config: SessionConfig
) -> None:
    async def write(desk: NewsDesk, link: Link) -> None:
        for i in range(5):
            await desk.post(body(config, f"n{i}"), config, NOW)

    async def read(desk: NewsDesk, link: Link) -> None:
        await desk.load(config)
        first = desk.take(config.session_id, 10)
        assert [item.id for item in first] == ["n0", "n1"]
        await enter(link, config, first, 1)
        desk.settled(first)
        await desk.load(config)
        assert [item.id for item in desk.take(config.session_id, 10)] == ["n2", "n3"]

    play(house, write)
    play(house, read, pending_limit=2)


def test_a_new_session_starts_with_its_own_news(house: House, config: SessionConfig) -> None:
    other = open_session(house, mode="paper", session_id="other", symbols=("BBB", "CCC"))

    async def story(desk: NewsDesk, link: Link) -> None:
        await desk.post(body(config), config, NOW)
        taken = desk.take(config.session_id, 1)
        await desk.post(body(config, "n2"), config, NOW)
        assert await desk.post(body(other), other, NOW) == 202
        desk.put_back(taken)
        assert desk.take(config.session_id, 10) == []
        assert desk.take(other.session_id, 10) == [
            News("n1", 0, NOW - 1_000_000_000, "profit beats forecast")
        ]

    play(house, story)


LONGEST = "ü" * LONGEST_TEXT


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"symbol": "ZZZ"}, 422, "unknown_symbol"),
        ({"symbol": ""}, 422, "unknown_symbol"),
        ({"text": ""}, 422, "bad_text"),
        ({"text": " \n"}, 422, "bad_text"),
        ({"text": "a\0b"}, 422, "bad_text"),
        ({"text": LONGEST + "ü"}, 422, "text_too_long"),
        ({"ts": NOW + AHEAD_NS + 1}, 422, "future_timestamp"),
        ({"ts": 0}, 422, "bad_request"),
        ({"ts": 2**63}, 422, "bad_request"),
        ({"ts": "now"}, 422, "bad_request"),
        ({"ts": 1.5}, 422, "bad_request"),
        ({"id": ""}, 422, "bad_request"),
        ({"id": "x" * 129}, 422, "bad_request"),
        ({"id": "a\nb"}, 422, "bad_request"),
        ({"more": 1}, 422, "bad_request"),
        ({"session_id": "else"}, 409, "other_session"),
    ],
)
def test_what_is_no_news(changes: dict[str, Any], status: int, code: str) -> None:
    config = plain_config(mode="paper")
    with pytest.raises(Refused) as told:
        parse(body(config, **changes), config, NOW)
    assert (told.value.problem.status, told.value.problem.code) == (status, code)


@pytest.mark.parametrize(
    "given", [b"", b"[]", b"{", b"\xff\xfe", b'{"session_id":"\xff"}', b'{"id":"\\ud800\\u0041"}']
)
def test_what_is_no_json(given: bytes) -> None:
    with pytest.raises(Refused) as told:
        parse(given, plain_config(mode="paper"), NOW)
    assert (told.value.problem.status, told.value.problem.code) == (422, "bad_request")


def test_the_edges_of_what_is_allowed() -> None:
    config = plain_config(mode="paper")
    assert parse(body(config, ts=NOW + AHEAD_NS), config, NOW).ts == NOW + AHEAD_NS
    escaped = body(config, text="X").replace(b'"X"', b'"' + b"\\ud83d\\ude00" * LONGEST_TEXT + b'"')
    assert len(parse(escaped, config, NOW).text) == LONGEST_TEXT
    with pytest.raises(Refused) as told:
        parse(b" " * (LONGEST_BODY + 1), config, NOW)
    assert (told.value.problem.status, told.value.problem.code) == (413, "too_large")
    # A historical session's clock is its bars': the wall clock says nothing about an item.
    past = plain_config(mode="historical")
    assert parse(body(past, ts=NOW + 10 * AHEAD_NS), past, NOW).ts == NOW + 10 * AHEAD_NS
