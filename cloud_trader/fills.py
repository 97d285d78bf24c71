"""The fill rule of paper trading and backtests: a marketable limit order at the next open.

The order was sent after bar t and meets bar t + 1. It fills once, at

    open +- (half spread + slippage + Y sigma sqrt(Q / V)) * open

with Q the filled lots, V the bar's volume and sigma the per-bar volatility known before the bar.
The half spread is that of the last quote before the bar, else the declared one. The adverse move
is rounded half to even to whole ticks and is never negative: a fill is never better than the open.
It is not clamped into the bar's high and low, which would give the modelled cost back on a day that
opens at its extreme. A price beyond the order's limit means no fill at all. At most
``participation_cap`` of the bar's volume fills; the rest expires. Commission is charged per fill.
Impact uses the full bar's volume, known only at its close: a model of the venue, which no decision
reads.
"""

from __future__ import annotations

import numpy as np

from actors.costs import commission_micro, participation_lots, price_cost_fraction
from data.compiled import lean_njit
from data.money import add_checked, notional_micro


@lean_njit
def fill_price(costs, side, lots, open_price, volume, spread_bps, sigma):
    """Ticks at which ``lots`` > 0 trade, before the limit is looked at; volume > 0.

    ``spread_bps`` is half the spread (``actors.costs.half_spread_bps``), ``sigma`` per bar.
    """
    fraction = price_cost_fraction(costs, spread_bps, sigma, lots, volume)
    move = np.rint(open_price * fraction)
    if not move < 9.0e18:
        raise OverflowError("fill price does not fit in int64 ticks")
    return add_checked(open_price, side * np.int64(max(move, 0.0)))


@lean_njit
def next_bar_fill(
    costs, side, lots, limit_price, open_price, volume, spread_bps, sigma, micro_per_tick
):
    """Returns (filled_lots, price_ticks, fee_micro), all 0 when nothing fills.

    ``side`` +1 or -1, ``lots`` > 0, prices in ticks > 0, ``volume`` in lots, ``spread_bps`` half
    the spread, ``sigma`` per bar.
    ValueError for an order that should never have been sent.
    """
    if side not in (1, -1) or lots <= 0 or limit_price <= 0 or open_price <= 0:
        raise ValueError("fill: side +1 or -1, lots, limit and open above 0")
    if not (sigma >= 0.0 and spread_bps >= 0.0):
        raise ValueError("fill: sigma or spread is negative or no number")
    filled = min(lots, participation_lots(costs, volume))
    if filled == 0:
        return 0, 0, 0
    price = fill_price(costs, side, filled, open_price, volume, spread_bps, sigma)
    if price <= 0 or side * price > side * limit_price:
        return 0, 0, 0
    notional = notional_micro(price, filled, micro_per_tick)
    return filled, price, commission_micro(costs, filled, notional)
