"""Luck, against the published values, brute force, and cases whose answer is known."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import rankdata

from data.errors import InputError
from tuning.statistics import minimum_track_record, probabilistic_sharpe, sharpe
from tuning.study import moments as block_moments
from tuning.study import overfitting
from tuning.study.overfitting import (
    backtest_overfitting,
    deflated_sharpe,
    effective_trials,
    expected_maximum,
    minimum_backtest_length,
)

GOLDEN = np.random.RandomState(42).normal(0, 0.01, (960, 10))
NORMAL = (0.0, 3.0)


def noise(seed: int, rows: int = 200, columns: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.01, (rows, columns))


@pytest.mark.parametrize(
    ("trials", "expected"), [(10, 1.574598301), (45, 2.235640178), (100, 2.530602893)]
)
def test_expected_maximum_of_the_published_cases(trials, expected):
    assert expected_maximum(trials) == pytest.approx(expected, abs=5e-10)


def test_expected_maximum_is_near_a_simulation_and_grows():
    draws = np.random.default_rng(0).normal(size=(4000, 100)).max(axis=1)
    assert expected_maximum(100) == pytest.approx(draws.mean(), abs=0.03)
    values = [expected_maximum(n) for n in (1, 1.1, 1.5, 2, 3, 10, 1e6)]
    assert values[0] == 0.0
    assert values == sorted(values)
    with pytest.raises(ValueError, match="1 or more"):
        expected_maximum(0.5)
    with pytest.raises(ValueError, match="1 or more"):
        expected_maximum(math.nan)


def test_probabilistic_sharpe_and_track_record_of_the_facts():
    assert probabilistic_sharpe(0.458, 24) == pytest.approx(0.9817, abs=5e-5)
    assert probabilistic_sharpe(0.458, 24, -2.448, 10.164) == pytest.approx(0.91336, abs=5e-6)
    for periods, years in ((250, 2.731187802), (52, 2.828833587)):
        root = math.sqrt(periods)
        needed = minimum_track_record(2 / root, benchmark=1 / root) / periods
        assert needed == pytest.approx(years, abs=5e-10)


def test_minimum_backtest_length_of_the_facts():
    assert minimum_backtest_length(45) == pytest.approx(4.998087004, abs=5e-10)
    assert minimum_backtest_length(45, 2.0) == pytest.approx(4.998087004 / 4, abs=5e-10)
    assert math.isnan(minimum_backtest_length(45, 0.0))
    assert math.isnan(minimum_backtest_length(45, math.nan))


@pytest.mark.parametrize(
    ("trials", "shape", "probability"),
    [
        (100, (-3.0, 10.0), 0.9003968344),
        (46, (-3.0, 10.0), 0.9505017),
        (88, NORMAL, 0.9504908),
    ],
)
def test_deflated_sharpe_of_the_2014_paper(trials, shape, probability):
    found = deflated_sharpe(2.5 / math.sqrt(250), 1250, *shape, trials, 0.5 / 250)
    digits = 5e-11 if trials == 100 else 5e-8
    assert found.probability == pytest.approx(probability, abs=digits)
    if trials == 100:
        assert found.threshold == pytest.approx(0.1131720019, abs=5e-11)


def test_deflated_sharpe_falls_with_trials_and_is_undefined_without_variance():
    values = [deflated_sharpe(0.15, 1250, *NORMAL, n, 0.002).probability for n in (1, 5, 50, 500)]
    assert values == sorted(values, reverse=True)
    assert values[0] == probabilistic_sharpe(0.15, 1250)
    assert math.isnan(deflated_sharpe(0.15, 1250, *NORMAL, 10, math.nan).probability)
    assert math.isnan(deflated_sharpe(math.nan, 1250, *NORMAL, 10, 0.002).probability)


@pytest.mark.parametrize(
    ("blocks", "pbo"), [(4, 0.33333333), (8, 0.42857142857142855), (16, 0.5961149961)]
)
def test_pbo_of_the_golden_noise(blocks, pbo):
    found = backtest_overfitting(GOLDEN, blocks)
    assert found.pbo == pytest.approx(pbo, abs=5e-11 if blocks > 4 else 5e-9)
    assert len(found.logits) == math.comb(blocks, blocks // 2)
    if blocks == 8:
        assert found.mean_logit == pytest.approx(0.12309948272086191, rel=1e-12)


@pytest.mark.parametrize(("blocks", "pbo"), [(8, 0.2714285714), (16, 0.4575757576)])
def test_pbo_of_the_golden_noise_with_one_planted_column(blocks, pbo):
    planted = GOLDEN.copy()
    planted[:, 3] += 0.001
    assert backtest_overfitting(planted, blocks).pbo == pytest.approx(pbo, abs=5e-11)


def by_brute_force(returns: np.ndarray, blocks: int) -> list[tuple[float, float, float]]:
    """(in sample, out of sample, logit) of each split, one slow split after the other."""
    parts, columns, found = np.array_split(returns, blocks), returns.shape[1], []
    for taken in combinations(range(blocks), blocks // 2):
        halves = [np.concatenate([parts[b] for b in range(blocks) if (b in taken) == inside])
                  for inside in (True, False)]  # fmt: skip
        learn, judge = ([sharpe(column) for column in half.T] for half in halves)
        if np.isnan(learn).all():
            found.append((math.nan,) * 3)
            continue
        best = int(np.nanargmax(learn))
        share = rankdata(np.nan_to_num(judge, nan=-1e9))[best] / (columns + 1)
        found.append((learn[best], judge[best], math.log(share / (1 - share))))
    return found


def same_as_brute_force(returns: np.ndarray, blocks: int) -> overfitting.Overfitting:
    found, expected = backtest_overfitting(returns, blocks), by_brute_force(returns, blocks)
    inside, outside, logits = np.array(expected).T
    np.testing.assert_allclose(found.in_sample, inside, rtol=1e-9)
    np.testing.assert_allclose(found.out_of_sample, outside, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.logits, logits, rtol=1e-12, atol=1e-12)
    assert found.loss == pytest.approx(np.mean([not out > 0 for out in outside]))
    return found


@pytest.mark.parametrize("rows", [200, 203])  # blocks of unequal length too
def test_pbo_equals_brute_force(rows):
    found = same_as_brute_force(noise(1, rows) + 0.0003, 6)
    slope = np.polyfit(found.in_sample, found.out_of_sample, 1)[0]
    assert found.slope == pytest.approx(slope)
    assert found.pbo == (found.logits <= 0).mean()


def test_columns_that_stand_still_in_a_half_are_never_chosen_and_rank_last():
    returns = noise(2, 160)
    returns[:, 1] = 0.005  # riskless riches: no ratio
    returns[:80, 2] = 0.0  # does not trade in the first four blocks
    returns[:, 5] = 0.0
    found = same_as_brute_force(returns, 8)
    assert not np.isnan(found.in_sample).any()
    # Trades, and well, in the first half only: chosen there, it stands still in the other half.
    returns[:80, 0] = np.abs(returns[:80, 0]) + 0.01
    returns[80:, 0] = 0.0
    found = same_as_brute_force(returns, 8)
    assert math.isnan(found.out_of_sample[0])
    assert found.logits[0] < 0.0
    assert found.loss > 0.0


def test_without_any_ratio_pbo_is_undefined_and_not_zero():
    found = backtest_overfitting(np.zeros((64, 3)), 4)
    assert math.isnan(found.pbo)
    assert math.isnan(found.mean_logit)
    assert math.isnan(found.slope)
    assert found.loss == 1.0
    half = noise(3, 64, 3)
    half[:32] = 0.001  # no column varies in the first half: one split has no best
    assert math.isnan(backtest_overfitting(half, 4).pbo)


def test_equal_columns_share_their_rank():
    one = noise(4, 160, 1)
    found = backtest_overfitting(np.repeat(one, 7, axis=1), 8)
    assert (found.logits == 0.0).all()  # the middle of seven
    assert found.pbo == 1.0
    same_as_brute_force(np.concatenate([one, one, noise(5, 160, 3)], axis=1), 8)


def test_chunks_change_nothing_but_memory(monkeypatch):
    returns = noise(6, 120, 9)
    returns[:60, 4] = 0.0
    whole, effective = backtest_overfitting(returns, 8), effective_trials(returns)
    monkeypatch.setattr(overfitting, "_CELLS", 20)
    monkeypatch.setattr(block_moments, "COLUMNS", 2)
    monkeypatch.setattr(overfitting, "COLUMNS", 2)
    cut = backtest_overfitting(returns, 8)
    np.testing.assert_allclose(cut.logits, whole.logits)
    np.testing.assert_allclose(cut.out_of_sample, whole.out_of_sample)
    assert effective_trials(returns).by_eigenvalues == pytest.approx(effective.by_eigenvalues)


def test_float32_returns_are_judged_like_float64():
    returns = noise(7, 400, 12)
    narrow = returns.astype(np.float32)
    assert backtest_overfitting(narrow, 8).pbo == backtest_overfitting(returns, 8).pbo
    wide, found = effective_trials(returns), effective_trials(narrow)
    assert found.by_eigenvalues == pytest.approx(wide.by_eigenvalues, rel=1e-3)


@pytest.mark.parametrize(
    ("returns", "blocks", "says"),
    [
        (noise(1), 7, "even number"),
        (noise(1), 0, "even number"),
        (noise(1), 22, "from 2 to 20"),
        (noise(1, 20), 16, "20 periods in 16 blocks; give at least 32"),
        (noise(1, 200, 1), 8, "at least 2 x 2"),
        (np.zeros(5), 2, "periods x trials"),
    ],
)
def test_what_pbo_refuses(returns, blocks, says):
    with pytest.raises(InputError, match=says):
        backtest_overfitting(returns, blocks)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_columns_that_are_not_finite_are_named(bad):
    returns = noise(1, 200, 700)
    returns[17, 3] = returns[60, 611] = bad
    for judge in (backtest_overfitting, effective_trials):
        with pytest.raises(InputError, match=r"2 of 700 trials .*\(columns 3, 611\)"):
            judge(returns)


def test_effective_trials_of_equal_independent_and_clustered_columns():
    base = noise(8, 1000, 40)
    alone = effective_trials(base)
    assert alone.by_mean_correlation == pytest.approx(40, abs=0.5)
    assert alone.by_eigenvalues == pytest.approx(40, abs=1.0)
    same = effective_trials(np.repeat(base[:, :1], 30, axis=1))
    assert same.mean_correlation == pytest.approx(1.0)
    assert same.by_mean_correlation == pytest.approx(1.0)
    assert same.by_eigenvalues == pytest.approx(1.0)
    # Four clusters of ten copies: four trials by their eigenvalues.
    clusters = effective_trials(np.repeat(base[:, :4], 10, axis=1))
    assert clusters.by_eigenvalues == pytest.approx(4.0, abs=0.1)
    assert clusters.mean_correlation == pytest.approx((10 * 40 - 40) / (40 * 39), abs=0.01)


@pytest.mark.parametrize(("rows", "columns"), [(300, 20), (20, 300)])
def test_effective_trials_equal_the_correlation_matrix(rows, columns):
    returns = noise(9, rows, columns) + np.random.default_rng(1).normal(0, 0.01, (rows, 1))
    correlation = np.corrcoef(returns.T)
    pairs = correlation[~np.eye(columns, dtype=bool)]
    found = effective_trials(returns)
    assert found.mean_correlation == pytest.approx(pairs.mean())
    chance = 1 / (rows - 1)
    squared = ((pairs**2).mean() - chance) / (1 - chance)
    expected = columns**2 / (columns + columns * (columns - 1) * squared)
    assert found.by_eigenvalues == pytest.approx(expected)


def test_effective_trials_leave_out_what_does_not_vary():
    returns = noise(10, 100, 5)
    returns[:, 2] = 0.25
    found = effective_trials(returns)
    assert found.varying == 4
    assert found.by_mean_correlation <= 4.0
    assert math.isnan(effective_trials(returns[:, 2:3]).by_eigenvalues)
