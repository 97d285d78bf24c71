"""Outcome labels for fitting: what each bar's forecast would have been scored against."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from actors.outcome import VOLATILITY_WARM_UP, outcome, update_variance
from data.bars import Bars

NO_LABEL = -1


def labels(bars: Bars, horizon: int) -> NDArray[np.int64]:
    """Per bar 0 down, 1 flat, 2 up over the symbol's next ``horizon`` bars, shape (n,).

    ``NO_LABEL`` where volatility is not yet known or the horizon ends after the data: whoever cuts
    the bars at a date thereby cuts every label that would look past it.
    """
    result = np.full(len(bars), NO_LABEL, np.int64)
    for symbol in np.unique(bars["symbol"]):
        rows = np.flatnonzero(bars["symbol"] == symbol)
        result[rows] = _symbol_labels(bars["close"][rows], horizon)
    return result


@njit(cache=True)
def _symbol_labels(closes, horizon):
    result = np.full(len(closes), NO_LABEL, np.int64)
    variance, weight = 0.0, 0.0
    for i in range(1, len(closes) - horizon):
        variance, weight = update_variance(variance, weight, math.log(closes[i] / closes[i - 1]))
        sigma = math.sqrt(variance / weight)
        if i >= VOLATILITY_WARM_UP and sigma > 0.0:
            result[i] = outcome(closes[i], closes[i + horizon], sigma, horizon)
    return result
