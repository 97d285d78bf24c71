"""The cost breakdown: lines that sum to what was paid, split by the broker's own model."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from session_results import DAY, START, session

from actors.costs import CostModel
from cloud_trader.broker import FillEvent, Order, PaperBroker
from data.bars import Bars, empty_bars
from data.money import from_micro, from_ticks
from data.records import SessionConfig
from tuning.cost_breakdown import LINES, cost_breakdown, split_fills, volatility_before
from tuning.session_result import FillRow

TICK = Decimal("0.0001")
SYMBOLS = ("AAPL", "IBM")


def market(count: int, seed: int = 1) -> Bars:
    """Bars of two symbols; the second trades on every other day only."""
    rng = np.random.default_rng(seed)
    bars = empty_bars(2 * count)
    bars["ts"] = np.repeat(START + DAY * np.arange(count), 2)
    bars["symbol"] = np.tile([0, 1], count)
    walk = np.exp(np.cumsum(rng.normal(0, 0.02, (count, 2)), axis=0)) * (403_217, 1_009_341)
    bars["close"] = walk.ravel()
    bars["open"] = bars["close"] * rng.uniform(0.99, 1.01, 2 * count)
    bars["high"] = np.maximum(bars["open"], bars["close"])
    bars["low"] = np.minimum(bars["open"], bars["close"])
    bars["volume"] = rng.integers(5_000, 90_000, 2 * count)
    return bars[(bars["symbol"] == 0) | (np.arange(2 * count) % 4 == 1)]


def config(costs: CostModel) -> SessionConfig:
    plain = dict.fromkeys(SessionConfig.__struct_fields__, 0)
    return SessionConfig(**{**plain, "symbols": [*SYMBOLS], "micro_per_tick": 100})


def traded(bars: Bars, costs: CostModel, lot: Decimal = Decimal(1)) -> list[FillRow]:
    """What the paper broker itself makes of one order a symbol and bar, both sides by turns."""
    broker, rows = PaperBroker(config(costs), costs.record()), []
    for n, ts in enumerate(np.unique(bars["ts"])):
        for event in broker.on_bars(bars[bars["ts"] == ts]):
            if isinstance(event, FillEvent):
                order, price = event.order, from_ticks(event.price_ticks, TICK)
                fee = from_micro(event.fee_micro)
                args = (int(ts), order.symbol, order.side, event.lots, price, fee)
                rows.append(FillRow(*args, lot=lot))
        for symbol in SYMBOLS:
            if not any(order.symbol == symbol for order in broker.open_orders()):
                side = 1 if n % 3 else -1
                limit = 10**9 if side > 0 else 1
                broker.submit(Order(f"{symbol}{n}", symbol, side, 700 + n, limit, True))
    return rows


@pytest.mark.parametrize(
    "costs",
    [CostModel(), CostModel(half_spread_bps=0.3, slippage_bps=0.0, impact_y=2.5, commission_ppm=7)],
)
def test_the_split_is_the_brokers_own_to_the_tick(costs: CostModel) -> None:
    bars = market(120)
    fills = traded(bars, costs)
    assert len(fills) > 150
    split = split_fills(fills, bars, SYMBOLS, costs, TICK)
    for fill in split:
        terms = fill.half_spread + fill.slippage + fill.impact
        # The move is rounded to a whole tick, each of the terms to a micro-unit.
        assert abs(fill.price_cost - terms) <= fill.lots * TICK / 2 + Decimal("0.000002")
    assert sum(fill.impact > 0 for fill in split) > 100  # the warm-up has no volatility


def test_lines_sum_to_what_the_fills_paid_exactly() -> None:
    bars, costs = market(90), CostModel()
    fills = split_fills(traded(bars, costs), bars, SYMBOLS, costs, TICK)
    found = cost_breakdown(session(fills=tuple(fills)))
    opens = {(int(b["ts"]), SYMBOLS[b["symbol"]]): int(b["open"]) * TICK for b in bars}
    paid = sum(f.fee + f.side * (f.price - opens[f.ts, f.symbol]) * f.lots for f in fills)
    assert found.total == paid
    assert sum(found.line(name) for name in LINES) == paid
    assert found.commission == sum(f.fee for f in fills)
    expected = [f.half_spread for f in fills]
    by_hand = [opens[f.ts, f.symbol] * f.lots * Decimal("0.0002") for f in fills]
    assert expected == [x.quantize(Decimal("0.000001")) for x in by_hand]
    assert found.basis_points("half_spread") == pytest.approx(2.0, rel=1e-3)
    assert found.basis_points("total") == pytest.approx(
        float(paid) / float(sum(f.price * f.lots for f in fills)) * 1e4, rel=1e-12
    )


def test_small_lots_of_a_dear_instrument_count_in_money() -> None:
    bars, costs, lot = market(40), CostModel(), Decimal("0.001")
    small = split_fills(traded(bars, costs, lot), bars, SYMBOLS, costs, TICK)
    whole = split_fills(traded(bars, costs), bars, SYMBOLS, costs, TICK)
    one, other = (cost_breakdown(session(fills=tuple(f))) for f in (small, whole))
    assert one.notional == other.notional * lot
    assert float(one.impact) == pytest.approx(float(other.impact) / 1000, rel=1e-4)


def test_volatility_before_a_bar_is_the_definition_and_blind_to_the_bar() -> None:
    bars = market(60)
    sigma = volatility_before(bars, 2)
    decay = 0.5 ** (1 / 20)
    for symbol in (0, 1):
        rows = np.flatnonzero(bars["symbol"] == symbol)
        moves = np.diff(np.log(bars["close"][rows].astype(float)))
        for i in range(len(rows)):
            expected = 0.0
            if i > 20:
                weights = decay ** np.arange(i - 1)[::-1]
                expected = math.sqrt((weights @ moves[: i - 1] ** 2) / weights.sum())
            assert sigma[rows[i]] == pytest.approx(expected, rel=1e-10)
    changed = bars.copy()
    changed["close"][-1] *= 3
    np.testing.assert_array_equal(volatility_before(changed, 2), sigma)


def test_gross_profit_is_what_was_earned_before_costs() -> None:
    at = START + 40 * DAY
    fill = FillRow(at, "AAPL", 1, 100, Decimal("10.02"), Decimal("1.5"), Decimal("10.00"))
    result = session(fills=(fill,))
    found = cost_breakdown(result)
    assert found.total == Decimal("3.50")
    assert found.gross_profit == Decimal("12345.67") + Decimal("3.50")
    assert found.share_of_gross("total") == pytest.approx(3.5 / 12349.17)
    assert found.half_spread is None
    assert found.rounding is None
    assert math.isnan(found.basis_points("impact"))
    result.equity_micro[-1] = 10**12 - 5_000_000
    assert math.isnan(cost_breakdown(result).share_of_gross("total"))


def test_unknown_references_leave_the_commission_alone() -> None:
    found = cost_breakdown(session())
    assert found.commission == Decimal("2.25")
    assert found.total is None
    assert math.isnan(found.basis_points("total"))


def test_no_fills_cost_nothing() -> None:
    found = cost_breakdown(session(fills=()))
    assert (found.fills, found.total) == (0, 0)
    assert math.isnan(found.basis_points("total"))


def test_a_fill_outside_of_the_bars_keeps_no_reference_and_no_volume_is_refused() -> None:
    bars, costs = market(30), CostModel()
    stray = FillRow(5, "IBM", 1, 10, Decimal(10), Decimal(1))
    assert split_fills([stray], bars, SYMBOLS, costs, TICK) == [stray]
    bars["volume"] = 0
    inside = replace(stray, ts=int(bars["ts"][0]), symbol="AAPL")
    with pytest.raises(ValueError, match="no volume"):
        split_fills([inside], bars, SYMBOLS, costs, TICK)
