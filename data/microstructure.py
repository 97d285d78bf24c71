"""Streaming microstructure statistics, compiled: what bars alone tell about flow and liquidity.

Windows and the order of their sums are those of ``data.windows``: n values from an index on.

Prices and volumes may be in any unit that stays the same; ticks and lots here.
"""

from __future__ import annotations

import math

from data.compiled import inline_njit, proven_inline_njit
from data.windows import window_moments, window_product, window_sum

_SQRT_HALF = math.sqrt(0.5)
_FOUR_LN_2 = 4.0 * math.log(2.0)
# Equal values may differ from their own mean by an ulp or two: that is no variation.
_ROUNDING = 1e-12
_GK_CLOSE = 2.0 * math.log(2.0) - 1.0


@inline_njit
def normal_cdf(x):
    """Standard normal distribution function."""
    return 0.5 * math.erfc(-x * _SQRT_HALF)


@inline_njit
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


@inline_njit
def signed_volume(volume, buy_volume, move, sigma):
    """Buys less sells of a bar in [-V, V]: the feed's own where known (>= 0), else in bulk."""
    if buy_volume >= 0:
        buys = min(float(buy_volume), float(volume))
    else:
        buys = bulk_buy_volume(float(volume), move, sigma)
    return 2.0 * buys - volume


@inline_njit
def parkinson_variance(high, low):
    """(ln H/L)^2 / (4 ln 2), per bar. Parkinson (1980), Journal of Business 53(1)."""
    spread = math.log(high / low)
    return spread * spread / _FOUR_LN_2


@inline_njit
def garman_klass_variance(open_, high, low, close):
    """1/2 (ln H/L)^2 - (2 ln 2 - 1)(ln C/O)^2, per bar. Garman and Klass (1980)."""
    spread = math.log(high / low)
    body = math.log(close / open_)
    return 0.5 * spread * spread - _GK_CLOSE * body * body


@inline_njit
def typical_price(high, low, close):
    """(H + L + C) / 3, the usual stand-in for a bar's mean traded price."""
    return (high + low + close) / 3.0


@proven_inline_njit
def volume_weighted_price(state, prices, volumes, n, traded):
    """Rolling VWAP = sum P V / sum V over ``n`` bars; 0 when nothing was traded.

    ``prices`` and ``volumes`` are the starts of two windows, ``traded`` is the sum of the second.
    """
    if traded <= 0.0:
        return 0.0
    return window_product(state, prices, volumes, n) / traded


@inline_njit
def amihud_ratio(log_return, price, volume):
    """|r| / (price x volume): the price move per unit of value traded; volume > 0.

    Its mean over days is the illiquidity of Amihud (2002), Journal of Financial Markets 5(1).
    """
    return abs(log_return) / (price * volume)


@proven_inline_njit
def kyle_regression(state, returns, flows, n):
    """Least squares r = a + lambda q over ``n`` pairs of return and signed volume.

    Returns (a, lambda, residual standard deviation); ``returns`` and ``flows`` are the starts of
    two windows. lambda is the price impact of Kyle (1985), Econometrica 53(6). All zero when the
    flows or the returns do not vary: there is no slope then.
    """
    mean_r = window_sum(state, returns, n) / n
    mean_q = window_sum(state, flows, n) / n
    s_qq, s_qr, s_rr = window_moments(state, flows, returns, n, mean_q, mean_r)
    least_q, least_r = _ROUNDING * mean_q, _ROUNDING * mean_r
    if s_qq <= n * least_q * least_q or s_rr <= n * least_r * least_r:
        return 0.0, 0.0, 0.0
    impact = s_qr / s_qq
    unexplained = max(s_rr - impact * s_qr, 0.0)
    return mean_r - impact * mean_q, impact, math.sqrt(unexplained / n)


@inline_njit
def relative_strength(average_gain, average_loss):
    """Relative strength index of Wilder (1978) in [0, 100]; 50 where nothing moved."""
    total = average_gain + average_loss
    if total <= 0.0:
        return 50.0
    return 100.0 * average_gain / total
