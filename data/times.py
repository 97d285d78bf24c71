"""Moments: columns of any clock to UTC nanoseconds, and bars from their open to their close."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import polars as pl
from numpy.typing import NDArray

from data.clocks import DAY_NS, Clock, ClockKind
from data.errors import InputError

# Years a market table can be of; what is outside is a slip of the pen.
YEARS = range(1900, 2101)
_SECOND = 10**9
# Stamps at 20:00 of New York are midnights of UTC, too, but only in summer time, 65 % of the year.
_MOST = 0.75
_FIRST_NS, _LAST_NS = (
    int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * _SECOND
    for year in (YEARS.start, YEARS.stop)
)
# Nine digits and more: 20240809 is a date.
_NUMBER = r"^\s*-?\d{9,19}(?:\.\d*)?\s*$"


def check_timezone(name: str | None) -> str | None:
    """The name of a known time zone; InputError otherwise."""
    if name is not None:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise InputError(
                f"--timezone {name!r} is not known: write for example UTC or America/New_York"
            ) from None
    return name


def epoch_unit(values: pl.Series) -> int:
    """Nanoseconds of one unit of epoch numbers, told from the magnitude of their median.

    Seconds, milli-, micro- and nanoseconds since 1970 of the years 1973 to 5000 do not overlap.
    """
    middle = values.drop_nulls().abs().median()
    typical = float(middle) if isinstance(middle, (int, float)) else 0.0
    for limit, unit in ((1e11, _SECOND), (1e14, 10**6), (1e17, 10**3)):
        if typical < limit:
            return unit
    return 1


def epoch_ns(values: pl.Series) -> pl.Series:
    """Epoch numbers of one unit as ns (int64); null for 0 (not set) and outside of YEARS."""
    unit = epoch_unit(values)
    known = values.is_between(_FIRST_NS / unit, _LAST_NS / unit) & (values != 0)
    values = pl.select(pl.when(known).then(values).alias(values.name)).to_series()
    if values.dtype.is_float():
        return (values * (unit / 1000)).round().cast(pl.Int64) * 1000
    return values.cast(pl.Int64) * unit


def to_utc_ns(values: pl.Series, timezone: str | None, file: str) -> pl.Series:
    """A column of times as UTC ns (int64), null where a value is no moment.

    Numbers are epochs, texts ISO 8601. InputError for naive times without a ``timezone`` and for a
    column that holds no times.
    """
    if values.dtype == pl.String:
        values = _numbers(values)
    if values.dtype.is_integer() or values.dtype.is_float():
        return epoch_ns(values)
    if values.dtype == pl.String:
        values = _parsed(values, file)
    if values.dtype == pl.Date:
        values = values.cast(pl.Datetime("ns"))
    if not isinstance(values.dtype, pl.Datetime):
        raise InputError(f"data file {file}: column {values.name} ({values.dtype}) holds no times")
    if values.dtype.time_zone is None:
        if timezone is None:
            raise InputError(
                f"data file {file}: column {values.name} has no time zone: say which with "
                "--timezone, for example UTC or America/New_York"
            )
        values = values.dt.replace_time_zone(timezone, ambiguous="null", non_existent="null")
    known = values.dt.year().is_between(YEARS.start, YEARS.stop - 1)
    values = pl.select(pl.when(known).then(values)).to_series()
    return values.dt.cast_time_unit("ns").dt.convert_time_zone("UTC").cast(pl.Int64)


def _numbers(values: pl.Series) -> pl.Series:
    """Texts as epoch numbers, null where one is none, when most are; else the texts."""
    number = values.str.contains(_NUMBER).fill_null(False)
    some = len(values) - values.null_count()
    if some and 2 * int(number.sum()) <= some:
        return values
    texts = pl.select(pl.when(number).then(values.str.strip_chars()).alias(values.name)).to_series()
    point = bool(texts.str.contains(".", literal=True).any())
    return texts.cast(pl.Float64 if point else pl.Int64, strict=False)


def _parsed(values: pl.Series, file: str) -> pl.Series:
    zoned = values.str.contains(r"(?:Z|[+-]\d\d:?\d\d)$").any()
    texts = values.str.strip_chars().str.replace(r"^(\d{4})(\d\d)(\d\d)\b", "$1-$2-$3")
    texts = texts.str.replace(" ", "T")
    texts = pl.select(
        pl.when(texts.str.len_chars() == 10).then(texts + "T00:00:00").otherwise(texts)
    ).to_series()
    shapes = ("%+",) if zoned else ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M")
    for shape in shapes:
        try:
            moments = texts.str.to_datetime(shape, time_unit="ns", strict=False)
        except pl.exceptions.PolarsError:
            continue
        if moments.null_count() < len(moments):
            return moments.alias(values.name)
    first = values.drop_nulls().first() if values.null_count() < len(values) else None
    raise InputError(
        f"data file {file}: column {values.name} holds no times (first: {first!r}): "
        "write ISO 8601 or an epoch"
    )


@cache
def exchange_closes(calendar: str, first: date, last: date) -> dict[date, int]:
    """UTC ns of each close of an exchange between two dates; half days close earlier."""
    # The calendar refuses a range of a single day.
    sessions = _sessions(calendar, first, last + timedelta(days=1))
    closes = {session.date(): int(close.value) for session, close in sessions.closes.items()}
    return {day: close for day, close in closes.items() if day <= last}


def _sessions(calendar: str, first: date, last: date) -> Any:
    """The exchange's sessions between two dates; InputError for an unknown calendar."""
    import exchange_calendars
    from exchange_calendars.errors import InvalidCalendarName

    try:
        return exchange_calendars.get_calendar(calendar, start=str(first), end=str(last))
    except InvalidCalendarName:
        raise InputError(
            f"--calendar {calendar!r} is not known: use an exchange's code, for example XNYS"
        ) from None


