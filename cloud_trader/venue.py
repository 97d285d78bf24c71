"""The simulated venue, compiled: when a resting order meets a bar, and what then fills.

A ``TAPE`` record is what the venue knows of one symbol from the bars so far: impact needs the
volatility of the bars before the filling one, and the spread is that of the last quote. Paper
trading and backtests share these functions.

Latency: an order meets the symbol's next bar at the earliest. It meets a bar only when at least
``latency_bars`` of its symbol's bars have begun since the decision, and when the bar began at or
after decision + ``latency_ns``. A bar of time begins its length ``bar_ns`` before its close, any
other (``bar_ns`` 0) when the one before it ended. With bars alone nobody knows the price in the
middle of one, so an order that arrives there waits for the next open.
"""

from __future__ import annotations

import math

import numpy as np

from actors.costs import half_spread_bps
from actors.outcome import VOLATILITY_WARM_UP, update_variance
from cloud_trader.fills import next_bar_fill
from data.bars import UNKNOWN
from data.compiled import lean_njit

ONE_BAR = 1  # the least latency: a decision at a bar's close meets the next one

TAPE = np.dtype(
    [
        ("ts", "<i8"),  # close of the last bar, ns UTC
        ("bars", "<i8"),
        ("close", "<i8"),  # ticks
        ("bid", "<i8"),  # ticks at the last close; UNKNOWN without a quote
        ("ask", "<i8"),
        ("variance", "<f8"),
        ("weight", "<f8"),
    ]
)
RESTING = np.dtype(
    [
        ("symbol", "<i8"),
        ("side", "<i8"),
        ("lots", "<i8"),
        ("limit_ticks", "<i8"),
        ("reserved_micro", "<i8"),
        ("decided_ts", "<i8"),  # ns UTC
        ("waited", "<i8"),  # bars of the symbol since the decision
        ("from_decision", "<i8"),
        ("number", "<i8"),  # in the order of submission
    ]
)
_UNKNOWN = int(UNKNOWN)


@lean_njit
def known_sigma(tape):
    """Volatility per bar; 0 until VOLATILITY_WARM_UP returns are known."""
    if tape.bars <= VOLATILITY_WARM_UP:
        return 0.0
    return math.sqrt(tape.variance / tape.weight)


@lean_njit
def known_spread_bps(costs, tape):
    """Half the spread in bp: of the last quote, else the declared one."""
    if tape.bars == 0:
        return half_spread_bps(costs, _UNKNOWN, _UNKNOWN)
    return half_spread_bps(costs, tape.bid, tape.ask)


@lean_njit
def read_bar(tape, bar):
    """Takes a bar into the tape, after its orders were met."""
    if tape.bars > 0:
        tape.variance, tape.weight = update_variance(
            tape.variance, tape.weight, math.log(bar.close / tape.close)
        )
    tape.bars += 1
    tape.ts = bar.ts
    tape.close = bar.close
    tape.bid = bar.bid
    tape.ask = bar.ask


@lean_njit
def meet_bar(costs, tape, order, bar, latency_bars, latency_ns, bar_ns, micro_per_tick):
    """One bar of the symbol of a ``RESTING`` order, before ``read_bar``.

    Returns (met, lots, price_ticks, fee_micro). An order that met its bar is at its end: what did
    not fill has expired.
    """
    order.waited += 1
    begins = tape.ts if bar_ns == 0 else max(tape.ts, bar.ts - bar_ns)
    if order.waited < latency_bars or (latency_ns > 0 and begins < order.decided_ts + latency_ns):
        return False, 0, 0, 0
    lots, price, fee = next_bar_fill(
        costs,
        order.side,
        order.lots,
        order.limit_ticks,
        bar.open,
        bar.volume,
        known_spread_bps(costs, tape),
        known_sigma(tape),
        micro_per_tick,
    )
    return True, lots, price, fee
