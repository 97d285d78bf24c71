"""The parametrised trading rules that a champion may use. Each turns a stream into one signal.

A positive signal expects a rise, a negative one a fall, about one in size when the rule is sure:

EMA_CROSS   (fast, slow)    (EMA_fast - EMA_slow) / (close sigma sqrt(slow)), TA-Lib's EMA
DONCHIAN    (entry, exit)   +1 from a close above the highest high of the ``entry`` bars before it
                            until a close below the lowest low of ``exit`` bars; -1 the other way
RSI         (period, width) (50 - RSI) / width: buys what has been sold; Wilder (1978)
BOLLINGER   (period, width) (mean - close) / (width sd): towards the middle of Bollinger's bands

A rule has SLOT numbers of memory of its own, besides what all rules share: the mirrored rings of
closes, highs and lows (``data.windows``), and sigma. ``at`` is where a bar's close stands.
"""

from __future__ import annotations

import math

from actors.space import Choice, Config, Constraint, Integer, Real, Space, When
from data.compiled import inline_njit
from data.features import ema_step, wilder_step
from data.windows import window_mean_std

EMA_CROSS, DONCHIAN, RSI, BOLLINGER = range(4)
RULE_NAMES = ("ema_cross", "donchian", "rsi", "bollinger")
PARAMETER_NAMES = (("fast", "slow"), ("entry", "exit"), ("period", "width"), ("period", "width"))
# The rings hold one bar more than the longest look-back, for rules that leave out the last bar.
MAX_PERIOD = 126
RING = MAX_PERIOD + 1


def _faster(config: Config) -> bool:
    return float(config["fast"]) < float(config["slow"])


def _leaves_sooner(config: Config) -> bool:
    return float(config["exit"]) <= float(config["entry"])


def _of(rule: int) -> When:
    return When(parameter="rule", equals=RULE_NAMES[rule])


# What a study may search: one rule and its own two parameters. RSI and Bollinger name theirs alike,
# so a configuration carries the rule's name in front: ``rsi_period``.
SPACE = Space(
    {
        "rule": Choice(RULE_NAMES, RULE_NAMES[EMA_CROSS]),
        "fast": Integer(2, 60, 20, log=True, when=_of(EMA_CROSS)),
        "slow": Integer(5, MAX_PERIOD, 100, log=True, when=_of(EMA_CROSS)),
        "entry": Integer(5, MAX_PERIOD, 55, log=True, when=_of(DONCHIAN)),
        "exit": Integer(2, MAX_PERIOD, 20, log=True, when=_of(DONCHIAN)),
        "rsi_period": Integer(2, 60, 14, log=True, when=_of(RSI)),
        "rsi_width": Real(5.0, 50.0, 20.0, log=True, when=_of(RSI)),
        "bollinger_period": Integer(5, MAX_PERIOD, 20, log=True, when=_of(BOLLINGER)),
        "bollinger_width": Real(0.5, 4.0, 2.0, log=True, when=_of(BOLLINGER)),
    },
    [Constraint("fast < slow", _faster), Constraint("exit <= entry", _leaves_sooner)],
)


def rule_of(config: Config) -> Config:
    """The rule of a configuration of SPACE, its parameters by the names of PARAMETER_NAMES."""
    name = str(config["rule"])
    chosen: Config = {"rule": name}
    for parameter in PARAMETER_NAMES[RULE_NAMES.index(name)]:
        own = f"{name}_{parameter}"
        chosen[parameter] = config[own] if own in config else config[parameter]
    return chosen


# A rule's memory: bars it has seen, and two numbers that mean what the rule wants them to mean.
SLOT = 3
_SEEN, _A, _B = range(SLOT)


# From a bar's close to its high and its low.
TO_HIGH, TO_LOW = 2 * RING, 4 * RING


@inline_njit
def rule_update(rule, first, second, state, slot, at):
    """Takes the bar at ``at`` into the slot; the rings hold it and what came before it."""
    seen = int(state[slot + _SEEN]) + 1
    state[slot + _SEEN] = seen
    if rule == EMA_CROSS:
        state[slot + _A] = ema_step(state[slot + _A], seen, state[at], first)
        state[slot + _B] = ema_step(state[slot + _B], seen, state[at], second)
    elif rule == RSI:
        if seen > 1:
            move = state[at] - state[at - 1]
            gain, loss = max(move, 0.0), max(-move, 0.0)
            state[slot + _A] = wilder_step(state[slot + _A], seen - 1, gain, first)
            state[slot + _B] = wilder_step(state[slot + _B], seen - 1, loss, first)
    elif rule == DONCHIAN and seen > max(first, second):
        state[slot + _A] = _donchian(state[slot + _A], int(first), int(second), state, at)


@inline_njit
def _donchian(held, entry, leave, state, at):
    """The position after the bar at ``at``: -1, 0 or +1."""
    longest = max(entry, leave)
    above = _highs_below(state, at, longest)
    if above >= entry:
        return 1.0
    below = _lows_above(state, at, longest)
    if below >= entry:
        return -1.0
    if held > 0.0 and below >= leave:
        return 0.0
    if held < 0.0 and above >= leave:
        return 0.0
    return held


@inline_njit
def _highs_below(state, at, limit):
    """How many bars in a row before ``at`` have a high below its close, at most ``limit``.

    A close above the highest high of n bars is one with at least n such bars; the count mostly
    ends after a few.
    """
    close, high = state[at], at + TO_HIGH - 1
    n = 0
    while n < limit and state[high - n] < close:
        n += 1
    return n


@inline_njit
def _lows_above(state, at, limit):
    """How many bars in a row before ``at`` have a low above its close, at most ``limit``."""
    close, low = state[at], at + TO_LOW - 1
    n = 0
    while n < limit and state[low - n] > close:
        n += 1
    return n


@inline_njit
def rule_signal(rule, first, second, state, slot, at, sigma):
    """(ready, signal) after ``rule_update``; not ready while warming up or without variation."""
    seen = int(state[slot + _SEEN])
    if rule == EMA_CROSS:
        if seen < max(first, second):
            return False, 0.0
        gap = (state[slot + _A] - state[slot + _B]) / state[at]
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
    mean, deviation = window_mean_std(state, at + 1 - int(first), int(first))
    if deviation <= 0.0:
        return False, 0.0
    return True, (mean - state[at]) / (second * deviation)