@cache
def _one_year(calendar: str) -> Any:
    """The exchange's year 2024, for what does not depend on the date."""
    return _sessions(calendar, date(2024, 1, 2), date(2024, 12, 31))


def calendar_timezone(calendar: str) -> str:
    """The exchange's time zone; InputError for an unknown calendar."""
    return str(_one_year(calendar).tz)


def session_length(calendar: str) -> int:
    """Nanoseconds of an exchange's ordinary session; InputError for an unknown calendar."""
    sessions = _one_year(calendar)
    return int((sessions.closes - sessions.opens).median().value)


def _bar_days(ts: NDArray[np.int64], zone: str) -> pl.Series:
    """The date that each daily bar's stamp names."""
    moments = pl.Series(ts).cast(pl.Datetime("ns", "UTC"))
    local = moments.dt.convert_time_zone(zone).dt.date()
    midnight = pl.Series(ts % DAY_NS == 0)
    if midnight.sum() <= _MOST * len(ts):
        return local
    # The others: a last bar still in the making has the moment of its last trade.
    return pl.select(pl.when(midnight).then(moments.dt.date()).otherwise(local)).to_series()


def stamped_at_close(
    ts: NDArray[np.int64], clock: Clock, stamp: str, calendar: str | None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """ts of bars at their close, and which rows fall on no session of the exchange.

    ``stamp`` says where ts stands now. Daily bars with a ``calendar`` go to the close of the
    exchange's session of their local date, whichever stamp they had; others move by their length.
    Stamps at midnights of UTC name dates, and are taken as such when most rows have them: New
    York's clock shows the evening before, whose close would be a session too early.
    """
    if clock.kind is ClockKind.TIME and clock.size == DAY_NS and calendar is not None:
        days = _bar_days(ts, calendar_timezone(calendar))
        unique = days.unique().sort()
        closes = exchange_closes(calendar, unique[0], unique[-1])
        moments = days.replace_strict(closes, default=None, return_dtype=pl.Int64)
        missing = moments.is_null().to_numpy()
        return np.where(missing, ts, moments.fill_null(0).to_numpy()), missing
    nowhere = np.zeros(len(ts), bool)
    if stamp == "close":
        return ts, nowhere
    if clock.kind is not ClockKind.TIME:
        raise InputError(f"--stamp open: a {clock} bar has no length; its ts must be at its close")
    return ts + clock.size, nowhere


def day_ns(text: str, option: str, *, after: bool = False) -> int:
    """Midnight UTC that begins the ISO date ``text``, or with ``after`` the one that ends it.

    InputError names the option.
    """
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise InputError(f"{option} {text!r} is not a date: write YYYY-MM-DD") from None
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return int(midnight.timestamp()) * _SECOND + (DAY_NS if after else 0)
