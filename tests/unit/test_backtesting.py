"""The backtest's door and rules: what it refuses and keeps, when and at what price it fills."""

# longer than 400 lines because: one page of rules for one function.

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from loop_support import (
    BEGIN,
    DAY,
    EVERYTHING,
    FREE,
    LIMITS,
    SECOND,
    Case,
    a_case,
    assert_equal,
    assert_same,
    committee,
    loud_models,
    made_bars,
    moment_starts,
    whole_bars,
)

from actors.checks import Code
from actors.contract import Reason, Status
from actors.costs import CostModel
from actors.limits import RiskLimits
from actors.pool_state import PoolParams
from actors.registry import AGENTS
from actors.sizing import SizingParams
from data.bars import Bars, empty_bars
from data.errors import InputError
from data.news import News
from tuning.backtest_result import Result
from tuning.backtesting import BacktestParams, Run, backtest
from tuning.bar_check import check_bars
from tuning.loop_state import CANCELLED, EXPIRED, FILLED, N_AGENTS, OUT_STARTS, OUT_WIDTH, REFUSED

NAMES = [spec.name for spec in AGENTS]


def own_index(case: Case, ts: int, symbol: int) -> int:
    own = case.bars[case.bars["symbol"] == symbol]
    return int(np.searchsorted(own["ts"], ts))


# -- bad input ------------------------------------------------------------------------------

GOOD: dict[str, Any] = {"symbols": ("A", "B")}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"without": ("nobody",)}, "without nobody: agents are"),
        ({"keep": ("orders", "all")}, "keep all: choose of orders, weights"),
        ({"latency_bars": 0}, "latency: at least 1 bar"),
        ({"latency_ns": -1}, "latency: at least 1 bar"),
        ({"symbols": ()}, "needs a symbol"),
        ({"opening_micro": 0}, "needs a symbol, cash"),
        ({"micro_per_tick": 0}, "a tick that is worth"),
        ({"pool": PoolParams(horizon=3)}, "same number of bars ahead"),
        ({"sizing": SizingParams(horizon=3)}, "same number of bars ahead"),
        ({"models": {"momentum": np.zeros(3)}}, "models: no agent is called momentum"),
        ({"models": {"vpin_hft": np.zeros((2, 2))}}, "models: vpin_hft: a model is one row"),
        (
            {"models": {"vpin_hft": np.array([1.0, np.nan])}},
            "vpin_hft: a model is one row of finite",
        ),
        ({"models": [(5, {}), (5, {})]}, "come in force later than the one before"),
        ({"locks": [(0, 2)]}, "locks: a quarantined bar names no symbol: give 0 to 1"),
        ({"locks": [(0, -1)]}, "locks: a quarantined bar names no symbol"),
        ({"news": [News("a", 2, 0, "")]}, "news: an item names no symbol: give 0 to 1"),
        ({"news": [News("a", -1, 0, "")]}, "news: an item names no symbol"),
    ],
)
def test_wrong_parameters_are_one_clear_line(changes: dict[str, Any], line: str) -> None:
    BacktestParams(**GOOD)
    with pytest.raises(InputError) as caught:
        BacktestParams(**{**GOOD, **changes})
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("symbol", 2, "bar 4 names no symbol"),
        ("symbol", -1, "bar 4 names no symbol"),
        ("low", 0, "bar 4 has a price that is not above 0"),
        ("open", -3, "bar 4 has a price that is not above 0"),
        ("high", 7, "bar 4 has a high below its prices"),
        ("low", 10**9, "bar 4 has a low above its prices"),
        ("volume", -1, "bar 4 has a negative volume"),
        ("ts", BEGIN - 1, "bar 4 is out of order"),
        ("ts", BEGIN + 5 * DAY, "bar 5 is out of order"),
        ("symbol", 1, "bar 5 is out of order"),  # The moment then has symbol 1 twice.
    ],
)
def test_the_first_bad_bar_is_named(field: str, value: int, line: str) -> None:
    bars = whole_bars(6)
    check_bars(bars, 2)
    bars[field][4] = value
    with pytest.raises(InputError, match=line):
        backtest(bars, BacktestParams(**GOOD), RiskLimits(), CostModel())


@pytest.mark.parametrize(
    ("bars", "line"),
    [
        (empty_bars(0), "there are no bars"),
        (np.zeros(3), "data.bars.BAR"),
        (empty_bars(4).reshape(2, 2), "data.bars.BAR"),
    ],
)
def test_no_bars_are_refused(bars: Bars, line: str) -> None:
    with pytest.raises(InputError, match=line):
        backtest(bars, BacktestParams(**GOOD), RiskLimits(), CostModel())


