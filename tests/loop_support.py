"""Bars, models and comparisons for the tests of the compiled loop.

Everything made up here trades a lot: loud models that follow the price, and limits that bind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import strategies as st

from actors import strategy_optimization, vpin_hft
from actors.contract import Floats
from actors.costs import CostModel
from actors.limits import RiskLimits
from data.bars import Bars, empty_bars
from data.news import News
from tuning import fit_predictor
from tuning.backtest_result import Result
from tuning.backtesting import BacktestParams, backtest, moment_starts
from tuning.loop_state import ORDER_LOG, LoopState

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
DAY = 86_400_000_000_000
SECOND = 1_000_000_000
BEGIN = int(np.datetime64("2020-01-02T21:00", "ns").astype(np.int64))
EVERYTHING = ("orders", "weights", "decisions", "votes", "evidence")
TEXTS = (
    "Profit rose on strong demand.",
    "The company cut its guidance.",
    "The annual meeting is on Tuesday.",
)
Models = Mapping[str, Floats]

LIMITS = {
    "shorts": RiskLimits(allow_short=True),
    "long only": RiskLimits(),
    # A change of a position takes many orders, and most rounds find the minute's order used up.
    "small orders": RiskLimits(
        allow_short=True, max_order_notional=20_000, max_orders_per_minute=1
    ),
    "small drawdown": RiskLimits(allow_short=True, max_drawdown=0.002),
    "small gross": RiskLimits(allow_short=True, max_gross=0.15, max_dissent=0.9),
}
COSTS = CostModel()
# Minutes move too little to pay for the declared costs.
CHEAP = CostModel(
    commission_per_lot_micro=0, commission_min_micro=0, half_spread_bps=0.1, slippage_bps=0.0,
    impact_y=0.1,
)  # fmt: skip


def made_bars(
    seed: int,
    moments: int,
    symbols: int = 3,
    step_ns: int = DAY,
    volatility: float = 0.02,
    missing: float = 0.1,
) -> Bars:
    """Waves round 100.00 with noise; some bars are missing, thin or quoted; trade sides known.

    In (ts, symbol) order; every moment has a bar.
    """
    rng = np.random.default_rng(seed)
    shape = (moments, symbols)
    # Moves that go on in their direction for a while, so that followers trade and turn.
    swing = np.sin(np.arange(moments)[:, None] / rng.uniform(4, 25, symbols))
    moves = volatility * (0.6 * swing + 0.6 * rng.standard_normal(shape))
    close = np.rint(1e6 * np.exp(np.cumsum(moves, axis=0) * 0.5)).astype(np.int64)
    gap = np.exp(rng.normal(0, volatility / 4, shape))
    opening = np.rint(np.concatenate([close[:1], close[:-1]]) * gap).astype(np.int64)
    bars = empty_bars(moments * symbols).reshape(shape)
    bars["ts"] = (BEGIN + step_ns * np.arange(moments))[:, None]
    bars["symbol"] = np.arange(symbols)
    bars["open"], bars["close"] = opening, close
    bars["high"] = np.maximum(opening, close) + rng.integers(0, 500, shape)
    bars["low"] = np.minimum(opening, close) - rng.integers(0, 500, shape)
    bars["volume"] = rng.integers(0, 200_000, shape) * (rng.random(shape) > 0.05)
    bars["buy_volume"] = rng.integers(0, bars["volume"] + 1)
    quoted = rng.random(shape) < 0.5
    bars["bid"] = np.where(quoted, close - rng.integers(0, 300, shape), -1)
    bars["ask"] = np.where(quoted, close + rng.integers(0, 300, shape), -1)
    keep = rng.random(shape) >= missing
    keep[np.arange(moments), rng.integers(0, symbols, moments)] = True
    return bars[keep]


def loud_models(slope: float = 1.5) -> dict[str, Floats]:
    """Four agents that follow the price, loudly, once they are warm."""
    champion = {
        "rule": "ema_cross", "fast": 3, "slow": 10, "trend_taste": 0.0, "vol_taste": 0.0,
        "link": [0.0, -slope, -0.5, 0.0, 0.0, slope],
    }  # fmt: skip
    daily = [vpin_hft.DAILY_BUCKET, vpin_hft.DAILY_DECAY]
    return {
        "trend_momentum": _first_slope(6, slope),
        "strategy_optimization": strategy_optimization.pack([champion]),
        "volume_microstructure": _first_slope(7, slope / 2),
        "vpin_hft": np.concatenate([daily, _first_slope(3, slope / 2)]),
    }


def _first_slope(features: int, slope: float) -> Floats:
    link = np.zeros((3, features + 1))
    link[:, 1] = (-slope, 0.0, slope)
    link[1, 0] = -0.5
    return link.ravel()


@cache
def predictor() -> Floats:
    """Trees fitted on made-up bars that no test runs on."""
    params = fit_predictor.fit(made_bars(99, 500, missing=0.0), 5, 1)
    assert len(params), "too few bars to fit the predictor"
    return params


def committee(slope: float = 1.5) -> dict[str, Floats]:
    """The loud models and the trees: all that can have a model has one."""
    return {**loud_models(slope), "market_prediction": predictor()}


def news_for(bars: Bars, every: int = 40) -> list[News]:
    """An item of the bar's symbol at, or up to 29 ns before, every n-th bar."""
    return [
        News(f"n{i}", int(bars["symbol"][i]), int(bars["ts"][i]) - i % 30, TEXTS[i % 3])
        for i in range(0, len(bars), every)
    ]


