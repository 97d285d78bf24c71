"""The news desk of a cell: takes items in, keeps them in order, hands them to rounds.

An item is committed before its answer leaves. It enters one round: the round's input statement
writes its ``news_round`` row, and what has no such row is read again at the start of a coordinator.
"""

from __future__ import annotations

import asyncio
import heapq
import threading
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
import psycopg
from msgspec import Meta

from data.money import INT64_MAX
from data.news import News
from data.records import SessionConfig, content_hash
from serve_apps.link import Link
from serve_apps.wire import Refused

LONGEST_TEXT = 4_000  # characters
LONGEST_ID = 128
LONGEST_BODY = 64 << 10  # bytes: a text of escapes alone still fits
PENDING_LIMIT = 10_000
AHEAD_NS = 1_000_000_000  # how far a sender's clock may run before ours
DATABASE_TIMEOUT_S = 5.0
RETRY_AFTER_S = 1

ACCEPTED = 202
KNOWN = 200

_INSERT = """
INSERT INTO news_item (session_id, id, symbol, ts, text, body_hash, received_ns)
VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (session_id, id) DO NOTHING RETURNING id
"""
_KNOWN = """
SELECT i.body_hash, r.round IS NOT NULL
FROM news_item i LEFT JOIN news_round r USING (session_id, id)
WHERE i.session_id = %s AND i.id = %s
"""
_WAITING = """
SELECT i.id, i.symbol, i.ts, i.text
FROM news_item i LEFT JOIN news_round r USING (session_id, id)
WHERE i.session_id = %s AND r.id IS NULL ORDER BY i.ts, i.id LIMIT %s
"""


