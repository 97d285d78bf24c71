"""Engine, round store, gate and voters over a real PostgreSQL; only Ray is absent.

Every disturbed history is compared with an undisturbed one over the same bars, bit for bit.
"""

# longer than 400 lines because: all crash points and refusals of one engine, on shared fixtures.

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from support import (
    CELL,
    Account,
    Cell,
    GateInProcess,
    House,
    TableLog,
    Voters,
    by_moment,
    forecast,
    judge,
    limits,
    migrated,
    open_gate,
    open_session,
    plain_config,
    random_bars,
    request_body,
    save_models,
)

from actors.checks import Code, Verdict
from actors.contract import Status
from actors.gate import Gate, judged_decoder
from actors.registry import AGENTS
from cloud_trader.control import EVERYWHERE, set_state
from cloud_trader.replay import replay_session
from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from data.bars import Bars
from data.records import RoundOutput, encode, input_decoder, output_decoder
from data.round_log import rounds
from serve_apps.coordinator import Decider
from serve_apps.requests import parse
from serve_apps.round_queue import QUEUE_LIMIT
from serve_apps.session_state import UNMEASURED, LogMismatch, rebuild, window_record
from serve_apps.wire import DecideResponse, Refused, request_decoder

pytestmark = pytest.mark.integration

WARM = 150  # after this many bars three agents vote
BARS = by_moment(random_bars(WARM + 30))
LOOSE = limits(min_weight_share=0.2)


@pytest.fixture
def house(postgres: EmbeddedPostgres, home: Home) -> Iterator[House]:
    with migrated(postgres, home) as made:
        yield made


class Bench:
    """One cell's parts and a session with an open account. Restarts make new parts."""

    def __init__(self, house: House, **changes: Any) -> None:
        self.house = house
        settings = {"risk": LOOSE, "models": save_models(house), **changes}
        self.config = open_session(house, **settings)
        self.account = Account(house, self.config)
        self.voters = Voters(TableLog(house.roles.read))
        self.gate = GateInProcess(open_gate(house))
        self.answers: dict[int, DecideResponse] = {}

    def cell(self) -> Cell:
        """A coordinator that starts now."""
        return Cell(self.house, self.voters, self.gate)

    async def feed(self, decider: Decider, moments: list[Bars]) -> None:
        """Asks for each moment's decisions, in order."""
        for bars in moments:
            answer = await decider.decide(request_body(self.config, bars))
            self.answers[int(bars["ts"][0])] = answer

    def run(self, work: Callable[[Cell, Decider], Awaitable[None]]) -> None:
        """Runs ``work`` beside a running engine."""

        async def main() -> None:
            cell = self.cell()
            async with cell.running():
                await work(cell, cell.decider)

        with self.account:
            asyncio.run(main())

    def outputs(self) -> list[RoundOutput]:
        """All recorded outputs, in order."""
        with self.house.connect() as link:
            logged = list(rounds(link, CELL, self.config.session_id))
        return [output_decoder.decode(r.output) for r in logged if r.output and r.kind == "output"]

    def count(self, table: str) -> int:
        with self.house.connect() as link:
            row = link.execute(f"SELECT count(*) FROM {table}").fetchone()
        assert row is not None
        return int(row[0])


def essence(outputs: list[RoundOutput]) -> list[Any]:
    """What must not depend on a disturbance, exactly: votes, forecasts, weights, the window."""
    return [
        (
            (o.weights, o.stepped, o.window),
            [(d.ts, d.symbol, d.votes, d.status, d.evidence, d.p, d.dissent) for d in o.decisions],
        )
        for o in outputs
    ]


async def feed_all(bench: Bench, decider: Decider, until: int = WARM + 20) -> None:
    await bench.feed(decider, BARS[:until])


@pytest.fixture(scope="module")
def calm(postgres: EmbeddedPostgres, home: Home) -> Iterator[Bench]:
    """An undisturbed run of WARM + 20 rounds."""
    with migrated(postgres, home) as house:
        bench = Bench(house)
        bench.run(lambda _, decider: feed_all(bench, decider))
        yield bench


