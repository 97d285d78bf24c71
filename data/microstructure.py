"""Streaming microstructure statistics, compiled: what bars alone tell about flow and liquidity.

Rings are those of ``data.features``: the last ``capacity`` values at ``state[base:base+capacity]``,
``count`` values written so far. Every window statistic is summed anew from its ring, oldest value
first, so it cannot drift and depends on the window alone; the caller keeps the window's length n
at or below both ``capacity`` and ``count``.

Prices and volumes may be in any unit that stays the same; ticks and lots here.
"""

from __future__ import annotations

import math

from numba import njit

_SQRT_HALF = math.sqrt(0.5)
_FOUR_LN_2 = 4.0 * math.log(2.0)
# Equal values may differ from their own mean by an ulp or two: that is no variation.
_ROUNDING = 1e-12
_GK_CLOSE = 2.0 * math.log(2.0) - 1.0


@njit(cache=True)
def ring_sum(state, base, capacity, count, n):
    """Sum of the last ``n`` values, oldest first."""
    total = 0.0
    for i in range(count - n, count):
        total += state[base + i % capacity]
    return total


@njit(cache=True)
def ring_rank(state, base, capacity, count, n, value):
    """Empirical distribution function at ``value`` over the last ``n`` values, in [0, 1].

    Ties count one half, so that a constant history ranks its own value in the middle.
    """
    below = 0.0
    for i in range(count - n, count):
        other = state[base + i % capacity]
        if other < value:
            below += 1.0
        elif other == value:
            below += 0.5
    return below / n


@njit(cache=True)
def normal_cdf(x):
    """Standard normal distribution function."""
    return 0.5 * math.erfc(-x * _SQRT_HALF)


@njit(cache=True)
def bulk_buy_volume(volume, move, sigma):
    """Bulk volume classification: the buyers' share of a bar is V Phi(move / sigma).

    Easley, Lopez de Prado and O'Hara (2012), 'Flow toxicity and liquidity in a high-frequency
    world', RFS 25(5). ``move`` is the price change inside the bar, ``sigma`` its standard
    deviation as known BEFORE the bar. Without variation the sign of the move decides.
    """
    if sigma > 0.0:
        return volume * normal_cdf(move / sigma)
    if move > 0.0:
        return volume * 1.0
    if move < 0.0:
        return volume * 0.0
    return volume * 0.5


@njit(cache=True)
def signed_volume(volume, buy_volume, move, sigma):
    """Buys less sells of a bar in [-V, V]: the feed's own where known (>= 0), else in bulk."""
    if buy_volume >= 0:
        buys = min(float(buy_volume), float(volume))
    else:
        buys = bulk_buy_volume(float(volume), move, sigma)
    return 2.0 * buys - volume


@njit(cache=True)
def parkinson_variance(high, low):
    """(ln H/L)^2 / (4 ln 2), per bar. Parkinson (1980), Journal of Business 53(1)."""
    spread = math.log(high / low)
    return spread * spread / _FOUR_LN_2


@njit(cache=True)
def garman_klass_variance(open_, high, low, close):
    """1/2 (ln H/L)^2 - (2 ln 2 - 1)(ln C/O)^2, per bar. Garman and Klass (1980)."""
    spread = math.log(high / low)
    body = math.log(close / open_)
    return 0.5 * spread * spread - _GK_CLOSE * body * body


@njit(cache=True)
def typical_price(high, low, close):
    """(H + L + C) / 3, the usual stand-in for a bar's mean traded price."""
    return (high + low + close) / 3.0


@njit(cache=True)
def volume_weighted_price(state, prices, volumes, capacity, count, n):
    """Rolling VWAP = sum P V / sum V over the last ``n`` bars; 0 when nothing was traded.

    ``prices`` and ``volumes`` are the bases of two rings filled together.
    """
    traded = 0.0
    value = 0.0
    for i in range(count - n, count):
        place = i % capacity
        traded += state[volumes + place]
        value += state[prices + place] * state[volumes + place]
    if traded <= 0.0:
        return 0.0
    return value / traded


@njit(cache=True)
def amihud_ratio(log_return, price, volume):
    """|r| / (price x volume): the price move per unit of value traded; volume > 0.

    Its mean over days is the illiquidity of Amihud (2002), Journal of Financial Markets 5(1).
    """
    return abs(log_return) / (price * volume)


@njit(cache=True)
def kyle_regression(state, returns, flows, capacity, count, n):
    """Least squares r = a + lambda q over the last ``n`` pairs of return and signed volume.

    Returns (a, lambda, residual standard deviation); ``returns`` and ``flows`` are the bases of
    two rings filled together. lambda is the price impact of Kyle (1985), Econometrica 53(6). All
    zero when the flows or the returns do not vary: there is no slope then.
    """
    mean_r = ring_sum(state, returns, capacity, count, n) / n
    mean_q = ring_sum(state, flows, capacity, count, n) / n
    s_qq = 0.0
    s_qr = 0.0
    s_rr = 0.0
    for i in range(count - n, count):
        place = i % capacity
        r = state[returns + place] - mean_r
        q = state[flows + place] - mean_q
        s_qq += q * q
        s_qr += q * r
        s_rr += r * r
    if s_qq <= n * (_ROUNDING * mean_q) ** 2 or s_rr <= n * (_ROUNDING * mean_r) ** 2:
        return 0.0, 0.0, 0.0
    impact = s_qr / s_qq
    unexplained = max(s_rr - impact * s_qr, 0.0)
    return mean_r - impact * mean_q, impact, math.sqrt(unexplained / n)


@njit(cache=True)
def relative_strength(average_gain, average_loss):
    """Relative strength index of Wilder (1978) in [0, 100]; 50 where nothing moved."""
    total = average_gain + average_loss
    if total <= 0.0:
        return 50.0
    return 100.0 * average_gain / total
