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

from numba import njit

# A weight that underflows to zero could never come back, nor be normalised when its owner is alone
# awake. The floor changes no bound that a float64 could show.
WEIGHT_FLOOR = 1e-300
_LN3 = math.log(3.0)


@njit(cache=True)
def brier(p, outcome):
    """Brier loss of forecast ``p`` (3,) at ``outcome`` 0, 1 or 2; in [0, 2]."""
    total = 0.0
    for k in range(3):
        error = p[k] - (1.0 if k == outcome else 0.0)
        total += error * error
    return total


@njit(cache=True)
def awake_total(weights, awake):
    """Sum of the weights of those awake; 0.0 when everybody sleeps."""
    total = 0.0
    for i in range(len(weights)):
        if awake[i]:
            total += weights[i]
    return total


@njit(cache=True)
def aa_pool(weights, forecasts, awake, out):
    """Writes the pooled forecast to ``out`` (3,); zeros when nobody is awake.

    s solves sum_o (s - g_o)+ = 2 and P_o = (s - g_o)+ / 2.
    """
    out[:3] = 0.0
    total = awake_total(weights, awake)
    if total <= 0.0:
        return
    g0, g1, g2 = 0.0, 0.0, 0.0
    for o in range(3):
        mixed = 0.0
        for i in range(len(weights)):
            if awake[i]:
                mixed += weights[i] / total * math.exp(-brier(forecasts[i], o))
        if o == 0:
            g0 = -math.log(mixed)
        elif o == 1:
            g1 = -math.log(mixed)
        else:
            g2 = -math.log(mixed)
    s = _level(g0, g1, g2)
    out[0] = max(0.0, s - g0) / 2.0
    out[1] = max(0.0, s - g1) / 2.0
    out[2] = max(0.0, s - g2) / 2.0


@njit(cache=True)
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


@njit(cache=True)
def linear_pool(weights, forecasts, awake, out):
    """Writes the weighted mean of the awake forecasts to ``out`` (3,); zeros when none."""
    out[:3] = 0.0
    total = awake_total(weights, awake)
    if total <= 0.0:
        return
    for i in range(len(weights)):
        if awake[i]:
            for k in range(3):
                out[k] += weights[i] / total * forecasts[i, k]


@njit(cache=True)
def entropy(p):
    """Shannon entropy of ``p`` (3,) in nats, 0 ln 0 = 0."""
    total = 0.0
    for k in range(3):
        if p[k] > 0.0:
            total -= p[k] * math.log(p[k])
    return total


@njit(cache=True)
def dissent(weights, forecasts, awake, scratch):
    """[H(sum w p) - sum w H(p)] / ln 3: the Jensen-Shannon divergence (Lin 1991) in [0, 1].

    0.0 when nobody is awake. ``scratch`` (3,) is overwritten.
    """
    total = awake_total(weights, awake)
    if total <= 0.0:
        return 0.0
    linear_pool(weights, forecasts, awake, scratch)
    value = entropy(scratch)
    for i in range(len(weights)):
        if awake[i]:
            value -= weights[i] / total * entropy(forecasts[i])
    return min(1.0, max(0.0, value / _LN3))


@njit(cache=True)
def weight_step(weights, losses, prior, mixing):
    """One step in place: w <- w exp(-losses), normalised, then (1 - mixing) w + mixing prior.

    ``losses`` (k,) is each expert's mean over the window's symbols, the pool's own loss standing in
    where the expert slept.
    """
    least = losses[0]
    for i in range(1, len(losses)):
        least = min(least, losses[i])
    total = 0.0
    for i in range(len(weights)):
        weights[i] *= math.exp(least - losses[i])
        total += weights[i]
    for i in range(len(weights)):
        mixed = (1.0 - mixing) * (weights[i] / total) + mixing * prior[i]
        weights[i] = max(mixed, WEIGHT_FLOOR)


@njit(cache=True)
def fade(p, base, age, half_life, out):
    """Writes base + 2^(-age / half_life) (p - base) to ``out`` (3,): stale votes fade."""
    keep = 2.0 ** (-age / half_life)
    for k in range(3):
        out[k] = base[k] + keep * (p[k] - base[k])