async def refused(call: Awaitable[object]) -> Refused:
    with pytest.raises(Refused) as caught:
        await asyncio.wait_for(call, 20)
    return caught.value


# -- the undisturbed run --------------------------------------------------------------------


def test_a_round_is_logged_then_voted_pooled_judged_and_answered(calm: Bench) -> None:
    outputs = calm.outputs()
    assert [o.round for o in outputs] == list(range(1, WARM + 21))
    with calm.house.connect() as link:
        kinds = link.execute(
            "SELECT kind FROM journal WHERE chain = 'cell/0' ORDER BY seq"
        ).fetchall()
    assert [kind for (kind,) in kinds] == ["input", "output"] * (WARM + 20)
    last = outputs[-1].decisions
    assert all(d.agents_awake == 3 for d in last)
    statuses = dict(zip(outputs[-1].agents, last[0].status, strict=True))
    assert statuses == {
        spec.name: (Status.VOTED if spec.name in calm.config.models else Status.ABSTAINED)
        for spec in AGENTS
    }
    # Answers are what was recorded.
    for output in outputs:
        answer = calm.answers[output.decisions[0].ts]
        assert answer.round == output.round
        assert [v.p for v in answer.verdicts] == [d.p for d in output.decisions]
        assert list(answer.weights.values()) == output.weights
    assert sum(o.stepped for o in outputs) >= 2
    approved = [d for o in outputs for d in o.decisions if d.lots]
    assert len(approved) == calm.count("approval") > 5
    assert {Verdict(d.verdict).name for o in outputs for d in o.decisions} >= {
        "REDUCED", "NO_TRADE", "DENIED",
    }  # fmt: skip


def test_the_state_rebuilt_from_the_log_has_the_same_bits(calm: Bench) -> None:
    with calm.house.connect() as link:
        logged = list(rounds(link, CELL, calm.config.session_id))
    whole, open_round = rebuild(calm.config, AGENTS, lambda _: logged)
    assert open_round is None
    step, _ = rebuild(calm.config, AGENTS, lambda _: logged[:60])
    assert step.replay(logged[60:]) is None
    assert step.pool.to_bytes() == whole.pool.to_bytes()
    assert window_record(whole.pool) == calm.outputs()[-1].window
    assert whole.last_ts.tolist() == [int(BARS[WARM + 19]["ts"][0])] * 2


def test_a_tampered_weight_is_not_believed(calm: Bench) -> None:
    with calm.house.connect() as link:
        logged = list(rounds(link, CELL, calm.config.session_id))
    victim = next(i for i, o in enumerate(calm.outputs()) if o.stepped)
    payload = logged[victim].output
    assert payload is not None
    output = output_decoder.decode(payload)
    weights = [*output.weights]
    weights[0] = float(np.nextafter(weights[0], 1))
    forged = msgspec.structs.replace(output, weights=weights)
    logged[victim] = replace(logged[victim], output=encode(forged))
    with pytest.raises(LogMismatch, match=f"round {victim + 1}"):
        rebuild(calm.config, AGENTS, lambda _: logged)


# -- requests that come again ---------------------------------------------------------------


def test_repeats_changes_and_latecomers(house: House) -> None:
    bench = Bench(house)

    async def work(cell: Cell, decider: Decider) -> None:
        await bench.feed(decider, BARS[:5])
        config, third = bench.config, BARS[2]
        first = bench.answers[int(third["ts"][0])]
        # The same request: the same answer, though later rounds have passed.
        assert await decider.decide(request_body(config, third)) == first
        # The same bars under another id: the recorded decision again.
        again = await decider.decide(request_body(config, third, "another"))
        assert again.verdicts == first.verdicts
        assert again.round == first.round
        # One of them alone.
        alone = await decider.decide(request_body(config, third[1:], "alone"))
        assert alone.verdicts == first.verdicts[1:]
        # The same id, another body.
        changed = third.copy()
        changed["volume"] += 1
        error = await refused(decider.decide(request_body(config, changed)))
        assert (error.problem.status, error.problem.title) == (409, "Another body")
        # Another bar for a decided moment, under a new id.
        error = await refused(decider.decide(request_body(config, changed, "changed")))
        assert (error.problem.status, error.problem.title) == (409, "Changed bar")
        # A bar between two decided ones.
        late = third.copy()
        late["ts"] += 1
        error = await refused(decider.decide(request_body(config, late, "late")))
        assert (error.problem.status, error.problem.title) == (409, "Out of order")
        # A new bar under a used id.
        used = f"{config.session_id}/{int(third['ts'][0])}"
        error = await refused(decider.decide(request_body(config, BARS[5], used)))
        assert error.problem.status == 409
        assert bench.count("round_input") == 5
        # None of it did any harm.
        await bench.feed(decider, BARS[5:7])
        assert bench.count("round_output") == 7
        assert cell.engine.fault is None

    bench.run(work)


