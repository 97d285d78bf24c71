"""One signal through the engine, compiled: an EMA cross in the place of agents, pool and gate.

Everything after the decision is the committee's: orders meet their bars, fills and marks, the
drawdown watch and the order transaction are the functions of ``tuning.loop`` and of the account.
Decided at a bar's close, filled at the next open.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from actors.account_checks import ORDER
from actors.checks import collar_price, lot_notional
from actors.contract import Floats
from actors.pool_state import Ints
from cloud_trader.account_step import (
    BOOKS,
    FILL,
    HALTED,
    POSITION,
    net_lots,
    opened_books,
    settle,
)
from cloud_trader.venue import RESTING, TAPE
from data.compiled import inline_njit, lean_njit
from data.features import ema_step
from data.money import floor_ppm
from tuning.loop_account import has_room, meet, submit, watch_drawdown
from tuning.loop_state import COUNTS, DECISION_ORDER, HALT_TS, NEVER, ROUNDS

SEEN, FAST, SLOW = range(3)


class SignalSetup(NamedTuple):
    """What does not change; the names that the engine's functions read are the committee's."""

    limits: np.void
    costs: np.void
    micro_per_tick: int
    latency_bars: int
    latency_ns: int
    bar_ns: int
    fast: float  # bars
    slow: float
    fraction_ppm: int  # of equity, in a new position


class SignalState(NamedTuple):
    """The loop's whole memory for m symbols."""

    averages: Floats  # (m, 3) SEEN to SLOW
    tape: np.ndarray  # (m,) TAPE
    books: np.ndarray  # (1,) BOOKS
    positions: np.ndarray  # (m,) POSITION
    resting: np.ndarray  # (capacity,) RESTING
    recent: Ints  # (1,) the engine's ring of order moments, which no signal reads
    counts: Ints  # (COUNTS,)


class SignalScratch(NamedTuple):
    """Room for one moment."""

    bar_of: Ints  # (m,)
    fills: np.ndarray  # (capacity,) FILL
    order: np.ndarray  # (1,) ORDER
    locked: Ints  # (0,) no bar is quarantined here


def fresh_signal(symbols: int, opening_micro: int, capacity: int) -> SignalState:
    """The memory of a loop that has seen nothing."""
    books = np.zeros(1, BOOKS)
    books[0] = opened_books(opening_micro)
    counts = np.zeros(COUNTS, np.int64)
    counts[HALT_TS] = NEVER
    return SignalState(
        averages=np.zeros((symbols, 3)),
        tape=np.zeros(symbols, TAPE),
        books=books,
        positions=np.zeros(symbols, POSITION),
        resting=np.zeros(capacity, RESTING),
        recent=np.zeros(1, np.int64),
        counts=counts,
    )


def signal_scratch(symbols: int, capacity: int) -> SignalScratch:
    """Room for a moment of all symbols."""
    return SignalScratch(
        bar_of=np.full(symbols, -1, np.int64),
        fills=np.zeros(capacity, FILL),
        order=np.zeros(1, ORDER),
        locked=np.zeros(0, np.int64),
    )


@inline_njit
def follow_signal(setup, state, scratch, orders, bar):
    """Takes the bar into both averages; long above, flat otherwise.

    An entry is sized at the worst price that it may get, so that all of the equity never overdraws
    the cash. An entry that was refused is asked for again at the next bar, one that filled in part
    is left as it is; an exit is asked for until nothing is held.
    """
    averages = state.averages[bar.symbol]
    seen = averages[SEEN] + 1.0
    averages[SEEN] = seen
    averages[FAST] = ema_step(averages[FAST], seen, bar.close, setup.fast)
    averages[SLOW] = ema_step(averages[SLOW], seen, bar.close, setup.slow)
    books = state.books[0]
    if seen < setup.slow or books.state == HALTED:
        return
    held = net_lots(state.positions[bar.symbol])
    wanted = averages[FAST] > averages[SLOW]
    if wanted == (held > 0):
        return
    side, lots = -1, held
    if wanted:
        side = 1
    limit = collar_price(setup.limits, side, bar.close)
    if wanted:
        equity = max(books.equity_micro, 0)
        lots = floor_ppm(equity, setup.fraction_ppm) // lot_notional(limit, setup.micro_per_tick)
    if lots > 0:
        submit(
            setup,
            state,
            scratch,
            orders,
            bar.ts,
            bar.symbol,
            side,
            lots,
            limit,
            DECISION_ORDER,
        )


@lean_njit
def run_signal(setup, state, scratch, equity, orders, fills, bars, start):
    """The moments of ``bars[start:]``; a log or ``equity`` (T,) of length 0 keeps nothing.

    Returns the first row that was not reached: the end, or less when a log is full.
    """
    stop = len(bars)
    while start < stop:
        ts, end = bars[start].ts, start + 1
        while end < stop and bars[end].ts == ts:
            end += 1
        if not has_room(state, orders, fills, end - start):
            return start
        rows = bars[start:end]
        count, freed = meet(setup, state, scratch, orders, fills, rows)
        settle(
            state.books[0],
            state.positions,
            scratch.fills[:count],
            freed,
            rows,
            scratch.locked,
            ts,
            setup.micro_per_tick,
        )
        watch_drawdown(setup, state, scratch, orders, ts)
        for i in range(len(rows)):
            follow_signal(setup, state, scratch, orders, rows[i])
        if len(equity) > 0:
            equity[state.counts[ROUNDS]] = state.books[0].equity_micro
        state.counts[ROUNDS] += 1
        start = end
    return start
