"""VPIN HFT: the volume-synchronised probability of informed trading, and how unusual it is.

    VPIN = sum over the last n buckets |V_B - V_S| / sum of their volumes      (n = 50)

Source: Easley, Lopez de Prado and O'Hara, 'Flow toxicity and liquidity in a high-frequency world',
Review of Financial Studies 25(5), 2012. Buckets hold equal volume; with equal buckets the divisor
is the paper's n V. Bars are split over buckets pro rata; buys V_B are the feed's own where it knows
the side, else bulk classification V Phi(move / sigma) with sigma from earlier bars only (the paper
takes it over the whole sample, which looks ahead).

'VPIN' is a trademark of its authors, with a patent application; the name is used here to point at
the source. As a forecast it is disputed: Andersen and Bondarenko (Journal of Financial Markets 17,
2014) find no power beyond volume and volatility. So it may shrink or veto through the gate, and its
direction carries little weight.

**Bucket size.** c x the mean bar volume known when the bucket opens, c = max(1, bars per day / 50):
the paper's fiftieth of a day's volume for bars finer than that, one mean bar for daily bars, where
a fiftieth of a day would cut each bar into fifty equal pieces and say nothing.

**Toxicity.** The trailing distribution function of VPIN: the share of its last 250 values, one per
bar that completed a bucket, below the present one; in [0, 1]. It and ``vpin`` stay 0 while the
agent is warming up: the vote is then an abstention, and 0 means unknown, not harmless.

**Direction.** The signed imbalance over the last 5 and 50 buckets and its product with toxicity,
through the link of ``actors.link`` under a very strong ridge (``tuning.fit_vpin``).

**Cost.** A bar of huge volume completes many buckets, all with the same imbalance; more than n of
them leave the same window as n, so no bar writes more than n and the result is exact.

params = [c, decay of the mean volume and of sigma per bar, link (12 numbers)]; the first two alone
configure a step without a model, and none at all means daily bars.
"""

from __future__ import annotations

import math

from actors.contract import OUT_FIXED, REASON, STATUS, AgentSpec, Floats, Reason, Status
from actors.link import link, link_width
from data.compiled import inline_njit, lean_njit
from data.features import ring_put
from data.microstructure import signed_volume
from data.windows import (
    mirror_put,
    ring_place,
    window_magnitude,
    window_rank,
    window_start,
    window_sum,
)

FEATURES = ("flow_5", "flow_50", "toxic_flow")
FEATURE_COUNT = len(FEATURES)
EVIDENCE = (*FEATURES, "vpin", "toxicity")
# The gate reads this entry of the evidence, column TOXICITY_COLUMN of ``out``.
TOXICITY = EVIDENCE.index("toxicity")
TOXICITY_COLUMN = OUT_FIXED + TOXICITY
VPIN_COLUMN = OUT_FIXED + EVIDENCE.index("vpin")

BUCKETS = 50
BUCKETS_PER_DAY = 50
HALF_LIFE_DAYS = 20.0
SETTINGS = 2
DAILY_BUCKET, DAILY_DECAY = 1.0, 0.5 ** (1.0 / HALF_LIFE_DAYS)
# One freak volume must not size a bucket that then takes years to fill, freezing VPIN: in the mean
# a bar counts for at most this many mean bars.
VOLUME_CAP = 50.0
OPENING = 20  # bars that only feed sigma and the mean volume, before the first bucket
HISTORY = 250
HISTORY_MINIMUM = 50
WARM_UP = 140

# The state row.
_COUNT, _VARIANCE, _VOLUME, _WEIGHT = range(4)  # exponential means share one weight
_SIZE, _FILLED, _NET = 4, 5, 6  # the open bucket: target volume, volume and net buying so far
_COMPLETED, _VALUES, _VPIN, _TOXICITY = 7, 8, 9, 10
_FLOW_SHORT, _FLOW_LONG = 11, 12  # measured like VPIN when a bucket is completed
_NETS = 13  # mirrored rings of the buckets
_SIZES = _NETS + 2 * BUCKETS
_HISTORY = _SIZES + 2 * BUCKETS  # a plain ring: a rank needs no order
STATE_WIDTH = _HISTORY + HISTORY

_SHORT = 5  # buckets of the shorter flow
_SHORT_SCALE, _LONG_SCALE = math.sqrt(3.0 * _SHORT), math.sqrt(3.0 * BUCKETS)
_UNIFORM = math.sqrt(12.0)  # a rank is uniform on [0, 1], variance 1/12
_VOTED, _ABSTAINED = int(Status.VOTED), int(Status.ABSTAINED)
_WARMING_UP, _NO_MODEL = int(Reason.WARMING_UP), int(Reason.NO_MODEL)
_DEGENERATE = int(Reason.DEGENERATE)


@lean_njit
def _close_bucket(state, net):
    """Records the open bucket, whose size is known, with its net buying."""
    state[_COMPLETED] += 1.0
    place = ring_place(int(state[_COMPLETED]), BUCKETS)
    mirror_put(state, _NETS, BUCKETS, place, net)
    mirror_put(state, _SIZES, BUCKETS, place, state[_SIZE])


