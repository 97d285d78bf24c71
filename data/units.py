"""Tick and lot of a table: given, or found in the decimals of its numbers, and fit for an account.

An account counts in micro-units (``data.money``): tick x lot x 1e6 must be a whole number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation

import numpy as np
import polars as pl
from numpy.typing import NDArray

from data.errors import InputError
from data.money import MICRO, Instrument

FINEST = 9  # Decimals looked at; a price or size with more is rounded noise.
MOST_PLACES = 18  # Of a number with a power of ten: below lies what doubles do not hold.
_SCIENTIFIC = r"^\s*[+-]?(?:\d+\.?\d*|\.\d+)[eE][+-]?\d{1,4}\s*$"
_SMALLEST_UNIT, _LARGEST_UNIT = Decimal("1e-12"), Decimal("1e12")
_LARGEST = 1e12
_EXACT = 2.0**53


@dataclass(frozen=True)
class Units:
    """Tick and lot, and what a person should know about how they were found."""

    tick: Decimal
    lot: Decimal
    said: tuple[str, ...] = ()


def power(places: int) -> Decimal:
    """The unit of the last of so many decimals."""
    return Decimal(1).scaleb(-places)


def parse_unit(text: str | None, option: str) -> Decimal | None:
    """A positive decimal given by a person; InputError names the option."""
    if text is None:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal(0)
    if not (value.is_finite() and value > 0):
        raise InputError(f"{option} {text!r} is not a positive number: write for example 0.01")
    if not _SMALLEST_UNIT <= value <= _LARGEST_UNIT:
        raise InputError(
            f"{option} {text[:40]!r} is out of range: write a number from {_SMALLEST_UNIT:e} "
            f"to {_LARGEST_UNIT:e}"
        )
    return value.normalize()


def text_places(values: pl.Series) -> int:
    """The most decimals that a column of decimal texts shows, trailing zeros not counted.

    ``1.5e-05`` has six; of such texts no more than MOST_PLACES are believed.
    """
    decimals = values.str.extract(r"\.(\d*?)0*$", 1).str.len_chars()
    most = decimals.max()
    plain = int(most) if isinstance(most, int) else 0
    powers = values.filter(values.str.contains(_SCIENTIFIC).fill_null(False)).unique()
    found = (Decimal(text.strip()).normalize().as_tuple().exponent for text in powers)
    return max([plain, *(min(MOST_PLACES, -e) for e in found if isinstance(e, int))])


def float_places(values: NDArray[np.float64]) -> int:
    """The fewest decimals that hold every value; FINEST when even they do not."""
    values = values[np.abs(values) < _LARGEST]  # Neither NaN nor nonsense tells anything.
    for places in range(FINEST):
        scaled = values * 10.0**places
        if np.all(np.abs(scaled - np.rint(scaled)) <= 1e-7 + 1e-15 * np.abs(scaled)):
            return places
    return FINEST


def found_units(
    tick: Decimal | None, lot: Decimal | None, price_places: int, size_places: int
) -> Units:
    """What was given, else the finest decimals seen; nothing is coarsened here."""
    said = []
    if tick is None:
        tick = power(price_places)
        said.append(f"tick {tick:f}: the finest price seen")
    if lot is None:
        lot = power(size_places)
        said.append(f"lot {lot:f}: the finest size seen")
    return Units(tick, lot, tuple(said))


def account_units(units: Units, lot_given: bool, currency: str) -> Units:
    """Units that an account can count in: a found lot may become ten times coarser, no more.

    InputError offers fitting values.
    """
    if _whole(units.tick, units.lot):
        return units
    coarser = (units.lot * 10).normalize()
    if not lot_given and _whole(units.tick, coarser):
        said = f"lot {coarser:f}: sizes are finer, but tick x lot must be a whole micro-{currency}"
        kept = tuple(line for line in units.said if not line.startswith("lot "))
        return replace(units, lot=coarser, said=(*kept, said))
    micro = (units.tick * units.lot * MICRO).normalize()
    ticks = [units.tick, *_coarser(units), Decimal("0.01")]
    lots = {tick: _fitting(tick) for tick in ticks}
    offers = [f"--tick {tick:f} --lot {lot:f}" for tick, lot in lots.items() if lot is not None]
    raise InputError(
        f"tick {units.tick:f} x lot {units.lot:f} is {micro:f} micro-{currency}, which must be a "
        f"whole number: give for example {' or '.join(offers[:2])}"
    )


def _whole(tick: Decimal, lot: Decimal) -> bool:
    try:
        return Instrument(tick, lot).micro_per_tick > 0
    except ValueError:
        return False


def _fitting(tick: Decimal) -> Decimal | None:
    """The finest power of ten that is a fitting lot; None when the tick is too odd for all."""
    fitting = (power(places) for places in range(12, -12, -1) if _whole(tick, power(places)))
    return next(fitting, None)


def _coarser(units: Units) -> list[Decimal]:
    """The tick that would let the lot stay, when there is one below 1."""
    ticks = [power(places) for places in range(6, 0, -1)]
    return [tick for tick in ticks if tick > units.tick and _whole(tick, units.lot)][:1] or [
        tick for tick in (Decimal("0.01"),) if tick > units.tick
    ]


def fits(values: NDArray[np.float64], unit: Decimal) -> NDArray[np.bool_]:
    """Whether each value is a number that its units can count."""
    return np.abs(values) <= _EXACT * float(unit)


def to_units(values: NDArray[np.float64], unit: Decimal) -> tuple[NDArray[np.int64], int]:
    """Nearest whole units (half to even), and how many values were no whole units.

    The values must fit (``fits``): doubles are exact up to 2**53 units.
    """
    inverse = 1 / unit
    whole = inverse == inverse.to_integral_value()
    scaled = values * float(inverse) if whole else values / float(unit)
    rounded = np.rint(scaled)
    off = np.abs(scaled - rounded) > 1e-6 + 1e-15 * np.abs(scaled)
    return rounded.astype(np.int64), int(off.sum())
