"""Splits by hand, the published counts of splits and paths, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from data.errors import InputError
from tuning.study.contract import Fold
from tuning.study.splits import (
    assemble,
    combinatorial,
    path_splits,
    purged_kfold,
    walk_forward,
)

MOMENTS = np.arange(100, 112)  # 12 moments, 1 ns apart


@pytest.mark.parametrize(
    ("groups", "tests", "splits", "paths"), [(6, 2, 15, 5), (10, 2, 45, 9), (10, 8, 45, 36)]
)
def test_published_numbers_of_splits_and_paths(groups, tests, splits, paths):
    times = np.arange(5 * groups)
    assert len(combinatorial(times, times, groups, tests)) == splits
    supplies = path_splits(groups, tests)
    assert supplies.shape == (paths, groups)
    # phi splits of each group, and each tested group of each split used once.
    used = {(int(s), g) for path in supplies for g, s in enumerate(path)}
    assert len(used) == paths * groups == splits * tests


def test_paths_of_the_book():
    # Lopez de Prado 2018, figure 12.1: the first path takes splits 1 to 5 for N = 6, k = 2.
    assert (path_splits(6, 2)[0] + 1).tolist() == [1, 1, 2, 3, 4, 5]
    assert (path_splits(6, 2)[4] + 1).tolist() == [5, 9, 12, 14, 15, 15]


def test_splits_of_skfolio():
    """skfolio 1.12 CombinatorialPurgedCV(6, 2, purged_size=1, embargo_size=1) over 24 rows."""
    begin = np.arange(24)
    splits = combinatorial(begin, begin + 1, 6, 2, embargo=1)
    assert splits[0].train.tolist() == list(range(10, 24))
    assert splits[2].train.tolist() == [6, 7, 8, 9, 10, *range(18, 24)]
    assert splits[9].train.tolist() == [*range(7), *range(18, 24)]
    # Its get_path_ids(): which path each tested group of each split belongs to.
    ids = [[int((path_splits(6, 2)[:, g] == s.number).argmax()) for g in s.groups] for s in splits]
    assert ids == [
        *([p, 0] for p in range(5)),
        *([p, 1] for p in range(1, 5)),
        *([p, 2] for p in range(2, 5)),
        *([p, 3] for p in range(3, 5)),
        [4, 4],
    ]


def test_purge_and_embargo_by_hand():
    # Labels of 2 ns; rows 4 to 7 are tested and their labels end by 9.
    begin = np.arange(12)
    split = purged_kfold(begin, begin + 2, 3)[1]
    assert split.groups == (1,)
    assert split.test.tolist() == [4, 5, 6, 7]
    assert split.train.tolist() == [0, 1, 10, 11]
    assert purged_kfold(begin, begin + 2, 3, embargo=1)[1].train.tolist() == [0, 1, 11]
    assert purged_kfold(begin, begin, 3)[1].train.tolist() == [0, 1, 2, 3, 8, 9, 10, 11]


def test_a_long_label_is_purged_from_afar():
    begin = np.arange(12)
    end = begin.copy()
    end[0] = 6  # spans the beginning of the test rows 4 to 7
    assert 0 not in purged_kfold(begin, end, 3)[1].train
    end[0] = 3
    assert 0 in purged_kfold(begin, end, 3)[1].train


def test_groups_that_do_not_divide_evenly_give_the_longer_ones_first():
    begin = np.arange(11)
    assert [len(s.test) for s in purged_kfold(begin, begin, 3)] == [4, 4, 3]


def test_assembled_paths_hold_what_each_split_said():
    begin = np.arange(13)
    splits = combinatorial(begin, begin, 4, 2)
    paths = assemble(splits, [np.full(len(s.test), float(s.number)) for s in splits])
    assert paths[0].tolist() == [0.0] * 7 + [1.0] * 3 + [2.0] * 3
    assert paths.shape == (3, 13)


def test_anchored_walk_forward_by_hand():
    assert walk_forward(MOMENTS, 3, "anchored", 0.5, gap=2) == [
        Fold(0, ((100, 104),), 106, 108),
        Fold(1, ((100, 106),), 108, 110),
        Fold(2, ((100, 108),), 110, 112),
    ]


def test_rolling_walk_forward_keeps_its_length():
    assert walk_forward(MOMENTS, 3, "rolling", 0.5, gap=1) == [
        Fold(0, ((100, 105),), 106, 108),
        Fold(1, ((102, 107),), 108, 110),
        Fold(2, ((104, 109),), 110, 112),
    ]


def test_without_a_first_share_the_first_fold_teaches_nothing():
    folds = walk_forward(MOMENTS, 3, "anchored", 0.0)
    assert folds[0] == Fold(0, (), 100, 104)
    assert folds[1] == Fold(1, ((100, 104),), 104, 108)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: walk_forward(MOMENTS, 4, "anchored", 0.5), "too little data: 6 observations"),
        (lambda: walk_forward(MOMENTS[:3], 1, "anchored", 0.1), "no moment before the first"),
        (lambda: walk_forward(MOMENTS, 2, "anchored", 0.5, gap=6), "fold 0 has nothing to learn"),
        (lambda: walk_forward(MOMENTS, 2, "sliding"), "give one of anchored, rolling"),
        (lambda: walk_forward(MOMENTS, 2, "rolling", 1.0), "from 0 to below 1"),
        (lambda: walk_forward(MOMENTS[::-1], 2), "increasing"),
        (lambda: walk_forward(MOMENTS, 0), "give 1 or more"),
        (lambda: walk_forward(MOMENTS, 2, gap=-1), "0 or more"),
        (lambda: purged_kfold(MOMENTS, MOMENTS, 7), "too little data: 12 observations for 7"),
        (lambda: purged_kfold(MOMENTS, MOMENTS + 20, 3), r"tests groups \(0,\) has nothing"),
        (lambda: combinatorial(MOMENTS, MOMENTS, 4, 4), "give 1 or more, and fewer"),
        (lambda: combinatorial(MOMENTS, MOMENTS, 40, 20), "at most 20,000"),
        (lambda: combinatorial(MOMENTS, MOMENTS - 1, 3, 1), "no earlier than they begin"),
        (lambda: combinatorial(MOMENTS, MOMENTS[1:], 3, 1), "one begin and one end"),
        (lambda: combinatorial(MOMENTS, MOMENTS, 3, 1, -1), "embargo -1"),
    ],
)
def test_what_cannot_be_split_is_refused_in_one_line(call, says):
    with pytest.raises(InputError, match=says) as refused:
        call()
    assert "\n" not in str(refused.value)