@lean_njit
def fill_buckets(state, volume, net, size):
    """Pours a bar into buckets pro rata; True when at least one was completed.

    ``volume`` > 0 with net buying ``net``; ``size`` > 0 is the size of buckets that open now.
    """
    share = net / volume
    if state[_FILLED] <= 0.0:
        state[_SIZE] = size
    room = state[_SIZE] - state[_FILLED]
    if volume < room:
        state[_FILLED] += volume
        state[_NET] += net
        return False
    _close_bucket(state, state[_NET] + share * room)
    rest = volume - room
    state[_SIZE] = size
    whole = math.floor(rest / size)
    for _ in range(int(min(whole, float(BUCKETS)))):
        _close_bucket(state, share * size)
    # Rounding may leave the remainder an ulp outside of one bucket.
    state[_FILLED] = min(max(rest - whole * size, 0.0), size)
    state[_NET] = share * state[_FILLED]
    return True


@lean_njit
def bucket_vpin(state):
    """VPIN over the last BUCKETS buckets, in [0, 1]."""
    place = ring_place(int(state[_COMPLETED]), BUCKETS)
    net = window_magnitude(state, window_start(_NETS, BUCKETS, place, BUCKETS), BUCKETS)
    volume = window_sum(state, window_start(_SIZES, BUCKETS, place, BUCKETS), BUCKETS)
    return min(net / volume, 1.0)


@inline_njit
def _flow(state, n, scale):
    """``scale`` x net buying / volume over ``n`` buckets: one deviation wide for random flow."""
    place = ring_place(int(state[_COMPLETED]), BUCKETS)
    net = window_sum(state, window_start(_NETS, BUCKETS, place, n), n)
    return scale * net / window_sum(state, window_start(_SIZES, BUCKETS, place, n), n)


@lean_njit
def _measure(state):
    """A new VPIN, where it stands among its earlier values, and the flows of its buckets."""
    state[_VPIN] = bucket_vpin(state)
    known = int(state[_VALUES])
    if known >= HISTORY_MINIMUM:
        state[_TOXICITY] = window_rank(state, _HISTORY, min(known, HISTORY), state[_VPIN])
    state[_VALUES] = known + 1
    ring_put(state, _HISTORY, HISTORY, known + 1, state[_VPIN])
    state[_FLOW_SHORT] = _flow(state, _SHORT, _SHORT_SCALE)
    state[_FLOW_LONG] = _flow(state, BUCKETS, _LONG_SCALE)


@inline_njit
def _take_bar(state, bar, bucket, decay):
    """Takes the bar into the state row; returns the number of bars seen."""
    count = int(state[_COUNT]) + 1
    state[_COUNT] = count
    volume = float(bar["volume"])
    move = math.log(bar["close"] / bar["open"])
    if count > OPENING and volume > 0.0:
        sigma = math.sqrt(state[_VARIANCE] / state[_WEIGHT])
        size = bucket * state[_VOLUME] / state[_WEIGHT]
        net = signed_volume(volume, bar["buy_volume"], move, sigma)
        if size > 0.0 and fill_buckets(state, volume, net, size) and state[_COMPLETED] >= BUCKETS:
            _measure(state)
    # Only now: neither sigma nor the bucket's size may know the bar that they classify.
    if count > 1:
        volume = min(volume, VOLUME_CAP * state[_VOLUME] / state[_WEIGHT])
    state[_VARIANCE] = decay * state[_VARIANCE] + (1.0 - decay) * move * move
    state[_VOLUME] = decay * state[_VOLUME] + (1.0 - decay) * volume
    state[_WEIGHT] = decay * state[_WEIGHT] + (1.0 - decay)
    return count


@lean_njit
def step(params, state, bar, out):
    """One bar; see ``actors.contract`` and, for ``params``, the module's text."""
    bucket, decay = DAILY_BUCKET, DAILY_DECAY
    if params.shape[0] >= SETTINGS:
        bucket, decay = params[0], params[1]
    count = _take_bar(state, bar, bucket, decay)
    out[STATUS] = _ABSTAINED
    if count <= WARM_UP or state[_VALUES] <= HISTORY_MINIMUM:
        # Bars without volume fill no bucket: that lasts for ever and is no warming up.
        idle = count > WARM_UP and state[_VOLUME] <= 0.0
        out[REASON] = _DEGENERATE if idle else _WARMING_UP
        return
    x = out[OUT_FIXED:]
    x[0], x[1] = state[_FLOW_SHORT], state[_FLOW_LONG]
    x[2] = x[0] * _UNIFORM * (state[_TOXICITY] - 0.5)
    out[VPIN_COLUMN] = state[_VPIN]
    out[TOXICITY_COLUMN] = state[_TOXICITY]
    if params.shape[0] <= SETTINGS:
        out[REASON] = _NO_MODEL
        return
    link(params, SETTINGS, x, FEATURE_COUNT, out)
    out[STATUS] = _VOTED


def _fits(params: Floats) -> bool:
    return len(params) in (SETTINGS, SETTINGS + link_width(FEATURE_COUNT))


@lean_njit
def step_all(params, state, bars, out):
    """``step`` over many bars; ``state`` (symbols, S) and ``out`` (bars, width), zeroed."""
    for i in range(len(bars)):
        step(params, state[bars[i].symbol], bars[i], out[i])


SPEC = AgentSpec(
    name="vpin_hft",
    title="VPIN HFT",
    step=step,
    step_all=step_all,
    state_width=STATE_WIDTH,
    warm_up=WARM_UP,
    evidence=EVIDENCE,
    fits=_fits,
)
