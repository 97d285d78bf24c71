"""Streaming features over arrays: one value in, one value out, no look-ahead.

Definitions and warm-up follow TA-Lib (its default, unstable period 0), so that a reader can check
any of them against a known library. A plain ring holds the last ``capacity`` values of a series at
``state[base:base + capacity]``; ``count`` is the number of values written, the latest included.
Windows over many values want the rings of ``data.windows``.
"""

from __future__ import annotations

from data.compiled import proven_inline_njit


@proven_inline_njit
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


@proven_inline_njit
def wilder_step(value, count, x, period):
    """Wilder's average of the ``count``-th value, seeded like ``ema_step``, decay 1/period."""
    if count < period:
        return value + x
    if count == period:
        return (value + x) / period
    return (value * (period - 1.0) + x) / period


@proven_inline_njit
def ring_put(state, base, capacity, count, x):
    """Writes the ``count``-th value (counted from 1), over the oldest one when full."""
    state[base + (count - 1) % capacity] = x


@proven_inline_njit
def ring_at(state, base, capacity, count, lag):
    """The value ``lag`` places before the latest; the caller keeps lag < min(count, capacity)."""
    return state[base + (count - 1 - lag) % capacity]
