"""Trend momentum: does the price go on in the direction in which it has been going?

Six features, all about one standard deviation wide under a random walk:

- four time-series momenta  m_L = ln(c_t / c_{t-L}) / (sigma sqrt(L)),  L = 21, 63, 126, 252 bars
  (Moskowitz, Ooi and Pedersen, 'Time series momentum', 2012; they scale by volatility too);
- an EMA cross  (EMA_20 - EMA_100) / (c sigma s),  where s is the standard deviation of that gap
  for a random walk of unit steps, so that the cross is comparable between symbols and years;
- a channel break (Donchian)  2 (c - L) / (H - L) - 1  over the highs and lows of the 55 bars
  before this one: above +1 or below -1 is a breakout.

sigma is the exponentially weighted volatility of ``actors.outcome``, this bar included. The
features go through the multinomial link of ``actors.link``, fitted on warm-up bars only
(``tuning.fit_trend``). Without a fitted link the agent abstains with NO_MODEL, and still reports
its features as evidence: that is how the link's training rows are collected.
"""

from __future__ import annotations

import math

from actors.contract import OUT_FIXED, REASON, STATUS, AgentSpec, Floats, Reason, Status
from actors.link import link, link_width
from actors.outcome import update_variance
from data.compiled import inline_njit, lean_njit
from data.features import ema_step, ring_at, ring_put
from data.windows import block_max, block_max_put, ring_place

LOOK_BACKS = (21, 63, 126, 252)
ROOTS = tuple(math.sqrt(length) for length in LOOK_BACKS)
EMA_FAST, EMA_SLOW = 20, 100
CHANNEL = 55
WARM_UP = 252
FEATURES = ("momentum_21", "momentum_63", "momentum_126", "momentum_252", "ema_cross", "channel")
FEATURE_COUNT = len(FEATURES)


def _gap_deviation(fast: int, slow: int) -> float:
    """Standard deviation of EMA_fast - EMA_slow over a random walk of unit steps.

    A step j bars old stands in EMA_n with weight 1 - a^(j+1), a = (n - 1) / (n + 1), so the gap's
    variance is the sum over i >= 1 of (a_slow^i - a_fast^i)^2.
    """
    a, b = (fast - 1) / (fast + 1), (slow - 1) / (slow + 1)
    return math.sqrt(a * a / (1 - a * a) + b * b / (1 - b * b) - 2 * a * b / (1 - a * b))


GAP_DEVIATION = _gap_deviation(EMA_FAST, EMA_SLOW)

# The state row.
_COUNT, _VARIANCE, _WEIGHT, _FAST, _SLOW = range(5)
_HIGHEST, _LOWEST = 5, 6  # of the channel before the latest bar
_LOGS = 7
_LOG_RING = WARM_UP + 1
_HIGHS = _LOGS + _LOG_RING
_CHANNEL_ROOM = CHANNEL + 1
_LOWS = _HIGHS + _CHANNEL_ROOM  # of -low, whose maximum is the lowest low
STATE_WIDTH = _LOWS + _CHANNEL_ROOM

_SIGMA = OUT_FIXED + FEATURE_COUNT
_VOTED, _ABSTAINED = int(Status.VOTED), int(Status.ABSTAINED)
_WARMING_UP, _NO_MODEL = int(Reason.WARMING_UP), int(Reason.NO_MODEL)
_DEGENERATE = int(Reason.DEGENERATE)


@inline_njit
def update(state, bar):
    """Takes the bar into the state row; returns the number of bars seen."""
    count = int(state[_COUNT]) + 1
    state[_COUNT] = count
    close = float(bar["close"])
    log_close = math.log(close)
    if count > 1:
        step_return = log_close - ring_at(state, _LOGS, _LOG_RING, count - 1, 0)
        state[_VARIANCE], state[_WEIGHT] = update_variance(
            state[_VARIANCE], state[_WEIGHT], step_return
        )
    ring_put(state, _LOGS, _LOG_RING, count, log_close)
    if count > CHANNEL:
        before = ring_place(count - 1, CHANNEL)
        state[_HIGHEST] = block_max(state, _HIGHS, CHANNEL, before)
        state[_LOWEST] = -block_max(state, _LOWS, CHANNEL, before)
    place = ring_place(count, CHANNEL)
    block_max_put(state, _HIGHS, CHANNEL, place, float(bar["high"]))
    block_max_put(state, _LOWS, CHANNEL, place, -float(bar["low"]))
    state[_FAST] = ema_step(state[_FAST], count, close, EMA_FAST)
    state[_SLOW] = ema_step(state[_SLOW], count, close, EMA_SLOW)
    return count


@inline_njit
def features(state, close, count, out):
    """Writes the features and sigma to the evidence; False when a ratio would be undefined."""
    sigma = math.sqrt(state[_VARIANCE] / state[_WEIGHT])
    high, low = state[_HIGHEST], state[_LOWEST]
    if sigma <= 0.0 or high <= low:
        return False
    out[_SIGMA] = sigma
    now = ring_at(state, _LOGS, _LOG_RING, count, 0)
    for j in range(len(LOOK_BACKS)):
        move = now - ring_at(state, _LOGS, _LOG_RING, count, LOOK_BACKS[j])
        out[OUT_FIXED + j] = move / (sigma * ROOTS[j])
    gap = (state[_FAST] - state[_SLOW]) / close
    out[OUT_FIXED + 4] = gap / (sigma * GAP_DEVIATION)
    out[OUT_FIXED + 5] = 2.0 * (close - low) / (high - low) - 1.0
    return True


@lean_njit
def step(params, state, bar, out):
    """One bar; see ``actors.contract``. ``params`` is one link row of length 21, or empty."""
    count = update(state, bar)
    out[STATUS] = _ABSTAINED
    if count <= WARM_UP:
        out[REASON] = _WARMING_UP
        return
    if not features(state, float(bar["close"]), count, out):
        out[REASON] = _DEGENERATE
        return
    if params.shape[0] == 0:
        out[REASON] = _NO_MODEL
        return
    link(params, 0, out[OUT_FIXED:], FEATURE_COUNT, out)
    out[STATUS] = _VOTED


def _fits(params: Floats) -> bool:
    return len(params) == link_width(FEATURE_COUNT)


@lean_njit
def step_all(params, state, bars, out):
    """``step`` over many bars; ``state`` (symbols, S) and ``out`` (bars, width), zeroed."""
    for i in range(len(bars)):
        step(params, state[bars[i].symbol], bars[i], out[i])


SPEC = AgentSpec(
    name="trend_momentum",
    title="Trend momentum",
    step=step,
    step_all=step_all,
    state_width=STATE_WIDTH,
    warm_up=WARM_UP,
    evidence=(*FEATURES, "sigma"),
    fits=_fits,
)
