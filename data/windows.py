"""Windows over mirrored rings: the last n values of a series always stand side by side.

A ring of ``capacity`` values takes ``2 * capacity`` numbers at ``state[base:]``. Each value is
written twice, ``capacity`` apart, so a window never wraps around: it is
``state[start : start + n]``, oldest first, and a loop over it can run four values at a time.

Every statistic is computed anew from its window, so it cannot drift and depends on the window
alone. Sums run in four lanes, value i of the window in lane i mod 4, added as (0 + 1) + (2 + 3);
what is left of n after whole fours is added then, one by one: a fixed order on every machine.
"""

from __future__ import annotations

import math

from data.compiled import proven_inline_njit, proven_njit
from data.vector_math import abs4, add4, load4, mul4, sub4, total4

_ZERO = (0.0, 0.0, 0.0, 0.0)


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
def window_sum(state, start, n):
    """Sum of ``n`` values from ``start``."""
    lanes = _ZERO
    whole = start + n - n % 4
    for i in range(start, whole, 4):
        lanes = add4(lanes, load4(state, i))
    total = total4(lanes)
    for i in range(whole, start + n):
        total += state[i]
    return total


@proven_inline_njit
def window_distance(state, start, n):
    """Sum of the absolute values of ``n`` values."""
    lanes = _ZERO
    whole = start + n - n % 4
    for i in range(start, whole, 4):
        lanes = add4(lanes, abs4(load4(state, i)))
    total = total4(lanes)
    for i in range(whole, start + n):
        total += abs(state[i])
    return total


@proven_inline_njit
def window_product(state, x_start, y_start, n):
    """Sum of x y over two windows of ``n`` values."""
    lanes = _ZERO
    whole = n - n % 4
    for i in range(0, whole, 4):
        lanes = add4(lanes, mul4(load4(state, x_start + i), load4(state, y_start + i)))
    total = total4(lanes)
    for i in range(whole, n):
        total += state[x_start + i] * state[y_start + i]
    return total


@proven_inline_njit
def window_squares(state, start, n, mean):
    """Sum of squared distances of ``n`` values from ``mean``."""
    means = (mean, mean, mean, mean)
    lanes = _ZERO
    whole = start + n - n % 4
    for i in range(start, whole, 4):
        gap = sub4(load4(state, i), means)
        lanes = add4(lanes, mul4(gap, gap))
    total = total4(lanes)
    for i in range(whole, start + n):
        total += (state[i] - mean) * (state[i] - mean)
    return total


@proven_inline_njit
def window_mean_std(state, start, n):
    """Mean and population standard deviation of ``n`` >= 1 values from ``start``.

    Two passes: running sums of squares cancel badly for prices that are large against their moves.
    """
    mean = window_sum(state, start, n) / n
    return mean, math.sqrt(window_squares(state, start, n, mean) / n)


@proven_njit
def window_rank(state, start, n, value):
    """Empirical distribution function at ``value`` over ``n`` >= 1 values, in [0, 1].

    Ties count one half, so that a constant history ranks its own value in the middle. The count
    is of integers: the order of the values does not matter.
    """
    twice = 0
    for i in range(max(start, 0), max(start, 0) + n):
        twice += (state[i] < value) + (state[i] <= value)
    return 0.5 * twice / n


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
