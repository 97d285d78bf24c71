"""Many EMA crosses over the same bars in one compiled call.

Every account is opened anew at the beginning of each test stretch, while averages, volatility and
quotes have seen all bars before it: a signal that is not fitted needs no training, and an account
that starts afresh cannot carry one stretch's losses, or its halt, into the next. What stands open
at the end of a stretch is marked at its last close. So each stretch pays for its own entries, and
nothing in it depends on bars after it.
"""

from __future__ import annotations

from numba import njit

from cloud_trader.venue import read_bar
from data.features import ema_step
from tuning.loop_state import ORDERS
from tuning.signal_loop import FAST, SEEN, SLOW, SignalSetup, run_signal


@njit(cache=True)
def _follow(averages, bars, fast, slow):
    """Takes bars between two stretches into the averages."""
    for i in range(len(bars)):
        row = averages[bars[i].symbol]
        seen = row[SEEN] + 1.0
        row[SEEN] = seen
        row[FAST] = ema_step(row[FAST], seen, bars[i].close, fast)
        row[SLOW] = ema_step(row[SLOW], seen, bars[i].close, slow)


@njit(cache=True)
def read_tapes(bars, firsts, tape, tapes):
    """Writes what the venue knows before each of the rows ``firsts`` (f,), in order.

    ``tape`` (m,) is worked in and starts empty; ``tapes`` (f, m).
    """
    at = 0
    for f in range(len(firsts)):
        while at < firsts[f]:
            read_bar(tape[bars[at].symbol], bars[at])
            at += 1
        tapes[f] = tape


@njit(cache=True)
def _reopen(state, fresh, tape):
    """A new account, at the venue as ``tape`` knows it; the averages stay."""
    state.tape[:] = tape
    state.books[:] = fresh.books
    state.positions[:] = fresh.positions
    state.resting[:] = fresh.resting
    state.recent[:] = fresh.recent
    state.counts[:] = fresh.counts


@njit(cache=True, nogil=True)
def run_crosses(
    setup, state, fresh, scratch, logs, tapes, bars, rows, moments, lengths, equity, orders
):
    """Equity after each test moment of every configuration.

    ``rows`` (f, 2) first and last bar (exclusive) of each stretch, in order and apart; ``moments``
    (f + 1,) where its moments stand in ``equity`` (k, T); ``tapes`` (f, m) what the venue knows
    when a stretch begins; ``lengths`` (k, 2) bars of both averages; ``orders`` (k, f) accepted
    orders. ``state`` is worked in, ``fresh`` has seen nothing; ``logs``: two empty logs. Raises
    OverflowError when an amount leaves int64.
    """
    for c in range(len(lengths)):
        fast, slow = lengths[c, 0], lengths[c, 1]
        chosen = SignalSetup(
            setup.limits,
            setup.costs,
            setup.micro_per_tick,
            setup.latency_bars,
            setup.latency_ns,
            setup.bar_ns,
            fast,
            slow,
            setup.fraction_ppm,
        )
        state.averages[:] = 0.0
        at = 0
        for f in range(len(rows)):
            first, last = rows[f, 0], rows[f, 1]
            _follow(state.averages, bars[at:first], fast, slow)
            _reopen(state, fresh, tapes[f])
            part = equity[c, moments[f] : moments[f + 1]]
            run_signal(chosen, state, scratch, part, logs[0], logs[1], bars[first:last], 0)
            orders[c, f] = state.counts[ORDERS]
            at = last
