"""Streaming features against TA-Lib on real prices."""

from __future__ import annotations

import numpy as np
import pytest
import talib

from data.daily_stocks import load_feed
from data.features import ema_step, ring_at, ring_put, wilder_step


@pytest.fixture(scope="module")
def closes() -> np.ndarray:
    feed = load_feed(symbols=["IBM"])
    return feed.bars["close"].astype(np.float64)


@pytest.mark.parametrize("period", [2, 20, 100])
def test_ema_is_ta_libs(closes: np.ndarray, period: int) -> None:
    value, values = 0.0, []
    for i, close in enumerate(closes):
        value = ema_step(value, i + 1, close, period)
        values.append(value)
    expected = talib.EMA(closes, period)
    assert np.isnan(expected[: period - 1]).all()
    assert not np.isnan(expected[period - 1])
    np.testing.assert_allclose(values[period - 1 :], expected[period - 1 :], rtol=1e-12)


@pytest.mark.parametrize("period", [2, 14])
def test_wilder_averages_give_ta_libs_rsi(closes: np.ndarray, period: int) -> None:
    moves = np.diff(closes)
    up = down = 0.0
    result = []
    for i, move in enumerate(moves):
        up = wilder_step(up, i + 1, max(move, 0.0), period)
        down = wilder_step(down, i + 1, max(-move, 0.0), period)
        result.append(100.0 * up / (up + down) if up + down else 0.0)
    expected = talib.RSI(closes, period)[period:]
    np.testing.assert_allclose(result[period - 1 :], expected, rtol=1e-9, atol=1e-9)


def test_a_plain_ring_holds_the_last_values(closes: np.ndarray) -> None:
    capacity, lead = 23, 3
    state = np.zeros(capacity + lead)
    for i, close in enumerate(closes[:200]):
        ring_put(state, lead, capacity, i + 1, close)
        for lag in range(min(i + 1, capacity)):
            assert ring_at(state, lead, capacity, i + 1, lag) == closes[i - lag]
    assert (state[:lead] == 0.0).all()
