"""Which rows may teach and which may judge: walk-forward, purged k-fold, combinatorial splits.

An observation has a label over the closed interval [begin, end] (ns): what it is scored on becomes
known at its end. A training row whose interval overlaps that of a test row knows part of the
answer, so it is purged; rows that begin within the embargo after a test interval are dropped too,
because serial dependence carries the test's news into them (Lopez de Prado 2018, Advances in
Financial Machine Learning, 7.4). Combinatorial purged cross-validation (ibid. 12.4): N groups, each
choice of k of them is one test, and the tests are assembled to phi = k / N C(N, k) whole paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import comb

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from tuning.study.contract import Fold, Ints

Bools = NDArray[np.bool_]

SCHEMES = ("anchored", "rolling")
FEWEST_MOMENTS = 2  # in a test stretch: one return has no Sharpe ratio
MOST_SPLITS = 20_000


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers, ascending and disjoint; a row in neither was purged or embargoed."""

    number: int
    groups: tuple[int, ...]  # that are tested
    train: NDArray[np.intp]
    test: NDArray[np.intp]


def walk_forward(
    moments: Ints, folds: int, scheme: str = "anchored", first_test_share: float = 0.5, gap: int = 0
) -> list[Fold]:
    """Folds in time order, each tested on what comes after everything that it may learn from.

    ``moments`` (m,) are increasing ns. The first test stretch begins after ``first_test_share`` of
    them; the rest is cut into ``folds`` stretches of equal length (the first ones take what is
    left over). The last training label ends more than ``gap`` ns before the test. Anchored training
    begins with the first moment; rolling training keeps the length in moments that it has in the
    first fold. A share of 0 leaves the first fold without training, for what is not fitted.
    InputError for too little data.
    """
    moments = _increasing(moments)
    if scheme not in SCHEMES:
        raise InputError(f"walk-forward scheme {scheme!r}: give one of {', '.join(SCHEMES)}")
    if not 0.0 <= first_test_share < 1.0:
        raise InputError(
            f"first test share {first_test_share}: give the share of the data before the first "
            "test, from 0 to below 1"
        )
    if gap < 0:
        raise InputError(f"walk-forward gap {gap}: give nanoseconds, 0 or more")
    first = round(first_test_share * len(moments))
    if first_test_share > 0.0 and first < 1:
        raise _too_little(len(moments), folds, "no moment before the first test")
    edges = _edges(len(moments) - first, folds) + first
    found = []
    for number, (start, stop) in enumerate(pairwise(edges)):
        begins = int(moments[start])
        since = int(moments[0 if scheme == "anchored" else start - first])
        until = begins - gap
        if first > 0 and until <= since:
            raise InputError(
                f"fold {number} has nothing to learn from: a gap of {gap} ns takes all "
                f"{begins - since} ns before its test; shorten the gap or test later"
            )
        train = ((since, until),) if until > since else ()
        ends = int(moments[stop]) if stop < len(moments) else int(moments[-1]) + 1
        found.append(Fold(number, train, begins, ends))
    return found


def purged_kfold(begin: Ints, end: Ints, folds: int, embargo: int = 0) -> list[Split]:
    """The splits of purged k-fold: ``combinatorial`` with one test group at a time."""
    return combinatorial(begin, end, folds, 1, embargo)


