"""Rounds read back from the log: bounds, order, open and aborted rounds, sessions apart."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from support import House, migrated

from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from data import round_log
from data.journal import append, cell_chain, head, next_record
from data.round_log import LoggedRound

pytestmark = pytest.mark.integration


@pytest.fixture
def house(postgres: EmbeddedPostgres, home: Home) -> Iterator[House]:
    with migrated(postgres, home) as made:
        yield made


def log(link: psycopg.Connection, cell: int, number: int, session: str, kind: str) -> None:
    chain = cell_chain(cell)
    record = next_record(
        head(link, chain), chain=chain, kind=kind, session_id=session, ts=number, written_ns=1,
        payload=f"{cell}/{number}/{kind}".encode(), seen={},
    )  # fmt: skip
    append(link, record)
    table, more, values = "round_input", "", ""
    if kind != "input":
        table, more, values = "round_output", ", kind, epoch", f", '{kind}', 1"
    link.execute(
        f"INSERT INTO {table} (cell, round, session_id, seq{more}) VALUES (%s,%s,%s,%s{values})",
        (cell, number, session, record.seq),
    )


def test_rounds_of_one_session_and_cell_in_order(house: House) -> None:
    with house.connect() as link:
        assert round_log.last_round(link, 0) is None
        log(link, 0, 1, "old", "input")
        log(link, 0, 1, "old", "output")
        for number, kind in ((2, "output"), (3, "aborted"), (4, "output")):
            log(link, 0, number, "new", "input")
            log(link, 1, number, "new", "input")  # another cell, other payloads
            log(link, 0, number, "new", kind)
        log(link, 0, 5, "new", "input")
        expected = [
            LoggedRound(2, b"0/2/input", "output", b"0/2/output"),
            LoggedRound(3, b"0/3/input", "aborted", b"0/3/aborted"),
            LoggedRound(4, b"0/4/input", "output", b"0/4/output"),
            LoggedRound(5, b"0/5/input", None, None),
        ]
        assert list(round_log.rounds(link, 0, "new")) == expected
        assert list(round_log.rounds(link, 0, "new", after=2, before=5)) == expected[1:3]
        assert [r.round for r in round_log.rounds(link, 0, "old")] == [1]
        assert list(round_log.rounds(link, 0, "none")) == []
        assert list(round_log.inputs(link, 0, "new", 2, 5)) == [b"0/3/input", b"0/4/input"]
        assert list(round_log.inputs(link, 0, "new", 0, 3)) == [b"0/2/input"]
        assert round_log.last_round(link, 0) == (5, "new")
        assert round_log.last_round(link, 1) == (4, "new")


def test_a_round_has_one_input_and_one_output(house: House) -> None:
    with house.connect() as link:
        log(link, 0, 1, "s", "input")
        log(link, 0, 1, "s", "output")
        for kind in ("input", "output", "aborted"):
            with pytest.raises(psycopg.errors.UniqueViolation):
                log(link, 0, 1, "s", kind)


def test_long_logs_are_streamed_whole(house: House) -> None:
    with house.connect() as link:
        with link.transaction():
            for number in range(1, 1203):  # more than two fetches
                log(link, 0, number, "s", "input")
        numbers = [r.round for r in round_log.rounds(link, 0, "s")]
        assert numbers == list(range(1, 1203))
        assert len(list(round_log.inputs(link, 0, "s", 0, 10**9))) == 1202
