"""Moments of any clock to UTC ns; bars from open to close over daylight saving and half days."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import polars as pl
import pytest

from data.clocks import Clock
from data.errors import InputError
from data.times import (
    calendar_timezone,
    check_timezone,
    epoch_unit,
    exchange_closes,
    session_length,
    stamped_at_close,
    to_utc_ns,
)


def ns(text: str, zone: str = "UTC") -> int:
    return int(pd.Timestamp(text, tz=zone).value)


MOMENT = ns("2024-08-09 12:34:56")


@pytest.mark.parametrize("unit", [10**9, 10**6, 10**3, 1])
def test_the_unit_of_an_epoch_is_told_from_its_magnitude(unit: int) -> None:
    values = pl.Series("ts", [MOMENT // unit, None])
    assert epoch_unit(values) == unit
    assert to_utc_ns(values, None, "f").to_list() == [MOMENT, None]
    assert to_utc_ns(values.cast(pl.Float64), None, "f")[0] == pytest.approx(MOMENT, abs=1000)


@pytest.mark.parametrize("unit", [10**9, 10**6, 10**3])
@pytest.mark.parametrize("dtype", [pl.Int64, pl.Float64, pl.String])
def test_an_odd_epoch_moves_no_other(unit: int, dtype: type[pl.DataType]) -> None:
    good = [MOMENT // 10**9 * 10**9 + i * 10**9 for i in range(5)]
    odd = [9 * 10**18, 0, -(10**18)]
    values = pl.Series("ts", [*(moment // unit for moment in good), *odd]).cast(dtype)
    assert to_utc_ns(values, None, "f").to_list() == [*good, None, None, None]
    past = pl.Series("ts", [-(10**9) // 10 * 5, -(10**9) // 10 * 5 + 60])  # 1954
    assert to_utc_ns(past, None, "f")[1] == -(10**9) // 10 * 5 * 10**9 + 60 * 10**9


def test_a_text_among_epochs_is_no_moment_and_refuses_no_file() -> None:
    texts = ["1723161600", "soon", None, "1723161660", "20240809", "9" * 19]
    assert to_utc_ns(pl.Series("ts", texts), None, "f").to_list() == [
        1_723_161_600 * 10**9, None, None, 1_723_161_660 * 10**9, None, None,
    ]  # fmt: skip
    assert to_utc_ns(pl.Series("ts", [None], dtype=pl.String), None, "f").to_list() == [None]


@pytest.mark.parametrize(
    ("texts", "zone", "moments"),
    [
        (["2024-08-09T12:34:56Z"], None, [MOMENT]),
        (["2024-08-09 14:34:56+02:00", "soon"], None, [MOMENT, None]),
        (["2024-08-09 08:34:56"], "America/New_York", [MOMENT]),
        (["2024-08-09T12:34:56.000000001"], "UTC", [MOMENT + 1]),
        (["2024-08-09", "20240810"], "UTC", [ns("2024-08-09"), ns("2024-08-10")]),
        (["2024-08-09 12:34", None], "UTC", [ns("2024-08-09 12:34"), None]),
        (["2024-08-09", "9999-12-31", "0001-01-01"], "UTC", [ns("2024-08-09"), None, None]),
        # The hour that summer time skips does not exist.
        (["2024-03-10 02:30:00", "2024-03-10 03:30:00"], "America/New_York",
         [None, ns("2024-03-10 07:30")]),
    ],
)  # fmt: skip
def test_texts(texts: list[str | None], zone: str | None, moments: list[int | None]) -> None:
    assert to_utc_ns(pl.Series("ts", texts), zone, "f").to_list() == moments


def test_typed_columns() -> None:
    naive = pl.Series("ts", [MOMENT // 1000]).cast(pl.Datetime("us"))
    assert to_utc_ns(naive, "UTC", "f")[0] == MOMENT
    aware = naive.dt.replace_time_zone("Asia/Tokyo")
    assert to_utc_ns(aware, None, "f")[0] == MOMENT - 9 * 3600 * 10**9
    assert to_utc_ns(pl.Series("ts", [date(2024, 8, 9)]), "UTC", "f")[0] == ns("2024-08-09")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (pl.Series("time", ["2024-08-09 12:00:00"]), "column time has no time zone"),
        (pl.Series("time", ["yesterday", "today"]), "column time holds no times .first: 'yest"),
        (pl.Series("time", [True]), "column time .Boolean. holds no times"),
    ],
)
def test_columns_that_are_no_times_are_one_line(values: pl.Series, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        to_utc_ns(values, None, "f.csv")
    assert "f.csv" in str(caught.value)


def test_daily_bars_go_to_the_exchanges_close() -> None:
    opens = [ns(f"{day} 00:00", "America/New_York") for day in
             ("2009-07-01", "2009-11-27", "2009-11-28", "2009-12-01")]  # fmt: skip
    ts, nowhere = stamped_at_close(np.array(opens), Clock.parse("1d"), "open", "XNYS")
    assert nowhere.tolist() == [False, False, True, False]  # 28 November is a Saturday
    closes = ("2009-07-01 16:00", "2009-11-27 13:00", "2009-12-01 16:00")
    assert ts[~nowhere].tolist() == [ns(text, "America/New_York") for text in closes]


@pytest.mark.parametrize("stamp", ["open", "close"])
@pytest.mark.parametrize(
    ("calendar", "zone", "hour"),
    [("XNYS", "America/New_York", "16:00"), ("XLON", "Europe/London", "16:30"),
     ("XTKS", "Asia/Tokyo", "15:00")],
)  # fmt: skip
def test_midnights_of_utc_are_dates(stamp: str, calendar: str, zone: str, hour: str) -> None:
    days = ("2024-01-09", "2024-01-10", "2024-08-08", "2024-08-09", "2024-08-10")
    stamps = np.array([ns(day) for day in days])
    ts, nowhere = stamped_at_close(stamps, Clock.parse("1d"), stamp, calendar)
    assert nowhere.tolist() == [False] * 4 + [True]  # 10 August is a Saturday
    assert ts[:4].tolist() == [ns(f"{day} {hour}", zone) for day in days[:4]]


def test_a_last_bar_in_the_making_and_evening_stamps() -> None:
    days = ("2024-08-05", "2024-08-06", "2024-08-07", "2024-08-08")
    stamps = [*(ns(day) for day in days), ns("2024-08-09 11:30", "America/New_York")]
    ts, nowhere = stamped_at_close(np.array(stamps), Clock.parse("1d"), "open", "XNYS")
    assert not nowhere.any()
    assert ts.tolist() == [
        ns(f"{day} 16:00", "America/New_York") for day in (*days, "2024-08-09")
    ]  # fmt: skip
    evenings = ("2024-01-09", "2024-01-10", "2024-08-07", "2024-08-08")
    stamps = [ns(f"{day} 20:00", "America/New_York") for day in evenings]
    ts, _ = stamped_at_close(np.array(stamps), Clock.parse("1d"), "close", "XNYS")
    assert ts.tolist() == [ns(f"{day} 16:00", "America/New_York") for day in evenings]


def test_other_bars_move_by_their_length() -> None:
    minute = Clock.parse("1m")
    ts = np.array([MOMENT])
    assert stamped_at_close(ts, minute, "open", None)[0][0] == MOMENT + 60 * 10**9
    assert stamped_at_close(ts, minute, "close", "XNYS")[0][0] == MOMENT
    assert stamped_at_close(ts, Clock.parse("1d"), "open", None)[0][0] == MOMENT + 86400 * 10**9
    with pytest.raises(InputError, match="a tick:10 bar has no length"):
        stamped_at_close(ts, Clock.parse("tick:10"), "open", None)


def test_calendars() -> None:
    assert calendar_timezone("XNYS") == "America/New_York"
    assert session_length("XNYS") == 6.5 * 3600 * 10**9
    assert list(exchange_closes("XLON", date(2024, 12, 24), date(2024, 12, 27))) == [
        date(2024, 12, 24), date(2024, 12, 27),
    ]  # fmt: skip
    for call in (calendar_timezone, session_length):
        with pytest.raises(InputError, match="--calendar 'XXXX' is not known"):
            call("XXXX")
    with pytest.raises(InputError, match="--timezone 'Mars/Base' is not known"):
        check_timezone("Mars/Base")
    assert check_timezone("UTC") == "UTC"