def test_a_run_stops_only_between_moments() -> None:
    case = a_case(whole_bars(6))
    run = Run(case.bars, case.params, case.limits, case.costs)
    run.advance(4)
    with pytest.raises(ValueError, match="bar 5 is in the middle of its moment"):
        run.advance(5)


def test_an_amount_beyond_int64_raises() -> None:
    with pytest.raises(OverflowError):
        a_case(whole_bars(), LIMITS["shorts"], FREE, opening_micro=2**63 - 1).run()


# -- what is kept ---------------------------------------------------------------------------


def test_everything_kept_has_its_shape() -> None:
    case = a_case(made_bars(4, 300, 3))
    result = case.run()
    moments, decisions = len(np.unique(case.bars["ts"])), len(case.bars)
    shapes = {
        "equity": (moments,),
        "weights": (moments, N_AGENTS + 1),
        "p": (decisions, 3),
        "numbers": (decisions, 4),
        "votes": (decisions, N_AGENTS, 3),
        "status": (decisions, N_AGENTS),
        "reason": (decisions, N_AGENTS),
        "awake": (decisions,),
        "verdict": (decisions,),
        "code": (decisions,),
        "judged": (decisions, 6),
        "outs": (decisions, OUT_WIDTH),
    }
    assert {name: getattr(result.kept, name).shape for name in result.kept._fields} == shapes
    assert result.counts["rounds"] == moments
    assert np.allclose(result.kept.weights.sum(axis=1), 1.0, atol=1e-12)
    assert result.counts["orders"] == np.sum(result.orders["status"] != REFUSED)
    assert result.counts["refused"] == np.sum(result.orders["status"] == REFUSED)
    assert result.counts["fills"] == len(result.fills)


def test_the_numbers_do_not_depend_on_what_is_kept() -> None:
    case = a_case(made_bars(4, 300, 3))
    whole = case.run()
    choices = [(), *combinations(EVERYTHING, 1), ("orders", "votes"), ("weights", "decisions")]
    for keep in choices:
        for equity in (True, False):
            part = case.having(keep=keep, keep_equity=equity).run()
            assert part.final_equity_micro == whole.final_equity_micro
            assert part.counts == whole.counts
            assert len(part.equity_micro) == (len(whole.ts) if equity else 0)
            for name in part.kept._fields:
                if len(getattr(part.kept, name)):
                    assert_equal(name, getattr(part.kept, name), getattr(whole.kept, name))
            for name, asked in (("orders", "orders"), ("fills", "orders")):
                expected = getattr(whole, name)[: None if asked in keep else 0]
                assert_equal(name, getattr(part, name), expected)
            deep = {"decisions", "votes", "evidence"} & set(keep)
            assert bool(len(part.kept.p)) == bool(deep)
            assert bool(len(part.kept.votes)) == bool(deep - {"decisions"})
            assert bool(len(part.kept.outs)) == ("evidence" in keep)


def test_the_same_arguments_give_the_same_bits() -> None:
    case = a_case(made_bars(7, 300, 3))
    assert_same(case.run(), case.run())


def test_more_orders_than_the_first_room() -> None:
    """Many small orders: the logs grow in mid-run, and lose and repeat nothing."""
    limits = replace_limits(max_order_notional=250, max_order_fraction=10, max_position_fraction=10)
    case = a_case(whole_bars(2_600, 1, SECOND), limits, FREE, sizing=SizingParams(band=0.0))
    result = case.run()
    assert result.counts["orders"] > 2_000
    assert len(np.unique(result.fills["order"])) == len(result.fills) > 2_000
    assert (np.diff(result.orders["ts"]) > 0).all()
    assert_equal("ts", result.orders["ts"], case.bars["ts"][result.kept.judged[:, 2] != 0])
    counted = case.having(keep=()).run()
    assert counted.final_equity_micro == result.final_equity_micro
    assert counted.counts == result.counts


def replace_limits(**changes: Any) -> RiskLimits:
    """Limits that bind nowhere but where ``changes`` say so."""
    loose = {"allow_short": True, "max_dissent": 1, "max_toxicity": 1.0, "min_order_notional": 0}
    return RiskLimits(**{**loose, "max_gross": 10, **changes})


# -- when an order meets its bar ------------------------------------------------------------


def filled(case: Case) -> Result:
    result = case.run()
    assert result.counts["fills"] > 10
    return result


@pytest.mark.parametrize("bars", [1, 3])
def test_latency_in_bars_fills_at_that_bars_open(bars: int) -> None:
    case = a_case(whole_bars(), LIMITS["shorts"], FREE, latency_bars=bars)
    result = filled(case)
    for fill in result.fills:
        symbol, order = int(fill["symbol"]), result.orders[fill["order"]]
        own = case.bars[case.bars["symbol"] == symbol]
        met = own_index(case, fill["ts"], symbol)
        assert met == own_index(case, order["ts"], symbol) + bars
        assert fill["price_ticks"] == own["open"][met]
        assert fill["fee_micro"] == 0
    late = result.orders[result.orders["status"] == CANCELLED]
    assert (late["ts"] > case.bars["ts"][-1] - bars * DAY).all()


