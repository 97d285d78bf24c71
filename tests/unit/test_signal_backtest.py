"""One signal through the engine, against plain Python, TA-Lib, and itself on shorter histories."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import talib

from actors.costs import CostModel
from actors.limits import RiskLimits
from cluster.warm import generated_bars
from data.bars import Bars, empty_bars
from data.errors import InputError
from data.money import MICRO, PPM
from tuning.loop_state import CANCELLED
from tuning.signal_backtest import EmaCross, SignalResult, ema_cross_backtest

WIDE = RiskLimits(
    max_drawdown=0.999999,
    max_daily_loss=0.999999,
    max_position_fraction=1.0,
    max_order_notional=Decimal(10**9),
)
FREE = CostModel(
    commission_per_lot_micro=0,
    commission_min_micro=0,
    half_spread_bps=0.0,
    slippage_bps=0.0,
    impact_y=0.0,
    participation_cap=1.0,
)
COSTLY = replace(FREE, commission_ppm=1_000, half_spread_bps=3.0, participation_cap=0.2)
CROSS = EmaCross(fast=7, slow=19, fraction=0.4)
REAL = Path(__file__).resolve().parents[3] / "shared/data/crypto_bars/bitfinex_minute_2019.parquet"


def walk(count: int, seed: int = 3, symbols: int = 1) -> Bars:
    """A random walk whose opens gap away from the closes before them."""
    rng = np.random.default_rng(seed)
    bars = empty_bars(count * symbols)
    close = 500_000 * np.exp(np.cumsum(rng.normal(0, 0.004, (count, symbols)), axis=0))
    bars["ts"] = np.repeat(np.arange(1, count + 1) * 60_000_000_000, symbols)
    bars["symbol"] = np.tile(np.arange(symbols), count)
    bars["close"] = np.rint(close).ravel()
    bars["open"] = np.rint(close * np.exp(rng.normal(0, 0.001, close.shape))).ravel()
    bars["high"] = np.maximum(bars["open"], bars["close"]) + 5
    bars["low"] = np.minimum(bars["open"], bars["close"]) - 5
    bars["volume"] = rng.integers(0, 20_000, len(bars))
    return bars


def half_even(value: Fraction) -> int:
    return round(value)


def by_hand(bars: Bars, params: EmaCross, costs: CostModel) -> tuple[list[tuple], list[int]]:
    """The same account in plain Python: (fills as ts, side, lots, price, fee; equity)."""
    cash, held, order = params.opening_micro, 0, None
    closes: list[int] = []
    fast = slow = 0.0
    fills, equity = [], []
    cap = Fraction(str(costs.participation_cap))
    for bar in bars:
        if order is not None:
            side, wanted, limit = order
            lots = min(wanted, int(int(bar["volume"]) * cap))
            move = half_even(
                Fraction(int(bar["open"])) * Fraction(str(costs.half_spread_bps)) / 10_000
            )
            price = int(bar["open"]) + side * move
            if lots and side * price <= side * limit:
                amount = price * lots * params.micro_per_tick
                fee = half_even(Fraction(amount * costs.commission_ppm, PPM))
                cash -= side * amount + fee
                held += side * lots
                fills.append((int(bar["ts"]), side, lots, price, fee))
            order = None
        closes.append(int(bar["close"]))
        worth = cash + held * closes[-1] * params.micro_per_tick
        equity.append(worth)
        if len(closes) < params.slow:
            continue
        if len(closes) == params.slow:
            fast = _ema(closes, params.fast)
            slow = sum(closes) / params.slow
        else:
            fast += 2 / (params.fast + 1) * (closes[-1] - fast)
            slow += 2 / (params.slow + 1) * (closes[-1] - slow)
        width = closes[-1] * 500 // 10_000
        if fast > slow and held == 0:
            limit = closes[-1] + width
            lots = int(worth * Fraction(str(params.fraction))) // (limit * params.micro_per_tick)
            order = (1, lots, limit)
        elif fast <= slow and held > 0:
            order = (-1, held, closes[-1] - width)
    return fills, equity


def _ema(values: list[int], period: int) -> float:
    average = sum(values[:period]) / period
    for value in values[period:]:
        average += 2 / (period + 1) * (value - average)
    return average


def fill_rows(result: SignalResult) -> list[tuple]:
    names = ["ts", "side", "lots", "price_ticks", "fee_micro"]
    return [tuple(int(x) for x in row) for row in result.fills[names]]


@pytest.mark.parametrize("costs", [FREE, COSTLY], ids=["free", "costly"])
def test_fills_and_equity_equal_an_account_kept_in_plain_python(costs: CostModel) -> None:
    bars = walk(3_000)
    result = ema_cross_backtest(bars, CROSS, WIDE, costs)
    fills, equity = by_hand(bars, CROSS, costs)
    assert len(fills) > 80
    assert fill_rows(result) == fills
    assert result.equity_micro.tolist() == equity
    assert result.final_equity_micro == equity[-1]


def oracle(bars: Bars, fast: int, slow: int) -> list[tuple[int, int, int]]:
    """(ts, side, price) of the trades that TA-Lib's averages ask for, each at the next open."""
    close = bars["close"].astype(np.float64)
    quick, late = talib.EMA(close, fast), talib.EMA(close, slow)
    wanted = np.where(np.isnan(late), False, quick > late)
    turns = np.flatnonzero(np.diff(np.concatenate([[False], wanted])))
    at = turns[turns + 1 < len(bars)]
    return [(int(bars["ts"][i + 1]), 1 if wanted[i] else -1, int(bars["open"][i + 1])) for i in at]


