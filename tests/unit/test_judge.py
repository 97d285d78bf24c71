"""The gate's judgement of one symbol, case by case."""

import numpy as np
import pytest

from actors.checks import Code, TradingState, Verdict
from actors.costs import CostModel
from actors.judge import INTENT, judge_intent
from actors.limits import RiskLimits
from actors.sizing import SizingParams

COSTS, SIZING = CostModel().record(), SizingParams().record()
A, R, D, N = Verdict.APPROVED, Verdict.REDUCED, Verdict.DENIED, Verdict.NO_TRADE

GOOD = {
    "p_down": 0.2,
    "p_flat": 0.3,
    "p_up": 0.5,
    "dissent": 0.05,
    "agents_awake": 5,
    "awake_weight": 0.9,
    "sigma": 0.02,
    "toxicity": 0.3,
    "staleness_seconds": 0.0,
    "trading_allowed": 1,
    "state": TradingState.ACTIVE,
    "equity_micro": 10**12,  # a million
    "close": 500_000,  # 50.0000
    "micro_per_tick": 100,
    "volume": 10_000_000,
}
DOWN = {"p_down": 0.5, "p_up": 0.2}


def judge(limits=None, **changes):
    row = np.zeros(1, INTENT)
    for name, value in {**GOOD, **changes}.items():
        row[name] = value
    return judge_intent(
        (limits or RiskLimits(max_order_fraction=1.0)).record(), COSTS, SIZING, row[0]
    )


def test_a_plain_buy() -> None:
    # Weight .10 / (.02 sqrt 252) = .31497, times .95 = .29922 of a million at 50: 5984 lots.
    assert judge() == (A, Code.NONE, 5_984, 5_984, 525_000)


def test_a_position_near_its_target_is_left_alone() -> None:
    assert judge(position=5_600)[:3] == (N, Code.NO_CHANGE, 0)
    # 20,000 is two per cent of equity: 400 lots away.
    assert judge(position=5_584)[:3] == (A, Code.NONE, 400)
    assert judge(position=5_585)[:3] == (N, Code.NO_CHANGE, 0)
    assert judge(position=5_984)[:3] == (N, Code.NO_CHANGE, 0)


def test_a_turned_forecast_sells_everything_and_no_more() -> None:
    assert judge(position=5_000, **DOWN) == (A, Code.NONE, -5_000, 0, 475_000)
    # The edge is .3 * 1.0903 * .02 * sqrt 5 = 146 bp. Commission of 1.00 both ways: 139 bp with
    # the spread on three lots of 50, 206 bp on two.
    assert judge(position=3, **DOWN)[:3] == (A, Code.NONE, -3)
    assert judge(position=2, **DOWN)[:3] == (N, Code.NO_EDGE, 0)
    assert judge(position=0, **DOWN)[:3] == (N, Code.SHORT, 0)
    short = RiskLimits(allow_short=True, max_order_fraction=1.0)
    assert judge(short, position=0, **DOWN) == (A, Code.NONE, -5_984, -5_984, 475_000)
    assert judge(short, position=100, **DOWN)[2] == -6_084


def test_no_edge() -> None:
    # One point of probability: 4.9 bp against a round trip of 10 bp.
    assert judge(p_down=0.345, p_flat=0.3, p_up=0.355)[:2] == (N, Code.NO_EDGE)
    assert judge(p_down=0.345, p_flat=0.3, p_up=0.355, position=5_000)[:2] == (N, Code.NO_EDGE)
    # A quarter of a point: 1.4 % of equity, inside the band.
    assert judge(p_down=0.345, p_flat=0.3075, p_up=0.3475)[:3] == (N, Code.NO_CHANGE, 0)
    assert judge(volume=0)[:2] == (N, Code.NO_EDGE)


@pytest.mark.parametrize(
    ("changes", "verdict", "code"),
    [
        ({"trading_allowed": 0}, N, Code.WARMING_UP),
        ({"sigma": 0.0}, N, Code.WARMING_UP),
        ({"agents_awake": 2}, D, Code.NO_QUORUM),
        ({"awake_weight": 0.4}, D, Code.NO_QUORUM),
        ({"staleness_seconds": 61.0}, D, Code.STALE_DATA),
        ({"staleness_seconds": -0.1}, D, Code.STALE_DATA),
        ({"dissent": 0.4}, D, Code.DISSENT),
        ({"locked": 1}, D, Code.SYMBOL_LOCKED),
        ({"close": 0}, D, Code.PRECISION),
        ({"p_up": np.nan}, D, Code.INVALID),
        ({"p_up": 0.9}, D, Code.INVALID),
        ({"p_down": -0.1, "p_up": 0.8}, D, Code.INVALID),
        ({"sigma": np.nan}, D, Code.INVALID),
        ({"sigma": -0.1}, D, Code.INVALID),
        ({"toxicity": np.nan}, D, Code.INVALID),
        ({"equity_micro": 0}, D, Code.INVALID),
        ({"state": TradingState.HALTED}, D, Code.HALTED),
        ({"state": 7}, D, Code.HALTED),
        ({"state": TradingState.REDUCING}, D, Code.REDUCING_ONLY),
        ({"orders_last_minute": 600}, D, Code.RATE),
    ],
)
def test_what_stops_a_buy(changes, verdict, code) -> None:
    result = judge(**changes)
    assert result[:3] == (verdict, code, 0)
    assert result[4] == 0


def test_reductions_pass_where_increases_do_not() -> None:
    for changes in ({"state": TradingState.REDUCING}, {"toxicity": 0.995}, {"sigma": 0.2}):
        sold = judge(position=5_000, **DOWN, **changes)
        assert sold[:3] == (A, Code.NONE, -5_000), changes
    assert judge(toxicity=0.995)[1] in (Code.TOXIC, Code.NO_CHANGE)
    calm = RiskLimits(max_toxicity=0.2, max_order_fraction=1.0)
    assert judge(calm)[:3] == (D, Code.TOXIC, 0)
    wild = RiskLimits(max_sigma=0.01, max_order_fraction=1.0)
    assert judge(wild)[:3] == (D, Code.VOLATILITY, 0)


def test_large_orders_are_cut() -> None:
    verdict, code, delta, target, _ = judge(RiskLimits(max_order_fraction=0.1))
    assert (verdict, code, delta, target) == (R, Code.ORDER_NOTIONAL, 2_000, 5_984)


def test_concentration_bounds_the_target_at_the_worst_price() -> None:
    # 10 % of a million at 52.50 is 1904 lots.
    tight = RiskLimits(max_position_fraction=0.1, max_order_fraction=1.0)
    assert judge(tight) == (R, Code.CONCENTRATION, 1_904, 1_904, 525_000)
    assert judge(tight, position=1_904)[:3] == (N, Code.CONCENTRATION, 0)
    # Above its share the position is brought back: a sale, and no objection.
    assert judge(tight, position=3_000)[:3] == (A, Code.NONE, -1_096)


def test_dust_is_not_ordered() -> None:
    high = RiskLimits(min_order_notional=400_000, max_order_fraction=1.0)
    assert judge(high)[:3] == (D, Code.MIN_NOTIONAL, 0)
