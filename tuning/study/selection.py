"""What the selection procedure is worth: choose on the training rows, hold on the test rows.

The winner's own returns are those of a choice that saw all of them. Here the choice is repeated
where it has not seen what follows: over the paths of combinatorial purged cross-validation (Lopez
de Prado 2018, 12.4), whose ratios form a distribution, and over an anchored walk-forward, which
is the one order in which it could have been lived.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuning.statistics import sharpe
from tuning.study.moments import BlockMoments, Floats, best_column, checked_matrix
from tuning.study.splits import Split, assemble, combinatorial, walk_forward

CASH = -1  # chosen where no column has a Sharpe ratio: the procedure stays out
_CELLS = 1 << 21


@dataclass(frozen=True, eq=False)
class PathSelection:
    """C splits, phi paths. Ratios are per period; nan for a path that does not vary."""

    sharpes: Floats  # (phi,)
    chosen: NDArray[np.int64]  # (C,) column held in each split's test, CASH for none
    paths: Floats  # (phi, T) returns

    @property
    def median(self) -> float:
        """Of the paths' ratios; nan where one is undefined."""
        return float(np.median(self.sharpes)) if len(self.sharpes) else math.nan


@dataclass(frozen=True, eq=False)
class WalkedSelection:
    """What the procedure earned from ``first`` on, one choice per stretch."""

    sharpe: float  # per period; nan without variation
    chosen: NDArray[np.int64]  # (folds,) CASH for none
    first: int  # row of the first return
    returns: Floats  # (T - first,)


def over_paths(
    returns: NDArray[np.floating], groups: int, tests: int, label: int = 0, embargo: int = 0
) -> PathSelection:
    """The procedure over all paths of returns (T, N).

    A row's label spans itself and the next ``label`` rows; ``embargo`` counts rows. InputError for
    too little data or returns that are not finite.
    """
    checked_matrix(returns)
    begin = np.arange(len(returns), dtype=np.int64)
    splits = combinatorial(begin, begin + label, groups, tests, embargo)
    chosen = chosen_columns(returns, splits)
    held = [_held(returns, s.test, column) for s, column in zip(splits, chosen, strict=True)]
    paths = assemble(splits, held)
    return PathSelection(np.array([sharpe(path) for path in paths]), chosen, paths)


def over_time(
    returns: NDArray[np.floating], folds: int, first_test_share: float = 0.5, gap: int = 0
) -> WalkedSelection:
    """The procedure by anchored walk-forward over returns (T, N).

    The first test begins after ``first_test_share`` of the rows, the rest is cut into ``folds``;
    each choice sees all rows but the ``gap`` before its test. InputError for too little data.
    """
    checked_matrix(returns)
    begin = np.arange(len(returns), dtype=np.int64)
    splits = []
    for fold in walk_forward(begin, folds, "anchored", first_test_share, gap):
        train = [np.arange(since, until) for since, until in fold.train]
        rows = np.concatenate([*train, np.zeros(0, np.intp)]).astype(np.intp)
        splits.append(Split(fold.number, (), rows, np.arange(fold.test_from, fold.test_until)))
    chosen = chosen_columns(returns, splits)
    held = [_held(returns, s.test, column) for s, column in zip(splits, chosen, strict=True)]
    lived = np.concatenate(held)
    return WalkedSelection(sharpe(lived), chosen, int(splits[0].test[0]), lived)


def chosen_columns(returns: NDArray[np.floating], splits: Sequence[Split]) -> NDArray[np.int64]:
    """(C,) the column with the highest Sharpe ratio on each split's training rows, else CASH."""
    inside = np.zeros((len(splits), len(returns)), np.bool_)
    for row, split in zip(inside, splits, strict=True):
        row[split.train] = True
    # Rows between two changes of any split's training set share their fate: one block.
    change = np.flatnonzero((inside[:, 1:] != inside[:, :-1]).any(axis=0)) + 1
    edges = np.concatenate([[0], change, [len(returns)]])
    moments = BlockMoments(returns, edges)
    taken = inside[:, edges[:-1]].astype(np.float64)
    chunk = max(1, _CELLS // returns.shape[1])
    best = [
        best_column(moments.sharpes(taken[start : start + chunk]))
        for start in range(0, len(taken), chunk)
    ]
    return np.concatenate(best)


def _held(returns: NDArray[np.floating], rows: NDArray[np.intp], column: int) -> Floats:
    if column == CASH:
        return np.zeros(len(rows))
    return np.asarray(returns[rows, column], np.float64)
