"""A backtest of one plain signal, an EMA cross, through the committee's engine.

    result = ema_cross_backtest(bars, EmaCross(fast=20, slow=50), limits, costs)

Nothing here reads a clock, a file, randomness or the environment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from actors.costs import CostModel
from actors.limits import RiskLimits
from actors.pool_state import Ints
from actors.space import Config, Constraint, Integer, Space
from data.bars import Bars
from data.errors import InputError
from data.money import MICRO, PPM
from tuning.bar_check import check_bars, most_waiting
from tuning.loop_account import cancel
from tuning.loop_state import (
    FILL_LOG,
    FILLS,
    LOG_ROWS,
    ORDER_LOG,
    ORDERS,
    REFUSALS,
    halted_at,
)
from tuning.signal_loop import (
    SignalSetup,
    SignalState,
    fresh_signal,
    run_signal,
    signal_scratch,
)

_FIRST_ROWS = 1_024


@dataclass(frozen=True, kw_only=True)
class EmaCross:
    """Long while TA-Lib's EMA of ``fast`` bars is above that of ``slow``, flat otherwise.

    ``fraction`` of equity goes into a new position.
    """

    fast: int = 20
    slow: int = 50
    fraction: float = 1.0
    symbols: int = 1
    opening_micro: int = 1_000_000 * MICRO
    micro_per_tick: int = 100
    latency_bars: int = 1
    latency_ns: int = 0
    bar_ns: int = 0  # length of the bars, 0 when unknown
    keep_orders: bool = True  # and fills
    keep_equity: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.fast < self.slow:
            raise InputError(f"ema cross: 1 <= fast < slow, got {self.fast} and {self.slow}")
        if not 0 < self.fraction <= 1:
            raise InputError(f"ema cross: fraction of equity above 0, up to 1, not {self.fraction}")
        if self.latency_bars < 1 or self.latency_ns < 0:
            raise InputError("latency: at least 1 bar, and 0 ms or more")
        if self.symbols < 1 or self.opening_micro <= 0 or self.micro_per_tick <= 0:
            raise InputError("a backtest needs a symbol, cash, and a tick that is worth something")


def _faster(config: Config) -> bool:
    return float(config["fast"]) < float(config["slow"])


# What a study may search.
SPACE = Space(
    {
        "fast": Integer(2, 60, EmaCross.fast, log=True),
        "slow": Integer(5, 250, EmaCross.slow, log=True),
    },
    [Constraint("fast < slow", _faster)],
)


@dataclass(frozen=True, eq=False)
class SignalResult:
    """T moments; ``orders`` (``loop_state.ORDER_LOG``) and ``fills`` (``FILL_LOG``) by log order.

    An array of length 0 was not kept.
    """

    params: EmaCross
    equity_micro: Ints  # (T,) after each moment's fills and marks
    orders: np.ndarray
    fills: np.ndarray
    state: SignalState

    @property
    def final_equity_micro(self) -> int:
        return int(self.state.books[0]["equity_micro"])

    @property
    def halted_at(self) -> int | None:
        """ts of the halt by MAX_DRAWDOWN, None when there was none."""
        return halted_at(self.state.counts)

    @property
    def counts(self) -> dict[str, int]:
        """Accepted orders, fills and refused orders, kept or not."""
        slots = {"orders": ORDERS, "fills": FILLS, "refused": REFUSALS}
        return {name: int(self.state.counts[slot]) for name, slot in slots.items()}


def ema_cross_backtest(
    bars: Bars, params: EmaCross, limits: RiskLimits, costs: CostModel
) -> SignalResult:
    """Runs the signal over ``bars`` (n,) in (ts, symbol) order; InputError when they are not.

    Same arguments, same bits. OverflowError when an amount leaves int64.
    """
    bars = np.ascontiguousarray(bars)
    moments = check_bars(bars, params.symbols)
    setup = SignalSetup(
        limits=limits.record(),
        costs=costs.record(),
        micro_per_tick=params.micro_per_tick,
        latency_bars=params.latency_bars,
        latency_ns=params.latency_ns,
        bar_ns=params.bar_ns,
        fast=float(params.fast),
        slow=float(params.slow),
        fraction_ppm=round(params.fraction * PPM),
    )
    capacity = most_waiting(bars, params.symbols, params.latency_bars, params.latency_ns)
    state = fresh_signal(params.symbols, params.opening_micro, capacity)
    scratch = signal_scratch(params.symbols, capacity)
    equity = np.zeros(moments.number if params.keep_equity else 0, np.int64)
    rows = 2 * (capacity + moments.widest) + _FIRST_ROWS if params.keep_orders else 0
    orders, fills = np.zeros(rows, ORDER_LOG), np.zeros(rows, FILL_LOG)
    row = 0
    while row < len(bars):
        row = run_signal(setup, state, scratch, equity, orders, fills, bars, row)
        if row < len(bars):
            orders, fills = _longer(orders), _longer(fills)
    cancel(state, orders, False)
    counts = state.counts
    return SignalResult(params, equity, orders[: counts[LOG_ROWS]], fills[: counts[FILLS]], state)


def _longer(log: np.ndarray) -> np.ndarray:
    """A log of twice the length, the first half the same."""
    return np.concatenate([log, np.zeros(len(log), log.dtype)])