@pytest.mark.parametrize("latency", [1, DAY, DAY + 1, 3 * DAY])
def test_latency_in_time_waits_for_the_first_bar_that_begins_then(latency: int) -> None:
    case = a_case(made_bars(3, 330, 2, missing=0.3), LIMITS["shorts"], FREE, latency_ns=latency)
    result = filled(case)
    for fill in result.fills:
        symbol, order = int(fill["symbol"]), result.orders[fill["order"]]
        own = case.bars[case.bars["symbol"] == symbol]
        met = own_index(case, fill["ts"], symbol)
        # A bar begins when the symbol's last one became known.
        assert own["ts"][met - 1] >= order["ts"] + latency
        assert own["ts"][met - 2] < order["ts"] + latency


def test_orders_may_wait_as_long_as_the_latency_says() -> None:
    """More than two thousand at once: their room is found from the bars."""
    limits = replace_limits(max_order_notional=250, max_order_fraction=10, max_position_fraction=10)
    bars = whole_bars(2_600, 1, SECOND)
    case = a_case(
        bars, limits, FREE, latency_ns=10_000 * SECOND, sizing=SizingParams(band=0.0)
    ).having(keep=("orders",))
    result = case.run()
    assert len(result.orders) > 2_000
    assert (result.orders["status"] == CANCELLED).all()
    assert result.counts["fills"] == 0
    assert result.final_equity_micro == case.params.opening_micro
    assert result.state.books[0]["reserved_micro"] == 0


# -- at what price --------------------------------------------------------------------------


def test_what_the_bar_cannot_take_expires() -> None:
    cap = 0.001
    case = a_case(whole_bars(), LIMITS["shorts"], replace(FREE, participation_cap=cap))
    result = filled(case)
    capped = result.orders["status"] == EXPIRED
    assert capped.any()
    for fill in result.fills:
        order = result.orders[fill["order"]]
        most = int(fill["volume"]) // 1_000
        assert fill["lots"] == order["filled_lots"] == min(most, order["lots"])
        assert order["status"] == (EXPIRED if fill["lots"] < order["lots"] else FILLED)


def test_the_spread_of_the_last_quote_is_paid_where_one_is_known() -> None:
    bars = whole_bars()
    known = bars["symbol"] == 0
    bars["bid"][known] = bars["close"][known] - 1_000
    bars["ask"][known] = bars["close"][known] + 3_000
    case = a_case(bars, LIMITS["shorts"], replace(FREE, half_spread_bps=7.0))
    result = filled(case)
    assert set(result.fills["symbol"]) == {0, 1}
    for fill in result.fills:
        symbol, opening = int(fill["symbol"]), int(fill["open_ticks"])
        own = bars[bars["symbol"] == symbol]
        before = own[own_index(case, fill["ts"], symbol) - 1]
        half = 7.0
        if symbol == 0:
            half = 1e4 * 4_000 / (2 * int(before["close"]) + 2_000)
        assert fill["spread_bps"] == half
        move = int(fill["price_ticks"]) - opening
        assert move == fill["side"] * np.rint(opening * half * 1e-4)


def test_impact_grows_with_the_root_of_the_share_of_the_volume() -> None:
    case = a_case(whole_bars(), LIMITS["shorts"], replace(FREE, impact_y=0.8))
    fills = filled(case).fills
    move = fills["side"] * (fills["price_ticks"] - fills["open_ticks"]) / fills["open_ticks"]
    share = fills["lots"] / fills["volume"]
    assert move == pytest.approx(0.8 * fills["sigma"] * np.sqrt(share), abs=1e-6)
    assert np.ptp(share) > 0
    assert (fills["sigma"] > 0.005).all()


# -- who is heard, and what is locked -------------------------------------------------------


def test_a_bad_bar_locks_a_symbol_that_is_held() -> None:
    case = a_case(whole_bars())
    free = filled(case)
    fill = free.fills[free.fills["symbol"] == 0][0]
    before = [(int(case.bars["ts"][0]), 0)]  # Nothing is held then: no lock.
    assert_same(case.having(locks=before).run(), free)
    # Between two moments: it counts at the next one.
    locked = case.having(locks=[*before, (int(fill["ts"]) - 1, 0)]).run()
    after = (locked.d_ts >= fill["ts"]) & (locked.d_symbol == 0)
    assert (locked.kept.code[after] == Code.SYMBOL_LOCKED).all()
    late = locked.orders[(locked.orders["ts"] >= fill["ts"])]
    assert 0 not in late["symbol"]
    assert 1 in late["symbol"], "the other symbol goes on"
    assert locked.state.positions[0]["lots"] == fill["side"] * fill["lots"]


