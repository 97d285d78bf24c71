"""Market prediction: gradient-boosted trees over ten scale-free features of price and volume.

    p = pi + a (softmax(m(x)) - pi)

m are the margins of a small xgboost ensemble (Chen and Guestrin 2016; boosting after Friedman
2001), pi the base rates of the warm-up and a in [0, 1] a shrinkage: how far the ensemble may
depart from the base rates. Trees, pi and a are fitted on warm-up bars only
(``tuning.fit_predictor``) and stand whole in ``params``:

    [a, pi_down, pi_flat, pi_up, <block of actors.trees>]

Features, per symbol, with sigma the exponentially weighted volatility of ``actors.outcome``:
returns over 1, 5, 21 and 63 bars divided by sigma sqrt(n); the range volatility of Parkinson
(1980) over 10 bars against sigma; the distance of ln C from its mean over 10 and 50 bars divided
by sigma sqrt(n/3), its deviation for a random walk; the relative strength index of Wilder (1978)
over 14 bars, from -1 to 1; the z-score of log volume over 63 bars; sigma against the plain
deviation of the last 63 returns. All are clipped, so that one outlier cannot leave float32.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from actors.contract import OUT_FIXED, REASON, STATUS, AgentSpec, Reason, Status
from actors.outcome import update_variance
from actors.trees import softmax, tree_margins
from data.features import ring_at, ring_mean_std, ring_put, wilder_step
from data.microstructure import parkinson_variance, relative_strength, ring_sum

FEATURES = (
    "return_1",
    "return_5",
    "return_21",
    "return_63",
    "range_volatility",
    "distance_10",
    "distance_50",
    "strength",
    "volume_z",
    "volatility_regime",
)
CALIBRATION = 4  # params before the trees: a, then the three base rates
WARM_UP = 80
RSI_PERIOD = 14
RANGE_WINDOW = 10
LONG = 63
_LIMIT = 8.0
# Equal log volumes differ from their own mean by an ulp or two: that is no variation.
_ROUNDING = 1e-12
_STILL = 1e-9  # a deviation this small is the fading memory of a price that stands still
# The state row.
_COUNT, _VARIANCE, _WEIGHT, _GAIN, _LOSS, _LAST = range(6)
_CLOSES = 6  # log closes
_CLOSE_RING = LONG + 1
_VOLUMES = _CLOSES + _CLOSE_RING  # log volumes
_RETURNS = _VOLUMES + LONG
_RANGES = _RETURNS + LONG
STATE_WIDTH = _RANGES + RANGE_WINDOW

_N = len(FEATURES)
_VOTED, _ABSTAINED = int(Status.VOTED), int(Status.ABSTAINED)
_WARMING, _NO_MODEL = int(Reason.WARMING_UP), int(Reason.NO_MODEL)
_DEGENERATE = int(Reason.DEGENERATE)


@njit(cache=True)
def _update(state, bar):
    """Takes the bar into the state row; returns the number of bars seen."""
    count = int(state[_COUNT]) + 1
    state[_COUNT] = count
    close = float(bar["close"])
    log_close = math.log(close)
    if count > 1:
        change = log_close - ring_at(state, _CLOSES, _CLOSE_RING, count - 1, 0)
        state[_VARIANCE], state[_WEIGHT] = update_variance(state[_VARIANCE], state[_WEIGHT], change)
        ring_put(state, _RETURNS, LONG, count - 1, change)
        # RSI is defined on price changes, not on returns.
        move = close - state[_LAST]
        state[_GAIN] = wilder_step(state[_GAIN], count - 1, max(move, 0.0), RSI_PERIOD)
        state[_LOSS] = wilder_step(state[_LOSS], count - 1, max(-move, 0.0), RSI_PERIOD)
    state[_LAST] = close
    ring_put(state, _CLOSES, _CLOSE_RING, count, log_close)
    ring_put(state, _VOLUMES, LONG, count, math.log(1.0 + bar["volume"]))
    spread = parkinson_variance(float(bar["high"]), float(bar["low"]))
    ring_put(state, _RANGES, RANGE_WINDOW, count, spread)
    return count


@njit(cache=True)
def _move(state, count, sigma, n):
    """Log return over ``n`` bars in standard deviations."""
    now = ring_at(state, _CLOSES, _CLOSE_RING, count, 0)
    then = ring_at(state, _CLOSES, _CLOSE_RING, count, n)
    return (now - then) / (sigma * math.sqrt(n))


@njit(cache=True)
def _distance(state, count, sigma, n):
    """Distance of ln C from its mean over ``n`` bars, in deviations of a random walk."""
    now = ring_at(state, _CLOSES, _CLOSE_RING, count, 0)
    mean = ring_sum(state, _CLOSES, _CLOSE_RING, count, n) / n
    return (now - mean) / (sigma * math.sqrt(n / 3.0))


@njit(cache=True)
def _features(state, count, x):
    """Writes the ten features to ``x``; False where the price does not vary."""
    sigma = math.sqrt(state[_VARIANCE] / state[_WEIGHT])
    _, slow = ring_mean_std(state, _RETURNS, LONG, count - 1, LONG)
    if sigma <= _STILL or slow <= _STILL:
        return False
    x[0] = _move(state, count, sigma, 1)
    x[1] = _move(state, count, sigma, 5)
    x[2] = _move(state, count, sigma, 21)
    x[3] = _move(state, count, sigma, LONG)
    spread = ring_sum(state, _RANGES, RANGE_WINDOW, count, RANGE_WINDOW) / RANGE_WINDOW
    x[4] = math.sqrt(spread) / sigma - 1.0
    x[5] = _distance(state, count, sigma, 10)
    x[6] = _distance(state, count, sigma, 50)
    x[7] = relative_strength(state[_GAIN], state[_LOSS]) / 50.0 - 1.0
    # A feed of constant volume says nothing by it; its prices still speak.
    x[8] = 0.0
    mean, deviation = ring_mean_std(state, _VOLUMES, LONG, count, LONG)
    if deviation > _ROUNDING * mean:
        x[8] = (ring_at(state, _VOLUMES, LONG, count, 0) - mean) / deviation
    x[9] = sigma / slow - 1.0
    for j in range(_N):
        x[j] = min(max(x[j], -_LIMIT), _LIMIT)
    return True


@njit(cache=True)
def step(params, state, bar, out):
    """One bar, see ``actors.contract``; evidence are the features, also without a model."""
    count = _update(state, bar)
    out[STATUS] = _ABSTAINED
    if count <= WARM_UP:
        out[REASON] = _WARMING
        return
    x = out[OUT_FIXED : OUT_FIXED + _N]
    if not _features(state, count, x):
        out[REASON] = _DEGENERATE
        return
    if len(params) == 0:
        out[REASON] = _NO_MODEL
        return
    margins = np.empty(3)
    tree_margins(params, CALIBRATION, x, margins)
    softmax(margins, out)
    for k in range(3):
        base = params[1 + k]
        out[k] = base + params[0] * (out[k] - base)
    out[STATUS] = _VOTED


SPEC = AgentSpec(
    name="market_prediction",
    title="Market prediction",
    step=step,
    state_width=STATE_WIDTH,
    warm_up=WARM_UP,
    evidence=FEATURES,
)