@dataclass(frozen=True, repr=False)
class Case:
    """All arguments of a backtest."""

    bars: Bars
    params: BacktestParams
    limits: RiskLimits
    costs: CostModel

    def run(self) -> Result:
        return backtest(self.bars, self.params, self.limits, self.costs)

    def on(self, bars: Bars) -> Case:
        return replace(self, bars=bars)

    def having(self, **changes: Any) -> Case:
        return replace(self, params=replace(self.params, **changes))


def a_case(
    bars: Bars,
    limits: RiskLimits = LIMITS["shorts"],
    costs: CostModel = COSTS,
    **params: Any,
) -> Case:
    """The whole committee over ``bars``, everything kept."""
    names = tuple(f"S{i}" for i in range(int(bars["symbol"].max()) + 1))
    chosen: dict[str, Any] = {"models": committee(), "keep": EVERYTHING, **params}
    return Case(bars, BacktestParams(symbols=names, **chosen), limits, costs)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Short backtests in which much happens: gaps, news, locks, changing models, any latency."""
    step = draw(st.sampled_from([DAY, 20 * SECOND]), label="step")
    bars = made_bars(
        draw(st.integers(0, 10**6), label="seed"),
        draw(st.integers(280, 340), label="moments"),
        draw(st.integers(1, 4), label="symbols"),
        step,
        draw(st.sampled_from([0.01, 0.02, 0.05]), label="volatility"),
    )
    changes = [0, len(bars) // 2, 3 * len(bars) // 4]
    late, middle, last = (int(bars["ts"][i]) for i in changes)
    models: Models | Sequence[tuple[int, Models]] = draw(
        st.sampled_from(
            [
                committee(),
                [(0, committee()), (middle, committee(-1.0)), (last, loud_models(3.0))],
                [(late + 30 * step, committee(2.0)), (last + 1, committee(-2.0))],
            ]
        ),
        label="models",
    )
    rows = draw(st.lists(st.integers(0, len(bars) - 1), max_size=3), label="locks")
    return a_case(
        bars,
        LIMITS[draw(st.sampled_from(sorted(LIMITS)), label="limits")],
        models=models,
        first_traded=int(bars["ts"][0]) + draw(st.sampled_from([0, 150 * step])),
        latency_bars=draw(st.integers(1, 3), label="latency_bars"),
        latency_ns=draw(st.sampled_from([0, step // 2, 3 * step]), label="latency_ns"),
        news=news_for(bars),
        locks=[(int(bars["ts"][row]), int(bars["symbol"][row])) for row in rows],
    )


# -- real bars ------------------------------------------------------------------------------


def real(name: str, symbols: Sequence[str], rows: slice, tick: float, lot: float) -> Bars:
    """Bars of a file of ``../shared/data``, stamped at their close; skips where it is absent.

    Only moments at which all of ``rows`` lie; symbols numbered as given.
    """
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"../shared/data/{name} is absent: the loop is not tested on real bars")
    numbers = {symbol: i for i, symbol in enumerate(symbols)}
    length = DAY if "daily" in name else 60 * SECOND
    table = (
        pl.scan_parquet(path)
        .filter(pl.col("symbol").is_in(list(symbols)))
        .with_columns(pl.col("symbol").replace_strict(numbers, return_dtype=pl.Int64))
        .sort("ts", "symbol")
        .slice(rows.start, rows.stop - rows.start)
        .collect()
    )
    bars = empty_bars(len(table))
    bars["ts"] = table["ts"].dt.epoch("ns").to_numpy() + length
    bars["symbol"] = table["symbol"].to_numpy()
    for price in ("open", "high", "low", "close"):
        bars[price] = np.rint(table[price].to_numpy() / tick)
    bars["volume"] = np.rint(table["volume"].to_numpy() / lot)
    return bars[: moment_starts(bars)[-1]]  # The slice may have cut the last moment.


# -- comparisons ----------------------------------------------------------------------------


def state_bytes(state: LoopState) -> bytes:
    """Everything that the loop remembers, exactly."""
    flat = [*state.agents, *state.pool, *state[2:]]
    return b"".join(array.tobytes() for array in flat)


def assert_same(found: Result, expected: Result) -> None:
    """Every array of two results has the same bits."""
    for name in expected.kept._fields:
        assert_equal(name, getattr(found.kept, name), getattr(expected.kept, name))
    for name in ("ts", "d_ts", "d_symbol", "d_close", "orders", "fills"):
        assert_equal(name, getattr(found, name), getattr(expected, name))
    assert found.counts == expected.counts
    assert found.halted_at == expected.halted_at
    for name in ("tape", "books", "positions", "news_at"):
        assert_equal(name, getattr(found.state, name), getattr(expected.state, name))


def assert_equal(name: str, found: np.ndarray, expected: np.ndarray) -> None:
    """The same shape and bits; the message names the first row that differs."""
    assert found.shape == expected.shape, f"{name}: {found.shape} is not {expected.shape}"
    if found.tobytes() != expected.tobytes():
        rows = [i for i in range(len(found)) if found[i].tobytes() != expected[i].tobytes()]
        raise AssertionError(f"{name}[{rows[0]}]: {found[rows[0]]} is not {expected[rows[0]]}")


# What an order is from its submission on; status and filled lots become known later.
SUBMITTED = [name for name in ORDER_LOG.names or () if name not in ("status", "filled_lots")]


def assert_prefix(early: Result, whole: Result) -> None:
    """``early``, of a history that was cut at a moment, is the beginning of ``whole``."""
    moments, decisions = len(early.ts), len(early.d_ts)
    for name in ("equity", "weights"):
        assert_equal(name, getattr(early.kept, name), getattr(whole.kept, name)[:moments])
    for name in set(early.kept._fields) - {"equity", "weights"}:
        assert_equal(name, getattr(early.kept, name), getattr(whole.kept, name)[:decisions])
    last = early.ts[-1]
    orders, fills = whole.orders["ts"] <= last, whole.fills["ts"] <= last
    for name in SUBMITTED:
        assert_equal(name, early.orders[name], whole.orders[name][orders])
    assert_equal("fills", early.fills, whole.fills[fills])
