"""Streaming indicators against TA-Lib on recorded bars of other markets and clocks.

The daily sample stocks are in ``test_features``; here minutes, hours, unadjusted splits and gaps.
"""

from __future__ import annotations

import numpy as np
import pytest
import talib
from recordings import bars

from actors import rules
from data.features import ema_step, wilder_step
from data.microstructure import relative_strength, typical_price, volume_weighted_price
from data.windows import block_max, block_max_put, ring_place, window_mean_std

CASES = [
    ("us_equity_bars/daily.parquet", "AIG"),
    ("us_equity_bars/hour.parquet", "SPY"),
    ("crypto_bars/coinbase_minute.parquet", "BTCUSD"),
    ("crypto_bars/bitfinex_minute_2019.parquet", "XRPUSD"),  # prices of 0.3
]
COUNT = 2500


@pytest.fixture(params=CASES, ids=lambda case: case[1])
def real(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    data = bars(*request.param, COUNT)
    assert len(data["close"]) == COUNT
    return data


def averages(values: np.ndarray, period: int, step) -> np.ndarray:
    """The recursion over ``values``, nan before its first average."""
    value, out = 0.0, np.full(len(values), np.nan)
    for i, x in enumerate(values):
        value = step(value, i + 1, x, period)
        if i + 1 >= period:
            out[i] = value
    return out


def test_ema_and_their_cross(real) -> None:
    fast, slow = (averages(real["close"], period, ema_step) for period in (20, 100))
    np.testing.assert_allclose(fast, talib.EMA(real["close"], 20), rtol=1e-12)
    np.testing.assert_allclose(slow, talib.EMA(real["close"], 100), rtol=1e-12)


def test_macd_from_our_averages(real) -> None:
    """TA-Lib's MACD starts its fast average late, so that both begin together: after 26 bars."""
    closes = real["close"]
    slow = averages(closes, 26, ema_step)
    fast = np.full(COUNT, np.nan)
    fast[14:] = averages(closes[14:], 12, ema_step)
    line = (fast - slow)[25:]
    signal = averages(line, 9, ema_step)
    expected, expected_signal, _ = talib.MACD(closes, 12, 26, 9)
    scale = np.abs(closes).max() * 1e-12
    np.testing.assert_allclose(line[8:], expected[33:], rtol=1e-9, atol=scale)
    np.testing.assert_allclose(signal[8:], expected_signal[33:], rtol=1e-9, atol=scale)


def test_relative_strength(real) -> None:
    moves = np.diff(real["close"])
    gain, loss = (averages(np.maximum(x, 0.0), 14, wilder_step) for x in (moves, -moves))
    found = [relative_strength(g, lo) for g, lo in zip(gain[13:], loss[13:], strict=True)]
    np.testing.assert_allclose(found, talib.RSI(real["close"], 14)[14:], rtol=0, atol=1e-9)


def test_average_true_range_from_wilders_average(real) -> None:
    h, low, before = real["high"][1:], real["low"][1:], real["close"][:-1]
    true_range = np.maximum(h, before) - np.minimum(low, before)
    found = averages(true_range, 14, wilder_step)
    expected = talib.ATR(real["high"], real["low"], real["close"], 14)[1:]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_channels_and_bands(real) -> None:
    closes, length = real["close"], 20
    highest, lowest = np.zeros(length + 1), np.zeros(length + 1)
    top, bottom = talib.MAX(real["high"], length), talib.MIN(real["low"], length)
    upper, middle, lower = talib.BBANDS(closes, length, 2.0, 2.0)
    worst = 0.0
    for i in range(COUNT):
        place = ring_place(i + 1, length)
        block_max_put(highest, 0, length, place, real["high"][i])
        block_max_put(lowest, 0, length, place, -real["low"][i])
        if i < length:
            continue
        assert block_max(highest, 0, length, place) == top[i]
        assert -block_max(lowest, 0, length, place) == bottom[i]
        mean, deviation = window_mean_std(closes, i - length + 1, length)
        assert mean == pytest.approx(middle[i], rel=1e-12)
        exact = closes[i - length + 1 : i + 1].std()
        assert deviation == pytest.approx(exact, rel=1e-9, abs=1e-12 * mean)
        # TA-Lib keeps running sums of squares, which cancel: only its own noise may differ.
        worst = max(worst, abs(deviation - (upper[i] - lower[i]) / 4.0) / mean)
    assert worst < 1e-6


def test_volume_weighted_price_from_typical_prices(real) -> None:
    typical = talib.TYPPRICE(real["high"], real["low"], real["close"])
    length, volume = 20, real["volume"].astype(np.float64)
    prices = np.zeros(300)
    for i in range(300):
        prices[i] = typical_price(real["high"][i], real["low"][i], real["close"][i])
        assert prices[i] == pytest.approx(typical[i], rel=1e-14)
        if i >= length:
            window = slice(i - length + 1, i + 1)
            traded = volume[window].sum()
            expected = (typical * volume)[window].sum() / traded
            state = np.concatenate([prices[window], volume[window]])
            found = volume_weighted_price(state, 0, length, length, traded)
            assert found == pytest.approx(expected, rel=1e-12)


def test_rules_use_these_averages() -> None:
    """A change of definition there would make the oracles above say nothing about the votes."""
    assert rules.ema_step is ema_step
    assert rules.wilder_step is wilder_step
    assert rules.window_mean_std is window_mean_std