def test_the_same_request_twice_at_once_is_one_round(house: House) -> None:
    bench = Bench(house)

    async def work(_: Cell, decider: Decider) -> None:
        await bench.feed(decider, BARS[:1])
        body = request_body(bench.config, BARS[1])
        answers = await asyncio.gather(*(decider.decide(body) for _ in range(5)))
        assert all(answer == answers[0] for answer in answers)
        assert bench.count("round_input") == 2

    bench.run(work)


def test_symbols_sent_apart_share_rounds_and_change_no_vote(calm: Bench, house: House) -> None:
    """The first two requests of a session come at the same time, too."""
    bench = Bench(house)

    async def work(cell: Cell, decider: Decider) -> None:
        for bars in BARS[: WARM + 5]:
            parts = [
                request_body(bench.config, bars[i : i + 1], f"{bars['ts'][0]}/{i}") for i in (0, 1)
            ]
            for _ in range(50):
                answers = await asyncio.gather(
                    *(decider.decide(part) for part in parts), return_exceptions=True
                )
                busy = [a for a in answers if isinstance(a, Refused)]
                assert all(refusal.problem.status == 503 for refusal in busy), busy
                if not busy:
                    break
            assert not busy
        assert cell.engine.fault is None

    bench.run(work)
    ours: dict[Any, Any] = {}
    for output in bench.outputs():
        ours |= {(d.ts, d.symbol): d for d in output.decisions}
    assert len(ours) == 2 * (WARM + 5)
    for output in calm.outputs()[: WARM + 5]:
        for decision in output.decisions:
            mine = ours[decision.ts, decision.symbol]
            assert (mine.votes, mine.status) == (decision.votes, decision.status)


def enormous(bars: Bars) -> Bars:
    """Prices that fit int64 ticks and overflow once they are money."""
    bars = bars.copy()
    for name in ("open", "high", "low", "close"):
        bars[name] = 2**62
    return bars


def test_bad_requests_are_answered_as_such(house: House) -> None:
    bench = Bench(house)
    other_cell = open_session(house, session_id="elsewhere", cell=3)
    ended = open_session(house, session_id="ended")
    with house.connect() as link:
        link.execute("INSERT INTO session_end VALUES ('ended', 'finished', '')")
    cases = [
        (b"{", 422), (b'{"session_id": "x"}', 422),
        (request_body(plain_config(session_id="nobody"), BARS[0]), 404),
        (request_body(other_cell, BARS[0]), 409), (request_body(ended, BARS[0]), 409),
        (request_body(bench.config, BARS[0][:0], "none"), 422),
        (request_body(bench.config, BARS[0], quarantined=["ZZZ"]), 422),
        (request_body(bench.config, enormous(BARS[0])), 422),
    ]  # fmt: skip

    async def work(cell: Cell, decider: Decider) -> None:
        for body, status in cases:
            assert (await refused(decider.decide(body))).problem.status == status
        assert bench.count("journal") == 2  # the gate's epoch, the account's opening
        assert cell.engine.fault is None

    bench.run(work)


