"""Coarser time bars out of finer ones."""

from __future__ import annotations

import numpy as np
import pytest

from data.bars import UNKNOWN, empty_bars
from data.clocks import Clock
from data.resample import resample

MINUTE = 60 * 10**9
HOUR = 60 * MINUTE


def bars(*rows):
    """Rows of (minute of the close, symbol, open, high, low, close, volume, buy_volume, trades)."""
    made = empty_bars(len(rows))
    for i, row in enumerate(rows):
        names = ("symbol", "open", "high", "low", "close", "volume", "buy_volume", "trades")
        made[i]["ts"] = row[0] * MINUTE
        for name, value in zip(names, row[1:], strict=True):
            made[i][name] = value
    return made


def test_a_bar_that_closes_at_the_hour_is_the_last_of_that_hour():
    fine = bars(
        (1, 0, 5, 7, 4, 6, 10, 4, 2),
        (60, 0, 6, 6, 3, 4, 20, 5, 3),
        (61, 0, 4, 9, 4, 8, 40, 6, 4),
        (120, 0, 8, 8, 8, 8, 1, 1, 1),
    )
    fine["bid"] = [1, 2, 3, 4]
    made = resample(fine, Clock.parse("1h"))
    assert made["ts"].tolist() == [HOUR, 2 * HOUR]
    assert made[["open", "high", "low", "close"]].tolist() == [(5, 7, 3, 4), (4, 9, 4, 8)]
    assert made[["volume", "buy_volume", "trades"]].tolist() == [(30, 9, 5), (41, 7, 5)]
    assert made["bid"].tolist() == [2, 4]


def test_an_unfinished_hour_waits():
    fine = bars((1, 0, 5, 5, 5, 5, 1, 1, 1), (59, 0, 5, 5, 5, 5, 1, 1, 1))
    assert len(resample(fine, Clock.parse("1h"))) == 0
    assert len(resample(fine, Clock.parse("1h"), until=HOUR)) == 1
    with pytest.raises(ValueError, match="before the last bar"):
        resample(fine, Clock.parse("1h"), until=MINUTE)


def test_symbols_stay_apart_and_come_in_order():
    fine = bars(
        (1, 1, 5, 5, 5, 5, 1, 1, 1),
        (1, 0, 9, 9, 9, 9, 2, 1, 1),
        (2, 1, 6, 6, 6, 6, 4, 1, 1),
        (61, 0, 1, 1, 1, 1, 1, 1, 1),
    )
    made = resample(fine, Clock.parse("1h"))
    assert made[["ts", "symbol", "close", "volume"]].tolist() == [(HOUR, 0, 9, 2), (HOUR, 1, 6, 5)]


def test_what_one_bar_does_not_know_the_sum_does_not_know():
    fine = bars((1, 0, 5, 5, 5, 5, 3, UNKNOWN, 1), (60, 0, 5, 5, 5, 5, 3, 2, UNKNOWN))
    made = resample(fine, Clock.parse("1h"))
    assert made[["buy_volume", "trades"]].tolist() == [(UNKNOWN, UNKNOWN)]


def test_bad_input():
    fine = bars((2, 0, 5, 5, 5, 5, 2**62, 1, 1), (1, 0, 5, 5, 5, 5, 2**62, 1, 1))
    with pytest.raises(ValueError, match="bars row 1"):
        resample(fine, Clock.parse("1h"))
    with pytest.raises(OverflowError):
        resample(np.sort(fine, order="ts"), Clock.parse("1h"), until=HOUR)
    with pytest.raises(ValueError, match="time clock"):
        resample(fine, Clock.parse("tick:5"))
    assert len(resample(fine[:0], Clock.parse("1h"))) == 0
