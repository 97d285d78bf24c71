"""Variance from open, high, low and close: estimators over a stretch of bars.

Parkinson and Garman-Klass of single bars are in ``data.microstructure``; here is what drift and
the gaps between bars add. All prices are positive and in the same unit; variances are per bar, of
log returns, before annualisation.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@njit(cache=True)
def rogers_satchell_variance(open_, high, low, close):
    """ln(H/C) ln(H/O) + ln(L/C) ln(L/O), per bar; any drift cancels.

    Rogers and Satchell (1991), Annals of Applied Probability 1(4).
    """
    return math.log(high / close) * math.log(high / open_) + math.log(low / close) * math.log(
        low / open_
    )


def yang_zhang_variance(open_: Floats, high: Floats, low: Floats, close: Floats) -> float:
    """Variance per bar with the gap between bars, for any drift: V_gap + k V_body + (1 - k) V_RS.

    k = 0.34 / (1.34 + (n + 1) / (n - 1)) for the n bars that have one before them. Yang and Zhang
    (2000), Journal of Business 73(3). All (n + 1,); ValueError for fewer than three bars or prices
    that are not positive.
    """
    prices = np.array([open_, high, low, close], np.float64)
    if prices.ndim != 2 or prices.shape[1] < 3 or not (prices > 0.0).all():
        raise ValueError("yang_zhang_variance needs at least three bars of positive prices")
    o, h, low_, c = np.log(prices)
    gap, body = o[1:] - c[:-1], (c - o)[1:]
    inner = ((h - c) * (h - o) + (low_ - c) * (low_ - o))[1:]
    n = len(gap)
    k = 0.34 / (1.34 + (n + 1) / (n - 1))
    return float(gap.var(ddof=1) + k * body.var(ddof=1) + (1.0 - k) * inner.mean())
