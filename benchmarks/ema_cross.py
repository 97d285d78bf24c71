"""The EMA cross through our engine, in the same frame as the peers' scripts.

``python -m benchmarks.ema_cross FILE``: event by event, decision at the close, fill at the next
open; equity, orders and fills are kept.
"""

from __future__ import annotations

import time

BEGAN = time.perf_counter()

from collections.abc import Callable
from decimal import Decimal
from importlib.metadata import version

import numpy as np

from data.jit_cache import activate

activate()

from actors.costs import CostModel
from actors.limits import RiskLimits
from benchmarks.bench_bars import MICRO_PER_TICK, TICKS, as_bars
from benchmarks.peers.common import Options, Outcome, measure
from data.money import MICRO
from tuning.signal_backtest import EmaCross, SignalResult, ema_cross_backtest

# The peers have no limits: ours are as wide as they go.
LIMITS = RiskLimits(
    max_drawdown=0.999999,
    max_daily_loss=0.999999,
    max_position_fraction=1.0,
    max_order_notional=Decimal(10**9),
)


def commission(fee: float) -> CostModel:
    """A part of notional and nothing else, as the peers charge it; any order fills whole."""
    return CostModel(
        commission_per_lot_micro=0,
        commission_ppm=round(fee * 1e6),
        commission_min_micro=0,
        half_spread_bps=0.0,
        slippage_bps=0.0,
        impact_y=0.0,
        participation_cap=1.0,
    )


def prepare(columns: dict[str, np.ndarray], asked: Options) -> Callable[[], Outcome]:
    bars = as_bars(columns, endless=True)
    params = EmaCross(
        fast=asked.fast,
        slow=asked.slow,
        fraction=asked.fraction,
        opening_micro=round(asked.cash) * MICRO,
        micro_per_tick=MICRO_PER_TICK,
    )
    costs = commission(asked.fee)

    def fills_of(result: SignalResult) -> list[tuple[int, int, float]]:
        rows = np.searchsorted(columns["ts"], result.fills["ts"])
        prices = result.fills["price_ticks"] / TICKS
        return list(zip(rows.tolist(), result.fills["side"].tolist(), prices.tolist(), strict=True))

    def work() -> Outcome:
        result = ema_cross_backtest(bars, params, LIMITS, costs)
        return Outcome(result.final_equity_micro / MICRO, lambda: fills_of(result))

    return work


if __name__ == "__main__":
    measure("Sapphire", version("numba"), prepare, BEGAN)
