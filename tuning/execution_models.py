"""Published models of size and impact, to hold the declared ones against.

``actors.sizing`` uses the continuous form of Kelly's rule and ``actors.costs`` the square-root
law; these are the discrete bet and the regression that both are often compared with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


def kelly_fraction(p: float, odds: float = 1.0) -> float:
    """Growth-optimal stake of a bet that pays ``odds`` with probability p: p - (1 - p) / odds.

    Kelly (1956). 0 where the bet is not favourable. ValueError for p outside [0, 1] or odds <= 0.
    """
    _check_bet(p, odds)
    return max(p - (1.0 - p) / odds, 0.0)


def bet_growth(fraction: float, p: float, odds: float = 1.0) -> float:
    """Expected log growth per bet of staking ``fraction`` of wealth; -inf when ruin is possible."""
    _check_bet(p, odds)
    growth = p * math.log1p(fraction * odds) if p > 0.0 else 0.0
    if p == 1.0:
        return growth
    return growth + (1.0 - p) * math.log1p(-fraction) if fraction < 1.0 else -math.inf


def _check_bet(p: float, odds: float) -> None:
    if not 0.0 <= p <= 1.0 or not odds > 0.0:
        raise ValueError(f"a bet needs a probability and odds above 0, not {p} and {odds}")


@dataclass(frozen=True)
class AlmgrenImpact:
    """Impact of one US equity order, as fractions of price."""

    permanent: float
    temporary: float

    @property
    def cost(self) -> float:
        """Expected shortfall against the price before the order: half the permanent part stays."""
        return 0.5 * self.permanent + self.temporary


def almgren_2005(
    shares: float, days: float, sigma: float, volume: float, outstanding: float
) -> AlmgrenImpact:
    """Almgren, Thum, Hauptmann and Li (2005), 'Direct estimation of equity market impact'.

    ``shares`` > 0 traded evenly over ``days`` of ``volume`` shares a day, daily volatility
    ``sigma``, ``outstanding`` shares. With gamma = .314, eta = .142:
    permanent = gamma sigma (X/V) (Theta/V)^(1/4), temporary = eta sigma (X / (V T))^(3/5).
    """
    if min(shares, days, volume, outstanding) <= 0.0 or sigma < 0.0:
        raise ValueError("shares, days, volume and outstanding shares must be above 0")
    share = shares / volume
    return AlmgrenImpact(
        permanent=0.314 * sigma * share * (outstanding / volume) ** 0.25,
        temporary=0.142 * sigma * (share / days) ** 0.6,
    )
