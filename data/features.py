"""Streaming features over arrays: one value in, one value out, no look-ahead.

Definitions and warm-up follow TA-Lib (its default, unstable period 0), so that a reader can check
any of them against a known library. A ring holds the last ``capacity`` values of a series at
``state[base:base + capacity]``; ``count`` is the number of values written, the latest included.
"""

from __future__ import annotations

import math

from numba import njit


@njit(cache=True)
def ema_step(value, count, x, period):
    """Exponential moving average of the ``count``-th value ``x`` (counted from 1).

    TA-Lib's EMA: seeded with the plain mean of the first ``period`` values, then
    value + 2 / (period + 1) (x - value). Before ``count == period`` the returned number is the
    running sum and no average yet.
    """
    if count < period:
        return value + x
    if count == period:
        return (value + x) / period
    return value + (2.0 / (period + 1.0)) * (x - value)


@njit(cache=True)
def wilder_step(value, count, x, period):
    """Wilder's average of the ``count``-th value, seeded like ``ema_step``, decay 1/period."""
    if count < period:
        return value + x
    if count == period:
        return (value + x) / period
    return (value * (period - 1.0) + x) / period


@njit(cache=True)
def ring_put(state, base, capacity, count, x):
    """Writes the ``count``-th value (counted from 1), over the oldest one when full."""
    state[base + (count - 1) % capacity] = x


@njit(cache=True)
def ring_at(state, base, capacity, count, lag):
    """The value ``lag`` places before the latest; the caller keeps lag < min(count, capacity)."""
    return state[base + (count - 1 - lag) % capacity]


@njit(cache=True)
def ring_max(state, base, capacity, count, first, length):
    """Largest of ``length`` values, from lag ``first`` backwards."""
    place = (count - 1 - first) % capacity
    best = -math.inf
    for _ in range(length):
        best = max(best, state[base + place])
        place = place - 1 if place > 0 else capacity - 1
    return best


@njit(cache=True)
def ring_min(state, base, capacity, count, first, length):
    """Smallest of ``length`` values, from lag ``first`` backwards."""
    place = (count - 1 - first) % capacity
    best = math.inf
    for _ in range(length):
        best = min(best, state[base + place])
        place = place - 1 if place > 0 else capacity - 1
    return best


@njit(cache=True)
def ring_mean_std(state, base, capacity, count, length):
    """Mean and population standard deviation of the last ``length`` values, oldest first.

    Two passes: running sums of squares cancel badly for prices that are large against their moves.
    """
    oldest = (count - length) % capacity
    place = oldest
    total = 0.0
    for _ in range(length):
        total += state[base + place]
        place = place + 1 if place < capacity - 1 else 0
    mean = total / length
    place = oldest
    squares = 0.0
    for _ in range(length):
        gap = state[base + place] - mean
        squares += gap * gap
        place = place + 1 if place < capacity - 1 else 0
    return mean, math.sqrt(squares / length)
