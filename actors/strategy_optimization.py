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

from actors.contract import OUT_FIXED, REASON, STATUS, AgentSpec, Floats, Reason, Status
from actors.link import CLIP
from actors.outcome import update_variance
from actors.rules import (
    MAX_PERIOD,
    PARAMETER_NAMES,
    RING,
    RULE_NAMES,
    SLOT,
    TO_HIGH,
    TO_LOW,
    rule_signal,
    rule_update,
)
from actors.rules import SPACE as RULE_SPACE
from actors.space import Real, Space
from data.compiled import inline_njit, lean_njit
from data.vector_math import EXP_LIMIT, exp4
from data.windows import mirror_put, ring_place, window_path

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

# What a study may search of one champion: its rule, and the regime it is heard in. A champion that
# stands alone is heard whatever its tastes are.
SPACE = Space(
    {
        **RULE_SPACE.parameters,
        "trend_taste": Real(-1.5, 1.5, 0.5),
        "vol_taste": Real(-1.5, 1.5, -0.25),
    },
    RULE_SPACE.constraints,
)

# The state row: counts and volatilities, the rings (closes, highs, lows), then per slot the rule
# and parameters it belongs to, followed by the rule's own memory.
_COUNT, _VARIANCE, _WEIGHT, _LONG, _LONG_WEIGHT = range(5)
_RINGS = 5
_SLOTS = _RINGS + 3 * 2 * RING  # mirrored: see data.windows
_OWNER = 3
_SLOT_WIDTH = _OWNER + SLOT
STATE_WIDTH = _SLOTS + MAX_CHAMPIONS * _SLOT_WIDTH

_EFFICIENCY, _VOL_REGIME, _SPOKE = OUT_FIXED, OUT_FIXED + 1, OUT_FIXED + 2
_SIGNALS = OUT_FIXED + 3
_MIXED = _SIGNALS + MAX_CHAMPIONS  # total regime weight of the champions that spoke
_VOTED, _ABSTAINED = int(Status.VOTED), int(Status.ABSTAINED)
_WARMING_UP, _NO_CHAMPION = int(Reason.WARMING_UP), int(Reason.NO_CHAMPION)
_DEGENERATE = int(Reason.DEGENERATE)


