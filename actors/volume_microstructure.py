"""Volume microstructure: who pushes, how far the price has run from its volume, how deep it is.

Seven features go through the multinomial link of ``actors.link``, fitted on warm-up bars with a
strong ridge (``tuning.fit_microstructure``). V is volume, q signed volume (buys less sells: the
feed's own where it knows the side, else bulk volume classification V (2 Phi(move / sigma) - 1) of
Easley, Lopez de Prado and O'Hara 2012, with sigma from earlier bars only), r the log return.

- ``imbalance_5``, ``imbalance_20``  sqrt(3 n) sum q / sum V. For a standard normal move the share
  2 Phi - 1 is uniform on [-1, 1], variance 1/3: the factor makes the feature one deviation wide.
- ``vwap_deviation``  ln(C / VWAP_20) / (sigma sqrt(20 / 3)), typical prices (H + L + C) / 3.
- ``illiquidity``  where Amihud's (2002) mean |r| / (C V) over 21 traded bars stands in its own
  last 126 values, from -sqrt 3 to sqrt 3.
- ``impact``  the same for Kyle's (1985) lambda, slope of r on q over 42 bars, times mean volume.
- ``residual``  (r - a - lambda q) / its standard deviation: the move that flow does not explain.
- ``pressure``  imbalance_5 x illiquidity: flow that meets a thin market.

The evidence also carries ``amihud`` (per tick and lot) and ``kyle_lambda`` (per lot) themselves.
"""

from __future__ import annotations

import math

from actors.contract import OUT_FIXED, REASON, STATUS, AgentSpec, Floats, Reason, Status
from actors.link import link, link_width
from actors.outcome import update_variance
from data.compiled import inline_njit, lean_njit
from data.microstructure import (
    amihud_ratio,
    kyle_regression,
    signed_volume,
    typical_price,
    volume_weighted_price,
)
from data.windows import mirror_put, ring_place, ring_put_rank, window_start, window_sum

FEATURES = (
    "imbalance_5",
    "imbalance_20",
    "vwap_deviation",
    "illiquidity",
    "impact",
    "residual",
    "pressure",
)
FEATURE_COUNT = len(FEATURES)
WARM_UP = 126
VWAP_WINDOW = 20
AMIHUD_WINDOW = 21
KYLE_WINDOW = 42
RANK_WINDOW = 126
RANK_MINIMUM = 42  # values before a rank means anything

# The state row. Two variances: of close-to-close returns, and of moves inside the bar.
_COUNT, _VARIANCE, _WEIGHT, _MOVE_VARIANCE, _MOVE_WEIGHT, _LAST = range(6)
_TRADED, _AMIHUDS, _IMPACTS = 6, 7, 8  # how many values their rings have taken
# Four mirrored rings that are filled together, one bar at a time.
_RING = KYLE_WINDOW
_PRICES = 9
_VOLUMES = _PRICES + 2 * _RING
_RETURNS = _VOLUMES + 2 * _RING
_FLOWS = _RETURNS + 2 * _RING
_RATIOS = _FLOWS + 2 * _RING
# A rank needs no order: plain rings, of which the first values are the known ones.
_AMIHUD_RING = _RATIOS + 2 * AMIHUD_WINDOW
_IMPACT_RING = _AMIHUD_RING + RANK_WINDOW
STATE_WIDTH = _IMPACT_RING + RANK_WINDOW

_STILL = 1e-9  # a deviation this small is the fading memory of a price that stands still
_WIDEST = math.sqrt(KYLE_WINDOW)
_SHORT = 5  # bars of the shorter imbalance
_SHORT_SCALE, _LONG_SCALE = math.sqrt(3.0 * _SHORT), math.sqrt(3.0 * VWAP_WINDOW)
_VWAP_SCALE = math.sqrt(VWAP_WINDOW / 3.0)
_UNIFORM = math.sqrt(12.0)  # a rank is uniform on [0, 1], variance 1/12
_VOTED, _ABSTAINED = int(Status.VOTED), int(Status.ABSTAINED)
_WARMING_UP, _NO_MODEL = int(Reason.WARMING_UP), int(Reason.NO_MODEL)
_DEGENERATE = int(Reason.DEGENERATE)


@inline_njit
def _take_bar(state, bar):
    """Volume, flow, return and price of the bar into their rings; returns the bars seen."""
    count = int(state[_COUNT]) + 1
    state[_COUNT] = count
    close = float(bar["close"])
    volume = float(bar["volume"])
    move = math.log(close / bar["open"])
    sigma = 0.0
    if count > 1:
        sigma = math.sqrt(state[_MOVE_VARIANCE] / state[_MOVE_WEIGHT])
    flow = signed_volume(volume, bar["buy_volume"], move, sigma)
    state[_MOVE_VARIANCE], state[_MOVE_WEIGHT] = update_variance(
        state[_MOVE_VARIANCE], state[_MOVE_WEIGHT], move
    )
    price = typical_price(float(bar["high"]), float(bar["low"]), close)
    place = ring_place(count, _RING)
    mirror_put(state, _PRICES, _RING, place, price)
    mirror_put(state, _VOLUMES, _RING, place, volume)
    # The first bar has no return; its zero leaves the ring long before the first vote.
    change = 0.0
    if count > 1:
        change = math.log(close / state[_LAST])
        state[_VARIANCE], state[_WEIGHT] = update_variance(state[_VARIANCE], state[_WEIGHT], change)
    state[_LAST] = close
    mirror_put(state, _RETURNS, _RING, place, change)
    mirror_put(state, _FLOWS, _RING, place, flow)
    if volume > 0.0:
        state[_TRADED] += 1.0
        ratio = amihud_ratio(change, close, volume)
        traded = ring_place(int(state[_TRADED]), AMIHUD_WINDOW)
        mirror_put(state, _RATIOS, AMIHUD_WINDOW, traded, ratio)
    return count


