"""Buy-and-hold: what the same money would have become without a committee.

The cash is split equally over the symbols that trade on the first traded date; each part buys
whole lots at that symbol's next open, at the committee's commission, spread and slippage but
without market impact (which favours buy-and-hold), and is held to the end. A symbol that lists
later is not bought: nobody could have known of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from actors.costs import CostModel, commission_micro
from cloud_trader.fills import fill_price
from data.bars import Bars
from data.money import notional_micro

RULE = (
    "equal parts of the symbols that trade on the first day, bought at the next open"
    " after commission, spread and slippage, and held"
)


def buy_and_hold(
    bars: Bars, first_traded: int, opening_micro: int, micro_per_tick: int, costs: CostModel
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(ts (T,), equity in micro-units (T,)) at every moment of ``bars`` in (ts, symbol) order."""
    moments = np.unique(bars["ts"])
    traded = moments[moments >= first_traded]
    equity = np.full(len(moments), opening_micro, np.int64)
    if not len(traded):
        return moments, equity
    first = bars[bars["ts"] == traded[0]]
    share = opening_micro // len(first)
    record = costs.record()
    for symbol in np.unique(first["symbol"]):
        own = bars[bars["symbol"] == symbol]
        later = np.flatnonzero(own["ts"] > traded[0])
        if not len(later):
            continue
        bought = own[later[0]]
        lots, paid = _buy(share, bought, micro_per_tick, record)
        # The dearest mark in checked arithmetic: no product below can overflow then.
        notional_micro(int(own["close"].max()), lots, micro_per_tick)
        since = int(np.searchsorted(moments, bought["ts"]))
        latest = np.searchsorted(own["ts"], moments[since:], side="right") - 1
        equity[since:] += own["close"][latest] * (lots * micro_per_tick) - paid
    return moments, equity


def _buy(share: int, bar: np.void, micro_per_tick: int, costs: np.void) -> tuple[int, int]:
    """The most lots that ``share`` pays for at the bar's open, and what they cost."""
    volume, open_ = max(int(bar["volume"]), 1), int(bar["open"])
    lots = share // (open_ * micro_per_tick)
    while lots > 0:
        price = int(fill_price(costs, 1, lots, open_, volume, costs["half_spread_bps"], 0.0))
        notional = int(notional_micro(price, lots, micro_per_tick))
        paid = notional + int(commission_micro(costs, lots, notional))
        if paid <= share:
            return lots, paid
        lots -= max(1, (paid - share) // (price * micro_per_tick))
    return 0, 0
