"""What PBO and the block sums must not depend on, whatever the returns are."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tuning.statistics import sharpe
from tuning.study.moments import BlockMoments, best_column
from tuning.study.overfitting import backtest_overfitting, effective_trials
from tuning.study.plateau import plateau

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def trials(draw):
    """(T, N) returns; some columns stand still in some stretch, some equal others."""
    rng = np.random.default_rng(draw(SEEDS))
    rows, columns = draw(st.integers(16, 60)), draw(st.integers(2, 8))
    returns = rng.normal(draw(st.sampled_from([0.0, 0.02])), 0.01, (rows, columns))
    for _ in range(draw(st.integers(0, 4))):
        first, last = sorted(rng.integers(0, rows + 1, 2))
        returns[first:last, rng.integers(columns)] = draw(st.sampled_from([0.0, 0.003]))
    if draw(st.booleans()):
        returns[:, 0] = returns[:, -1]
    return returns


@given(trials(), SEEDS)
def test_block_sums_give_the_sharpe_ratio_of_any_set_of_blocks(returns, seed):
    rng = np.random.default_rng(seed)
    cuts = np.unique(rng.integers(1, len(returns), 6))
    edges = np.concatenate([[0], cuts, [len(returns)]])
    chosen = rng.integers(0, 2, (9, len(edges) - 1)).astype(float)
    found = BlockMoments(returns, edges).sharpes(chosen)
    for taken, ratios in zip(chosen, found, strict=True):
        rows = np.repeat(taken, np.diff(edges)) > 0
        expected = [sharpe(column) for column in returns[rows].T]
        np.testing.assert_allclose(ratios, expected, rtol=1e-7, atol=1e-10)
    best = best_column(found)
    for column, ratios in zip(best, found, strict=True):
        assert (column == -1) == np.isnan(ratios).all()
        assert column == -1 or ratios[column] == np.nanmax(ratios)


@given(trials(), SEEDS)
def test_pbo_depends_on_neither_order_nor_leverage_of_the_trials(returns, seed):
    rng = np.random.default_rng(seed)
    found = backtest_overfitting(returns, 4)
    scaled = returns * rng.choice([0.5, 1.0, 2.0], returns.shape[1])
    other = backtest_overfitting(scaled[:, rng.permutation(returns.shape[1])], 4)
    np.testing.assert_allclose(np.sort(other.logits), np.sort(found.logits), atol=1e-9)
    assert math.isnan(found.pbo) or 0.0 <= found.pbo <= 1.0
    bound = math.log(returns.shape[1])
    known = found.logits[np.isfinite(found.logits)]
    assert (np.abs(known) <= bound + 1e-12).all()


@given(trials())
def test_a_column_without_a_ratio_is_never_chosen(returns):
    still = np.concatenate([np.full((len(returns), 1), 0.05), returns], axis=1)
    found, before = backtest_overfitting(still, 4), backtest_overfitting(returns, 4)
    np.testing.assert_allclose(found.in_sample, before.in_sample, rtol=1e-9)


@given(trials())
def test_effective_trials_lie_between_one_and_all(returns):
    found = effective_trials(returns)
    for number in (found.by_mean_correlation, found.by_eigenvalues):
        assert math.isnan(number) or 1.0 - 1e-9 <= number <= found.varying + 1e-9


@given(SEEDS, st.integers(30, 80), st.integers(1, 4), st.floats(0.1, 10.0), st.floats(-5.0, 5.0))
def test_the_plateau_depends_on_neither_unit_nor_order_nor_offset(seed, n, d, scale, offset):
    rng = np.random.default_rng(seed)
    at, objective = rng.random((n, d)), rng.normal(size=n)
    winner, order = int(objective.argmax()), rng.permutation(n)
    found = plateau(at, objective, winner)
    moved = plateau(at[order], scale * objective[order] + offset, int((order == winner).argmax()))
    assert moved.holds == found.holds or abs(found.kept - 0.5) < 1e-9
    np.testing.assert_allclose(moved.kept, found.kept, atol=1e-9)
    np.testing.assert_allclose(moved.quantile, found.quantile)