@inline_njit
def _rank_amihud(state, evidence):
    """Amihud's measure and its centred rank; 0 while there are too few values."""
    traded = int(state[_TRADED])
    if traded < AMIHUD_WINDOW:
        return 0.0
    place = ring_place(traded, AMIHUD_WINDOW)
    start = window_start(_RATIOS, AMIHUD_WINDOW, place, AMIHUD_WINDOW)
    illiquidity = window_sum(state, start, AMIHUD_WINDOW) / AMIHUD_WINDOW
    evidence[FEATURE_COUNT] = illiquidity
    state[_AMIHUDS] += 1.0
    return _put_and_rank(state, _AMIHUD_RING, int(state[_AMIHUDS]), illiquidity)


@inline_njit
def _rank_kyle(state, count, traded, evidence):
    """Kyle's lambda, the centred rank of lambda x mean volume, and the last bar's residual.

    ``traded`` is the volume of the last VWAP_WINDOW bars.
    """
    if count < KYLE_WINDOW:
        return 0.0, 0.0
    place = ring_place(count, _RING)
    start, slope, deviation = kyle_regression(
        state,
        window_start(_RETURNS, _RING, place, KYLE_WINDOW),
        window_start(_FLOWS, _RING, place, KYLE_WINDOW),
        KYLE_WINDOW,
    )
    evidence[FEATURE_COUNT + 1] = slope
    if slope == 0.0:
        return 0.0, 0.0
    residual = 0.0
    if deviation > 0.0:
        change, flow = state[_RETURNS + place], state[_FLOWS + place]
        residual = (change - start - slope * flow) / deviation
        # No residual of n can exceed sqrt(n) deviations; rounding of a perfect fit could.
        residual = min(max(residual, -_WIDEST), _WIDEST)
    state[_IMPACTS] += 1.0
    impact = slope * (traded / VWAP_WINDOW)
    return _put_and_rank(state, _IMPACT_RING, int(state[_IMPACTS]), impact), residual


@inline_njit
def _put_and_rank(state, base, count, value):
    """Puts the ``count``-th value and returns its rank, scaled to mean 0 and variance 1."""
    rank = ring_put_rank(state, base, RANK_WINDOW, count, value)
    return _UNIFORM * (rank - 0.5) if count >= RANK_MINIMUM else 0.0


@inline_njit
def _traded(state, count, n):
    """Volume of the last ``n`` bars."""
    start = window_start(_VOLUMES, _RING, ring_place(count, _RING), n)
    return window_sum(state, start, n)


@inline_njit
def _imbalance(state, count, n, scale, traded):
    """``scale`` x net share of buying over ``n`` bars; 0 when nothing was traded."""
    if traded <= 0.0:
        return 0.0
    start = window_start(_FLOWS, _RING, ring_place(count, _RING), n)
    return scale * window_sum(state, start, n) / traded


@inline_njit
def _prices(state, count, traded, x):
    """Writes the flow and VWAP features; False where price or volume does not vary."""
    place = ring_place(count, _RING)
    sigma = math.sqrt(state[_VARIANCE] / state[_WEIGHT])
    mean_price = volume_weighted_price(
        state,
        window_start(_PRICES, _RING, place, VWAP_WINDOW),
        window_start(_VOLUMES, _RING, place, VWAP_WINDOW),
        VWAP_WINDOW,
        traded,
    )
    if sigma <= _STILL or mean_price <= 0.0:
        return False
    x[0] = _imbalance(state, count, _SHORT, _SHORT_SCALE, _traded(state, count, _SHORT))
    x[1] = _imbalance(state, count, VWAP_WINDOW, _LONG_SCALE, traded)
    x[2] = math.log(state[_LAST] / mean_price) / (sigma * _VWAP_SCALE)
    return True


@lean_njit
def step(params, state, bar, out):
    """One bar; see ``actors.contract``. ``params`` is one link row of length 24, or empty."""
    count = _take_bar(state, bar)
    x = out[OUT_FIXED:]
    x[3] = _rank_amihud(state, x)
    traded = _traded(state, count, VWAP_WINDOW) if count >= VWAP_WINDOW else 0.0
    x[4], x[5] = _rank_kyle(state, count, traded, x)
    out[STATUS] = _ABSTAINED
    if count <= WARM_UP:
        out[REASON] = _WARMING_UP
        return
    if not _prices(state, count, traded, x):
        out[REASON] = _DEGENERATE
        return
    x[6] = x[0] * x[3]
    if params.shape[0] == 0:
        out[REASON] = _NO_MODEL
        return
    link(params, 0, x, FEATURE_COUNT, out)
    out[STATUS] = _VOTED


def _fits(params: Floats) -> bool:
    return len(params) == link_width(FEATURE_COUNT)


@lean_njit
def step_all(params, state, bars, out):
    """``step`` over many bars; ``state`` (symbols, S) and ``out`` (bars, width), zeroed."""
    for i in range(len(bars)):
        step(params, state[bars[i].symbol], bars[i], out[i])


SPEC = AgentSpec(
    name="volume_microstructure",
    title="Volume microstructure",
    step=step,
    step_all=step_all,
    state_width=STATE_WIDTH,
    warm_up=WARM_UP,
    evidence=(*FEATURES, "amihud", "kyle_lambda"),
    fits=_fits,
)