def trades(result: SignalResult) -> list[tuple]:
    return [tuple(int(x) for x in row) for row in result.fills[["ts", "side", "price_ticks"]]]


def test_trades_are_those_of_ta_libs_averages() -> None:
    bars = walk(5_000, seed=8)
    bars["volume"] = 10**9
    result = ema_cross_backtest(bars, CROSS, WIDE, FREE)
    expected = oracle(bars, CROSS.fast, CROSS.slow)
    assert len(expected) > 100
    assert trades(result) == expected


def test_trades_on_real_minutes_are_those_of_ta_libs_averages() -> None:
    if not REAL.is_file():
        pytest.skip("the recorded one-minute bars are not at ../shared/data")
    rows = pl.scan_parquet(REAL).filter(pl.col("symbol") == "BTCUSD").head(20_000).collect()
    bars = empty_bars(len(rows))
    bars["ts"] = rows["ts"].dt.timestamp("ns").to_numpy() + 60_000_000_000
    for name in ("open", "high", "low", "close"):
        bars[name] = np.rint(rows[name].to_numpy() * 100)
    bars["volume"] = 10**9
    params = EmaCross(fast=20, slow=50, fraction=0.1, micro_per_tick=10)
    result = ema_cross_backtest(bars, params, WIDE, FREE)
    assert len(result.fills) > 200
    assert trades(result) == oracle(bars, 20, 50)


@pytest.mark.parametrize("cut", [1, 18, 19, 20, 777, 1_999])
def test_a_shorter_history_gives_the_same_up_to_its_end(cut: int) -> None:
    bars = walk(2_000, seed=5)
    whole = ema_cross_backtest(bars, CROSS, WIDE, COSTLY)
    part = ema_cross_backtest(bars[:cut], CROSS, WIDE, COSTLY)
    assert np.array_equal(part.equity_micro, whole.equity_micro[:cut])
    assert np.array_equal(part.fills, whole.fills[: len(part.fills)])
    assert len(part.fills) == (whole.fills["ts"] <= bars["ts"][cut - 1]).sum()
    closed = part.orders[part.orders["status"] != CANCELLED]
    assert np.array_equal(closed, whole.orders[: len(closed)])
    assert len(part.orders) - len(closed) <= 1


def test_nothing_kept_ends_the_same() -> None:
    bars = walk(4_000, seed=9)
    whole = ema_cross_backtest(bars, CROSS, WIDE, COSTLY)
    bare = ema_cross_backtest(
        bars, replace(CROSS, keep_orders=False, keep_equity=False), WIDE, COSTLY
    )
    assert len(bare.equity_micro) == len(bare.orders) == len(bare.fills) == 0
    assert bare.counts == whole.counts
    assert whole.counts["fills"] == len(whole.fills) > 0
    assert bare.final_equity_micro == whole.final_equity_micro


