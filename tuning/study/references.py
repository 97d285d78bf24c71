"""What a study's winner is held against: the same money in all symbols, after costs."""

from __future__ import annotations

import numpy as np

from tuning.benchmark import buy_and_hold
from tuning.study.contract import FoldResult
from tuning.study.market import Market, Stretches, returns_from


def equal_holding(market: Market, stretches: Stretches) -> list[FoldResult]:
    """``tuning.benchmark.buy_and_hold`` in each fold: bought anew at its second moment's open."""
    results = []
    for fold, (first, last) in enumerate(stretches.rows.tolist()):
        bars = market.bars[first:last]
        _, equity = buy_and_hold(
            bars,
            int(bars["ts"][0]),
            market.opening_micro,
            market.micro_per_tick,
            market.costs,
        )
        returns = returns_from(equity, market.opening_micro)
        results.append(FoldResult(fold, returns, orders=len(np.unique(bars["symbol"]))))
    return results
