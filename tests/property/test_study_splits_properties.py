"""No split lets a training row know anything of its test, whatever the labels are."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from data.errors import InputError
from tuning.study.splits import assemble, combinatorial, walk_forward


@st.composite
def labels(draw):
    """(begin, end) sorted by begin, of uneven spacing and length, overlapping at will."""
    rows = draw(st.integers(8, 40))
    gaps = draw(st.lists(st.integers(0, 5), min_size=rows, max_size=rows))
    lengths = draw(st.lists(st.integers(0, 12), min_size=rows, max_size=rows))
    begin = np.cumsum(gaps)
    return begin, begin + np.array(lengths)


@given(labels(), st.integers(2, 4), st.integers(1, 3), st.integers(0, 6))
def test_training_rows_never_touch_a_test_label_or_its_embargo(drawn, groups, tests, embargo):
    begin, end = drawn
    assume(tests < groups)
    try:
        splits = combinatorial(begin, end, groups, tests, embargo)
    except InputError:
        return  # everything was purged: refused, not leaked
    tested = np.zeros(len(begin), int)
    for split in splits:
        assert not set(split.train) & set(split.test)
        tested[split.test] += 1
        for row in split.train:
            overlaps = (begin[row] <= end[split.test]) & (end[row] >= begin[split.test])
            assert not overlaps.any()
            late = begin[row] - end[split.test]
            assert not ((late > 0) & (late <= embargo)).any()
        # Nothing more is dropped than the rule asks for.
        dropped = np.setdiff1d(np.arange(len(begin)), np.concatenate([split.train, split.test]))
        for row in dropped:
            near = (begin[row] <= end[split.test] + embargo) & (end[row] >= begin[split.test])
            assert near.any()
    assert len(set(tested)) == 1  # every row is tested equally often


@given(st.integers(2, 7), st.integers(1, 6), st.integers(14, 40))
def test_every_path_holds_each_observation_once(groups, tests, rows):
    assume(tests < groups)
    times = np.arange(rows)
    splits = combinatorial(times, times, groups, tests)
    paths = assemble(splits, [split.test.astype(float) for split in splits])
    assert (paths == times).all()
    by_split = assemble(splits, [np.full(len(s.test), float(s.number)) for s in splits])
    for column in by_split.T:  # no path repeats another's source for the same row
        assert len(set(column)) == len(column)


@given(
    st.lists(st.integers(1, 9), min_size=6, max_size=40),
    st.integers(1, 5),
    st.sampled_from(["anchored", "rolling"]),
    st.floats(0.0, 0.8),
    st.integers(0, 10),
)
@settings(max_examples=200)
def test_walk_forward_learns_before_it_is_tested(gaps, folds, scheme, share, gap):
    moments = np.cumsum(gaps)
    try:
        found = walk_forward(moments, folds, scheme, share, gap)
    except InputError:
        return
    assert len(found) == folds
    assert found[-1].test_until == moments[-1] + 1
    for one, after in pairwise(found):
        assert one.test_until == after.test_from
    for fold in found:
        for since, until in fold.train:
            assert moments[0] <= since < until <= fold.test_from - gap
        assert ((moments >= fold.test_from) & (moments < fold.test_until)).sum() >= 2
