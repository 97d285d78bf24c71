"""Statistics against empyrical, scipy, the published golden values and hand computation."""

from __future__ import annotations

import math

import empyrical
import numpy as np
import pytest
from scipy import stats

from tuning.statistics import (
    annualised_sharpe,
    cagr,
    calmar,
    drawdowns,
    max_drawdown,
    mean_interval,
    minimum_track_record,
    probabilistic_sharpe,
    returns_of,
    shape,
    sharpe,
    sharpe_deviation,
    sharpe_interval,
    sortino,
    volatility,
)

MIXED = np.array([1, 10, -4, 2, 3, 2, 1, -10]) / 100
LOSING = np.array([0, -6, -7, -1, -9, -2, -6, -8, -5]) / 100


def test_golden_values_of_the_facts():
    assert annualised_sharpe(MIXED) == pytest.approx(1.7238613961706866, rel=1e-12)
    assert sortino(MIXED) == pytest.approx(2.605531251673693, rel=1e-12)
    assert volatility(MIXED) == pytest.approx(0.9136465399704637, rel=1e-12)
    assert max_drawdown(MIXED) == pytest.approx(-0.1, rel=1e-12)
    # The published series opens with a missing return, which still counts as a day of growth.
    assert calmar(np.concatenate([[0.0], MIXED])) == pytest.approx(19.135925373194233, rel=1e-10)
    assert annualised_sharpe(LOSING) == pytest.approx(-24.40680863391008, rel=1e-12)
    assert sortino(LOSING) == pytest.approx(-13.5327430750434, rel=1e-12)
    assert max_drawdown(LOSING) == pytest.approx(-0.365907303498736, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_equals_empyrical_and_scipy_on_random_returns(seed):
    returns = np.random.default_rng(seed).standard_t(4, 700) * 0.01 + 0.0004
    assert annualised_sharpe(returns) == pytest.approx(empyrical.sharpe_ratio(returns), rel=1e-10)
    assert sortino(returns) == pytest.approx(empyrical.sortino_ratio(returns), rel=1e-10)
    assert calmar(returns) == pytest.approx(empyrical.calmar_ratio(returns), rel=1e-9)
    assert max_drawdown(returns) == pytest.approx(empyrical.max_drawdown(returns), rel=1e-10)
    assert volatility(returns) == pytest.approx(empyrical.annual_volatility(returns), rel=1e-10)
    assert cagr(returns) == pytest.approx(empyrical.cagr(returns), rel=1e-9)
    skew, kurtosis = shape(returns)
    assert skew == pytest.approx(stats.skew(returns), rel=1e-10)
    assert kurtosis == pytest.approx(stats.kurtosis(returns, fisher=False), rel=1e-10)


def test_probabilistic_sharpe_of_the_2012_paper():
    assert probabilistic_sharpe(0.458, 24) == pytest.approx(0.9817, abs=5e-5)
    assert probabilistic_sharpe(0.458, 24, -2.448, 10.164) == pytest.approx(0.91336, abs=5e-6)


@pytest.mark.parametrize(("periods", "years"), [(250, 2.731187802), (52, 2.828833587)])
def test_minimum_track_record_of_the_2012_paper(periods, years):
    root = math.sqrt(periods)
    needed = minimum_track_record(2 / root, benchmark=1 / root)
    assert needed / periods == pytest.approx(years, abs=1e-9)
    assert probabilistic_sharpe(2 / root, needed, benchmark=1 / root) == pytest.approx(0.95)


def test_sharpe_deviation_is_lo_2002_for_normal_returns():
    # Lo: variance (1 + SR^2 / 2) / T, here with T - 1.
    assert sharpe_deviation(0.3, 101, 0.0, 3.0) == pytest.approx(math.sqrt((1 + 0.045) / 100))


def test_interval_covers_the_true_ratio_about_as_often_as_it_says():
    rng = np.random.default_rng(11)
    truth, hits = 0.08 * math.sqrt(252), 0
    for _ in range(1000):
        low, high = sharpe_interval(rng.normal(0.0008, 0.01, 500))
        hits += low <= truth <= high
    assert 930 <= hits <= 968  # 950 expected, deviation 6.9


def test_interval_is_centred_on_the_ratio_and_widens_with_confidence():
    low, high = sharpe_interval(MIXED)
    assert (low + high) / 2 == pytest.approx(annualised_sharpe(MIXED))
    wide_low, wide_high = sharpe_interval(MIXED, confidence=0.99)
    assert wide_low < low < high < wide_high


@pytest.mark.parametrize("series", [[], [0.01], [0.01] * 20, [0.0] * 20, [1e-3 + 0.0] * 7])
def test_no_variation_has_no_sharpe(series):
    assert math.isnan(sharpe(series))
    assert math.isnan(annualised_sharpe(series))
    assert all(math.isnan(x) for x in sharpe_interval(series))


def test_tiny_returns_have_the_shape_of_large_ones():
    assert shape(MIXED * 1e-100) == pytest.approx(shape(MIXED), rel=1e-9)


def test_undefined_figures_are_nan():
    assert math.isnan(sortino([0.01, 0.02]))
    assert math.isnan(calmar([0.01, 0.02]))
    assert math.isnan(max_drawdown([]))
    assert math.isnan(cagr([]))
    assert math.isnan(minimum_track_record(0.1, benchmark=0.1))
    assert max_drawdown([0.01, 0.02]) == 0.0


@pytest.mark.parametrize("bad", [[0.1, math.nan], [0.1, math.inf], [-1.5], [[0.1]]])
def test_what_is_no_series_of_returns_is_refused(bad):
    for figure in (sharpe, sortino, max_drawdown, cagr, volatility):
        with pytest.raises(ValueError, match="returns"):
            figure(bad)


@pytest.mark.parametrize("equity", [[1.0, 0.0], [1.0, -2.0], [1.0, math.nan]])
def test_equity_that_was_ever_gone_has_no_returns(equity):
    with pytest.raises(ValueError, match="equity"):
        returns_of(equity)


def test_drawdowns_by_hand():
    np.testing.assert_allclose(
        drawdowns(returns_of([100, 90, 120, 60, 120])), [-0.1, 0, -0.5, 0], atol=1e-15
    )


def test_mean_interval_by_hand():
    # Variance with Bartlett weight 1/2 on the one autocovariance: (4 * 1 + 2 * .5 * -3) / 4 = 1/4.
    mean, low, high = mean_interval([1.0, -1.0, 1.0, -1.0], lags=1)
    half = 1.959963984540054 * math.sqrt(0.25 / 4)
    assert mean == 0.0
    assert (low, high) == pytest.approx((-half, half))
    plain = mean_interval(MIXED, lags=0)
    half = 1.959963984540054 * MIXED.std() / math.sqrt(len(MIXED))
    assert plain == pytest.approx((MIXED.mean(), MIXED.mean() - half, MIXED.mean() + half))


def test_mean_interval_widens_for_overlapping_forecasts():
    noise = np.random.default_rng(2).normal(size=3000)
    overlapping = np.convolve(noise, np.ones(5), "valid")
    naive, honest = (mean_interval(overlapping, lags) for lags in (0, 4))
    assert honest[2] - honest[1] > 1.6 * (naive[2] - naive[1])


def test_mean_interval_of_too_little_is_nan():
    assert all(math.isnan(x) for x in mean_interval([], 4))
    assert math.isnan(mean_interval([0.5], 0)[1])
    assert math.isnan(mean_interval([0.5] * 9, 1)[1])
