"""Snapshots in a real PostgreSQL, and restarts that begin from them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
import psycopg
import pytest
from support import (
    CELL,
    Cell,
    GateInProcess,
    House,
    TableLog,
    Voters,
    by_moment,
    migrated,
    open_gate,
    open_session,
    random_bars,
    request_body,
    save_models,
)

from actors.agent import code_hash
from actors.contract import AgentSpec
from actors.ray_actors import DatabaseLog
from actors.registry import AGENTS
from actors.snapshot import KEPT, AgentMemory, Snapshot
from actors.snapshot_store import newest, save
from actors.voter import Voter
from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from data import round_log
from data.records import RoundOutput, SessionConfig, output_decoder
from data.store import connect
from serve_apps.session_state import POOL, SessionState, pool_code, rebuild

pytestmark = pytest.mark.integration

ROUNDS = 170
BARS = by_moment(random_bars(ROUNDS))
MIDDLE, LATER = 140, 160  # rounds after which everybody's memory was taken
EVER = 2**62


class Played:
    """A session's rounds, and what everybody remembered after some of them."""

    def __init__(self, house: House) -> None:
        self.house = house
        models = save_models(house)
        middle = int(BARS[130]["ts"][0])
        self.config = open_session(house, models=models, models_from=middle)
        self.voters = Voters(TableLog(house.roles.read))
        self.cell = Cell(house, self.voters, GateInProcess(open_gate(house)))
        self.pools: dict[int, Snapshot] = {}
        self.memories: dict[int, dict[str, bytes]] = {}
        asyncio.run(self._play())

    async def _play(self) -> None:
        async with self.cell.running() as engine:
            for number, bars in enumerate(BARS, 1):
                await self.cell.decider.decide(request_body(self.config, bars))
                if number in (MIDDLE, LATER, ROUNDS):
                    assert engine.state is not None
                    self.pools[number] = engine.state.memory()
                    self.memories[number] = {
                        name: memory
                        for name, voter in self.voters.voters.items()
                        if (memory := voter.memory()) is not None
                    }

    @property
    def session(self) -> str:
        return self.config.session_id

    def outputs(self) -> list[RoundOutput]:
        with self.house.connect() as link:
            logged = list(round_log.rounds(link, CELL, self.session))
        return [output_decoder.decode(one.output) for one in logged if one.output]

    def save(self, snapshot: Snapshot, session_id: str | None = None) -> bool:
        """As the gate does it."""
        with connect(self.house.roles.gate, name="test-gate") as link:
            return save(link, CELL, session_id or self.session, snapshot)

    def newest(self, part: str, code: str, at_most: int = EVER) -> Snapshot | None:
        with connect(self.house.roles.read, name="test-read") as link:
            return newest(link, CELL, self.session, part, code, at_most)

    def clear(self) -> None:
        with self.house.connect() as link:
            link.execute("DELETE FROM snapshot")


@pytest.fixture(scope="module")
def whole(postgres: EmbeddedPostgres, home: Home) -> Iterator[Played]:
    with migrated(postgres, home) as house:
        yield Played(house)


@pytest.fixture
def played(whole: Played) -> Iterator[Played]:
    yield whole
    whole.clear()


def made(number: int, payload: bytes = b"x", code: str = "c", part: str = "part") -> Snapshot:
    return Snapshot(part, number, code, payload)


def test_the_newest_of_ones_own_code_is_read_and_only_two_are_kept(played: Played) -> None:
    for number in (10, 20, 30, 40):
        assert played.save(made(number, b"%d" % number))
    assert played.save(made(5, part="other"))
    assert played.newest("part", "c") == made(40, b"40")
    assert played.newest("part", "c", 39) == made(30, b"30")
    assert played.newest("part", "c", 29) is None
    assert played.newest("part", "other code") is None
    assert played.newest("nobody", "c") is None
    assert played.newest("other", "c") == made(5, part="other")
    with played.house.connect() as link:
        rows = link.execute("SELECT part, round FROM snapshot ORDER BY part, round").fetchall()
    assert rows == [("other", 5), ("part", 30), ("part", 40)]
    assert KEPT == 2


def test_a_round_has_one_snapshot_of_a_part(played: Played) -> None:
    assert played.save(made(10, b"first"))
    assert not played.save(made(10, b"second"))
    assert played.newest("part", "c") == made(10, b"first")


def test_a_round_that_is_open_or_another_sessions_gets_none(played: Played) -> None:
    assert not played.save(made(ROUNDS + 1))
    assert not played.save(made(10), "another session")
    with played.house.connect() as link:
        row = link.execute(
            "DELETE FROM round_output WHERE round = %s RETURNING *", (ROUNDS,)
        ).fetchone()
        assert row is not None
        try:
            assert not played.save(made(ROUNDS))
        finally:
            link.execute("INSERT INTO round_output VALUES (%s, %s, %s, %s, %s, %s)", row)
    assert played.newest("part", "c") is None
    assert played.save(made(ROUNDS))


@pytest.mark.parametrize(
    "change",
    [
        "payload = 'y'",
        "hash = sha256('y')",
        "hash = ''",
        "round = 38",
        "code = 'c2'",
        "part = 'part2'",
    ],
)
def test_an_altered_snapshot_is_passed_by(played: Played, change: str) -> None:
    assert played.save(made(30))
    assert played.save(made(40))
    with played.house.connect() as link:
        link.execute(f"UPDATE snapshot SET {change} WHERE round = 40")
    part = "part2" if "part2" in change else "part"
    code = "c2" if "c2" in change else "c"
    found = played.newest(part, code)
    assert found == (made(30) if (part, code) == ("part", "c") else None)