def test_overload_is_refused_with_503_and_passes(house: House) -> None:
    names = tuple(f"S{n:03}" for n in range(QUEUE_LIMIT + 20))
    bench = Bench(house, symbols=names)
    bars = random_bars(1, len(names))

    async def work(_: Cell, decider: Decider) -> None:
        await decider.decide(request_body(bench.config, bars[:1], "opening"))
        bench.voters.hold = threading.Event()
        bodies = [request_body(bench.config, bars[i : i + 1], f"r{i}") for i in range(1, len(bars))]
        running = asyncio.create_task(decider.decide(bodies[0]))
        await asyncio.sleep(0.2)
        calls = [asyncio.create_task(decider.decide(body)) for body in bodies[1:]]
        await asyncio.sleep(0.5)
        done = [call for call in calls if call.done()]
        assert len(done) == len(calls) - QUEUE_LIMIT
        for call in done:
            error = call.exception()
            assert isinstance(error, Refused)
            assert (error.problem.status, error.retry_after) == (503, 1)
        bench.voters.hold.set()
        bench.voters.hold = None
        answers = await asyncio.wait_for(
            asyncio.gather(running, *(call for call in calls if call not in done)), 30
        )
        assert len(answers) == QUEUE_LIMIT + 1
        # All that waited fitted one round; those refused may come again.
        assert {answer.round for answer in answers} == {2, 3}
        await decider.decide(bodies[-1])

    bench.run(work)


# -- faults of agents -----------------------------------------------------------------------


def test_late_and_failed_agents_are_recorded_and_the_round_goes_on(
    calm: Bench, house: House
) -> None:
    bench = Bench(house)
    late, failed = "vpin_hft", "volume_microstructure"

    async def work(_: Cell, decider: Decider) -> None:
        await bench.feed(decider, BARS[: WARM + 5])
        bench.voters.faults = {late: Status.LATE, failed: Status.FAILED}
        await bench.feed(decider, BARS[WARM + 5 : WARM + 7])
        bench.voters.faults = {}
        bench.voters.kill(late)
        await bench.feed(decider, BARS[WARM + 7 : WARM + 9])

    bench.run(work)
    places = {spec.name: k for k, spec in enumerate(AGENTS)}
    undisturbed = calm.outputs()
    for number, output in enumerate(bench.outputs()):
        theirs = undisturbed[number].decisions
        for mine, other in zip(output.decisions, theirs, strict=True):
            if WARM + 5 <= number < WARM + 7:
                assert mine.status[places[late]] == Status.LATE
                assert mine.status[places[failed]] == Status.FAILED
                assert mine.evidence[places[failed]] == []
                assert mine.agents_awake < 3
                assert (Verdict(mine.verdict), Code(mine.code)) == (Verdict.DENIED, Code.NO_QUORUM)
                assert mine.lots == 0
                # Nobody measured the toxicity: nothing may trade on it.
                assert mine.toxicity == UNMEASURED
            else:
                # The agents caught up from the log: their votes are the undisturbed ones.
                assert (mine.votes, mine.status) == (other.votes, other.status)
                assert mine.evidence == other.evidence
    assert bench.count("round_output") == WARM + 9


def test_below_quorum_nothing_is_approved(house: House) -> None:
    bench = Bench(house, risk=limits(min_weight_share=0.2, min_agents=4))
    bench.run(lambda _, decider: feed_all(bench, decider, WARM + 10))
    assert bench.count("approval") == 0
    codes = {Code(d.code).name for o in bench.outputs()[WARM:] for d in o.decisions}
    assert codes == {"NO_QUORUM"}


# -- crashes --------------------------------------------------------------------------------


def test_a_round_cut_by_a_crash_is_completed_with_the_same_bits(calm: Bench, house: House) -> None:
    """Killed between input and output, at a cold and at a warm round; everything starts anew."""
    bench = Bench(house)

    async def until_crash(bars: list[Bars]) -> None:
        cell = bench.cell()
        async with cell.running():
            decider = cell.decider
            await bench.feed(decider, bars[:-1])
            bench.voters.crash_next = True
            call = asyncio.create_task(decider.decide(request_body(bench.config, bars[-1])))
            await asyncio.sleep(0.3)
            assert not call.done()
            call.cancel()
        bench.voters = Voters(TableLog(house.roles.read))

    async def main() -> None:
        for first, last in ((0, 10), (10, WARM + 3)):
            await until_crash(BARS[first:last])
            assert bench.count("round_input") == bench.count("round_output") + 1
            cell = bench.cell()
            async with cell.running():
                assert bench.count("round_input") == bench.count("round_output") == last
                # The request whose answer was lost is answered from the log.
                decider = cell.decider
                answer = await decider.decide(request_body(bench.config, BARS[last - 1]))
                assert answer.round == last
        cell = bench.cell()
        async with cell.running():
            await bench.feed(cell.decider, BARS[WARM + 3 : WARM + 20])

    with bench.account:
        asyncio.run(main())
    assert essence(bench.outputs()) == essence(calm.outputs())


