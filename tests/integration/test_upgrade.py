"""An agent is exchanged between two rounds: real engine, voters and journal; only Ray is absent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast

import msgspec
import psycopg
import pytest
from ray.actor import ActorHandle
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

from actors.registry import AGENTS
from actors.voter import Voter
from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from data import round_log
from data.journal import OPERATIONS, read_chain
from data.records import RoundInput, RoundOutput, SessionConfig, input_decoder, output_decoder
from serve_apps import upgrade
from serve_apps.upgrade import AgentUpgrade, VersionChange
from serve_apps.wire import Refused

pytestmark = pytest.mark.integration

BARS = by_moment(random_bars(60))
WHO = "trend_momentum"
SLICE = 7


class Exchangeable(Voters):
    """Voters in this process that can be exchanged; a voter stands where Ray has a handle."""

    def __init__(self, house: House) -> None:
        super().__init__(TableLog(house.roles.read))
        self.steps = dict.fromkeys(self.voters, "first")
        self.waiting: dict[str, tuple[Voter, str]] = {}
        self.dead = False
        self.switched: list[tuple[str, str]] = []

    def start(self, actor: str, step: str, name: str = WHO) -> VersionChange:
        """A voter with empty memory, which is no agent yet."""
        (spec,) = [spec for spec in AGENTS if spec.name == name]
        self.waiting[actor] = (Voter(spec, self._log), step)
        return VersionChange(actor=actor, code="code", step=step)

    def versions(self) -> dict[str, str]:
        """See serve_apps.upgrade.Replaceable."""
        return dict(self.steps)

    def candidate(self, name: str, actor: str) -> tuple[ActorHandle, str]:
        """See serve_apps.upgrade.Replaceable."""
        if actor not in self.waiting:
            raise LookupError(f"{actor!r} is no actor of {name}")
        voter, step = self.waiting[actor]
        return cast("ActorHandle", voter), step

    def reached(self, handle: ActorHandle, session_id: str) -> int:
        """See serve_apps.upgrade.Replaceable."""
        if self.dead:
            raise LookupError("it does not read the log: the actor died")
        return cast("Voter", handle).catch_up(CELL, session_id, SLICE)

    def switch(self, name: str, handle: ActorHandle, step: str) -> None:
        """See serve_apps.upgrade.Replaceable."""
        self.voters[name] = cast("Voter", handle)
        self.steps[name] = step
        self.switched.append((name, step))


class Bench:
    """One cell with exchangeable voters."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.voters = Exchangeable(house)
        self.cell = Cell(house, self.voters, GateInProcess(open_gate(house)))
        self.upgrade = AgentUpgrade(CELL, self.cell.engine, self.voters, house.roles.coordinator)
        self.models = save_models(house)
        self.config = self.session()

    def session(self) -> SessionConfig:
        return open_session(self.house, models=self.models)

    def run(self, work: Callable[[], Awaitable[None]]) -> None:
        async def main() -> None:
            async with self.cell.running():
                await work()

        asyncio.run(main())

    async def feed(self, first: int, last: int) -> None:
        for bars in BARS[first:last]:
            await self.cell.decider.decide(request_body(self.config, bars))

    def rounds(self) -> list[tuple[RoundInput, RoundOutput]]:
        with self.house.connect() as link:
            logged = list(round_log.rounds(link, CELL, self.config.session_id))
        return [
            (input_decoder.decode(one.input), output_decoder.decode(one.output))
            for one in logged
            if one.output
        ]

    def journalled(self) -> list[dict[str, Any]]:
        with self.house.connect() as link:
            records = list(read_chain(link, OPERATIONS))
        return [msgspec.json.decode(r.payload) for r in records if r.kind == "agent_version"]


@pytest.fixture
def bench(postgres: EmbeddedPostgres, home: Home) -> Iterator[Bench]:
    with migrated(postgres, home) as house:
        yield Bench(house)


async def refused(call: Awaitable[object]) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        await asyncio.wait_for(call, 20)
    return caught.value.problem.status, caught.value.problem.code


