"""The pool's rule: the aggregating algorithm on Brier loss, as pure functions.

Vovk and Zhdanov, Prediction with Expert Advice for the Brier Game (JMLR 10, 2009, 2445-2471): the
loss sum_k (p_k - y_k)^2 over {down, flat, up} is mixable at learning rate eta = 1. With weights w
and forecasts P the substitution function below always finds one forecast whose loss is, for EVERY
outcome o, at most g_o = -ln sum_i w_i exp(-loss_i(o)); weights then shrink by exp(-loss).

Arrays: ``weights`` (k,), ``forecasts`` (k, 3), ``awake`` (k,) bool; experts asleep are left out and
the weights of the others are normalised.
"""

from __future__ import annotations

import math

from data.compiled import proven_inline_njit, proven_njit
from data.vector_math import EXP_LIMIT, LANES, exp4, log4

# A weight that underflows to zero could never come back, nor be normalised when its owner is alone
# awake. The floor changes no bound that a float64 could show.
WEIGHT_FLOOR = 1e-300
_LN3 = math.log(3.0)
_TINY = 1e-300  # p ln p is 0 at p = 0, and to every digit below this


@proven_inline_njit
def brier(p, outcome):
    """Brier loss of forecast ``p`` (3,) at ``outcome`` 0, 1 or 2; in [0, 2]."""
    return brier_of(p[0], p[1], p[2], outcome)


@proven_inline_njit
def brier_of(p0, p1, p2, outcome):
    """Brier loss of three probabilities at ``outcome``."""
    e0 = p0 - (1.0 if outcome == 0 else 0.0)
    e1 = p1 - (1.0 if outcome == 1 else 0.0)
    e2 = p2 - (1.0 if outcome == 2 else 0.0)
    return e0 * e0 + e1 * e1 + e2 * e2


@proven_inline_njit
def aa_pool(weights, forecasts, awake, out):
    """Writes the pooled forecast to ``out`` (3,); zeros when nobody is awake.

    s solves sum_o (s - g_o)+ = 2 and P_o = (s - g_o)+ / 2. The Brier losses of one forecast share
    their terms: loss_o = 1 + sum_k p_k^2 - 2 p_o.
    """
    total, mixed0, mixed1, mixed2 = 0.0, 0.0, 0.0, 0.0
    for i in range(len(weights)):
        if awake[i]:
            p0, p1, p2 = forecasts[i, 0], forecasts[i, 1], forecasts[i, 2]
            shared = 1.0 + p0 * p0 + p1 * p1 + p2 * p2
            e0, e1, e2, _ = exp4(2.0 * p0 - shared, 2.0 * p1 - shared, 2.0 * p2 - shared, -shared)
            weight = weights[i]
            total += weight
            mixed0 += weight * e0
            mixed1 += weight * e1
            mixed2 += weight * e2
    if total <= 0.0:
        out[0], out[1], out[2] = 0.0, 0.0, 0.0
        return
    # -ln(mixed / total) without the division.
    l0, l1, l2, top = log4(mixed0, mixed1, mixed2, total)
    g0, g1, g2 = top - l0, top - l1, top - l2
    s = _level(g0, g1, g2)
    out[0] = max(0.0, s - g0) / 2.0
    out[1] = max(0.0, s - g1) / 2.0
    out[2] = max(0.0, s - g2) / 2.0


@proven_inline_njit
def _level(g0, g1, g2):
    low = min(g0, g1, g2)
    high = max(g0, g1, g2)
    middle = max(min(g0, g1), min(max(g0, g1), g2))
    s = 2.0 + low
    if s > middle:
        s = (2.0 + low + middle) / 2.0
        if s > high:
            s = (2.0 + low + middle + high) / 3.0
    return s


@proven_inline_njit
def linear_pool(weights, forecasts, awake, out):
    """Writes the weighted mean of the awake forecasts to ``out`` (3,); zeros when none."""
    total, p0, p1, p2 = 0.0, 0.0, 0.0, 0.0
    for i in range(len(weights)):
        if awake[i]:
            total += weights[i]
            p0 += weights[i] * forecasts[i, 0]
            p1 += weights[i] * forecasts[i, 1]
            p2 += weights[i] * forecasts[i, 2]
    share = 1.0 / total if total > 0.0 else 0.0
    out[0], out[1], out[2] = share * p0, share * p1, share * p2


@proven_inline_njit
def entropy(p0, p1, p2):
    """Shannon entropy of three probabilities in nats, 0 ln 0 = 0."""
    l0, l1, l2, _ = log4(max(p0, _TINY), max(p1, _TINY), max(p2, _TINY), 1.0)
    return -(p0 * l0 + p1 * l1 + p2 * l2)


@proven_inline_njit
def dissent(weights, forecasts, awake, scratch):
    """[H(sum w p) - sum w H(p)] / ln 3: the Jensen-Shannon divergence (Lin 1991) in [0, 1].

    0.0 when nobody is awake. ``scratch`` (3,) is overwritten.
    """
    total, single = 0.0, 0.0
    for i in range(len(weights)):
        if awake[i]:
            total += weights[i]
            single += weights[i] * entropy(forecasts[i, 0], forecasts[i, 1], forecasts[i, 2])
    if total <= 0.0:
        return 0.0
    linear_pool(weights, forecasts, awake, scratch)
    value = entropy(scratch[0], scratch[1], scratch[2]) - single / total
    return min(1.0, max(0.0, value / _LN3))


@proven_njit
def weight_step(weights, losses, prior, mixing):
    """One step in place: w <- w exp(-losses), normalised, then (1 - mixing) w + mixing prior.

    ``losses`` (k,) is each expert's mean over the window's symbols, the pool's own loss standing in
    where the expert slept.
    """
    count = len(losses)
    least = losses[0]
    for i in range(1, count):
        least = min(least, losses[i])
    total = 0.0
    for i in range(0, count, LANES):
        # Past the last expert its own number is taken again, and left.
        b, c, d = min(i + 1, count - 1), min(i + 2, count - 1), min(i + 3, count - 1)
        shrunk = exp4(
            _shrink(least - losses[i]),
            _shrink(least - losses[b]),
            _shrink(least - losses[c]),
            _shrink(least - losses[d]),
        )
        for k in range(min(LANES, count - i)):
            weights[i + k] *= shrunk[k]
            total += weights[i + k]
    for i in range(count):
        mixed = (1.0 - mixing) * (weights[i] / total) + mixing * prior[i]
        weights[i] = max(mixed, WEIGHT_FLOOR)


@proven_inline_njit
def _shrink(x):
    return max(x, -EXP_LIMIT)


@proven_njit
def fade(p, base, age, half_life, out):
    """Writes base + 2^(-age / half_life) (p - base) to ``out`` (3,): stale votes fade."""
    keep = 2.0 ** (-age / half_life)
    for k in range(3):
        out[k] = base[k] + keep * (p[k] - base[k])