def test_an_answer_lost_after_the_gates_commit_is_read_from_the_log(
    calm: Bench, house: House
) -> None:
    bench = Bench(house)

    async def work(_: Cell, decider: Decider) -> None:
        await bench.feed(decider, BARS[:WARM])
        for bars in BARS[WARM : WARM + 5]:
            bench.gate.lose_next = True
            await bench.feed(decider, [bars])
        assert bench.gate.calls == WARM + 5  # not one call was repeated

    bench.run(work)
    assert essence(bench.outputs()) == essence(calm.outputs())[: WARM + 5]
    assert bench.count("approval") > 0


def test_a_live_round_left_open_too_long_is_aborted(house: House) -> None:
    # The bars are years old: in a paper session they can only be its warm-up.
    bench = Bench(house, mode="paper", first_traded=time.time_ns())

    async def main() -> None:
        cell = bench.cell()
        async with cell.running():
            decider = cell.decider
            await bench.feed(decider, BARS[:3])
            bench.voters.crash_next = True
            call = asyncio.create_task(decider.decide(request_body(bench.config, BARS[3])))
            await asyncio.sleep(0.3)
            call.cancel()
        bench.voters = Voters(TableLog(house.roles.read))
        cell = Cell(house, bench.voters, bench.gate, lambda: time.time_ns() + 70 * 10**9)
        async with cell.running():
            decider = cell.decider
            with house.connect() as link:
                found = link.execute("SELECT kind, epoch FROM round_output WHERE round = 4")
                assert found.fetchone() == ("aborted", 0)
            # No trade from it, and its bar is not decided a second time.
            error = await refused(decider.decide(request_body(bench.config, BARS[3])))
            assert (error.problem.status, error.problem.code) == (409, "round_aborted")
            await bench.feed(decider, BARS[4:6])
        assert bench.count("round_output") == 6
        # An aborted round is part of the history that rebuilds.
        with house.connect() as link:
            logged = list(rounds(link, CELL, bench.config.session_id))
        assert [r.kind for r in logged] == ["output"] * 3 + ["aborted"] + ["output"] * 2
        rebuild(bench.config, AGENTS, lambda _: logged)

    with bench.account:
        asyncio.run(main())


def test_a_live_round_left_open_for_a_while_is_judged_by_the_clock_of_its_completion(
    house: House,
) -> None:
    bench = Bench(house, mode="paper", first_traded=time.time_ns())
    later = 30 * 10**9

    async def main() -> None:
        cell = bench.cell()
        async with cell.running():
            await bench.feed(cell.decider, BARS[:3])
            bench.voters.crash_next = True
            call = asyncio.create_task(cell.decider.decide(request_body(bench.config, BARS[3])))
            while bench.count("round_input") < 4:
                await asyncio.sleep(0.01)
            call.cancel()
        bench.voters = Voters(TableLog(house.roles.read))
        cell = Cell(house, bench.voters, bench.gate, lambda: time.time_ns() + later)
        async with cell.running():
            # Whoever asked gets the answer that the crash kept from it.
            assert (await cell.decider.decide(request_body(bench.config, BARS[3]))).round == 4

    with bench.account:
        asyncio.run(main())
    with house.connect() as link:
        logged = list(rounds(link, CELL, bench.config.session_id))
        asked = input_decoder.decode(logged[3].input).clock_ns
        assert bench.outputs()[3].clock_ns >= asked + later
        with link.transaction():
            assert replay_session(link, bench.config, exact=True).rounds == 4


