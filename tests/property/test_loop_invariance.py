"""What the compiled loop promises, bit for bit: the past decides, and nothing else.

However the stream is cut into batches, whatever comes after a moment, whichever other symbols are
present, and wherever its memory is taken and put back. On made-up bars in which much happens, and
on real ones.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loop_support import (
    CHEAP,
    DAY,
    LIMITS,
    Case,
    a_case,
    assert_equal,
    assert_prefix,
    assert_same,
    cases,
    committee,
    made_bars,
    news_for,
    real,
    state_bytes,
)

from actors.agent import Agent
from actors.contract import STATUS, Floats, Status
from actors.pool_state import PoolState
from actors.registry import AGENTS
from tuning.backtest_result import Result
from tuning.backtesting import Run, moment_starts
from tuning.loop_state import CANCELLED, EXPIRED, FILLED, OUT_STARTS, REFUSED

few = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def run_of(case: Case) -> Run:
    return Run(case.bars, case.params, case.limits, case.costs)


def in_parts(case: Case, rows: list[int]) -> Result:
    """Advanced row by row; each of ``rows`` begins a moment."""
    run = run_of(case)
    for row in [*sorted(rows), len(case.bars)]:
        run.advance(row)
    return run.result()


def live_answers(case: Case) -> Floats:
    """The agents' answers by the path that the actors take, joined as the loop keeps them."""
    bars, parts = case.bars, []
    sets = case.params.model_sets()
    edges = [*np.searchsorted(bars["ts"], [since for since, _ in sets]), len(bars)]
    for number, spec in enumerate(AGENTS):
        agent, rows = Agent(spec), []
        # Before the first set there is no model. Items wait inside the agent until they are due.
        rows.append(agent.apply(bars[: edges[0]], case.params.news))
        for (_, models), start, stop in zip(sets, edges, edges[1:], strict=False):
            agent.set_model(models[number])
            rows.append(agent.apply(bars[start:stop]))
        parts.append(np.concatenate(rows))
    return np.concatenate(parts, axis=1)


def equities() -> Case:
    """Four stocks that nothing was spliced into, in years of falls and recoveries."""
    names = ("BAC", "IBM", "IWM", "SPY")
    bars = real("us_equity_bars/daily.parquet", names, slice(8_000, 11_000), 1e-4, 1.0)
    middle = int(bars["ts"][1_500])
    return a_case(
        bars,
        models=[(0, committee()), (middle, committee(-1.0))],
        news=news_for(bars),
        latency_bars=2,
    )


def crypto() -> Case:
    """A day and a half of minutes of BTC and ETH, with the minutes that have no trade."""
    names = ("BTCUSD", "ETHUSD")
    bars = real("crypto_bars/bitfinex_minute_2019.parquet", names, slice(0, 4_000), 0.01, 1e-4)
    return a_case(
        bars,
        LIMITS["small orders"],
        CHEAP,
        micro_per_tick=1,
        latency_ns=150 * 10**9,
        news=news_for(bars),
    )


REAL = pytest.mark.parametrize("make", [equities, crypto])


# -- batches --------------------------------------------------------------------------------


@few
@given(case=cases(), data=st.data())
def test_batches_do_not_matter(case: Case, data: st.DataObject) -> None:
    starts = moment_starts(case.bars).tolist()
    cuts = data.draw(st.lists(st.sampled_from(starts), max_size=9, unique=True), label="cuts")
    assert_same(in_parts(case, cuts), case.run())


@REAL
def test_one_moment_at_a_time_is_the_same_on_real_bars(make) -> None:
    case = make()
    whole = case.run()
    assert whole.counts["orders"] > 20
    assert whole.counts["fills"] > 20
    assert_same(in_parts(case, moment_starts(case.bars)[1:].tolist()), whole)


# -- the future -----------------------------------------------------------------------------


@few
@given(case=cases(), data=st.data())
def test_the_future_does_not_matter(case: Case, data: st.DataObject) -> None:
    starts = moment_starts(case.bars).tolist()
    cut = data.draw(st.sampled_from(starts[1:]), label="cut")
    early = case.on(case.bars[:cut]).run()
    assert_prefix(early, case.run())
    other = case.bars.copy()
    for field in ("open", "high", "low", "close", "volume"):
        other[field][cut:] = other[field][cut:] * 3 + 1
    assert_prefix(early, case.on(other).run())


@REAL
def test_the_future_does_not_matter_on_real_bars(make) -> None:
    case = make()
    whole, starts = case.run(), moment_starts(case.bars)
    for share in (0.02, 0.5, 0.77, 0.999):
        assert_prefix(case.on(case.bars[: starts[int(share * len(starts))]]).run(), whole)


# -- other symbols --------------------------------------------------------------------------


