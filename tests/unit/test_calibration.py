"""Calibration: the identity of the decomposition, its bins, and what each part answers to."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from session_results import session

from tuning.calibration import bin_numbers, calibrate, calibration, reliability, wilson
from tuning.report_forecasts import calibration_sentence
from tuning.scoring import brier, score


def drawn(rng: np.random.Generator, p: np.ndarray) -> np.ndarray:
    """Outcomes that come exactly as often as the forecasts say."""
    return (rng.random(len(p))[:, None] > p.cumsum(axis=1)[:, :2]).sum(axis=1)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 200),
    bins=st.integers(1, 20),
    levels=st.sampled_from([0, 2, 5]),
)
def test_parts_add_up_to_the_brier_score(seed: int, n: int, bins: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet((1.0, 1.0, 1.0), n)
    if levels:  # many equal forecasts
        p = p[rng.integers(0, min(levels, n), n)]
    y = rng.integers(0, 3, n)
    found = calibrate(p, y, bins)
    assert found.parts.brier == pytest.approx(brier(p, y).mean(), rel=1e-11, abs=1e-13)
    for rows in found.bins:
        assert sum(row.count for row in rows) == n
        assert len(rows) <= bins
        assert all(0.0 <= row.low <= row.observed <= row.high <= 1.0 for row in rows)
        assert (np.diff([row.forecast for row in rows]) > 0.0).all()


def test_bins_of_equal_forecasts_are_murphys_three_parts() -> None:
    rng = np.random.default_rng(1)
    forecasts = rng.choice([0.1, 0.4, 0.8], 500)
    hits = (rng.random(500) < 0.5 * forecasts + 0.2).astype(float)
    bins, parts = reliability(forecasts, hits, np.unique(forecasts, return_inverse=True)[1])
    assert parts.within_variance == pytest.approx(0.0, abs=1e-30)
    assert parts.within_covariance == pytest.approx(0.0, abs=1e-17)
    three = parts.reliability - parts.resolution + parts.uncertainty
    assert three == pytest.approx(np.mean((forecasts - hits) ** 2), rel=1e-13)
    by_hand = sum(
        (forecasts == f).mean() * (f - hits[forecasts == f].mean()) ** 2 for f in (0.1, 0.4, 0.8)
    )
    assert parts.reliability == pytest.approx(by_hand, rel=1e-12)
    assert [row.count for row in bins] == [(forecasts == f).sum() for f in (0.1, 0.4, 0.8)]


def test_bins_hold_equal_counts_and_never_part_equal_forecasts() -> None:
    number = bin_numbers(np.random.default_rng(2).random(1003))
    assert set(np.bincount(number)) == {100, 101}
    tied = np.repeat([0.2, 0.3, 0.9], [5, 700, 5])
    number = bin_numbers(tied)
    assert [len(set(number[tied == f])) for f in (0.2, 0.3, 0.9)] == [1, 1, 1]
    assert set(number) == set(range(number.max() + 1))
    assert bin_numbers(np.full(9, 0.5)).tolist() == [0] * 9


def test_an_honest_forecast_is_reliable_and_a_bold_one_is_not() -> None:
    rng = np.random.default_rng(3)
    p = rng.dirichlet((3.0, 3.0, 3.0), 20_000)
    y = drawn(rng, p)
    bold = p**3 / (p**3).sum(axis=1)[:, None]
    honest, overdone = calibrate(p, y).parts, calibrate(bold, y).parts
    assert honest.reliability < 0.002
    assert overdone.reliability > 0.05
    # Boldness keeps the order of the forecasts of an outcome roughly, so also what they tell apart.
    assert honest.resolution == pytest.approx(overdone.resolution, rel=0.15)
    assert honest.uncertainty == overdone.uncertainty


def test_knowing_nothing_has_no_resolution() -> None:
    p = np.full((600, 3), 1 / 3)
    y = np.tile([0, 1, 2], 200)
    parts = calibrate(p, y).parts
    assert (parts.reliability, parts.resolution) == pytest.approx((0.0, 0.0), abs=1e-15)
    assert parts.uncertainty == pytest.approx(2 / 3)


@pytest.mark.parametrize(("hits", "count"), [(0, 7), (3, 7), (7, 7), (451, 1000)])
def test_wilson_equals_scipy(hits: int, count: int) -> None:
    expected = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert wilson(hits, count) == pytest.approx((expected.low, expected.high), abs=1e-14)
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_session_is_calibrated_over_the_decisions_that_are_scored() -> None:
    result = session()
    found, scores = calibration(result), score(result)
    assert found.scored == scores.scored > 0
    assert found.parts.brier == pytest.approx(scores.pool_brier, rel=1e-12)


def test_a_session_without_votes_has_no_bins() -> None:
    silent = session()
    silent.d_status[:] = 1
    found = calibration(silent)
    assert found.bins == ((), (), ())
    assert math.isnan(found.parts.brier)


def test_the_sentence_follows_the_parts() -> None:
    rng = np.random.default_rng(4)
    p = rng.dirichlet((2.0, 2.0, 2.0), 4000)
    assert calibration_sentence(calibrate(p, drawn(rng, p))).endswith(
        "the forecasts beat quoting the average frequencies."
    )
    blind = calibrate(p, rng.integers(0, 3, 4000))
    assert calibration_sentence(blind).endswith(
        "quoting the average frequencies would have scored better."
    )
    turned = calibrate(p[:, ::-1], drawn(rng, p))
    upside_down = calibration_sentence(turned)
    assert "Telling them apart took" in upside_down
    assert upside_down.endswith("would have scored better.")
    assert calibration_sentence(calibrate(p[:0], np.empty(0, np.int64))) == ""
