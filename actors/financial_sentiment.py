"""Financial sentiment: what the news of the last days says about a symbol.

Each text is scored in [-1, 1] by a lexicon with rules (``actors.sentiment``) when it enters a
round. A symbol's row keeps two sums that fade with half-life H of event time:

    mass m = sum_i r_i 2^(-(t - t_i) / H)      tone n = sum_i r_i s_i 2^(-(t - t_i) / H)

with relevance r_i and score s_i of item i, and the net sentiment x = n / (m + M): M neutral items
of prior mass, so that one item alone does not speak with full voice. x goes through the link of
``actors.link`` with declared parameters. News moves prices for a day or two and part of it comes
back (Tetlock 2007; Heston and Sinha 2017), hence H = 1 day and a modest slope: at x = 1 the
forecast is about (0.23, 0.31, 0.46).

Needs no fitted model: with empty params the constants below hold. It abstains with NO_NEWS while
the mass is below LIVE_MASS (one item of full relevance counts for about 4.3 half-lives).
"""

from __future__ import annotations

import numpy as np

from actors.contract import OUT_FIXED, REASON, STATUS, AgentSpec, Floats, Reason, Status
from actors.link import link
from actors.sentiment import score_text
from actors.space import Config, Real, Space
from data.compiled import inline_njit, lean_njit

DAY_NS = 86_400e9
HALF_LIFE_NS = DAY_NS
PRIOR_MASS = 1.0
LIVE_MASS = 0.05
SLOPE = 0.35

# params: [half-life in ns, prior mass, live mass, link (6 numbers, one feature)]
_HALF_LIFE, _PRIOR, _LIVE, _LINK = range(4)
PARAMS_WIDTH = _LINK + 6
DEFAULTS = np.array(
    [HALF_LIFE_NS, PRIOR_MASS, LIVE_MASS, 0.0, -SLOPE, 0.0, 0.0, 0.0, SLOPE], np.float64
)

# What a study may search.
SPACE = Space(
    {
        "half_life_days": Real(0.25, 10.0, HALF_LIFE_NS / DAY_NS, log=True),
        "prior_mass": Real(0.1, 10.0, PRIOR_MASS, log=True),
        "live_mass": Real(0.01, 0.5, LIVE_MASS, log=True),
        "slope": Real(0.05, 1.5, SLOPE, log=True),
    }
)


def pack(config: Config) -> Floats:
    """The params of a configuration of SPACE; its defaults give DEFAULTS."""
    params = DEFAULTS.copy()
    params[_HALF_LIFE] = float(config["half_life_days"]) * DAY_NS
    params[_PRIOR] = float(config["prior_mass"])
    params[_LIVE] = float(config["live_mass"])
    slope = float(config["slope"])
    params[_LINK + 1], params[_LINK + 5] = -slope, slope
    return params


# The state row. A ts in ns does not fit a float64 exactly: it is kept to 256 ns, in every process
# the same.
_COUNT, _TS, _MASS, _TONE = range(4)
STATE_WIDTH = 4

_NET, _SIZE = OUT_FIXED, OUT_FIXED + 1
_VOTED, _ABSTAINED = int(Status.VOTED), int(Status.ABSTAINED)
_NO_NEWS = int(Reason.NO_NEWS)


@inline_njit
def _fade(age, half_life):
    return 0.5 ** (max(age, 0.0) / half_life)


@lean_njit
def absorb(params, state, ts, relevance, score):
    """Takes one scored item into the row. An item older than the newest one enters faded."""
    model = params if params.shape[0] > 0 else DEFAULTS
    half_life = model[_HALF_LIFE]
    newest = max(state[_TS], float(ts))
    if state[_MASS] == 0.0:
        newest = float(ts)
    kept = _fade(newest - state[_TS], half_life)
    weight = min(max(relevance, 0.0), 1.0) * _fade(newest - float(ts), half_life)
    state[_MASS] = state[_MASS] * kept + weight
    state[_TONE] = state[_TONE] * kept + weight * min(max(score, -1.0), 1.0)
    state[_TS] = newest


@lean_njit
def step(params, state, bar, out):
    """One bar; see ``actors.contract``. ``params`` is empty or PARAMS_WIDTH numbers."""
    state[_COUNT] += 1.0
    model = params if params.shape[0] > 0 else DEFAULTS
    out[STATUS] = _ABSTAINED
    if state[_MASS] == 0.0 and model[_LIVE] > 0.0:  # Spares the fading of nothing.
        out[REASON] = _NO_NEWS
        return
    faded = _fade(float(bar["ts"]) - state[_TS], model[_HALF_LIFE])
    mass = state[_MASS] * faded
    if not mass >= model[_LIVE]:
        out[REASON] = _NO_NEWS
        return
    out[_SIZE] = mass
    out[_NET] = state[_TONE] * faded / (mass + model[_PRIOR])
    link(model, _LINK, out[_NET:], 1, out)
    out[STATUS] = _VOTED


def _fits(params: Floats) -> bool:
    return len(params) == PARAMS_WIDTH


@lean_njit
def step_all(params, state, bars, out):
    """``step`` over many bars; ``state`` (symbols, S) and ``out`` (bars, width), zeroed."""
    for i in range(len(bars)):
        step(params, state[bars[i].symbol], bars[i], out[i])


SPEC = AgentSpec(
    name="financial_sentiment",
    title="Financial sentiment",
    step=step,
    step_all=step_all,
    state_width=STATE_WIDTH,
    warm_up=0,
    evidence=("net_sentiment", "news_mass"),
    absorb=absorb,
    score_text=score_text,
    fits=_fits,
)
