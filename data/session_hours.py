"""When an exchange is open, in UTC nanoseconds."""

from __future__ import annotations

from datetime import timedelta
from functools import cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from data.clocks import DAY_NS
from data.times import calendar_timezone

# No exchange is closed longer than this.
_MARGIN = timedelta(days=21)


def session_hours(calendar: str, first: int, last: int) -> tuple[NDArray[np.int64], ...]:
    """Opens and closes (UTC ns), sorted, of every session between two moments and some around.

    The first open is before ``first``, the last close after ``last``. InputError for an unknown
    calendar.
    """
    return _hours(calendar, first // DAY_NS, last // DAY_NS)


@cache
def _hours(calendar: str, first: int, last: int) -> tuple[NDArray[np.int64], ...]:
    calendar_timezone(calendar)  # Refuses an unknown one in one line.
    import exchange_calendars

    start, end = (np.datetime64(day, "D").astype(object) for day in (first, last))
    sessions = exchange_calendars.get_calendar(
        calendar, start=str(start - _MARGIN), end=str(end + _MARGIN)
    )
    opens = np.array([moment.value for moment in sessions.opens], np.int64)
    closes = np.array([moment.value for moment in sessions.closes], np.int64)
    return opens, closes


def quote_ends(calendar: str, first: int, last: int) -> NDArray[np.int64]:
    """Moments between ``first`` and ``last`` at which no quote outlives: UTC ns, sorted.

    The closes, and each session day's local midnight when the exchange is shut then, for quotes
    made after the close.
    """
    opens, closes = session_hours(calendar, first, last)
    zone = calendar_timezone(calendar)
    local = pl.Series(opens).cast(pl.Datetime("ns", "UTC")).dt.convert_time_zone(zone)
    midnights = local.dt.truncate("1d").cast(pl.Int64).to_numpy()
    # A session that began the evening before is not cut.
    ended = np.searchsorted(closes, midnights, "right")
    shut = np.searchsorted(opens, midnights, "right") == ended
    ends = np.union1d(closes, midnights[shut])
    return ends[(ends > first) & (ends <= last)]
