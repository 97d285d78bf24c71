"""Invariants of the performance statistics over arbitrary returns."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuning.statistics import (
    annualised_sharpe,
    drawdowns,
    max_drawdown,
    mean_interval,
    probabilistic_sharpe,
    returns_of,
    shape,
    sharpe,
    sharpe_interval,
)

RETURNS = st.lists(st.floats(-0.5, 0.5, allow_subnormal=False), min_size=3, max_size=60)
EQUITY = st.lists(st.integers(10**6, 10**12), min_size=2, max_size=60)


@given(EQUITY)
def test_drawdowns_equal_a_direct_search_for_the_peak(equity):
    falls = drawdowns(returns_of(equity))
    direct = [equity[i] / max(equity[: i + 1]) - 1 for i in range(1, len(equity))]
    np.testing.assert_allclose(falls, direct, atol=1e-9)
    assert max_drawdown(returns_of(equity)) <= 0.0


@given(RETURNS)
def test_interval_holds_the_ratio_and_agrees_with_the_probability(returns):
    ratio, (low, high) = annualised_sharpe(returns), sharpe_interval(returns)
    if math.isnan(low):
        return
    assert low < ratio < high
    # The interval excludes 0 from below exactly when P(true ratio > 0) exceeds 97.5 %.
    certain = probabilistic_sharpe(sharpe(returns), len(returns), *shape(returns))
    if abs(low) > 1e-9:
        assert (low > 0.0) == (certain > 0.975)


@given(RETURNS, st.floats(0.01, 0.99))
def test_sharpe_does_not_depend_on_leverage(returns, leverage):
    before, after = sharpe(returns), sharpe(np.array(returns) * leverage)
    if not (math.isnan(before) or math.isnan(after)):
        assert after == pytest.approx(before, rel=1e-6, abs=1e-9)


@given(st.lists(st.floats(-2, 2), min_size=0, max_size=60), st.integers(0, 6))
def test_mean_interval_holds_the_mean(values, lags):
    mean, low, high = mean_interval(values, lags)
    assert math.isnan(low) == math.isnan(high)
    if not math.isnan(low):
        assert low <= mean <= high
