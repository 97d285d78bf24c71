"""One compiled pass over bars before a backtest: are they bars, in order, and how many moments?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from data.bars import BAR, Bars
from data.compiled import lean_njit
from data.errors import InputError

# What may be wrong, in the order in which it is told.
_SYMBOL, _PRICE, _HIGH, _LOW, _VOLUME, _ORDER, _TIME = range(7)
_PROBLEMS = (
    "names no symbol",
    "has a price that is not above 0",
    "has a high below its prices",
    "has a low above its prices",
    "has a negative volume",
    "is out of order",
    "is not later than 1970-01-01",
)


class Moments(NamedTuple):
    """How many different ts there are, and how many bars the widest of them has."""

    number: int
    widest: int


def check_bars(bars: Bars, symbols: int) -> Moments:
    """InputError naming the first bar that is no bar, or out of (ts, symbol) order."""
    if bars.dtype != BAR or bars.ndim != 1:
        raise InputError("bars must be one array of data.bars.BAR rows")
    if not len(bars):
        raise InputError("there are no bars: nothing to run on")
    first = np.full(len(_PROBLEMS), -1, np.int64)
    count, widest = look_at_bars(bars, symbols, first)
    for row, what in zip(first.tolist(), _PROBLEMS, strict=True):
        if row >= 0:
            raise InputError(f"bar {row} {what}: see 'data check'")
    return Moments(count, widest)


@lean_njit
def look_at_bars(bars, symbols, first):
    """Writes the first row of each problem to ``first`` (7,), where there is one.

    Returns (moments, bars of the widest moment), which mean something when all is in order.
    """
    count, widest, width = 0, 0, 0
    for i in range(len(bars)):
        bar = bars[i]
        if not 0 <= bar.symbol < symbols:
            _note(first, _SYMBOL, i)
        if min(bar.open, bar.low) <= 0:
            _note(first, _PRICE, i)
        if bar.high < max(bar.open, bar.close):
            _note(first, _HIGH, i)
        if bar.low > min(bar.open, bar.close):
            _note(first, _LOW, i)
        if bar.volume < 0:
            _note(first, _VOLUME, i)
        if bar.ts <= 0:
            _note(first, _TIME, i)
        if i > 0 and bar.ts == bars[i - 1].ts:
            width += 1
            if bar.symbol <= bars[i - 1].symbol:
                _note(first, _ORDER, i)
        else:
            if i > 0 and bar.ts < bars[i - 1].ts:
                _note(first, _ORDER, i)
            count += 1
            width = 1
        widest = max(widest, width)
    return count, widest


@lean_njit
def _note(first, problem, row):
    if first[problem] < 0:
        first[problem] = row


def most_waiting(bars: Bars, symbols: int, latency_bars: int, latency_ns: int) -> int:
    """Room for all orders that may be open at once: one decision a bar, for as long as it waits.

    Beside them each symbol may have an operator's order.
    """
    room = symbols * (latency_bars + 3) + 16
    if latency_ns > 0:
        for symbol in range(symbols):
            ts = bars["ts"][bars["symbol"] == symbol]
            within = np.searchsorted(ts, ts + latency_ns, "right") - np.arange(len(ts))
            room += int(within.max(initial=0))
    return room
