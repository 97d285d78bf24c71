"""From pooled probabilities to a position: edge, cost, fractional Kelly, volatility target.

With sigma_h = sigma sqrt(h) and the outcome band k sigma_h (k = 0.43, ``actors.outcome``), a
normal log return r of zero mean has

    E[r | r > k sigma_h] = sigma_h phi(k) / (1 - Phi(k)) = 1.0903 sigma_h
    E[r] = P_up E[r | up] + P_down E[r | down] = (P_up - P_down) 1.0903 sigma_h   (the edge)

because the flat outcome is symmetric. A position is worth changing only when |edge| exceeds the
round-trip cost of the change. Its size, as a fraction of equity, is

    min(kelly_fraction |edge| / sigma_h^2,  vol_target risk_multiplier / (sigma sqrt(bars a year)))
    * (1 - dissent) * toxicity factor

The first is Kelly's growth-optimal fraction (Kelly 1956; Thorp 2006 for the continuous form) times
a declared part of it; the second holds volatility at the target (Moreira and Muir 2017). The
toxicity factor is 1 up to ``toxicity_start`` and falls linearly to 0 at 1: it may only shrink.
RISK_MULTIPLIER scales the volatility target alone, never a limit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from actors.costs import cost_fraction
from actors.outcome import FLAT_BAND
from actors.space import Real, Space
from data.compiled import lean_njit
from data.money import INT64_MAX, PPM, floor_ppm

SIZE_OK, SIZE_NO_EDGE = 0, 1
# Ten times what the loosest concentration limit allows: keeps a nearly constant price finite.
LARGEST_FRACTION = 100.0

_DENSITY = math.exp(-0.5 * FLAT_BAND**2) / math.sqrt(2.0 * math.pi)
_TAIL = 0.5 * math.erfc(FLAT_BAND / math.sqrt(2.0))
TAIL_MEAN = _DENSITY / _TAIL  # E[z | z > FLAT_BAND] for a standard normal z

SIZING = np.dtype(
    [
        ("horizon", "<i8"),
        ("kelly_fraction", "<f8"),
        ("vol_target", "<f8"),
        ("bars_per_year", "<f8"),
        ("band_ppm", "<i8"),
        ("toxicity_start", "<f8"),
        ("risk_multiplier", "<f8"),
    ]
)


@dataclass(frozen=True)
class SizingParams:
    """How boldly to size. ``risk_multiplier`` is RISK_MULTIPLIER, passed in by the settings."""

    horizon: int = 5  # bars of the symbol's own clock, as scored by the pool
    kelly_fraction: float = 0.25
    vol_target: float = 0.10  # annual, per symbol
    bars_per_year: float = 252.0
    band: float = 0.02  # of equity: smaller changes are left alone
    toxicity_start: float = 0.5  # trailing VPIN quantile above which positions shrink
    risk_multiplier: float = 1.0

    def __post_init__(self) -> None:
        for name in ("horizon", "kelly_fraction", "vol_target", "bars_per_year"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"sizing {name}={value}: give a number above 0")
        for name in ("band", "toxicity_start"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"sizing {name}={getattr(self, name)}: give 0 or more, below 1")
        if not 1 <= self.risk_multiplier <= 2:
            raise ValueError(f"sizing risk_multiplier={self.risk_multiplier}: give 1.0 to 2.0")

    def record(self) -> np.void:
        """The same as one ``SIZING`` record, for the compiled functions."""
        row = np.zeros(1, SIZING)
        for name in SIZING.names or ():
            if name != "band_ppm":
                row[name] = getattr(self, name)
        row["band_ppm"] = round(self.band * PPM)
        return row[0]


# What a study may search: the rest is fixed by the session's clock and the operator.
SPACE = Space(
    {
        "kelly_fraction": Real(0.05, 1.0, SizingParams.kelly_fraction, log=True),
        "vol_target": Real(0.02, 0.40, SizingParams.vol_target, log=True),
        "band": Real(0.0, 0.10, SizingParams.band),
        "toxicity_start": Real(0.0, 0.95, SizingParams.toxicity_start),
    }
)


@lean_njit
def expected_return(p_down, p_up, sigma, horizon):
    """The edge: expected log return over ``horizon`` bars, ``sigma`` per bar."""
    return (p_up - p_down) * TAIL_MEAN * sigma * math.sqrt(horizon)


@lean_njit
def target_fraction(sizing, p_down, p_up, sigma, dissent, toxicity):
    """Signed fraction of equity that the forecast deserves, before costs; 0 for sigma <= 0."""
    if sigma <= 0.0:
        return 0.0
    # edge / sigma_h^2 with one sigma_h cancelled, so that a tiny sigma cannot square to zero.
    view = (p_up - p_down) * TAIL_MEAN
    kelly = sizing.kelly_fraction * abs(view) / (sigma * math.sqrt(sizing.horizon))
    budget = sizing.vol_target * sizing.risk_multiplier
    target = budget / (sigma * math.sqrt(sizing.bars_per_year))
    calm = 1.0
    if toxicity > sizing.toxicity_start:
        calm = max(0.0, (1.0 - toxicity) / (1.0 - sizing.toxicity_start))
    agree = min(1.0, max(0.0, 1.0 - dissent))
    return math.copysign(min(kelly, target, LARGEST_FRACTION) * agree * calm, view)


@lean_njit
def target_lots(fraction, equity_micro, lot_micro):
    """Lots worth ``fraction`` of equity, signed, rounded towards zero.

    ``lot_micro`` is the notional of one lot (close * micro_per_tick). 0 without equity or price.
    """
    if equity_micro <= 0 or lot_micro <= 0:
        return 0
    lots = fraction * float(equity_micro) / float(lot_micro)
    if abs(lots) >= 9.0e18:
        raise OverflowError("position does not fit in int64 lots")
    return int(lots)


@lean_njit
def pays(sizing, costs, p_down, p_up, spread_bps, sigma, lots, volume, lot_micro):
    """SIZE_OK when the edge exceeds the round trip's cost for ``lots`` > 0, else SIZE_NO_EDGE.

    ``spread_bps`` is half the spread (``actors.costs.half_spread_bps``).
    """
    edge = expected_return(p_down, p_up, sigma, sizing.horizon)
    round_trip = 2.0 * cost_fraction(costs, spread_bps, sigma, lots, volume, lot_micro)
    return SIZE_OK if abs(edge) > round_trip else SIZE_NO_EDGE


@lean_njit
def inside_band(sizing, delta_lots, equity_micro, lot_micro):
    """True when a change is smaller than the no-trade band, a fraction of equity."""
    if lot_micro <= 0 or equity_micro <= 0:
        return True
    if abs(delta_lots) > INT64_MAX // lot_micro:
        return False
    return abs(delta_lots) * lot_micro < floor_ppm(equity_micro, sizing.band_ppm)