def check_alone(case: Case, whole: Result) -> None:
    """Each symbol without the others: its answers, votes and volatility are the same."""
    for symbol in range(len(case.params.symbols)):
        rows = case.bars["symbol"] == symbol
        if not rows.any():
            continue
        own = [item for item in case.params.news if item.symbol == symbol]
        alone = case.on(case.bars[rows]).having(news=own, locks=()).run()
        for name in ("outs", "votes", "status", "reason"):
            assert_equal(name, getattr(alone.kept, name), getattr(whole.kept, name)[rows])
        assert_equal("sigma", alone.kept.numbers[:, 1], whole.kept.numbers[rows, 1])


@few
@given(case=cases())
def test_other_symbols_do_not_matter(case: Case) -> None:
    check_alone(case, case.run())


@REAL
def test_other_symbols_do_not_matter_on_real_bars(make) -> None:
    case = make()
    check_alone(case, case.run())


# -- snapshots ------------------------------------------------------------------------------


@few
@given(case=cases(), data=st.data())
def test_memory_taken_and_put_back_changes_nothing(case: Case, data: st.DataObject) -> None:
    whole = case.run()
    starts = moment_starts(case.bars).tolist()
    at, ahead = sorted(
        data.draw(st.lists(st.sampled_from(starts), min_size=2, max_size=2), label="rows")
    )
    run = run_of(case)
    run.advance(at)
    taken = run.state.copy()
    before = state_bytes(taken)
    run.advance(ahead)
    assert state_bytes(taken) == before, "a copy moved with the loop"
    # Back in the same run, which went on meanwhile.
    run.restore(taken)
    run.advance(len(case.bars))
    assert_same(run.result(), whole)
    assert state_bytes(taken) == before, "a restored run wrote to the snapshot"
    # In a new run, which knows only what the memory holds: the logs of what was before are zeros.
    fresh = run_of(case)
    fresh.restore(taken)
    fresh.advance(len(case.bars))
    late = fresh.result()
    assert_equal("outs", late.kept.outs[at:], whole.kept.outs[at:])
    assert_equal("judged", late.kept.judged[at:], whole.kept.judged[at:])
    moment = starts.index(at)
    assert_equal("weights", late.kept.weights[moment:], whole.kept.weights[moment:])
    assert_equal("equity", late.kept.equity[moment:], whole.kept.equity[moment:])
    since = int(case.bars["ts"][at])
    orders, fills = whole.orders["ts"] >= since, whole.fills["ts"] >= since
    assert_equal("orders", late.orders[orders], whole.orders[orders])
    assert_equal("fills", late.fills[fills], whole.fills[fills])


@few
@given(case=cases())
def test_the_pools_own_snapshot_holds_the_loops_pool(case: Case) -> None:
    arrays = case.run().state.pool
    again = PoolState.from_bytes(PoolState(arrays).to_bytes()).arrays
    for name in arrays._fields:
        assert_equal(name, getattr(again, name), getattr(arrays, name))


# -- the actors' path -----------------------------------------------------------------------


@few
@given(case=cases())
def test_the_actors_give_the_loops_answers(case: Case) -> None:
    assert_equal("outs", live_answers(case), case.run().kept.outs)


@REAL
def test_the_actors_give_the_loops_answers_on_real_bars(make) -> None:
    case = make()
    outs = case.run().kept.outs
    assert_equal("outs", live_answers(case), outs)
    for start in OUT_STARTS[:-1]:
        assert (outs[:, start + STATUS] == Status.VOTED).any(), "an agent never voted"


# -- the checks can fail --------------------------------------------------------------------


def test_made_up_bars_make_everything_happen() -> None:
    """The comparisons above mean nothing on runs in which nothing happens."""
    bars = made_bars(5, 340, 3)
    result = a_case(bars, news=news_for(bars)).run()
    assert result.counts["steps"] > 20
    assert result.counts["fills"] > 50
    assert set(result.orders["status"]) >= {FILLED, EXPIRED, REFUSED}
    halted = a_case(made_bars(10, 340, 3), LIMITS["small drawdown"], CHEAP, latency_bars=2).run()
    assert halted.halted_at is not None
    assert CANCELLED in halted.orders["status"]
    voted = (result.kept.status == Status.VOTED).any(axis=0)
    assert voted.all(), (
        f"never voted: {[s.name for s, v in zip(AGENTS, voted, strict=True) if not v]}"
    )
    tight = a_case(made_bars(5, 340, 3, 20 * 10**9), LIMITS["small orders"]).run()
    assert tight.counts["orders"] > 30


@pytest.mark.parametrize("field", ["close", "volume", "high"])
def test_a_changed_bar_is_heard_at_once(field: str) -> None:
    bars = made_bars(6, 300, 2, DAY, missing=0.0)
    other = bars.copy()
    other[field][500] = other[field][500] * 2 + 5
    if field == "close":
        other["high"][500] = other["close"][500]
    first, second = a_case(bars).run(), a_case(other).run()
    assert first.kept.outs[:500].tobytes() == second.kept.outs[:500].tobytes()
    assert first.kept.outs[500].tobytes() != second.kept.outs[500].tobytes()