def test_a_change_comes_between_two_rounds_and_loses_none(bench: Bench) -> None:
    """Asked for while rounds are served; the newer voter reads what it missed by itself."""
    old = bench.voters.voters[WHO]

    async def work() -> None:
        await bench.feed(0, 40)
        wanted = bench.voters.start("newer", "second")
        feeding = asyncio.create_task(bench.feed(40, 60))
        changed = await bench.upgrade.change(WHO, wanted, "somebody")
        await feeding
        assert (changed.agent, changed.before, changed.newcomer) == (WHO, "first", True)
        first = changed.round
        assert 41 <= first <= 61
        rounds = bench.rounds()
        assert len(rounds) == 60
        for given, output in rounds:
            assert given.versions == bench.voters.steps | {
                WHO: "second" if given.round >= first else "first"
            }
            assert ("shadow" in output.window) == (given.round >= first)
        assert bench.journalled() == [
            {
                "actor": "newer", "code": "code", "step": "second", "cell": CELL, "agent": WHO,
                "before": "first", "from_round": first, "by": "somebody",
            }
        ]  # fmt: skip
        assert bench.voters.voters[WHO] is not old
        assert bench.voters.voters[WHO].last_round == 60
        # The older one was asked no more; of the same code, it would have said the same.
        assert old.last_round == first - 1
        old.catch_up(CELL, bench.config.session_id, 100)
        assert old.memory() == bench.voters.voters[WHO].memory()

    bench.run(work)


def test_the_same_step_in_other_code_is_no_newcomer(bench: Bench) -> None:
    async def work() -> None:
        await bench.feed(0, 5)
        changed = await bench.upgrade.change(WHO, bench.voters.start("other", "first"), "me")
        assert (changed.round, changed.newcomer) == (6, False)
        await bench.feed(5, 8)
        assert all("shadow" not in output.window for _, output in bench.rounds())
        assert len(bench.journalled()) == 1

    bench.run(work)


def test_what_cannot_be_is_refused_and_changes_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        await bench.feed(0, 30)
        change, start = bench.upgrade.change, bench.voters.start
        nobody = VersionChange(actor="nobody", code="c", step="s")
        assert await refused(change("no_agent", nobody, "me")) == (404, "unknown_agent")
        assert await refused(change(WHO, nobody, "me")) == (409, "unknown_actor")
        other = msgspec.structs.replace(start("newer", "second"), step="third")
        assert await refused(change(WHO, other, "me")) == (409, "other_version")
        bench.voters.dead = True
        dying = start("dying", "second")
        assert await refused(change(WHO, dying, "me")) == (409, "unknown_actor")
        bench.voters.dead = False
        with monkeypatch.context() as patched:
            patched.setattr(upgrade, "CATCH_UP_S", -1.0)
            assert await refused(change(WHO, start("slow", "second"), "me")) == (503, "behind")
        lost = AgentUpgrade(CELL, bench.cell.engine, bench.voters, "postgresql://127.0.0.1:9/x")
        with pytest.raises(psycopg.OperationalError):
            await lost.change(WHO, start("fine", "second"), "me")
        assert bench.voters.switched == []
        assert bench.journalled() == []
        await bench.feed(30, 32)
        assert {given.versions[WHO] for given, _ in bench.rounds()} == {"first"}

    bench.run(work)


def test_two_changes_at_once_come_one_after_the_other(bench: Bench) -> None:
    async def work() -> None:
        await bench.feed(0, 3)
        one, two = bench.voters.start("one", "second"), bench.voters.start("two", "third")
        changed = await asyncio.gather(
            bench.upgrade.change(WHO, one, "me"), bench.upgrade.change(WHO, two, "me")
        )
        assert [change.before for change in changed] == ["first", "second"]
        assert bench.voters.switched == [(WHO, "second"), (WHO, "third")]
        assert [entry["before"] for entry in bench.journalled()] == ["first", "second"]

    bench.run(work)


def test_a_cell_that_serves_no_session_changes_at_once(bench: Bench) -> None:
    async def work() -> None:
        changed = await bench.upgrade.change(WHO, bench.voters.start("newer", "second"), "me")
        assert (changed.round, changed.before) == (1, "first")

    bench.run(work)


def test_the_first_round_is_the_cells_in_a_later_session_too(bench: Bench) -> None:
    """A session's first version is no change: nobody is a newcomer of a session that begins."""

    async def work() -> None:
        await bench.feed(0, 9)
        bench.config = bench.session()
        await bench.cell.engine.session_state(bench.config.session_id)
        changed = await bench.upgrade.change(WHO, bench.voters.start("newer", "second"), "me")
        assert changed.round == 10
        await bench.feed(0, 2)
        assert [given.round for given, _ in bench.rounds()] == [10, 11]
        assert all("shadow" not in output.window for _, output in bench.rounds())

    bench.run(work)
