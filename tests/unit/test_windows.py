"""Windows over mirrored rings against plain lists, numpy, scipy and TA-Lib."""

from __future__ import annotations

import numpy as np
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from data import windows as w
from data.daily_stocks import load_feed

CAPACITY, BASE = 13, 3
RNG = np.random.default_rng(5)
number_lists = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=60)


def _filled(values, capacity=CAPACITY):
    """A mirrored ring that has taken ``values``, and the place of the last."""
    state = np.zeros(BASE + 2 * capacity + 2)
    for i, value in enumerate(values):
        w.mirror_put(state, BASE, capacity, w.ring_place(i + 1, capacity), value)
    assert (state[:BASE] == 0.0).all()
    assert (state[BASE + 2 * capacity :] == 0.0).all()
    return state, w.ring_place(len(values), capacity)


@settings(deadline=None)
@given(number_lists, st.data())
def test_a_window_holds_the_last_values_oldest_first(values, data):
    state, place = _filled(values)
    n = data.draw(st.integers(1, min(len(values), CAPACITY)))
    start = w.window_start(BASE, CAPACITY, place, n)
    assert state[start : start + n].tolist() == values[-n:]


@settings(deadline=None)
@given(number_lists, st.data())
def test_a_statistic_depends_on_its_window_alone(values, data):
    """The bits do not depend on what the ring held before, nor on where the window lies."""
    n = data.draw(st.integers(1, min(len(values), CAPACITY)))
    state, place = _filled(values)
    start = w.window_start(BASE, CAPACITY, place, n)
    alone = np.array(values[-n:])
    for statistic in (w.window_sum, w.window_magnitude, w.window_mean_std):
        assert statistic(state, start, n) == statistic(alone, 0, n)
    assert w.window_rank(state, start, n, values[-1]) == w.window_rank(alone, 0, n, values[-1])
    assert w.window_product(state, start, start, n) == w.window_product(alone, 0, 0, n)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 20, 42, 63])
def test_statistics_equal_numpy_and_scipy(n):
    x, y = RNG.normal(3.0, 2.0, n), RNG.normal(size=n)
    state = np.concatenate([x, y])
    assert w.window_sum(state, 0, n) == pytest.approx(x.sum(), rel=1e-13)
    assert w.window_magnitude(state, n, n) == pytest.approx(np.abs(y).sum(), rel=1e-13)
    assert w.window_product(state, 0, n, n) == pytest.approx(x @ y, rel=1e-12, abs=1e-12)
    path = np.abs(np.diff(state[: n + 1])).sum()
    assert w.window_path(state, 0, n) == pytest.approx(path, rel=1e-13)
    gap_x, gap_y = x - 1.5, y + 0.5
    moments = (gap_x @ gap_x, gap_x @ gap_y, gap_y @ gap_y)
    assert w.window_moments(state, 0, n, n, 1.5, -0.5) == pytest.approx(moments, rel=1e-12)
    assert w.window_mean_std(state, 0, n) == pytest.approx((x.mean(), x.std()), rel=1e-12)
    rank = stats.percentileofscore(x, x[-1], "mean") / 100.0
    assert w.window_rank(state, 0, n, x[-1]) == pytest.approx(rank)


def test_the_order_of_a_sum_is_the_declared_one():
    x = RNG.normal(size=11) * 10.0 ** RNG.integers(-8, 8, 11)
    for n, whole in ((11, 8), (8, 4), (9, 8)):
        lanes = [x[i] + (x[i + 4] if whole == 8 else 0.0) for i in range(4)]
        total = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3])
        for rest in x[whole:n]:
            total += rest
        assert w.window_sum(x, 0, n) == total


def test_rank_counts_ties_one_half():
    state = np.array([1.0, 2.0, 2.0, 3.0])
    assert w.window_rank(state, 0, 4, 2.0) == 0.5
    assert w.window_rank(np.full(4, 2.0), 0, 4, 2.0) == 0.5
    assert w.window_rank(state, 0, 4, 9.0) == 1.0
    assert w.window_rank(state, 0, 4, 0.0) == 0.0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=60))
def test_a_value_is_ranked_as_it_enters_a_plain_ring(values):
    state = np.zeros(BASE + CAPACITY + 1)
    for i, value in enumerate(values):
        last = np.array(values[max(0, i + 1 - CAPACITY) : i + 1], float)
        rank = w.ring_put_rank(state, BASE, CAPACITY, i + 1, float(value))
        assert rank == w.window_rank(last, 0, len(last), float(value))
        held = state[BASE : BASE + min(i + 1, CAPACITY)]
        assert sorted(held) == sorted(last)
    assert (state[:BASE] == 0.0).all()
    assert state[-1] == 0.0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=90), st.integers(1, 20))
def test_a_sliding_maximum_equals_a_plain_scan(values, length):
    state = np.zeros(BASE + length + 3)
    for i, value in enumerate(values):
        place = w.ring_place(i + 1, length)
        w.block_max_put(state, BASE, length, place, value)
        if i + 1 >= length:
            assert w.block_max(state, BASE, length, place) == max(values[i + 1 - length : i + 1])
    assert (state[:BASE] == 0.0).all()
    assert (state[BASE + length + 1 :] == 0.0).all()


def test_windows_equal_ta_libs_on_real_closes():
    closes = load_feed(symbols=["IBM"]).bars["close"].astype(np.float64)
    capacity, length = 23, 20
    state, highest, lowest = (np.zeros(2 * capacity) for _ in range(3))
    top, bottom = talib.MAX(closes, length), talib.MIN(closes, length)
    upper, middle, lower = talib.BBANDS(closes, length, 2.0, 2.0)
    for i, close in enumerate(closes):
        place, block = w.ring_place(i + 1, capacity), w.ring_place(i + 1, length)
        w.mirror_put(state, 0, capacity, place, close)
        w.block_max_put(highest, 0, length, block, close)
        w.block_max_put(lowest, 0, length, block, -close)
        if i < length:
            continue
        assert w.block_max(highest, 0, length, block) == top[i]
        assert -w.block_max(lowest, 0, length, block) == bottom[i]
        start = w.window_start(0, capacity, place, length)
        mean, deviation = w.window_mean_std(state, start, length)
        assert mean == pytest.approx(middle[i], rel=1e-12)
        assert deviation == pytest.approx((upper[i] - lower[i]) / 4.0, rel=1e-6)