def combinatorial(begin: Ints, end: Ints, groups: int, tests: int, embargo: int = 0) -> list[Split]:
    """All C(groups, tests) purged and embargoed splits, in lexicographic order of tested groups.

    ``begin`` <= ``end`` are (n,) label intervals in ns, sorted by begin; groups are contiguous and
    differ by one row at most. InputError for too little data, or where nothing is left to train.
    """
    begin, end = np.asarray(begin, np.int64), np.asarray(end, np.int64)
    if begin.ndim != 1 or begin.shape != end.shape:
        raise InputError("labels need one begin and one end for each observation")
    if (begin > end).any() or (np.diff(begin) < 0).any():
        raise InputError("labels must be sorted by their begin and end no earlier than they begin")
    if embargo < 0:
        raise InputError(f"embargo {embargo}: give nanoseconds, 0 or more")
    if not 1 <= tests < groups:
        raise InputError(f"{tests} of {groups} groups for the test: give 1 or more, and fewer")
    if comb(groups, tests) > MOST_SPLITS:
        raise InputError(
            f"{comb(groups, tests):,} splits of {tests} in {groups} groups: at most {MOST_SPLITS:,}"
        )
    edges = _edges(len(begin), groups)
    found = []
    for number, tested in enumerate(combinations(range(groups), tests)):
        in_test = np.zeros(len(begin), np.bool_)
        for group in tested:
            in_test[edges[group] : edges[group + 1]] = True
        train = np.flatnonzero(~in_test & ~leaks(begin, end, in_test, embargo))
        if not len(train):
            raise InputError(
                f"the split that tests groups {tested} has nothing to learn from: labels and "
                f"embargo take all {len(begin)} rows; give more data or fewer groups"
            )
        found.append(Split(number, tested, train, np.flatnonzero(in_test)))
    return found


def leaks(begin: Ints, end: Ints, in_test: Bools, embargo: int = 0) -> Bools:
    """(n,) rows whose label touches a test label or that begin in the embargo after one.

    Test rows count as touched too. The hull of a run of adjacent test rows touches a row exactly
    when one of the run does: rows are sorted by begin, and a row outside the run begins before or
    after all of it.
    """
    change = np.flatnonzero(np.diff(np.concatenate([[False], in_test, [False]])))
    found = np.zeros(len(begin), np.bool_)
    for start, stop in zip(change[::2], change[1::2], strict=True):
        last = int(end[start:stop].max())
        found |= (begin <= last + embargo) & (end >= begin[start])
    return found


def path_splits(groups: int, tests: int) -> NDArray[np.int64]:
    """(phi, groups): which split's test supplies each group of each path.

    phi = tests / groups C(groups, tests) = C(groups - 1, tests - 1). Path p takes group g from the
    p-th split that tests g, so each tested group of each split is used exactly once.
    """
    suppliers: list[list[int]] = [[] for _ in range(groups)]
    for number, tested in enumerate(combinations(range(groups), tests)):
        for group in tested:
            suppliers[group].append(number)
    return np.array(suppliers, np.int64).T


def assemble(splits: Sequence[Split], values: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """(phi, n) paths from what each of all combinatorial splits gave on its test rows.

    ``values[s]`` belongs to ``splits[s].test``, row for row; each row stands once in each path.
    """
    groups = 1 + max(max(split.groups) for split in splits)
    supplies = path_splits(groups, len(splits[0].groups))
    rows = sum(len(split.test) for split in splits) // len(supplies)
    edges = _edges(rows, groups)
    paths = np.full((len(supplies), rows), np.nan)
    for path, chosen in zip(paths, supplies, strict=True):
        for group, number in enumerate(chosen):
            test = splits[number].test
            inside = (test >= edges[group]) & (test < edges[group + 1])
            path[test[inside]] = values[number][inside]
    return paths


def _increasing(moments: Ints) -> Ints:
    moments = np.asarray(moments, np.int64)
    if moments.ndim != 1 or (np.diff(moments) <= 0).any():
        raise InputError("moments must be one series of increasing nanoseconds")
    return moments


def _edges(rows: int, parts: int) -> NDArray[np.int64]:
    """(parts + 1,) edges of contiguous parts as equal as possible, the longer ones first."""
    if parts < 1:
        raise InputError(f"{parts} folds or groups: give 1 or more")
    short, longer = divmod(rows, parts)
    if short < FEWEST_MOMENTS:
        raise _too_little(rows, parts, f"under {FEWEST_MOMENTS} rows in some")
    sizes = np.full(parts, short, np.int64)
    sizes[:longer] += 1
    return np.concatenate([[0], np.cumsum(sizes)])


def _too_little(rows: int, parts: int, why: str) -> InputError:
    return InputError(
        f"too little data: {rows} observations for {parts} folds or groups leave {why}; "
        "give a longer period or fewer folds"
    )
