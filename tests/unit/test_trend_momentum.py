"""Trend momentum against numpy and TA-Lib on real prices, and the fit of its link."""

from __future__ import annotations

import numpy as np
import pytest
import talib

from actors import trend_momentum as trend
from actors.agent import Agent
from actors.contract import OUT_FIXED, P_DOWN, P_UP, REASON, STATUS, Reason, Status
from actors.outcome import VOLATILITY_HALF_LIFE
from data.bars import empty_bars
from data.daily_stocks import load_feed
from tuning import fit_trend


@pytest.fixture(scope="module")
def bars() -> np.ndarray:
    return load_feed(symbols=["AAPL"]).bars[:900]


@pytest.fixture(scope="module")
def votes(bars: np.ndarray) -> np.ndarray:
    return Agent(trend.SPEC).apply(bars)


def sigmas(closes: np.ndarray) -> np.ndarray:
    """The exponentially weighted volatility, written as its defining weighted mean."""
    squares = np.diff(np.log(closes)) ** 2
    result = np.full(len(closes), np.nan)
    for i in range(1, len(closes)):
        weights = 0.5 ** (np.arange(i)[::-1] / VOLATILITY_HALF_LIFE)
        result[i] = np.sqrt((weights * squares[:i]).sum() / weights.sum())
    return result


def test_it_warms_up_for_252_bars_and_then_lacks_a_model(votes: np.ndarray) -> None:
    assert (votes[:, STATUS] == Status.ABSTAINED).all()
    assert (votes[:252, REASON] == Reason.WARMING_UP).all()
    assert (votes[252:, REASON] == Reason.NO_MODEL).all()
    assert (votes[:, :3] == 0.0).all()


def test_features_are_those_of_the_definition(bars: np.ndarray, votes: np.ndarray) -> None:
    closes = bars["close"].astype(np.float64)
    sigma = sigmas(closes)
    rows = np.arange(252, len(bars))
    evidence = votes[rows, OUT_FIXED:]
    np.testing.assert_allclose(evidence[:, 6], sigma[rows], rtol=1e-9)
    for j, length in enumerate(trend.LOOK_BACKS):
        expected = np.log(closes[rows] / closes[rows - length]) / (sigma[rows] * np.sqrt(length))
        np.testing.assert_allclose(evidence[:, j], expected, rtol=1e-8, atol=1e-10)
    cross = (talib.EMA(closes, 20) - talib.EMA(closes, 100)) / closes / sigma
    np.testing.assert_allclose(
        evidence[:, 4], cross[rows] / trend.GAP_DEVIATION, rtol=1e-8, atol=1e-10
    )
    high = talib.MAX(bars["high"].astype(np.float64), 55)[rows - 1]
    low = talib.MIN(bars["low"].astype(np.float64), 55)[rows - 1]
    np.testing.assert_allclose(
        evidence[:, 5], 2.0 * (closes[rows] - low) / (high - low) - 1.0, rtol=1e-12, atol=1e-12
    )


def test_the_cross_is_scaled_to_one_deviation_of_a_random_walk() -> None:
    # A unit step long ago moves both averages fully; its mark on the gap over time is the impulse
    # response, whose squares sum to the gap's variance.
    a, b = 1.0 - 2.0 / 21.0, 1.0 - 2.0 / 101.0
    fast = slow = 0.0
    squares = 0.0
    for _ in range(5000):
        fast, slow = a * fast + (1 - a), b * slow + (1 - b)
        squares += (fast - slow) ** 2
    assert pytest.approx(np.sqrt(squares), rel=1e-9) == trend.GAP_DEVIATION


def test_a_market_that_stands_still_is_degenerate() -> None:
    still = empty_bars(300)
    still["ts"] = np.arange(300)
    for field in ("open", "high", "low", "close"):
        still[field] = 1000
    votes = Agent(trend.SPEC).apply(still)
    assert (votes[252:, REASON] == Reason.DEGENERATE).all()
    assert np.isfinite(votes).all()


def test_a_declared_link_turns_a_rise_into_a_vote_for_up(bars: np.ndarray) -> None:
    params = np.zeros((3, 7))
    params[0, 1:], params[2, 1:] = -0.2, 0.2
    rising = bars.copy()
    # Steady growth with an alternating ripple, so that volatility is not zero.
    i = np.arange(len(rising))
    close = np.rint(100_000 * np.exp(0.002 * i + 0.002 * (i % 2))).astype(np.int64)
    rising["open"] = rising["close"] = close
    rising["high"], rising["low"] = close + 5, close - 5
    agent = Agent(trend.SPEC)
    agent.set_model(params.ravel())
    last = agent.apply(rising)[-1]
    assert last[STATUS] == Status.VOTED
    assert last[P_UP] > 0.9
    assert last[P_DOWN] < 0.1
    assert last[:3].sum() == pytest.approx(1.0, abs=1e-15)


def test_the_fit_finds_momentum_where_there_is_some_and_stays_humble_where_not() -> None:
    rng = np.random.default_rng(11)

    def walk(persistence: float) -> np.ndarray:
        drift, level, closes = 0.0, 15.0, []
        for _ in range(3000):
            drift = 0.98 * drift + 0.2 * persistence * rng.normal()
            level += 0.01 * (rng.normal() + drift)
            closes.append(level)
        result = empty_bars(3000)
        result["ts"] = np.arange(3000)
        result["close"] = np.rint(np.exp(np.array(closes)))
        result["open"] = result["close"]
        result["high"], result["low"] = result["close"] + 1, result["close"] - 1
        return result

    def lean(params: np.ndarray) -> float:
        slopes = params.reshape(3, 7)[:, 1:]
        return float((slopes[2] - slopes[0]).sum())

    with_trend = [lean(fit_trend.fit(walk(1.0), 5, 0)) for _ in range(5)]
    without = [lean(fit_trend.fit(walk(0.0), 5, 0)) for _ in range(5)]
    assert min(with_trend) > 2.0 * max(np.abs(without))


def test_the_fit_on_real_warm_up_bars_is_humble_and_repeatable() -> None:
    feed = load_feed(symbols=["AAPL", "IBM", "MSFT"])
    warm = feed.bars[:1500]
    params = fit_trend.fit(warm, 5, 0)
    assert params.shape == (21,)
    assert params.tobytes() == fit_trend.fit(warm.copy(), 5, 1).tobytes()
    assert np.abs(params.reshape(3, 7)[:, 1:]).max() < 0.05
    agent = Agent(trend.SPEC)
    agent.set_model(params)
    votes = agent.apply(feed.bars[:4000])
    voted = votes[votes[:, STATUS] == Status.VOTED]
    assert len(voted) == 4000 - 3 * 252
    assert voted[:, :3].min() > 0.2
    assert voted[:, :3].max() < 0.5


def test_too_few_bars_leave_the_agent_without_a_model(bars: np.ndarray) -> None:
    assert len(fit_trend.fit(bars[:300], 5, 0)) == 0
