"""How many bars a year has, by which volatility is annualised."""

from __future__ import annotations

import math

import polars as pl

from data.clocks import DAY_NS, Clock, ClockKind
from data.times import session_length

SESSIONS = 252
_YEAR_NS = 365.25 * DAY_NS


def bars_in_a_year(clock: Clock, calendar: str | None, rows: pl.DataFrame) -> float:
    """Bars of one symbol in a year, a whole number.

    Time bars: of 252 sessions with a ``calendar``, else of 365 days around the clock. Other clocks
    have no such number: the rate of ``rows`` (ts, symbol) is taken, of their busiest symbol.
    """
    if clock.kind is ClockKind.TIME:
        if calendar is None:
            return float(clock.bars_per_year or 1)
        return float(SESSIONS * max(1, math.ceil(session_length(calendar) / clock.size)))
    spans = rows.group_by("symbol").agg(
        pl.len().alias("count"), (pl.col("ts").max() - pl.col("ts").min()).alias("span")
    )
    rates = [count * _YEAR_NS / max(int(span), 10**9) for _, count, span in spans.iter_rows()]
    return float(round(max(rates)))