def test_a_model_is_heard_from_its_moment_on() -> None:
    bars = whole_bars()
    since = int(bars["ts"][2 * 300])
    result = a_case(bars, models=[(since, committee())]).run()
    needs = [number for number, name in enumerate(NAMES) if name != "financial_sentiment"]
    early = bars["ts"] < since
    assert (result.kept.status[early][:, needs] == Status.ABSTAINED).all()
    assert set(result.kept.reason[2 * 299][needs]) <= {Reason.NO_MODEL, Reason.NO_CHAMPION}
    assert (result.kept.status[~early][:, needs] == Status.VOTED).all()
    # The agents heard the earlier bars: from its moment on it is as if it had always been there.
    # Only a champion runs anew, over the bars of its declared warm-up.
    always = a_case(bars).run()
    same = [number for number, name in enumerate(NAMES) if name != "strategy_optimization"]
    assert_equal("votes", result.kept.votes[~early][:, same], always.kept.votes[~early][:, same])
    none = a_case(bars, models=()).run()
    assert not (none.kept.status[:, needs] == Status.VOTED).any()
    assert none.counts["orders"] == 0


@pytest.mark.parametrize("number", range(N_AGENTS))
def test_an_agent_left_out_has_no_model_and_changes_no_other(number: int) -> None:
    bars = whole_bars()
    news = [News("a", 0, int(bars["ts"][400]), "Profit rose on strong demand.")]
    case = a_case(bars, news=news)
    whole, part = case.run(), case.having(without=(NAMES[number],)).run()
    others = [other for other in range(N_AGENTS) if other != number]
    assert (part.kept.status[:, number] == Status.ABSTAINED).all()
    assert (part.kept.reason[:, number] == Reason.NO_MODEL).all()
    assert (part.kept.votes[:, number] == 0.0).all()
    assert (part.kept.outs[:, OUT_STARTS[number] : OUT_STARTS[number + 1]] == 0.0).all()
    for name in ("votes", "status", "reason"):
        found, expected = getattr(part.kept, name), getattr(whole.kept, name)
        assert_equal(name, found[:, others], expected[:, others])
    heard = whole.kept.status[:, number] == Status.VOTED
    assert heard.any()
    assert (part.kept.p[heard] != whole.kept.p[heard]).any()


def test_without_a_measured_toxicity_nothing_is_approved() -> None:
    result = a_case(whole_bars(), without=("vpin_hft",)).run()
    assert result.counts["orders"] == 0
    assert Code.INVALID in result.kept.code


def test_nothing_is_approved_before_the_first_traded_moment() -> None:
    bars = whole_bars()
    starts = moment_starts(bars)
    first = int(bars["ts"][starts[250]])
    result = a_case(bars, models=loud_models(), first_traded=first).run()
    assert (result.kept.code[: starts[250]] == Code.WARMING_UP).all()
    assert result.orders["ts"].min() >= first
    assert (result.equity_micro[:250] == result.params.opening_micro).all()


def test_a_run_never_steps_a_bar_twice() -> None:
    case = a_case(whole_bars(20))
    run = Run(case.bars, case.params, case.limits, case.costs)
    run.advance(20)
    with pytest.raises(ValueError, match="the run stands at 20 of 40"):
        run.advance(10)
    with pytest.raises(ValueError, match="stands at 20"):
        run.advance(41)


def test_a_look_at_the_result_changes_nothing() -> None:
    case = a_case(whole_bars())
    plain, looked = (Run(case.bars, case.params, case.limits, case.costs) for _ in range(2))
    half = len(case.bars) // 2
    for row in range(half, len(case.bars), 20):
        looked.advance(row)
        looked.result()
    for run in (plain, looked):
        run.advance(len(case.bars))
    assert plain.result().orders.tobytes() == looked.result().orders.tobytes()
    assert plain.result().equity_micro.tolist() == looked.result().equity_micro.tolist()


def test_latency_in_time_on_bars_with_a_night_between_them() -> None:
    """A daily bar opens long after the decision at the close before it: 250 ms lose no day."""
    bars = whole_bars()
    case = a_case(bars, keep=("orders",))
    night = a_case(bars, keep=("orders",), latency_ns=250_000_000, bar_ns=6 * 3600 * 10**9)
    unknown = a_case(bars, keep=("orders",), latency_ns=250_000_000)
    assert night.run().fills.tobytes() == case.run().fills.tobytes()
    assert unknown.run().fills.tobytes() != case.run().fills.tobytes()
