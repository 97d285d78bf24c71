"""Order flow against price, over recorded quotes and trades: what the streaming agents rest on.

Arrays in time order; prices, sizes and flows in any unit that stays the same. Nothing here decides
anything: these are the published definitions, for research and for checking recordings.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@njit(cache=True)
def quote_flow(last_bid, last_bid_size, last_ask, last_ask_size, bid, bid_size, ask, ask_size):
    """What one quote update adds to buying less selling pressure, in size units.

    e = [P_B >= P_B'] q_B - [P_B <= P_B'] q_B' - [P_A <= P_A'] q_A + [P_A >= P_A'] q_A'
    with primes for the quote before. Cont, Kukanov and Stoikov (2014), 'The price impact of order
    book events', Journal of Financial Econometrics 12(1).
    """
    flow = 0.0
    if bid >= last_bid:
        flow += bid_size
    if bid <= last_bid:
        flow -= last_bid_size
    if ask <= last_ask:
        flow -= ask_size
    if ask >= last_ask:
        flow += last_ask_size
    return flow


@njit(cache=True)
def _quote_flows(bid, bid_size, ask, ask_size):
    flows = np.zeros(len(bid))
    for i in range(1, len(bid)):
        flows[i] = quote_flow(
            bid[i - 1], bid_size[i - 1], ask[i - 1], ask_size[i - 1],
            bid[i], bid_size[i], ask[i], ask_size[i],
        )  # fmt: skip
    return flows


def order_flow(bid: Floats, bid_size: Floats, ask: Floats, ask_size: Floats) -> Floats:
    """``quote_flow`` of each update (n,), 0 for the first; its sum over a window is the imbalance.

    ValueError when the four columns differ in length.
    """
    columns = [np.ascontiguousarray(x, np.float64) for x in (bid, bid_size, ask, ask_size)]
    if len({len(column) for column in columns}) > 1:
        raise ValueError("order_flow needs four columns of the same length")
    return np.asarray(_quote_flows(*columns))


class Impact(NamedTuple):
    """Least squares change = intercept + slope * flow."""

    intercept: float
    slope: float
    r_squared: float


def price_impact(flow: ArrayLike, change: ArrayLike) -> Impact:
    """How far price moves per unit of flow, with the share of variance explained.

    With signed volume as flow the slope is the lambda of Kyle (1985), Econometrica 53(6); with
    order-flow imbalance that of Cont, Kukanov and Stoikov (2014). ``flow`` and ``change`` are (n,),
    n > 2; ValueError for other shapes or values that are no numbers. nan without variation.
    """
    x, y = np.asarray(flow, np.float64), np.asarray(change, np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 3:
        raise ValueError("price_impact needs two series of the same length, 3 or more")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("price_impact needs finite numbers")
    dx, dy = x - x.mean(), y - y.mean()
    xx, yy, xy = float(dx @ dx), float(dy @ dy), float(dx @ dy)
    if not (xx > 0.0 and yy > 0.0):
        return Impact(math.nan, math.nan, math.nan)
    slope = xy / xx
    return Impact(float(y.mean()) - slope * float(x.mean()), slope, xy * xy / (xx * yy))


def roll_spread(prices: ArrayLike) -> float:
    """Effective spread 2 sqrt(-cov(d_t, d_{t-1})) from trade prices (n,), in price units.

    Roll (1984), Journal of Finance 39(4), sample covariance (n - 1). nan where the covariance is
    positive: the model has no answer then. ValueError for fewer than four prices.
    """
    values = np.asarray(prices, np.float64)
    if values.ndim != 1 or len(values) < 4 or not np.isfinite(values).all():
        raise ValueError("roll_spread needs one series of at least four finite prices")
    changes = np.diff(values)
    now, before = changes[1:] - changes[1:].mean(), changes[:-1] - changes[:-1].mean()
    covariance = float(now @ before) / (len(now) - 1)
    return 2.0 * math.sqrt(-covariance) if covariance <= 0.0 else math.nan


def amihud_illiquidity(returns: ArrayLike, traded: ArrayLike) -> float:
    """Mean of |return| / value traded, over periods in which something traded; nan without any.

    Amihud (2002), Journal of Financial Markets 5(1). ``returns`` and ``traded`` are (n,), the
    latter in currency.
    """
    moves, value = np.abs(np.asarray(returns, np.float64)), np.asarray(traded, np.float64)
    if moves.ndim != 1 or moves.shape != value.shape:
        raise ValueError("amihud_illiquidity needs two series of the same length")
    some = value > 0.0
    return float((moves[some] / value[some]).mean()) if some.any() else math.nan