@pytest.mark.parametrize("role", ["read", "coordinator", "trader", "ops", "gate"])
def test_only_the_gate_writes_snapshots(played: Played, role: str) -> None:
    assert played.save(made(10))
    with connect(getattr(played.house.roles, role), name="test") as link:
        assert newest(link, CELL, played.session, "part", "c", EVER) == made(10)
        if role == "gate":
            assert save(link, CELL, played.session, made(20))
        else:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                save(link, CELL, played.session, made(20))
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                link.execute("DELETE FROM snapshot")
        # What stands is never changed, by nobody.
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            link.execute("UPDATE snapshot SET payload = ''")


class NotedLog(DatabaseLog):
    """An agent's log; notes after which rounds it was read."""

    def __init__(self, url: str, spec: AgentSpec) -> None:
        super().__init__(url, spec)
        self.code = code_hash(spec)
        self.after: list[int] = []

    def inputs(self, cell: int, session_id: str, after: int, before: int) -> Iterator[bytes]:
        self.after.append(after)
        return super().inputs(cell, session_id, after, before)


@pytest.mark.parametrize("spec", AGENTS, ids=lambda spec: spec.name)
def test_a_killed_voter_starts_from_its_newest_snapshot(played: Played, spec: AgentSpec) -> None:
    """Models came into force on the way; the log it reads begins after the snapshot."""
    log = NotedLog(played.house.roles.read, spec)
    for number in (MIDDLE, LATER):
        memory = played.memories[number][spec.name]
        assert played.save(Snapshot(spec.name, number, log.code, memory))
    with played.house.connect() as link:
        inputs = list(round_log.inputs(link, CELL, played.session, 0, EVER))
    outputs = played.outputs()
    k = [one.name for one in AGENTS].index(spec.name)
    for killed in (MIDDLE, LATER - 1, LATER, ROUNDS - 1):
        voter = Voter(spec, log)
        voter.vote(inputs[killed])
        votes = voter.vote(inputs[ROUNDS - 1])
        assert voter.memory() == played.memories[ROUNDS][spec.name]
        arrays = outputs[ROUNDS - 1].arrays()
        assert votes[:, 3].astype(int).tolist() == arrays.status[:, k].tolist()
        voted = arrays.status[:, k] == 0
        assert votes[voted, :3].tobytes() == arrays.votes[voted, k].tobytes()
    # Read after the newest snapshot before the round that was missed, and after that round.
    assert log.after == [MIDDLE + 1, MIDDLE, LATER, LATER + 1, LATER]
    voter = Voter(spec, log)
    assert voter.catch_up(CELL, played.session, 4) == LATER + 4
    memory = msgspec.msgpack.decode(voter.memory() or b"", type=AgentMemory)
    assert memory.session_id == played.session


def test_a_coordinator_starts_from_the_pools_snapshot(played: Played) -> None:
    """It reads only the log after it, and is the one that read all of it."""
    assert played.save(played.pools[MIDDLE])
    assert played.save(played.pools[LATER])
    reader = played.cell.reader
    kept = reader.memory(played.session)
    assert kept == played.pools[LATER]
    asked: list[int] = []

    def rounds(after: int) -> Iterator[round_log.LoggedRound]:
        asked.append(after)
        return reader.rounds(played.session, after)

    state, still_open = rebuild(played.config, AGENTS, rounds, kept)
    straight, _ = rebuild(played.config, AGENTS, rounds)
    assert asked == [LATER, 0]
    assert still_open is None
    assert state.memory() == straight.memory() == played.pools[ROUNDS]


def test_a_coordinator_without_a_snapshot_of_its_own_code_reads_the_whole_log(
    played: Played,
) -> None:
    kept = played.pools[LATER]
    assert played.save(Snapshot(POOL, LATER, "other code", kept.payload))
    assert kept.code == pool_code()
    assert played.cell.reader.memory(played.session) is None


def test_a_restarted_coordinator_answers_the_same(postgres: EmbeddedPostgres, home: Home) -> None:
    """One session goes on across a restart from a snapshot, the other without any."""
    ends = []
    for restart in (True, False):
        with migrated(postgres, home) as house:
            config = open_session(house, models=save_models(house))
            ends.append(asyncio.run(_in_two_halves(house, config, restart)))
    assert ends[0] == ends[1]


async def _in_two_halves(house: House, config: SessionConfig, restart: bool) -> list[Any]:
    gate = GateInProcess(open_gate(house))
    voters = Voters(TableLog(house.roles.read))
    cell = Cell(house, voters, gate)
    cut = 40
    async with cell.running() as engine:
        for bars in BARS[: cut if restart else cut + 20]:
            await cell.decider.decide(request_body(config, bars))
        if restart:
            assert engine.state is not None
            kept = engine.state.memory()
            with connect(house.roles.gate, name="test-gate") as link:
                assert save(link, CELL, config.session_id, kept)
    if restart:
        # What comes before the snapshot is not looked at: it could not be read any more.
        with house.connect() as link:
            link.execute("DELETE FROM round_output WHERE round < %s", (cut,))
        again = Cell(house, voters, gate)
        async with again.running():
            for bars in BARS[cut : cut + 20]:
                await again.decider.decide(request_body(config, bars))
    with house.connect() as link:
        logged = list(round_log.rounds(link, CELL, config.session_id, cut))
    outputs = [output_decoder.decode(one.output) for one in logged if one.output]
    assert len(outputs) == 20
    return [(o.weights, o.votes, o.status, o.evidence, o.window, o.table) for o in outputs]


def test_the_memory_of_a_session_is_that_of_its_state(played: Played) -> None:
    state = SessionState(played.config, AGENTS)
    state.restore(played.pools[ROUNDS])
    assert state.memory() == played.pools[ROUNDS]
    assert state.last_ts.tolist() == [int(BARS[-1]["ts"][0])] * 2
