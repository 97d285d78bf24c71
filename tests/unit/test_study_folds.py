"""Folds by scheme: what teaches never touches what is tested."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import InputError
from tuning.study.folds import SCHEMES, make_folds

DAY = 86_400_000_000_000
# Days with gaps, as weekends are.
MOMENTS = np.cumsum(np.where(np.arange(300) % 5 == 4, 3, 1)) * DAY


def places(since: int, until: int) -> tuple[int, int]:
    return int(np.searchsorted(MOMENTS, since)), int(np.searchsorted(MOMENTS, until))


def test_walk_forward_tests_lie_after_their_training() -> None:
    for scheme in ("anchored", "rolling"):
        folds = make_folds(MOMENTS, scheme, 4, first_test_share=0.4)
        assert [places(f.test_from, f.test_until) for f in folds] == [
            (120, 165), (165, 210), (210, 255), (255, 300)
        ]  # fmt: skip
        starts = [places(*f.train[0]) for f in folds]
        first = 0 if scheme == "anchored" else 45
        assert starts[1] == (first, 165)


def test_a_gap_is_left_before_the_test() -> None:
    folds = make_folds(MOMENTS, "rolling", 4, first_test_share=0.4, gap=7)
    assert [places(*fold.train[0])[1] for fold in folds] == [113, 158, 203, 248]
    with pytest.raises(InputError, match="a gap of 120 moments takes all"):
        make_folds(MOMENTS, "rolling", 4, first_test_share=0.4, gap=120)


def test_k_fold_tests_everything_once() -> None:
    folds = make_folds(MOMENTS, "kfold", 3, embargo=4, horizon=5)
    assert [places(f.test_from, f.test_until) for f in folds] == [(0, 100), (100, 200), (200, 300)]
    # Labels of 5 moments before the test, and those of its last row, leave it alone; then 4 more.
    assert [places(*side) for side in folds[1].train] == [(0, 100), (209, 300)]
    assert [places(*side) for side in folds[0].train] == [(109, 300)]


def test_combinatorial_folds_share_their_stretches() -> None:
    folds = make_folds(MOMENTS, "cpcv", 6, tests=2)
    assert len(folds) == 2 * comb(6, 2)
    assert len({fold.test_from for fold in folds}) == 6
    assert [fold.number for fold in folds] == list(range(30))
    assert folds[0].train == folds[1].train


@given(
    scheme=st.sampled_from(SCHEMES),
    count=st.integers(60, 250),
    folds=st.integers(3, 6),
    horizon=st.integers(1, 6),
    guard=st.integers(0, 5),
)
def test_no_label_that_teaches_touches_a_test(
    scheme: str, count: int, folds: int, horizon: int, guard: int
) -> None:
    moments = MOMENTS[:count]
    ends = np.append(moments[horizon:], np.full(horizon, np.iinfo(np.int64).max))
    made = make_folds(moments, scheme, folds, gap=guard, embargo=guard, horizon=horizon)
    for fold in made:
        teaches = np.zeros(count, bool)
        for since, until in fold.train:
            teaches |= (moments >= since) & (ends < until)
        tested = (moments >= fold.test_from) & (moments < fold.test_until)
        assert teaches.any()
        assert tested.sum() >= 2
        rows = np.flatnonzero(teaches)
        inside = np.flatnonzero(tested)
        # Closed label intervals [i, i + horizon] against [first, last + horizon].
        before = rows + horizon < inside[0]
        after = rows > inside[-1] + horizon + guard
        assert (before | (after if scheme in ("kfold", "cpcv") else False)).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"scheme": "sideways", "folds": 3}, "give one of anchored, rolling, kfold, cpcv"),
        ({"scheme": "kfold", "folds": 200}, "too little data"),
        ({"scheme": "anchored", "folds": 100}, "too little data"),
        ({"scheme": "cpcv", "folds": 6, "tests": 6}, "6 of 6 groups"),
        ({"scheme": "kfold", "folds": 3, "embargo": -1}, "embargo -1"),
        ({"scheme": "kfold", "folds": 3, "embargo": 400}, "nothing to learn from"),
    ],
)
def test_what_cannot_be_is_said(arguments: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make_folds(MOMENTS, **arguments)