def test_a_round_that_waited_for_the_gate_is_judged_by_the_clock_of_the_call(house: House) -> None:
    bench = Bench(house, mode="paper", first_traded=time.time_ns())
    offset = [0]

    async def main() -> None:
        cell = Cell(house, bench.voters, bench.gate, lambda: time.time_ns() + offset[0])
        async with cell.running():
            await bench.feed(cell.decider, BARS[:2])
            bench.gate.away = True
            call = asyncio.create_task(cell.decider.decide(request_body(bench.config, BARS[2])))
            calls = bench.gate.calls
            while bench.gate.calls < calls + 2:
                await asyncio.sleep(0.01)
            assert "does not answer" in cell.engine.why_not_ready
            offset[0] = 600 * 10**9
            bench.gate.away = False
            assert (await asyncio.wait_for(call, 20)).round == 3

    with bench.account:
        asyncio.run(main())
    with house.connect() as link:
        logged = list(rounds(link, CELL, bench.config.session_id))
        asked = input_decoder.decode(logged[2].input).clock_ns
        assert bench.outputs()[2].clock_ns - asked >= offset[0]
        with link.transaction():
            assert replay_session(link, bench.config, exact=True).rounds == 3


def test_a_round_judged_with_other_votes_closes_the_coordinator(house: House) -> None:
    """As by a predecessor whose call was still on its way: its record stands, not our memory."""
    bench = Bench(house)

    async def main() -> None:
        cell = bench.cell()
        async with cell.running():
            await bench.feed(cell.decider, BARS[:2])
            bench.voters.hold = threading.Event()
            call = asyncio.create_task(cell.decider.decide(request_body(bench.config, BARS[2])))
            while bench.count("round_input") < 3:
                await asyncio.sleep(0.01)
            judge(house, bench.gate.gate, forecast(bench.config, 3, BARS[2]))
            bench.voters.hold.set()
            bench.voters.hold = None
            assert (await refused(call)).problem.code == "not_ready"
            assert cell.engine.fault == "round 3 was judged with other votes"
            with pytest.raises(Refused, match="other votes"):
                await cell.decider.decide(request_body(bench.config, BARS[3]))

    with bench.account:
        asyncio.run(main())
    assert bench.count("round_input") == bench.count("round_output") == 3


def test_who_goes_away_does_not_take_the_answer_from_who_asks_again(house: House) -> None:
    bench = Bench(house)

    async def work(cell: Cell, decider: Decider) -> None:
        await bench.feed(decider, BARS[:1])
        bench.voters.hold = threading.Event()
        body = request_body(bench.config, BARS[1])
        first = asyncio.create_task(decider.decide(body))
        while bench.count("round_input") < 2:
            await asyncio.sleep(0.01)
        again = asyncio.create_task(decider.decide(body))
        await asyncio.sleep(0)
        first.cancel()
        bench.voters.hold.set()
        bench.voters.hold = None
        assert (await asyncio.wait_for(again, 20)).round == 2

    bench.run(work)


# -- fencing --------------------------------------------------------------------------------


def test_a_second_coordinator_of_the_cell_is_fenced(house: House) -> None:
    bench = Bench(house)

    async def work(cell: Cell, decider: Decider) -> None:
        await bench.feed(decider, BARS[:2])
        rival = Cell(house, Voters(TableLog(house.roles.read)), GateInProcess(bench.gate.gate))
        async with rival.running():
            others = rival.decider
            await bench.feed(decider, BARS[2:3])
            # The rival's head is one round old: it may not write, and says so from now on.
            error = await refused(others.decide(request_body(bench.config, BARS[3], "rival")))
            assert error.problem.status == 503
            assert rival.engine.fault == "another coordinator writes this cell"
            error = await refused(others.decide(request_body(bench.config, BARS[4], "rival 2")))
            assert error.problem.detail == "another coordinator writes this cell"
            # The first one goes on unharmed.
            await bench.feed(decider, BARS[3:5])
        assert cell.engine.fault is None
        assert bench.count("round_input") == bench.count("round_output") == 5

    bench.run(work)


