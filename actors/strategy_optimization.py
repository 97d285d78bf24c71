"""Strategy optimization: the champion rules in force, each heard most in the regime it suits.

A champion is an immutable row: a rule with parameters (``actors.rules``), the regime it prefers,
and a link from its signal to (down, flat, up) fitted on bars before it came into force. The
champions' forecasts are mixed linearly (Stone 1961, the opinion pool) with weights

    w_i  proportional to  exp(a_i z_trend + b_i z_vol)

from two regime numbers, each about one wide:

- trend efficiency (Kaufman 1995): |c_t - c_{t-20}| / sum of |one-bar moves|, 1 for a straight
  line; z_trend = (efficiency - 0.22) / 0.16, the mean and deviation under a random walk;
- volatility regime: z_vol = ln(sigma_20 / sigma_100) / 0.35, short against long exponentially
  weighted volatility (half-lives 20 and 100 bars).

Trend rules prefer efficient markets and reversion rules inefficient ones, both calm ones; the
preferences are declared in the champion, not fitted here.

A champion's memory belongs to its rule and parameters: when another rule takes its slot, the slot
starts empty and the rule runs over the last 126 bars, which the rings hold (its declared warm-up),
so a new champion speaks at once and never reads another's memory. Without champions the agent
abstains with NO_CHAMPION.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from actors.contract import OUT_FIXED, REASON, STATUS, AgentSpec, Floats, Reason, Status
from actors.link import link
from actors.outcome import update_variance
from actors.rules import (
    MAX_PERIOD,
    PARAMETER_NAMES,
    RING,
    RULE_NAMES,
    SLOT,
    rule_signal,
    rule_update,
)
from data.features import ring_at, ring_put

# A champion's row in params.
RULE, FIRST, SECOND, TREND_TASTE, VOL_TASTE = range(5)
LINK = 5
LINK_WIDTH = 6  # one feature: (b, w) for down, flat, up
CHAMPION_WIDTH = LINK + LINK_WIDTH
MAX_CHAMPIONS = 8

WARM_UP = MAX_PERIOD
EFFICIENCY_LENGTH = 20
EFFICIENCY_MEAN, EFFICIENCY_DEVIATION = 0.22, 0.16
LONG_DECAY = 0.5 ** (1.0 / 100.0)
VOLATILITY_DEVIATION = 0.35
REGIME_CLIP = 3.0

# The state row: counts and volatilities, the rings (closes, highs, lows), then per slot the rule
# and parameters it belongs to, followed by the rule's own memory.
_COUNT, _VARIANCE, _WEIGHT, _LONG, _LONG_WEIGHT = range(5)
_RINGS = 5
_SLOTS = _RINGS + 3 * RING
_OWNER = 3
_SLOT_WIDTH = _OWNER + SLOT
STATE_WIDTH = _SLOTS + MAX_CHAMPIONS * _SLOT_WIDTH

_EFFICIENCY, _VOL_REGIME, _SPOKE = OUT_FIXED, OUT_FIXED + 1, OUT_FIXED + 2
_SIGNALS = OUT_FIXED + 3
_MIXED = _SIGNALS + MAX_CHAMPIONS  # total regime weight of the champions that spoke
_VOTED, _ABSTAINED = int(Status.VOTED), int(Status.ABSTAINED)
_WARMING_UP, _NO_CHAMPION = int(Reason.WARMING_UP), int(Reason.NO_CHAMPION)
_DEGENERATE = int(Reason.DEGENERATE)


@njit(cache=True)
def update(params, state, bar):
    """Takes the bar into the state row and every champion's slot; returns the bars seen."""
    count = int(state[_COUNT]) + 1
    state[_COUNT] = count
    close = float(bar["close"])
    if count > 1:
        log_return = math.log(close / ring_at(state, _RINGS, RING, count - 1, 0))
        state[_VARIANCE], state[_WEIGHT] = update_variance(
            state[_VARIANCE], state[_WEIGHT], log_return
        )
        fresh = 1.0 - LONG_DECAY
        state[_LONG] = LONG_DECAY * state[_LONG] + fresh * log_return * log_return
        state[_LONG_WEIGHT] = LONG_DECAY * state[_LONG_WEIGHT] + fresh
    ring_put(state, _RINGS, RING, count, close)
    ring_put(state, _RINGS + RING, RING, count, float(bar["high"]))
    ring_put(state, _RINGS + 2 * RING, RING, count, float(bar["low"]))
    for i in range(params.shape[0] // CHAMPION_WIDTH):
        row, slot = i * CHAMPION_WIDTH, _SLOTS + i * _SLOT_WIDTH
        first_lag = 0
        if not _owns(params, row, state, slot):
            _claim(params, row, state, slot)
            first_lag = min(count, RING) - 1
        for lag in range(first_lag, -1, -1):
            rule_update(
                int(params[row]),
                params[row + FIRST],
                params[row + SECOND],
                state,
                slot + _OWNER,
                _RINGS,
                count - lag,
                ring_at(state, _RINGS, RING, count, lag),
            )
    return count


@njit(cache=True)
def _owns(params, row, state, slot):
    """Whether the slot's memory is that of the champion's rule and parameters."""
    # Rules count from 0 and an unused slot is all zeros, so the owner is stored one higher.
    same = state[slot] == params[row] + 1.0
    same = same and state[slot + 1] == params[row + FIRST]
    return same and state[slot + 2] == params[row + SECOND]


@njit(cache=True)
def _claim(params, row, state, slot):
    """Empties the slot and makes it the champion's."""
    state[slot : slot + _SLOT_WIDTH] = 0.0
    state[slot] = params[row] + 1.0
    state[slot + 1] = params[row + FIRST]
    state[slot + 2] = params[row + SECOND]


@njit(cache=True)
def regime(state, count, out):
    """Writes (z_trend, z_vol) to the evidence; False when the market stands still."""
    path = 0.0
    close = ring_at(state, _RINGS, RING, count, 0)
    later = close
    for lag in range(1, EFFICIENCY_LENGTH + 1):
        earlier = ring_at(state, _RINGS, RING, count, lag)
        path += abs(later - earlier)
        later = earlier
    if path <= 0.0 or state[_VARIANCE] <= 0.0:
        return False
    net = abs(close - later)
    trend = (net / path - EFFICIENCY_MEAN) / EFFICIENCY_DEVIATION
    short, long = state[_VARIANCE] / state[_WEIGHT], state[_LONG] / state[_LONG_WEIGHT]
    vol = 0.5 * math.log(short / long) / VOLATILITY_DEVIATION
    out[_EFFICIENCY] = min(max(trend, -REGIME_CLIP), REGIME_CLIP)
    out[_VOL_REGIME] = min(max(vol, -REGIME_CLIP), REGIME_CLIP)
    return True


@njit(cache=True)
def mix(params, state, count, close, out):
    """Adds the champions' weighted forecasts into out[:3]; returns how many spoke."""
    sigma = math.sqrt(state[_VARIANCE] / state[_WEIGHT])
    vote = np.empty(3)
    signal = np.empty(1)
    total = 0.0
    spoke = 0
    for i in range(params.shape[0] // CHAMPION_WIDTH):
        row, slot = i * CHAMPION_WIDTH, _SLOTS + i * _SLOT_WIDTH
        first, second = params[row + FIRST], params[row + SECOND]
        ready, value = rule_signal(
            int(params[row]), first, second, state, slot + _OWNER, _RINGS, count, close, sigma
        )
        if not ready:
            continue
        spoke += 1
        signal[0] = value
        out[_SIGNALS + i] = value
        link(params, row + LINK, signal, 1, vote)
        weight = math.exp(
            params[row + TREND_TASTE] * out[_EFFICIENCY]
            + params[row + VOL_TASTE] * out[_VOL_REGIME]
        )
        total += weight
        for k in range(3):
            out[k] += weight * vote[k]
    for k in range(3):
        if spoke > 0:
            out[k] /= total
    out[_MIXED] = total
    return spoke


@njit(cache=True)
def step(params, state, bar, out):
    """One bar; see ``actors.contract``. ``params`` is CHAMPION_WIDTH numbers per champion."""
    count = update(params, state, bar)
    out[STATUS] = _ABSTAINED
    if count <= WARM_UP:
        out[REASON] = _WARMING_UP
        return
    if params.shape[0] == 0:
        out[REASON] = _NO_CHAMPION
        return
    if not regime(state, count, out):
        out[REASON] = _DEGENERATE
        return
    spoke = mix(params, state, count, float(bar["close"]), out)
    out[_SPOKE] = spoke
    if spoke == 0:
        out[REASON] = _WARMING_UP
        return
    out[STATUS] = _VOTED


def pack(champions: list[dict[str, Any]]) -> Floats:
    """Packs champions as ``describe`` lists them; ValueError names what is wrong."""
    if not 1 <= len(champions) <= MAX_CHAMPIONS:
        raise ValueError(f"champions: need 1 to {MAX_CHAMPIONS}, got {len(champions)}")
    params = np.zeros((len(champions), CHAMPION_WIDTH))
    for row, champion in zip(params, champions, strict=True):
        if champion["rule"] not in RULE_NAMES:
            raise ValueError(f"champion: rule {champion['rule']!r} is none of {RULE_NAMES}")
        rule = RULE_NAMES.index(champion["rule"])
        for place, name in zip((FIRST, SECOND), PARAMETER_NAMES[rule], strict=True):
            value = float(champion[name])
            whole = name != "width"
            if not 0.0 < value <= MAX_PERIOD or (whole and (value < 2 or value != int(value))):
                raise ValueError(
                    f"champion {champion['rule']}: {name} = {champion[name]} must be "
                    f"{'a whole number from 2' if whole else 'above 0'} up to {MAX_PERIOD}"
                )
            row[place] = value
        row[RULE] = rule
        row[TREND_TASTE] = champion["trend_taste"]
        row[VOL_TASTE] = champion["vol_taste"]
        row[LINK:] = champion["link"]
    if not np.isfinite(params).all():
        raise ValueError("champions: every number must be finite")
    return params.ravel()


def describe(params: Floats) -> list[dict[str, Any]]:
    """The champions in ``params``, one dict each, readable and accepted by ``pack``."""
    if len(params) % CHAMPION_WIDTH:
        raise ValueError(f"champions: {len(params)} numbers are not rows of {CHAMPION_WIDTH}")
    champions = []
    for row in np.asarray(params).reshape(-1, CHAMPION_WIDTH):
        rule = int(row[RULE])
        champions.append(
            {
                "rule": RULE_NAMES[rule],
                PARAMETER_NAMES[rule][0]: float(row[FIRST]),
                PARAMETER_NAMES[rule][1]: float(row[SECOND]),
                "trend_taste": float(row[TREND_TASTE]),
                "vol_taste": float(row[VOL_TASTE]),
                "link": [float(value) for value in row[LINK:]],
            }
        )
    return champions


SPEC = AgentSpec(
    name="strategy_optimization",
    title="Strategy optimization",
    step=step,
    state_width=STATE_WIDTH,
    warm_up=WARM_UP,
    evidence=(
        "trend_regime",
        "volatility_regime",
        "champions_heard",
        *(f"signal_{i}" for i in range(MAX_CHAMPIONS)),
        "regime_weight",
    ),
)