def test_logs_longer_than_their_first_room_lose_nothing() -> None:
    bars = walk(60_000, seed=2)
    bars["volume"] = 10**9
    params = EmaCross(fast=2, slow=5, fraction=0.4)
    result = ema_cross_backtest(bars, params, WIDE, FREE)
    assert len(result.fills) > 4_000
    assert trades(result) == oracle(bars, 2, 5)


def test_another_symbol_changes_no_trade() -> None:
    pair = walk(2_000, seed=4, symbols=2)
    pair["volume"] = 10**9
    both = ema_cross_backtest(pair, replace(CROSS, symbols=2), WIDE, FREE)
    for symbol in (0, 1):
        alone = pair[pair["symbol"] == symbol].copy()
        alone["symbol"] = 0
        mine = both.fills[both.fills["symbol"] == symbol]
        expected = trades(ema_cross_backtest(alone, CROSS, WIDE, FREE))
        assert [tuple(map(int, row)) for row in mine[["ts", "side", "price_ticks"]]] == expected


def test_all_in_never_overdraws() -> None:
    bars = walk(4_000, seed=6)
    bars["volume"] = 10**9
    costs = replace(FREE, commission_ppm=500)
    result = ema_cross_backtest(bars, replace(CROSS, fraction=1.0), WIDE, costs)
    amounts = result.fills["side"] * result.fills["lots"] * result.fills["price_ticks"] * 100
    spent = np.cumsum(amounts + result.fills["fee_micro"])
    assert (spent <= CROSS.opening_micro).all()
    assert spent[0] > 0.9 * CROSS.opening_micro


def test_the_drawdown_limit_halts_and_flattens() -> None:
    bars = walk(4_000, seed=6)
    bars["volume"] = 10**9
    tight = WIDE.model_copy(update={"max_drawdown": 0.02})
    result = ema_cross_backtest(bars, CROSS, tight, replace(FREE, commission_ppm=2_000))
    assert result.halted_at is not None
    assert (result.orders["ts"] <= result.halted_at).all()
    assert result.state.positions["lots"].tolist() == [0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fast": 50, "slow": 20}, "fast < slow"),
        ({"fraction": 0.0}, "fraction"),
        ({"latency_bars": 0}, "latency"),
        ({"opening_micro": 0}, "cash"),
    ],
)
def test_impossible_parameters_are_refused(change: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        replace(CROSS, **change)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("symbol", 1, "bar 7 names no symbol"),
        ("open", 0, "bar 7 has a price"),
        ("high", 1, "bar 7 has a high"),
        ("low", 10**9, "bar 7 has a low"),
        ("volume", -1, "bar 7 has a negative volume"),
        ("ts", 1, "bar 7 is out of order"),
    ],
)
def test_the_first_bar_that_is_none_is_named(field: str, value: int, words: str) -> None:
    bars = walk(50)
    bars[field][7] = bars[field][9] = value
    with pytest.raises(InputError, match=words):
        ema_cross_backtest(bars, CROSS, WIDE, FREE)


def test_two_bars_of_a_symbol_in_one_moment_are_refused() -> None:
    bars = walk(50, symbols=2)
    bars["symbol"][9] = 0
    with pytest.raises(InputError, match="bar 9 is out of order"):
        ema_cross_backtest(bars, replace(CROSS, symbols=2), WIDE, FREE)


def test_no_bars_are_refused() -> None:
    with pytest.raises(InputError, match="no bars"):
        ema_cross_backtest(empty_bars(0), CROSS, WIDE, FREE)


def test_opening_cash_is_the_first_equity() -> None:
    result = ema_cross_backtest(walk(5), CROSS, WIDE, FREE)
    assert result.equity_micro.tolist() == [1_000_000 * MICRO] * 5


def test_orders_may_wait_for_many_bars() -> None:
    bars = generated_bars(1, 900, 4)
    signal = EmaCross(fast=2, slow=5, latency_bars=150, fraction=0.01, keep_orders=True)
    result = ema_cross_backtest(bars, signal, RiskLimits(), CostModel())
    assert result.counts["orders"] > 0