def test_a_second_gate_takes_the_epoch_and_the_first_closes(house: House) -> None:
    bench = Bench(house)

    async def main() -> None:
        cell = bench.cell()
        async with cell.running():
            decider = cell.decider
            await bench.feed(decider, BARS[: WARM + 3])
            newer = open_gate(house, "newer")
            error = await refused(decider.decide(request_body(bench.config, BARS[WARM + 3]), 0.5))
            assert (error.problem.status, error.problem.code) == (503, "deadline")
            assert bench.gate.gate.closed
            assert cell.engine.why_not_ready.startswith("the risk gate does not answer")
            assert bench.count("round_output") == WARM + 3
        # The next coordinator completes the round under the new gate.
        bench.gate = GateInProcess(newer)
        cell = bench.cell()
        async with cell.running():
            await bench.feed(cell.decider, BARS[WARM + 3 : WARM + 6])

    with bench.account:
        asyncio.run(main())
    assert [o.epoch for o in bench.outputs()] == [1] * (WARM + 3) + [2] * 3


def test_the_gate_fails_closed_without_account_or_lease(calm: Bench, house: House) -> None:
    bench = Bench(house)

    async def main() -> None:
        cell = bench.cell()
        async with cell.running():  # the account is not open: there is no trader
            await bench.feed(cell.decider, BARS[: WARM + 5])

    asyncio.run(main())
    assert {(d.verdict, d.code) for o in bench.outputs() for d in o.decisions} == {
        (int(Verdict.DENIED), int(Code.NO_LEASE))
    }
    assert bench.count("approval") == 0
    assert essence(bench.outputs()) == essence(calm.outputs())[: WARM + 5]


def test_a_halt_reaches_the_gate_and_votes_go_on(calm: Bench, house: House) -> None:
    bench = Bench(house)
    with house.connect() as link:
        set_state(link, EVERYWHERE, "HALTED", "test", "test")
    bench.run(lambda _, decider: feed_all(bench, decider))
    assert bench.count("approval") == 0
    assert Code.HALTED in {d.code for o in bench.outputs() for d in o.decisions}
    assert essence(bench.outputs()) == essence(calm.outputs())


# -- models ---------------------------------------------------------------------------------


def test_a_model_with_look_ahead_is_refused(house: House) -> None:
    models_from = int(BARS[20]["ts"][0])
    ahead, honest = (
        Bench(house, session_id=name, models=save_models(house, until), models_from=models_from)
        for name, until in (("ahead", models_from + 1), ("honest", models_from))
    )

    async def work(_: Cell, decider: Decider) -> None:
        await honest.feed(decider, BARS[:2])
        error = await refused(decider.decide(request_body(ahead.config, BARS[0])))
        assert (error.problem.status, error.problem.title) == (409, "Look-ahead")

    honest.run(work)
    assert honest.count("round_input") == 2


def test_a_missing_model_is_refused(house: House) -> None:
    bench = Bench(house, models={"vpin_hft": "0" * 64})

    async def work(_: Cell, decider: Decider) -> None:
        error = await refused(decider.decide(request_body(bench.config, BARS[0])))
        assert (error.problem.status, error.problem.title) == (409, "Model missing")

    bench.run(work)


def test_models_come_into_force_at_their_moment(house: House) -> None:
    bench = Bench(house, models_from=int(BARS[WARM + 4]["ts"][0]))
    bench.run(lambda _, decider: feed_all(bench, decider, WARM + 8))
    with house.connect() as link:
        logged = list(rounds(link, CELL, bench.config.session_id))
    named = [bool(input_decoder.decode(r.input).models) for r in logged]
    assert named == [False] * (WARM + 4) + [True] * 4
    awake = [o.decisions[0].agents_awake for o in bench.outputs()]
    assert awake == [0] * (WARM + 4) + [3] * 4


# -- sessions -------------------------------------------------------------------------------


