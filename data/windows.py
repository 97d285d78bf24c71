"""Windows over mirrored rings: the last n values of a series always stand side by side.

A ring of ``capacity`` values takes ``2 * capacity`` numbers at ``state[base:]``. Each value is
written twice, ``capacity`` apart, so a window never wraps around: it is
``state[start : start + n]``, oldest first, and a loop over it can run four values at a time.

Every statistic is computed anew from its window, so it cannot drift and depends on the window
alone. Sums have the order of ``data.folds`` over the first values, in fours; the last one to four
of them are added then, one by one. A window holds at least one value.
"""

from __future__ import annotations

import math

from data.compiled import proven_inline_njit
from data.folds import (
    fold_counts,
    fold_distance,
    fold_magnitude,
    fold_moments,
    fold_product,
    fold_squares,
    fold_sum,
)


@proven_inline_njit
def ring_place(count, capacity):
    """Where the ``count``-th value (counted from 1) stands in a ring, in [0, capacity)."""
    return (count - 1) % capacity


@proven_inline_njit
def mirror_put(state, base, capacity, place, x):
    """Writes a value at its ``place``, over the oldest one when the ring is full."""
    state[base + place] = x
    state[base + capacity + place] = x


@proven_inline_njit
def window_start(base, capacity, place, n):
    """Index of the oldest of the last ``n`` <= capacity values, the latest being at ``place``."""
    return max(base + capacity + place + 1 - n, 0)


@proven_inline_njit
def _whole(n):
    """How many of ``n`` values are folded in fours: never the newest.

    It has mostly just been written, and a wider read of it would wait for that write.
    """
    return (n - 1) // 4 * 4


@proven_inline_njit
def window_sum(state, start, n):
    """Sum of ``n`` values from ``start``."""
    total = fold_sum(state, start, start, (n - 1) // 4, 0.0, 0.0)[0]
    for i in range(start + _whole(n), start + n):
        total += state[i]
    return total


@proven_inline_njit
def window_magnitude(state, start, n):
    """Sum of the absolute values of ``n`` values."""
    total = fold_magnitude(state, start, start, (n - 1) // 4, 0.0, 0.0)[0]
    for i in range(start + _whole(n), start + n):
        total += abs(state[i])
    return total


@proven_inline_njit
def window_path(state, start, n):
    """Sum of the absolute changes between neighbours, the ``n`` that follow ``start``."""
    total = fold_distance(state, start + 1, start, (n - 1) // 4, 0.0, 0.0)[0]
    for i in range(start + _whole(n), start + n):
        total += abs(state[i + 1] - state[i])
    return total


@proven_inline_njit
def window_product(state, x_start, y_start, n):
    """Sum of x y over two windows of ``n`` values."""
    total = fold_product(state, x_start, y_start, (n - 1) // 4, 0.0, 0.0)[0]
    for i in range(_whole(n), n):
        total += state[x_start + i] * state[y_start + i]
    return total


@proven_inline_njit
def window_mean_std(state, start, n):
    """Mean and population standard deviation of ``n`` >= 1 values from ``start``.

    Two passes: running sums of squares cancel badly for prices that are large against their moves.
    """
    mean = window_sum(state, start, n) / n
    squares = fold_squares(state, start, start, (n - 1) // 4, mean, 0.0)[0]
    for i in range(start + _whole(n), start + n):
        squares += (state[i] - mean) * (state[i] - mean)
    return mean, math.sqrt(squares / n)


@proven_inline_njit
def window_moments(state, x_start, y_start, n, mean_x, mean_y):
    """Sums of squares and products about the means: (x x, x y, y y) over two windows."""
    xx, xy, yy = fold_moments(state, x_start, y_start, (n - 1) // 4, mean_x, mean_y)
    for i in range(_whole(n), n):
        x, y = state[x_start + i] - mean_x, state[y_start + i] - mean_y
        xx += x * x
        xy += x * y
        yy += y * y
    return xx, xy, yy


@proven_inline_njit
def window_rank(state, start, n, value):
    """Empirical distribution function at ``value`` over ``n`` >= 1 values, in [0, 1].

    Ties count one half, so that a constant history ranks its own value in the middle. The counts
    are whole numbers: the order of the values does not matter.
    """
    return 0.5 * _twice_below(state, start, n, value) / n


@proven_inline_njit
def _twice_below(state, start, n, value):
    """Twice the number of values below ``value``, ties once."""
    fours = n // 8
    first, second = fold_counts(state, start, start + 4 * fours, fours, value, 0.0)
    twice = first + second
    for i in range(start + 8 * fours, start + n):
        twice += _twice(state[i], value)
    return twice


@proven_inline_njit
def _twice(other, value):
    return (1.0 if other < value else 0.0) + (1.0 if other <= value else 0.0)


@proven_inline_njit
def ring_put_rank(state, base, capacity, count, value):
    """Puts the ``count``-th value into a plain ring (``data.features``); returns its rank in it.

    The rank of ``window_rank`` among the last min(count, capacity) values, its own included.
    Counted before the value is written: what has just been written cannot be read four at a time
    without a wait.
    """
    place = base + ring_place(count, capacity)
    twice = 1.0  # the value itself is a tie
    if count > capacity:
        twice += _twice_below(state, base, capacity, value) - _twice(state[place], value)
    else:
        twice += _twice_below(state, base, count - 1, value)
    state[place] = value
    return 0.5 * twice / min(count, capacity)


@proven_inline_njit
def block_max_put(state, base, length, place, x):
    """Takes a value into a sliding maximum; ``place`` is its ``ring_place`` in ``length``.

    The scheme of van Herk (1992) and Gil and Werman (1993): ``state[base]`` is the maximum of the
    block being filled; after it the slots below the block's end hold its values, and those not
    yet reached the maxima of the block before from there to its end. ``length + 1`` numbers.
    """
    state[base] = x if place == 0 else max(state[base], x)
    state[base + 1 + place] = x
    if place == length - 1:
        for i in range(base + length - 1, base, -1):
            state[i] = max(state[i], state[i + 1])


@proven_inline_njit
def block_max(state, base, length, place):
    """Maximum of the last ``length`` values, the latest at ``place``; so many must be there."""
    if place == length - 1:
        return state[base]
    return max(state[base], state[base + 2 + place])
