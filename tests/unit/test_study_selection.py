"""Choosing without hindsight, against a slow direct computation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from data.errors import InputError
from tuning.statistics import sharpe
from tuning.study import selection
from tuning.study.selection import CASH, chosen_columns, over_paths, over_time
from tuning.study.splits import combinatorial, walk_forward


def noise(seed: int, rows: int = 240, columns: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0002, 0.01, (rows, columns))


def best_of(returns: np.ndarray) -> int:
    ratios = [sharpe(column) for column in returns.T]
    return CASH if np.isnan(ratios).all() else int(np.nanargmax(ratios))


@pytest.mark.parametrize(("groups", "tests"), [(6, 2), (10, 2), (5, 3)])
def test_paths_equal_a_direct_computation(groups, tests):
    returns = noise(1)
    returns[:90, 2] = 0.0  # begins to trade late
    found = over_paths(returns, groups, tests, label=2, embargo=3)
    rows = np.arange(len(returns))
    splits = combinatorial(rows, rows + 2, groups, tests, 3)
    assert found.chosen.tolist() == [best_of(returns[s.train]) for s in splits]
    phi = math.comb(groups - 1, tests - 1)
    assert found.paths.shape == (phi, len(returns))
    # The first path takes each group from the first split that tests it.
    source = np.full(len(returns), -1)
    for split, column in zip(splits, found.chosen, strict=True):
        new = split.test[source[split.test] < 0]
        source[new] = column
    np.testing.assert_array_equal(found.paths[0], returns[rows, source])
    np.testing.assert_allclose(found.sharpes, [sharpe(path) for path in found.paths])
    assert found.median == np.median(found.sharpes)


def test_walk_forward_equals_a_direct_computation():
    returns = noise(2)
    found = over_time(returns, folds=4, first_test_share=0.5, gap=3)
    lived = []
    for fold, column in zip(
        walk_forward(np.arange(len(returns)), 4, gap=3), found.chosen, strict=True
    ):
        assert column == best_of(returns[: fold.test_from - 3])
        lived.append(returns[fold.test_from : fold.test_until, column])
    np.testing.assert_array_equal(found.returns, np.concatenate(lived))
    assert found.first == 120
    assert found.sharpe == sharpe(found.returns)


def test_a_planted_column_is_chosen_everywhere_and_noise_is_worth_nothing():
    worth, winners = [], []
    for seed in range(20):
        returns = noise(seed, 600) - 0.0002
        worth.append(over_paths(returns, 10, 2).median)
        winners.append(sharpe(returns[:, best_of(returns)]))
    assert np.mean(winners) > 0.04  # with hindsight noise looks good
    assert abs(np.mean(worth)) < 0.015  # without, it is worth nothing
    returns[:, 4] += 0.004
    found = over_paths(returns, 10, 2)
    assert (found.chosen == 4).all()
    np.testing.assert_array_equal(found.paths, np.tile(returns[:, 4], (9, 1)))
    assert (over_time(returns, 5).chosen == 4).all()


def test_the_choice_never_reads_what_it_is_tested_on():
    returns = noise(4)
    before = over_time(returns, 4, gap=2).chosen
    returns[118:] = noise(5)[118:] + 0.05  # from the first gap on
    assert over_time(returns, 4, gap=2).chosen[0] == before[0]


def test_without_any_ratio_the_procedure_holds_cash_and_has_none():
    returns = np.zeros((100, 3))
    found = over_paths(returns, 5, 2)
    assert (found.chosen == CASH).all()
    assert (found.paths == 0.0).all()
    assert math.isnan(found.median)
    assert math.isnan(over_time(returns, 3).sharpe)


def test_chunks_change_nothing_but_memory(monkeypatch):
    returns = noise(6)
    whole = over_paths(returns, 6, 2)
    monkeypatch.setattr(selection, "_CELLS", 1)
    np.testing.assert_array_equal(over_paths(returns, 6, 2).chosen, whole.chosen)


def test_what_is_refused():
    with pytest.raises(InputError, match="too little data"):
        over_paths(noise(1, 11), 6, 2)
    returns = noise(1)
    returns[3, 5] = math.nan
    for refuse in (lambda: over_paths(returns, 6, 2), lambda: over_time(returns, 3)):
        with pytest.raises(InputError, match="columns 5"):
            refuse()
    rows = np.arange(240)
    assert len(chosen_columns(noise(1), combinatorial(rows, rows, 4, 1))) == 4
