"""Folds by scheme, over the moments that may be searched. Counts are moments, not time.

``anchored``, ``rolling``   walk-forward: every test lies after all of its training
``kfold``                   every stretch is tested once, all the rest may teach
``cpcv``                    combinatorial: every choice of ``tests`` of the groups is tested; one
                            fold for each tested group of each choice, so that ``folds`` groups give
                            tests * C(folds, tests) folds over ``folds`` different stretches

The last two are purged of labels that touch a test and embargoed after it.
"""

from __future__ import annotations

import numpy as np

from data.errors import InputError
from tuning.study.contract import Fold, Ints
from tuning.study.splits import combinatorial, walk_forward

WALK_FORWARD = ("anchored", "rolling")
SCHEMES = (*WALK_FORWARD, "kfold", "cpcv")


def make_folds(
    moments: Ints,
    scheme: str,
    folds: int,
    *,
    first_test_share: float = 0.5,
    gap: int = 0,
    embargo: int = 0,
    tests: int = 2,
    horizon: int = 5,
) -> list[Fold]:
    """Folds over ``moments`` (m,) ns; InputError for an unknown scheme or too little data.

    ``gap``: moments left out between the last training label and a walk-forward test.
    ``embargo``: moments after a test that do not teach. A label spans ``horizon`` moments; one of a
    symbol that misses some ends later, and is then purged by whoever fits (labels must end inside
    the training interval).
    """
    if scheme not in SCHEMES:
        raise InputError(f"scheme {scheme!r}: give one of {', '.join(SCHEMES)}")
    if min(gap, embargo) < 0:
        raise InputError(f"gap {gap} and embargo {embargo}: give moments, 0 or more")
    if scheme in WALK_FORWARD:
        found = walk_forward(moments, folds, scheme, first_test_share)
        return [_shortened(fold, moments, gap) for fold in found] if gap else found
    return _combined(moments, folds, 1 if scheme == "kfold" else tests, embargo, horizon)


def _shortened(fold: Fold, moments: Ints, gap: int) -> Fold:
    """The same fold with ``gap`` moments fewer before its test."""
    (since, _) = fold.train[0] if fold.train else (fold.test_from, 0)
    place = int(np.searchsorted(moments, fold.test_from)) - gap
    if place <= int(np.searchsorted(moments, since)):
        raise InputError(
            f"fold {fold.number} has nothing to learn from: a gap of {gap} moments takes all of"
            " its training; shorten the gap or test later"
        )
    return Fold(fold.number, ((since, int(moments[place])),), fold.test_from, fold.test_until)


def _combined(moments: Ints, groups: int, tests: int, embargo: int, horizon: int) -> list[Fold]:
    """One fold for each tested group of each split, in their order."""
    count = len(moments)
    places = np.arange(count)
    # In places, not in time: weekends neither lengthen a label nor shorten an embargo.
    splits = combinatorial(places, places + horizon, groups, tests, embargo)
    after = np.append(moments, moments[-1] + 1)
    edges = np.concatenate([[0], np.cumsum([len(part) for part in _parts(count, groups)])])
    found: list[Fold] = []
    for split in splits:
        train = tuple(
            # A label may end at the last moment before the interval's end, not later.
            (int(moments[run[0]]), int(after[min(run[-1] + horizon + 1, count)]))
            for run in np.split(split.train, np.flatnonzero(np.diff(split.train) > 1) + 1)
        )
        for group in split.groups:
            begins, ends = int(after[edges[group]]), int(after[edges[group + 1]])
            found.append(Fold(len(found), train, begins, ends))
    return found


def _parts(count: int, groups: int) -> list[np.ndarray]:
    return np.array_split(np.arange(count), groups)
