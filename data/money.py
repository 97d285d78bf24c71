"""Money as int64 fixed point: prices in ticks, quantities in lots, amounts in micro-units.

A micro-unit is 1e-6 of the account's currency. One tick of price on one lot is worth
``micro_per_tick`` micro-units (tick 0.0001 USD and lots of one share: 100). All amounts inside the
system are exact products and sums of these integers; an overflow of int64 raises instead of
wrapping round. Where a quotient is unavoidable it is rounded HALF TO EVEN, here and nowhere else.
Decimal appears only at the edges (venue, API, ``numeric`` columns) through the plain functions
below.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, Inexact, InvalidOperation, localcontext

from data.compiled import lean_njit

MICRO = 1_000_000
PPM = 1_000_000
INT64_MAX = 9_223_372_036_854_775_807

# 60 digits hold any product of two int64: a Decimal result is exact or the trap says so.
_EXACT = Context(prec=60, traps=[Inexact, InvalidOperation])


@dataclass(frozen=True)
class Instrument:
    """What a tick and a lot of one symbol are worth in the account's currency."""

    tick: Decimal = Decimal("0.0001")
    lot: Decimal = Decimal(1)

    @property
    def micro_per_tick(self) -> int:
        """Micro-units per tick and lot; ValueError('PRECISION') when that is not a whole number."""
        return to_micro(self.tick * self.lot)


@lean_njit
def add_checked(a, b):
    """a + b in int64. OverflowError outside [-INT64_MAX, INT64_MAX]."""
    if (b > 0 and a > INT64_MAX - b) or (b < 0 and a < -INT64_MAX - b):
        raise OverflowError("int64 sum overflows")
    return a + b


@lean_njit
def multiply_checked(a, b):
    """a * b in int64. OverflowError outside [-INT64_MAX, INT64_MAX]."""
    # Far below 2^63 even a rounded product is proof enough; the division below costs ten times it.
    if abs(float(a) * float(b)) < 9.0e18:
        return a * b
    # The most negative int64 has no magnitude in int64, so it is refused before abs().
    if a < -INT64_MAX or b < -INT64_MAX or abs(a) > INT64_MAX // abs(b):
        raise OverflowError("int64 product overflows")
    return a * b


@lean_njit
def div_half_even(a, b):
    """a / b rounded half to even, int64, any signs. ZeroDivisionError for b = 0."""
    if b == 0:
        raise ZeroDivisionError("division by zero")
    if a < -INT64_MAX or b < -INT64_MAX:
        raise OverflowError("int64 magnitude overflows")
    quotient = abs(a) // abs(b)
    rest = abs(a) - quotient * abs(b)
    other = abs(b) - rest  # compare rest with b/2 without doubling: no overflow
    if rest > other or (rest == other and quotient % 2 == 1):
        quotient += 1
    return quotient if (a >= 0) == (b > 0) else -quotient


@lean_njit
def notional_micro(price_ticks, lots, micro_per_tick):
    """price * lots in micro-units, exact. Signed lots give a signed amount."""
    return multiply_checked(multiply_checked(price_ticks, micro_per_tick), lots)


@lean_njit
def floor_ppm(amount, ppm):
    """floor(amount * ppm / 1e6) for amount, ppm >= 0, exact without a wide product.

    Used for limits, where rounding down is the safe side.
    """
    if amount < 0 or ppm < 0:
        raise ValueError("floor_ppm needs non-negative arguments")
    whole = multiply_checked(amount // PPM, ppm)
    return add_checked(whole, multiply_checked(amount % PPM, ppm) // PPM)


def to_micro(amount: Decimal) -> int:
    """Micro-units of an amount. ValueError('PRECISION...') when it is finer than one micro-unit."""
    return _whole(amount, Decimal(1).scaleb(-6), "amount")


def from_micro(micro: int) -> Decimal:
    """The exact amount, with six decimals."""
    return _scaled(int(micro), Decimal(1).scaleb(-6))


def to_ticks(price: Decimal, tick: Decimal) -> int:
    """Ticks of a price. ValueError('PRECISION...') when it is no whole number of ticks."""
    return _whole(price, tick, "price")


def from_ticks(ticks: int, tick: Decimal) -> Decimal:
    """The exact price of a number of ticks."""
    return _scaled(int(ticks), tick)


def quantise(price: Decimal, tick: Decimal) -> int:
    """Nearest tick, half to even: for importers of adjusted prices only, never for orders."""
    _finite(price, "price")
    _positive(tick)
    ticks = int((price / tick).to_integral_value(ROUND_HALF_EVEN))
    return _in_range(ticks, "price")


def _whole(value: Decimal, unit: Decimal, what: str) -> int:
    _finite(value, what)
    _positive(unit)
    try:
        with localcontext(_EXACT):
            count = value / unit
            whole = count.to_integral_value()
    except (Inexact, InvalidOperation):
        raise ValueError(f"PRECISION: {what} {value} is no whole multiple of {unit}") from None
    if whole != count:
        raise ValueError(f"PRECISION: {what} {value} is no whole multiple of {unit}")
    return _in_range(int(whole), what)


def _scaled(count: int, unit: Decimal) -> Decimal:
    _in_range(count, "amount")
    with localcontext(_EXACT):
        return Decimal(count) * unit


def _finite(value: Decimal, what: str) -> None:
    if not value.is_finite():
        raise ValueError(f"PRECISION: {what} {value} is not a finite number")


def _positive(unit: Decimal) -> None:
    if not (unit.is_finite() and unit > 0):
        raise ValueError(f"PRECISION: unit {unit} is not positive")


def _in_range(count: int, what: str) -> int:
    if abs(count) > INT64_MAX:
        raise OverflowError(f"{what} of {count} units does not fit in int64")
    return count
