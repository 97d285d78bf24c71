"""The parametrised trading rules that a champion may use. Each turns a stream into one signal.

A positive signal expects a rise, a negative one a fall, about one in size when the rule is sure:

EMA_CROSS   (fast, slow)    (EMA_fast - EMA_slow) / (close sigma sqrt(slow)), TA-Lib's EMA
DONCHIAN    (entry, exit)   +1 from a close above the highest high of the ``entry`` bars before it
                            until a close below the lowest low of ``exit`` bars; -1 the other way
RSI         (period, width) (50 - RSI) / width: buys what has been sold; Wilder (1978)
BOLLINGER   (period, width) (mean - close) / (width sd): towards the middle of Bollinger's bands

A rule has SLOT numbers of memory of its own, besides what all rules share: the rings of closes,
highs and lows, and sigma.
"""

from __future__ import annotations

import math

from numba import njit

from data.features import ema_step, ring_at, ring_max, ring_mean_std, ring_min, wilder_step

EMA_CROSS, DONCHIAN, RSI, BOLLINGER = range(4)
RULE_NAMES = ("ema_cross", "donchian", "rsi", "bollinger")
PARAMETER_NAMES = (("fast", "slow"), ("entry", "exit"), ("period", "width"), ("period", "width"))
# The rings hold one bar more than the longest look-back, for rules that leave out the last bar.
MAX_PERIOD = 126
RING = MAX_PERIOD + 1

# A rule's memory: bars it has seen, and two numbers that mean what the rule wants them to mean.
SLOT = 3
_SEEN, _A, _B = range(SLOT)


@njit(cache=True)
def rule_update(rule, first, second, state, slot, rings, count, close):
    """Takes bar number ``count`` into the slot; the rings hold it and what came before it."""
    seen = int(state[slot + _SEEN]) + 1
    state[slot + _SEEN] = seen
    if rule == EMA_CROSS:
        state[slot + _A] = ema_step(state[slot + _A], seen, close, first)
        state[slot + _B] = ema_step(state[slot + _B], seen, close, second)
    elif rule == RSI:
        if seen > 1:
            move = close - ring_at(state, rings, RING, count, 1)
            gain, loss = max(move, 0.0), max(-move, 0.0)
            state[slot + _A] = wilder_step(state[slot + _A], seen - 1, gain, first)
            state[slot + _B] = wilder_step(state[slot + _B], seen - 1, loss, first)
    elif rule == DONCHIAN and seen > max(first, second):
        held = state[slot + _A]
        state[slot + _A] = _donchian(held, first, second, state, rings, count, close)


@njit(cache=True)
def _donchian(held, entry, leave, state, rings, count, close):
    """The position after the latest bar: -1, 0 or +1."""
    highs, lows = rings + RING, rings + 2 * RING
    if close > ring_max(state, highs, RING, count, 1, int(entry)):
        return 1.0
    if close < ring_min(state, lows, RING, count, 1, int(entry)):
        return -1.0
    if held > 0.0 and close < ring_min(state, lows, RING, count, 1, int(leave)):
        return 0.0
    if held < 0.0 and close > ring_max(state, highs, RING, count, 1, int(leave)):
        return 0.0
    return held


@njit(cache=True)
def rule_signal(rule, first, second, state, slot, rings, count, close, sigma):
    """(ready, signal) after ``rule_update``; not ready while warming up or without variation."""
    seen = int(state[slot + _SEEN])
    if rule == EMA_CROSS:
        if seen < max(first, second):
            return False, 0.0
        gap = (state[slot + _A] - state[slot + _B]) / close
        return True, gap / (sigma * math.sqrt(second))
    if rule == DONCHIAN:
        return seen > max(first, second), state[slot + _A]
    if rule == RSI:
        total = state[slot + _A] + state[slot + _B]
        if seen <= first or total <= 0.0:
            return False, 0.0
        return True, (50.0 - 100.0 * state[slot + _A] / total) / second
    if seen < first:
        return False, 0.0
    mean, deviation = ring_mean_std(state, rings, RING, count, int(first))
    if deviation <= 0.0:
        return False, 0.0
    return True, (mean - close) / (second * deviation)
