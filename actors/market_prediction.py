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

from actors.contract import OUT_FIXED, REASON, STATUS, AgentSpec, Floats, Reason, Status
from actors.outcome import update_variance
from actors.trees import is_block, softmax, tree_margins
from data.compiled import inline_njit, lean_njit
from data.features import wilder_step
from data.microstructure import parkinson_variance, relative_strength
from data.windows import mirror_put, ring_place, window_mean_std, window_start, window_sum

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
# Deviations of a random walk over n bars, and of its distance from its own mean.
_ROOT_5, _ROOT_21, _ROOT_LONG = math.sqrt(5.0), math.sqrt(21.0), math.sqrt(LONG)
_SPREAD_10, _SPREAD_50 = math.sqrt(10.0 / 3.0), math.sqrt(50.0 / 3.0)
# Equal log volumes differ from their own mean by an ulp or two: that is no variation.
_ROUNDING = 1e-12
_STILL = 1e-9  # a deviation this small is the fading memory of a price that stands still
# The state row.
_COUNT, _VARIANCE, _WEIGHT, _GAIN, _LOSS, _LAST = range(6)
# Mirrored rings that are filled together, of log closes, log volumes, returns and ranges; then
# room for margins.
_RING = LONG + 1
_CLOSES = 6
_VOLUMES = _CLOSES + 2 * _RING
_RETURNS = _VOLUMES + 2 * _RING
_RANGES = _RETURNS + 2 * _RING
_MARGINS = _RANGES + 2 * _RING
STATE_WIDTH = _MARGINS + 3

_N = len(FEATURES)
_VOTED, _ABSTAINED = int(Status.VOTED), int(Status.ABSTAINED)
_WARMING, _NO_MODEL = int(Reason.WARMING_UP), int(Reason.NO_MODEL)
_DEGENERATE = int(Reason.DEGENERATE)


@inline_njit
def _update(state, bar):
    """Takes the bar into the state row; returns the number of bars seen."""
    count = int(state[_COUNT]) + 1
    state[_COUNT] = count
    place = ring_place(count, _RING)
    close = float(bar["close"])
    log_close = math.log(close)
    mirror_put(state, _CLOSES, _RING, place, log_close)
    if count > 1:
        change = log_close - state[_CLOSES + _RING + place - 1]
        state[_VARIANCE], state[_WEIGHT] = update_variance(state[_VARIANCE], state[_WEIGHT], change)
        mirror_put(state, _RETURNS, _RING, place, change)
        # RSI is defined on price changes, not on returns.
        move = close - state[_LAST]
        state[_GAIN] = wilder_step(state[_GAIN], count - 1, max(move, 0.0), RSI_PERIOD)
        state[_LOSS] = wilder_step(state[_LOSS], count - 1, max(-move, 0.0), RSI_PERIOD)
    state[_LAST] = close
    mirror_put(state, _VOLUMES, _RING, place, math.log(1.0 + bar["volume"]))
    spread = parkinson_variance(float(bar["high"]), float(bar["low"]))
    mirror_put(state, _RANGES, _RING, place, spread)
    return count


@inline_njit
def _features(state, count, x):
    """Writes the ten features to ``x``; False where the price does not vary."""
    place = ring_place(count, _RING)
    sigma = math.sqrt(state[_VARIANCE] / state[_WEIGHT])
    _, slow = window_mean_std(state, window_start(_RETURNS, _RING, place, LONG), LONG)
    if sigma <= _STILL or slow <= _STILL:
        return False
    at = _CLOSES + _RING + place
    now = state[at]
    x[0] = (now - state[at - 1]) / sigma
    x[1] = (now - state[at - 5]) / (sigma * _ROOT_5)
    x[2] = (now - state[at - 21]) / (sigma * _ROOT_21)
    x[3] = (now - state[at - LONG]) / (sigma * _ROOT_LONG)
    spread = window_sum(state, window_start(_RANGES, _RING, place, RANGE_WINDOW), RANGE_WINDOW)
    x[4] = math.sqrt(spread / RANGE_WINDOW) / sigma - 1.0
    x[5] = (now - window_sum(state, at - 9, 10) / 10.0) / (sigma * _SPREAD_10)
    x[6] = (now - window_sum(state, at - 49, 50) / 50.0) / (sigma * _SPREAD_50)
    x[7] = relative_strength(state[_GAIN], state[_LOSS]) / 50.0 - 1.0
    # A feed of constant volume says nothing by it; its prices still speak.
    x[8] = 0.0
    mean, deviation = window_mean_std(state, window_start(_VOLUMES, _RING, place, LONG), LONG)
    if deviation > _ROUNDING * mean:
        x[8] = (state[_VOLUMES + place] - mean) / deviation
    x[9] = sigma / slow - 1.0
    for j in range(_N):
        x[j] = min(max(x[j], -_LIMIT), _LIMIT)
    return True


@lean_njit
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
    margins = state[_MARGINS:]
    tree_margins(params, CALIBRATION, x, margins)
    softmax(margins, out)
    for k in range(3):
        base = params[1 + k]
        out[k] = base + params[0] * (out[k] - base)
    out[STATUS] = _VOTED


def _fits(params: Floats) -> bool:
    return len(params) > CALIBRATION and is_block(params[CALIBRATION:], _N)


@lean_njit
def step_all(params, state, bars, out):
    """``step`` over many bars; ``state`` (symbols, S) and ``out`` (bars, width), zeroed."""
    for i in range(len(bars)):
        step(params, state[bars[i].symbol], bars[i], out[i])


SPEC = AgentSpec(
    name="market_prediction",
    title="Market prediction",
    step=step,
    step_all=step_all,
    state_width=STATE_WIDTH,
    warm_up=WARM_UP,
    evidence=FEATURES,
    fits=_fits,
)
