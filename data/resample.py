"""Time bars out of finer bars: 1-minute bars to hours, for example."""

from __future__ import annotations

import numpy as np

from data.bars import UNKNOWN, Bars, empty_bars
from data.clocks import Clock, ClockKind
from data.money import INT64_MAX
from data.ticks import check_order


def resample(bars: Bars, clock: Clock, until: int | None = None) -> Bars:
    """Finished bars of a coarser time clock, in (ts, symbol) order, shape (n,).

    A bar is stamped at its close, so the interval (start, end] takes it: a minute that closes at
    11:00 is the last of the hour that closes at 11:00. ``bars`` hold any number of symbols, sorted
    by ts, and their own clock should divide ``clock``; a bar that spans a boundary counts where it
    closed. An interval is finished when event time, the last ts of any symbol or ``until``, has
    reached its end. ``buy_volume`` and ``trades`` are UNKNOWN when one bar does not know them;
    the quote is the last bar's. ValueError for a clock that is no time clock or bars out of order,
    OverflowError when a volume leaves int64.
    """
    if clock.kind is not ClockKind.TIME:
        raise ValueError(f"bars can only be resampled to a time clock, not to {clock}")
    if len(bars) == 0:
        return empty_bars(0)
    check_order(bars["ts"], int(bars["ts"][0]), "bars")
    reached = int(bars["ts"][-1])
    if until is not None:
        if until < reached:
            raise ValueError(f"until {until} is before the last bar's ts {reached}")
        reached = until
    ends = -(-bars["ts"] // clock.size) * clock.size
    order = np.lexsort((bars["symbol"], ends))  # Stable: within a group by ts.
    order = order[ends[order] <= reached]
    if len(order) == 0:
        return empty_bars(0)
    fine, ends = bars[order], ends[order]
    begins = np.ones(len(fine), bool)
    begins[1:] = (ends[1:] != ends[:-1]) | (fine["symbol"][1:] != fine["symbol"][:-1])
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(fine)) - 1
    made = fine[last].copy()
    made["ts"] = ends[first]
    made["open"] = fine["open"][first]
    made["high"] = np.maximum.reduceat(fine["high"], first)
    made["low"] = np.minimum.reduceat(fine["low"], first)
    for name in ("volume", "buy_volume", "trades"):
        made[name] = _sums(fine[name], first)
    return made


def _sums(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Sum of each group, UNKNOWN where one of its values is."""
    # Doubles only tell that no sum comes near int64's end; the sums themselves are exact.
    if np.add.reduceat(values.astype(float), first).max() > 0.99 * INT64_MAX:
        raise OverflowError("int64 sum overflows")
    sums = np.add.reduceat(values, first)
    return np.where(np.minimum.reduceat(values, first) < 0, UNKNOWN, sums)