class NewsPost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One item as its sender knows it. The same id gets the same answer, with other content 409."""

    session_id: str
    id: Annotated[str, Meta(min_length=1, max_length=LONGEST_ID)]
    symbol: str
    ts: Annotated[int, Meta(ge=1, le=INT64_MAX)]  # ns UTC: when the text became known
    text: str  # at most LONGEST_TEXT characters


_decoder = msgspec.json.Decoder(NewsPost)


class NewsDesk:
    """The waiting news of the session that the cell serves.

    ``load`` and ``post`` belong to the event loop; ``take`` hands items to a round, from any
    thread, and either ``put_back`` or ``settled`` must follow.
    """

    def __init__(self, link: Link, pending_limit: int = PENDING_LIMIT) -> None:
        self._link = link
        self._limit = pending_limit
        self._session_id = ""
        self._numbers: dict[str, int] = {}
        self._heap: list[tuple[int, str, News]] = []
        self._ids: set[str] = set()  # in the heap
        self._taken: set[str] = set()  # in a round that is not committed yet
        self._guard = threading.Lock()  # of the three above; held for no wait
        self._posting = 0
        self._in_doubt = True  # an item may stand in the table that is not in the heap
        # One at a time: between looking into the table and queueing, nothing may come in.
        self._lock = asyncio.Lock()

    def __len__(self) -> int:
        """How many items wait for a round."""
        return len(self._heap)

    async def load(self, config: SessionConfig) -> None:
        """Serves this session from now on: its items that are in no round yet wait again.

        For the start of a coordinator and a change of the session; psycopg.Error and TimeoutError
        when the table cannot be read.
        """
        async with self._lock:
            if config.session_id != self._session_id:
                self._enter(config)
            async with asyncio.timeout(DATABASE_TIMEOUT_S):
                await self._read_waiting()

    async def post(self, body: bytes, config: SessionConfig, clock_ns: int) -> int:
        """Takes one item in: 202 the first time, 200 the same again.

        ``clock_ns`` is the wall clock (ns UTC). Refused 413, 422, 409 (the id has other content, or
        the session is not the one served) or 503 (too many wait, or no database).
        """
        item = parse(body, config, clock_ns)
        if len(self._heap) + self._posting >= self._limit:
            raise _busy(f"{self._limit} news items wait for a round")
        self._posting += 1
        # A client that goes away must not leave a committed item out of the queue.
        task = asyncio.create_task(self._keep(item, config, clock_ns))
        task.add_done_callback(self._posted)
        return await asyncio.shield(task)

    def take(self, session_id: str, limit: int) -> list[News]:
        """Up to ``limit`` waiting items of the session in (ts, id) order, for the round being made;
        none while the desk serves another session.
        """
        if not self._heap or session_id != self._session_id:
            return []
        with self._guard:
            count = min(limit, len(self._heap))
            items = [heapq.heappop(self._heap)[2] for _ in range(count)]
            names = {item.id for item in items}
            self._ids -= names
            self._taken |= names
        return items

    def put_back(self, items: Iterable[News]) -> None:
        """The round did not come about: its items wait again. Of another session: dropped."""
        with self._guard:
            for item in items:
                if item.id in self._taken:
                    self._taken.remove(item.id)
                    self._push(item)

    def settled(self, items: Iterable[News]) -> None:
        """The round's input record is committed, with the items' ``news_round`` rows."""
        with self._guard:
            self._taken.difference_update([item.id for item in items])

    # -- below the lock ---------------------------------------------------------------------

    async def _keep(self, item: NewsPost, config: SessionConfig, clock_ns: int) -> int:
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT_S), self._lock:
                if config.session_id != self._session_id:
                    self._enter(config)
                if self._in_doubt:
                    await self._read_waiting()
                return await self._insert(item, clock_ns)
        except (psycopg.Error, TimeoutError) as error:
            self._in_doubt = True  # it may be committed though its answer was lost
            detail = f"{type(error).__name__}: the item may not be kept yet; send it again"
            raise Refused(503, "No journal", detail, RETRY_AFTER_S, code="no_journal") from error

    async def _insert(self, item: NewsPost, clock_ns: int) -> int:
        digest = bytes.fromhex(
            content_hash(item.symbol.encode(), str(item.ts).encode(), item.text.encode())
        )
        row = (
            item.session_id, item.id, item.symbol, item.ts, item.text, digest, clock_ns,
        )  # fmt: skip
        if await self._rows(_INSERT, row):
            self._queue(News(item.id, self._numbers[item.symbol], item.ts, item.text))
            return ACCEPTED
        # Asked before the table is: it may be settled while the answer is on its way.
        with self._guard:
            at_hand = item.id in self._ids or item.id in self._taken
        ((known, in_round),) = await self._rows(_KNOWN, (item.session_id, item.id))
        if bytes(known) != digest:
            detail = f"news {item.id} was sent before with another symbol, ts or text"
            raise Refused(409, "Changed news", detail, code="changed_news")
        if not in_round and not at_hand:
            self._queue(News(item.id, self._numbers[item.symbol], item.ts, item.text))
        return KNOWN

    async def _read_waiting(self) -> None:
        # What is at hand now may be settled while the answer is on its way.
        with self._guard:
            at_hand = self._ids | self._taken
        rows = await self._rows(_WAITING, (self._session_id, self._limit))
        for name, symbol, ts, text in rows:
            if name not in at_hand:
                self._queue(News(name, self._numbers[symbol], int(ts), text))
        self._in_doubt = len(rows) == self._limit  # there may be more

    async def _rows(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        connection = await self._link.connection()
        cursor = await connection.execute(query, values)
        return await cursor.fetchall()

    def _enter(self, config: SessionConfig) -> None:
        self._session_id = config.session_id
        self._numbers = {name: index for index, name in enumerate(config.symbols)}
        with self._guard:
            self._heap.clear()
            self._ids.clear()
            self._taken.clear()
        self._in_doubt = True

    def _queue(self, item: News) -> None:
        with self._guard:
            self._push(item)

    def _push(self, item: News) -> None:
        heapq.heappush(self._heap, (item.ts, item.id, item))
        self._ids.add(item.id)

    def _posted(self, task: asyncio.Task[int]) -> None:
        self._posting -= 1
        if not task.cancelled():
            task.exception()  # heard also when the sender has gone away


def parse(body: bytes, config: SessionConfig, clock_ns: int) -> NewsPost:
    """The item in a body; Refused (413, 422, 409) says what is wrong with it."""
    if len(body) > LONGEST_BODY:
        detail = f"a body holds at most {LONGEST_BODY} bytes"
        raise Refused(413, "Too large", detail, code="too_large")
    try:
        item = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(422, "Bad request", str(error), code="bad_request") from error
    if item.session_id != config.session_id:
        detail = f"the cell serves session {config.session_id}"
        raise Refused(409, "Other session", detail, code="other_session")
    if not item.id.isprintable():
        raise Refused(422, "Bad id", "id: printable characters only", code="bad_request")
    if item.symbol not in config.symbols:
        detail = f"{item.symbol!r} is not in the session"
        raise Refused(422, "Unknown symbol", detail, code="unknown_symbol")
    if not item.text.strip() or "\0" in item.text:
        detail = f"news {item.id}: the text is empty or holds a NUL"
        raise Refused(422, "Bad text", detail, code="bad_text")
    if len(item.text) > LONGEST_TEXT:
        detail = f"news {item.id}: {len(item.text)} characters, {LONGEST_TEXT} allowed"
        raise Refused(422, "Text too long", detail, code="text_too_long")
    if config.mode != "historical" and item.ts > clock_ns + AHEAD_NS:
        detail = f"news {item.id}: ts {item.ts} is in the future; the clock says {clock_ns}"
        raise Refused(422, "Future timestamp", detail, code="future_timestamp")
    return item


def _busy(detail: str) -> Refused:
    return Refused(503, "Overloaded", detail, RETRY_AFTER_S, code="overloaded")
