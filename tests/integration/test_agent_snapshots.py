"""Snapshots in a real PostgreSQL, and agents that come back from them: no bit of a vote differs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import psycopg
import pytest
from support import House, by_moment, migrated, random_bars

from actors import financial_sentiment, volume_microstructure
from actors.agent import code_hash
from actors.contract import AgentSpec
from actors.ray_actors import DatabaseLog
from actors.snapshot import Snapshot
from actors.snapshot_store import newest, save
from actors.voter import Voter
from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from data.journal import cell_chain
from data.news import News
from data.records import RoundInput, encode
from data.sessions import save_model
from data.store import connect

pytestmark = pytest.mark.integration
CELL, SESSION, FIRST = 0, "s", 41  # a session does not begin at the cell's first round
BARS = by_moment(random_bars(150))
NUMBERS = range(FIRST, FIRST + len(BARS))
HOUR = 3_600 * 10**9


@pytest.fixture
def house(postgres: EmbeddedPostgres, home: Home) -> Iterator[House]:
    with migrated(postgres, home) as made:
        yield made


def close_round(connection: psycopg.Connection, number: int) -> None:
    connection.execute(
        "INSERT INTO round_output (cell, round, session_id, seq, kind, epoch)"
        " VALUES (%s, %s, %s, %s, 'output', 1)",
        (CELL, number, SESSION, 2 * number),
    )


def written(house: House, spec: AgentSpec) -> dict[int, bytes]:
    """The session's input records in the database: two models, and news ahead of its time."""
    payloads: dict[int, bytes] = {}
    with house.connect() as connection:
        names = [
            save_model(connection, spec.name, 5, k, np.linspace(-1, 1, 24) * (1 + k))
            for k in range(2)
        ]
        for number, bars in zip(NUMBERS, BARS, strict=True):
            ts, place = int(bars["ts"].max()), number - FIRST
            ahead = ts + (30 if place % 14 else 80) * HOUR  # due one to four rounds later
            news = [News(f"n{number}", place % 2, ahead, "Profit rose.")] if place % 7 == 0 else []
            model = names[place >= 138] if spec is volume_microstructure.SPEC else ""
            payloads[number] = encode(
                RoundInput(
                    session_id=SESSION, cell=CELL, round=number, ts=ts, clock_ns=ts, requests=[],
                    bars=bars.tobytes(), news=news, models={spec.name: model}, locked=[],
                )
            )  # fmt: skip
            connection.execute(
                "INSERT INTO journal (chain, seq, kind, session_id, ts, written_ns, seen, payload,"
                " prev_hash, hash) VALUES (%s, %s, 'input', %s, %s, 0, '', %s, '', '')",
                (cell_chain(CELL), number, SESSION, ts, payloads[number]),
            )
            connection.execute(
                "INSERT INTO round_input (cell, round, session_id, seq) VALUES (%s, %s, %s, %s)",
                (CELL, number, SESSION, number),
            )
            close_round(connection, number)
    return payloads


@pytest.mark.parametrize("spec", [volume_microstructure.SPEC, financial_sentiment.SPEC])
def test_an_agent_back_from_any_snapshot_votes_as_if_it_had_lived(
    house: House, spec: AgentSpec
) -> None:
    payloads = written(house, spec)
    log = DatabaseLog(house.roles.read, spec)
    alive = Voter(spec, log)
    votes, memories, waiting = {}, {}, 0
    for number in NUMBERS:
        votes[number] = alive.vote(payloads[number]).tobytes()
        memories[number] = alive.memory()
        waiting += bool(alive._agent.pending)
    assert waiting > 10 or spec.absorb is None
    last = NUMBERS[-1]
    rng = np.random.default_rng(7)
    with connect(house.roles.gate, name="test-gate") as gate:
        for kept in sorted({FIRST, FIRST + 137, FIRST + 138, last - 1, *rng.choice(NUMBERS, 6)}):
            made = Snapshot(spec.name, int(kept), code_hash(spec), memories[kept])
            assert save(gate, CELL, SESSION, made)
            for killed in {int(kept), min(int(kept) + 1, last), last}:
                back = Voter(spec, log)  # voting at once, the gap closed from the log
                assert back.vote(payloads[killed]).tobytes() == votes[killed]
                assert back.memory() == memories[killed]
            aside = Voter(spec, log)  # or brought up to date aside, in slices
            assert aside.catch_up(CELL, SESSION, 0) == kept
            # A snapshot holds no votes; asked for its very round, the voter still has them.
            assert aside.vote(payloads[kept]).tobytes() == votes[kept]
            while (before := aside.last_round) < aside.catch_up(CELL, SESSION, 40):
                assert aside.last_round - before <= 40
            assert aside.last_round == last
            assert aside.vote(payloads[last]).tobytes() == votes[last]


def made(number: int, code: str = "c", part: str = "a") -> Snapshot:
    return Snapshot(part, number, code, b"memory of %d" % number)


def test_only_closed_rounds_have_snapshots_and_two_of_a_part_are_kept(house: House) -> None:
    with house.connect() as superuser, connect(house.roles.gate, name="test-gate") as gate:
        assert not save(gate, CELL, SESSION, made(1))
        for number in range(1, 6):
            close_round(superuser, number)
        assert not save(gate, CELL, "another", made(1))
        assert save(gate, CELL, SESSION, made(1, part="b"))
        for number in (1, 3, 5):
            assert save(gate, CELL, SESSION, made(number))
        assert not save(gate, CELL, SESSION, made(5))  # it stands already
        rows = gate.execute("SELECT part, round FROM snapshot ORDER BY 1, 2").fetchall()
        assert rows == [("a", 3), ("a", 5), ("b", 1)]
        for at_most, found in ((9, 5), (5, 5), (4, 3), (2, None)):
            snapshot = newest(gate, CELL, SESSION, "a", "c", at_most)
            assert snapshot == (made(found) if found else None)


def test_an_altered_snapshot_and_one_of_other_code_are_passed_by(house: House) -> None:
    with house.connect() as superuser, connect(house.roles.gate, name="test-gate") as gate:
        for number in (1, 2):
            close_round(superuser, number)
            assert save(gate, CELL, SESSION, made(number))
        assert newest(gate, CELL, SESSION, "a", "other", 9) is None
        superuser.execute("UPDATE snapshot SET payload = 'forged' WHERE round = 2")
        assert newest(gate, CELL, SESSION, "a", "c", 9) == made(1)


def test_no_other_role_writes_snapshots_and_the_gate_alters_none(house: House) -> None:
    with house.connect() as superuser:
        close_round(superuser, 1)
    for url in (house.roles.read, house.roles.coordinator, house.roles.trader):
        with (
            connect(url, name="test") as other,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            save(other, CELL, SESSION, made(1))
    with connect(house.roles.gate, name="test-gate") as gate:
        assert save(gate, CELL, SESSION, made(1))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            gate.execute("UPDATE snapshot SET payload = ''")
