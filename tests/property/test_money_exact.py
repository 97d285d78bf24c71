"""Money against Python's unbounded integers and Decimal."""

from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.money import (
    INT64_MAX,
    add_checked,
    div_half_even,
    floor_ppm,
    from_micro,
    from_ticks,
    multiply_checked,
    notional_micro,
    quantise,
    to_micro,
    to_ticks,
)

ints = st.integers(-INT64_MAX, INT64_MAX)
edges = st.one_of(ints, st.integers(-3, 3), st.integers(-(2**32), 2**32))
TICK = Decimal("0.0001")


@given(edges, edges)
def test_sums_and_products_equal_python_or_raise(a: int, b: int) -> None:
    for checked, exact in ((add_checked, a + b), (multiply_checked, a * b)):
        if abs(exact) <= INT64_MAX:
            assert checked(a, b) == exact
        else:
            with pytest.raises(OverflowError):
                checked(a, b)


@given(edges, edges.filter(bool))
def test_division_equals_python_rounding_of_the_exact_fraction(a: int, b: int) -> None:
    assert div_half_even(a, b) == round(Fraction(a, b))


@given(st.integers(0, INT64_MAX), st.integers(0, 2_000_000))
def test_floor_ppm_equals_python(amount: int, ppm: int) -> None:
    exact = amount * ppm // 1_000_000
    if exact <= INT64_MAX // 2:
        assert floor_ppm(amount, ppm) == exact


@given(st.integers(1, 10**9), st.integers(-(10**6), 10**6), st.integers(1, 1000))
def test_notional_equals_decimal(price: int, lots: int, micro_per_tick: int) -> None:
    exact = Decimal(price) * lots * micro_per_tick
    assert notional_micro(price, lots, micro_per_tick) == int(exact)


@given(ints)
def test_edges_return_what_they_were_given(value: int) -> None:
    assert to_micro(from_micro(value)) == value
    assert to_ticks(from_ticks(value, TICK), TICK) == value


@given(st.decimals(-(10**9), 10**9, places=7))
def test_quantise_equals_decimal_half_even(price: Decimal) -> None:
    expected = price.quantize(TICK, ROUND_HALF_EVEN)
    assert from_ticks(quantise(price, TICK), TICK) == expected


@given(st.decimals(-(10**6), 10**6, places=9))
def test_to_micro_is_exact_or_refuses(amount: Decimal) -> None:
    if amount == amount.quantize(Decimal("0.000001")):
        assert from_micro(to_micro(amount)) == amount
    else:
        with pytest.raises(ValueError, match="PRECISION"):
            to_micro(amount)