@inline_njit
def update(params, state, bar):
    """Takes the bar into the state row and every champion's slot.

    Returns the bars seen and where the close stands in its ring.
    """
    count = int(state[_COUNT]) + 1
    state[_COUNT] = count
    close = float(bar["close"])
    place = ring_place(count, RING)
    at = _RINGS + RING + place
    mirror_put(state, _RINGS, RING, place, close)
    mirror_put(state, _RINGS + TO_HIGH, RING, place, float(bar["high"]))
    mirror_put(state, _RINGS + TO_LOW, RING, place, float(bar["low"]))
    if count > 1:
        log_return = math.log(close / state[at - 1])
        state[_VARIANCE], state[_WEIGHT] = update_variance(
            state[_VARIANCE], state[_WEIGHT], log_return
        )
        fresh = 1.0 - LONG_DECAY
        state[_LONG] = LONG_DECAY * state[_LONG] + fresh * log_return * log_return
        state[_LONG_WEIGHT] = LONG_DECAY * state[_LONG_WEIGHT] + fresh
    for i in range(params.shape[0] // CHAMPION_WIDTH):
        row, slot = i * CHAMPION_WIDTH, _SLOTS + i * _SLOT_WIDTH
        if _owns(params, row, state, slot):
            rule, first, second = int(params[row]), params[row + FIRST], params[row + SECOND]
            rule_update(rule, first, second, state, slot + _OWNER, at)
        else:
            _claim(params, row, state, slot, at, min(count, RING))
    return count, at


@inline_njit
def _owns(params, row, state, slot):
    """Whether the slot's memory is that of the champion's rule and parameters."""
    # Rules count from 0 and an unused slot is all zeros, so the owner is stored one higher.
    same = state[slot] == params[row] + 1.0
    same = same and state[slot + 1] == params[row + FIRST]
    return same and state[slot + 2] == params[row + SECOND]


@lean_njit
def _claim(params, row, state, slot, at, known):
    """Empties the slot, makes it the champion's and runs its rule over the ``known`` bars."""
    state[slot : slot + _SLOT_WIDTH] = 0.0
    state[slot] = params[row] + 1.0
    state[slot + 1] = params[row + FIRST]
    state[slot + 2] = params[row + SECOND]
    rule, first, second = int(params[row]), params[row + FIRST], params[row + SECOND]
    for bar_at in range(at + 1 - known, at + 1):
        rule_update(rule, first, second, state, slot + _OWNER, bar_at)


@inline_njit
def regime(state, at, out):
    """Writes (z_trend, z_vol) to the evidence; False when the market stands still."""
    start = at - EFFICIENCY_LENGTH
    path = window_path(state, start, EFFICIENCY_LENGTH)
    if path <= 0.0 or state[_VARIANCE] <= 0.0:
        return False
    net = abs(state[at] - state[start])
    trend = (net / path - EFFICIENCY_MEAN) / EFFICIENCY_DEVIATION
    short, long = state[_VARIANCE] / state[_WEIGHT], state[_LONG] / state[_LONG_WEIGHT]
    vol = 0.5 * math.log(short / long) / VOLATILITY_DEVIATION
    out[_EFFICIENCY] = min(max(trend, -REGIME_CLIP), REGIME_CLIP)
    out[_VOL_REGIME] = min(max(vol, -REGIME_CLIP), REGIME_CLIP)
    return True


@inline_njit
def mix(params, state, at, out):
    """Adds the champions' weighted forecasts into out[:3]; returns how many spoke."""
    heard, spoke = _signals(params, state, at, out)
    trend, vol = out[_EFFICIENCY], out[_VOL_REGIME]
    total, p0, p1, p2 = 0.0, 0.0, 0.0, 0.0
    for i in range(params.shape[0] // CHAMPION_WIDTH):
        if heard >> i & 1:
            e0, e1, e2, weight = _voice(params, i * CHAMPION_WIDTH, out[_SIGNALS + i], trend, vol)
            total += weight
            share = weight / (e0 + e1 + e2)
            p0 += share * e0
            p1 += share * e1
            p2 += share * e2
    if spoke > 0:
        out[0], out[1], out[2] = p0 / total, p1 / total, p2 / total
    out[_MIXED] = total
    return spoke


@inline_njit
def _signals(params, state, at, out):
    """Writes the signals of the champions that speak; returns them as bits, and their number."""
    sigma = math.sqrt(state[_VARIANCE] / state[_WEIGHT])
    heard, spoke = 0, 0
    for i in range(params.shape[0] // CHAMPION_WIDTH):
        row, slot = i * CHAMPION_WIDTH, _SLOTS + i * _SLOT_WIDTH
        first, second = params[row + FIRST], params[row + SECOND]
        ready, value = rule_signal(int(params[row]), first, second, state, slot + _OWNER, at, sigma)
        if ready:
            out[_SIGNALS + i] = value
            heard |= 1 << i
            spoke += 1
    return heard, spoke


@inline_njit
def _voice(params, row, signal, trend, vol):
    """The champion's link (``actors.link``) unnormalised, and its weight in this regime.

    Four exponentials in one call: this is why the link stands here once more for one feature.
    """
    x = min(max(signal, -CLIP), CLIP)
    base = row + LINK
    v0 = params[base] + params[base + 1] * x
    v1 = params[base + 2] + params[base + 3] * x
    v2 = params[base + 4] + params[base + 5] * x
    top = max(v0, v1, v2)
    taste = params[row + TREND_TASTE] * trend + params[row + VOL_TASTE] * vol
    return exp4(
        max(v0 - top, -EXP_LIMIT),
        max(v1 - top, -EXP_LIMIT),
        max(v2 - top, -EXP_LIMIT),
        min(max(taste, -EXP_LIMIT), EXP_LIMIT),
    )


@lean_njit
def step(params, state, bar, out):
    """One bar; see ``actors.contract``. ``params`` is CHAMPION_WIDTH numbers per champion."""
    count, at = update(params, state, bar)
    out[STATUS] = _ABSTAINED
    if count <= WARM_UP:
        out[REASON] = _WARMING_UP
        return
    if params.shape[0] == 0:
        out[REASON] = _NO_CHAMPION
        return
    if not regime(state, at, out):
        out[REASON] = _DEGENERATE
        return
    spoke = mix(params, state, at, out)
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


def _fits(params: Floats) -> bool:
    if len(params) % CHAMPION_WIDTH or len(params) > MAX_CHAMPIONS * CHAMPION_WIDTH:
        return False
    rows = params.reshape(-1, CHAMPION_WIDTH)
    rules, lengths = rows[:, RULE], rows[:, [FIRST, SECOND]]
    # The rings hold so many bars and no more.
    return bool(
        np.isin(rules, range(len(RULE_NAMES))).all()
        and ((lengths > 0.0) & (lengths <= MAX_PERIOD)).all()
    )


@lean_njit
def step_all(params, state, bars, out):
    """``step`` over many bars; ``state`` (symbols, S) and ``out`` (bars, width), zeroed."""
    for i in range(len(bars)):
        step(params, state[bars[i].symbol], bars[i], out[i])


SPEC = AgentSpec(
    name="strategy_optimization",
    title="Strategy optimization",
    step=step,
    step_all=step_all,
    state_width=STATE_WIDTH,
    warm_up=WARM_UP,
    evidence=(
        "trend_regime",
        "volatility_regime",
        "champions_heard",
        *(f"signal_{i}" for i in range(MAX_CHAMPIONS)),
        "regime_weight",
    ),
    fits=_fits,
)
