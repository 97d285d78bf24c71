"""What a trade is expected to cost: one declared model for sizing, reservation and fills.

One-way cost as a fraction of notional =
    half spread + slippage + Y sigma sqrt(Q / V) + commission / notional
The half spread is that of the last quote before the fill, the declared one where none is known.
The third term is the square-root impact law (Toth et al., Phys. Rev. X 1, 021006, 2011): Q lots
against V lots of volume in a bar whose log return has standard deviation sigma.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from data.compiled import lean_njit
from data.money import MICRO, PPM, add_checked, div_half_even, floor_ppm, multiply_checked

COSTS = np.dtype(
    [
        ("commission_per_lot_micro", "<i8"),
        ("commission_ppm", "<i8"),
        ("commission_min_micro", "<i8"),
        ("half_spread_bps", "<f8"),
        ("slippage_bps", "<f8"),
        ("impact_y", "<f8"),
        ("participation_cap_ppm", "<i8"),
    ]
)


@dataclass(frozen=True)
class CostModel:
    """Declared costs; ValueError when one is negative, not finite or a cap above 1."""

    commission_per_lot_micro: int = 5_000  # 0.005 per share
    commission_ppm: int = 0  # of notional, added to the commission per lot
    commission_min_micro: int = MICRO  # 1 per order
    half_spread_bps: float = 2.0
    slippage_bps: float = 1.0
    impact_y: float = 0.5
    participation_cap: float = 0.1  # of the filling bar's volume

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"cost {name}={value}: give a number of 0 or more")
        if self.participation_cap > 1:
            raise ValueError(f"cost participation_cap={self.participation_cap}: give 0 to 1")

    def record(self) -> np.void:
        """The same as one ``COSTS`` record, for the compiled functions."""
        row = np.zeros(1, COSTS)
        for name in COSTS.names or ():
            if name != "participation_cap_ppm":
                row[name] = getattr(self, name)
        row["participation_cap_ppm"] = round(self.participation_cap * PPM)
        return row[0]


@lean_njit
def commission_micro(costs, lots, notional):
    """Commission of one fill of ``lots`` > 0 for ``notional`` micro-units; none for 0 lots.

    The part in millionths of notional is rounded half to even.
    """
    if lots <= 0:
        return 0
    whole = multiply_checked(notional // PPM, costs.commission_ppm)
    part = div_half_even(multiply_checked(notional % PPM, costs.commission_ppm), PPM)
    per_lot = multiply_checked(costs.commission_per_lot_micro, lots)
    return max(costs.commission_min_micro, add_checked(add_checked(whole, part), per_lot))


@lean_njit
def participation_lots(costs, volume):
    """The most lots that one order may take of a bar with ``volume`` lots."""
    return floor_ppm(max(volume, 0), costs.participation_cap_ppm)


@lean_njit
def half_spread_bps(costs, bid, ask):
    """Half the spread in bp of the middle, from a quote in ticks; the declared one without a quote.

    A quote is known when both sides are above 0 and not crossed (``data.bars.UNKNOWN`` is -1).
    """
    if bid > 0 and ask >= bid:
        return 1e4 * float(ask - bid) / float(ask + bid)
    return costs.half_spread_bps


@lean_njit
def price_cost_fraction(costs, spread_bps, sigma, lots, volume):
    """Half spread + slippage + impact, as a fraction of price; infinite when nothing traded."""
    if volume <= 0:
        return math.inf
    impact = costs.impact_y * sigma * math.sqrt(max(lots, 0) / volume)
    return (spread_bps + costs.slippage_bps) * 1e-4 + impact


@lean_njit
def cost_fraction(costs, spread_bps, sigma, lots, volume, lot_micro):
    """Expected one-way cost of ``lots`` > 0 as a fraction of notional, commission included.

    ``spread_bps`` is half the spread, ``sigma`` per bar, ``volume`` lots per bar, ``lot_micro``
    the notional of one lot. Infinite when the bar had no volume or the lot is worth nothing: then
    no edge can pay for it.
    """
    if lots <= 0 or lot_micro <= 0:
        return math.inf
    notional = float(lot_micro) * float(lots)
    fee = float(costs.commission_per_lot_micro) * lots + costs.commission_ppm * 1e-6 * notional
    fee = max(float(costs.commission_min_micro), fee) / notional
    return price_cost_fraction(costs, spread_bps, sigma, lots, volume) + fee