def test_a_cell_does_not_change_session_while_a_round_is_in_flight(house: House) -> None:
    bench = Bench(house)
    other = open_session(house, session_id="other")

    async def work(cell: Cell, decider: Decider) -> None:
        await bench.feed(decider, BARS[:1])
        bench.voters.hold = threading.Event()
        call = asyncio.create_task(decider.decide(request_body(bench.config, BARS[1])))
        await asyncio.sleep(0.2)
        error = await refused(decider.decide(request_body(other, BARS[0])))
        assert (error.problem.status, error.problem.title) == (503, "Busy")
        body = request_body(other, BARS[0])
        stray = parse(request_decoder.decode(body), body, other)
        error = await refused(cell.engine.submit(stray))
        assert (error.problem.status, error.problem.title) == (503, "Busy")
        bench.voters.hold.set()
        bench.voters.hold = None
        assert (await asyncio.wait_for(call, 20)).round == 2
        assert (await decider.decide(body)).round == 3

    bench.run(work)


def test_the_first_requests_of_a_session_may_come_together(house: House) -> None:
    names = tuple(f"S{n}" for n in range(12))
    bench = Bench(house, symbols=names)
    bars = random_bars(1, len(names))

    async def work(cell: Cell, decider: Decider) -> None:
        answers = await asyncio.gather(
            *(
                decider.decide(request_body(bench.config, bars[i : i + 1], f"r{i}"))
                for i in range(len(names))
            )
        )
        assert len(answers) == len(names)
        # One state saw all of them: none of the loads replaced another's.
        assert cell.engine.state is not None
        assert cell.engine.state.last_ts.tolist() == bars["ts"].tolist()
        assert cell.engine.state.last_round == bench.count("round_output")

    bench.run(work)


def test_a_session_that_comes_back_continues_where_it_was(calm: Bench, house: House) -> None:
    """A new session starts empty; the old one, asked again, is rebuilt from the log."""
    bench = Bench(house)
    other = open_session(house, session_id="other", risk=LOOSE, models=bench.config.models)

    async def work(_: Cell, decider: Decider) -> None:
        await bench.feed(decider, BARS[: WARM + 2])
        fresh = await decider.decide(request_body(other, BARS[0]))
        assert fresh.round == WARM + 3
        assert list(fresh.weights.values()) == [0.5 / 6] * 6 + [0.5]
        # What the old session decided is still known.
        again = await decider.decide(request_body(bench.config, BARS[5], "again"))
        assert again.verdicts == bench.answers[int(BARS[5]["ts"][0])].verdicts
        await bench.feed(decider, BARS[WARM + 2 : WARM + 10])

    bench.run(work)
    assert essence(bench.outputs()) == essence(calm.outputs())[: WARM + 10]


def test_the_gate_answers_a_judged_round_from_the_log(calm: Bench) -> None:
    """Also a gate that an epoch has passed by: what is recorded is not judged again."""
    output = calm.outputs()[-1]
    gate: Gate = calm.gate.gate
    neutral = encode(msgspec.structs.replace(output, epoch=0))
    before = calm.count("journal")
    again = judged_decoder.decode(gate.judge(neutral, 10**6, bytes(32)))
    assert (again.epoch, again.table) == (output.epoch, output.table)
    assert calm.count("journal") == before


def test_requests_of_two_batches_keep_their_order(house: House) -> None:
    """Two moments of one symbol waiting together: two rounds, in order; no overtaking."""
    bench = Bench(house)

    async def work(cell: Cell, decider: Decider) -> None:
        await bench.feed(decider, BARS[:1])
        bench.voters.hold = threading.Event()
        config = bench.config
        parts = [BARS[1], BARS[2][:1], BARS[3][:1], BARS[2][1:]]
        asked = [
            parse(request_decoder.decode(body), body, config)
            for body in (request_body(config, bars, f"p{i}") for i, bars in enumerate(parts))
        ]
        calls = [asyncio.create_task(cell.engine.submit(one)) for one in asked]
        await asyncio.sleep(0.1)
        bench.voters.hold.set()
        bench.voters.hold = None
        answers = await asyncio.wait_for(asyncio.gather(*calls), 20)
        assert [answer.output.round for answer in answers] == [2, 3, 4, 3]

    bench.run(work)
