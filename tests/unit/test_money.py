from decimal import Decimal

import pytest

from data.money import (
    INT64_MAX,
    Instrument,
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

TICK = Decimal("0.0001")


def test_notional_of_a_hundred_shares_at_12_3456() -> None:
    # 12.3456 * 100 = 1234.56, in micro-units.
    assert notional_micro(123_456, 100, 100) == 1_234_560_000
    assert notional_micro(123_456, -100, 100) == -1_234_560_000


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [(5, 2, 2), (7, 2, 4), (-5, 2, -2), (-7, 2, -4), (5, -2, -2), (1, 3, 0), (2, 3, 1), (0, 9, 0)],
)
def test_ties_go_to_the_even_neighbour(a: int, b: int, expected: int) -> None:
    assert div_half_even(a, b) == expected


def test_division_by_zero_is_refused() -> None:
    with pytest.raises(ZeroDivisionError):
        div_half_even(1, 0)


def test_overflow_raises_and_the_edge_does_not() -> None:
    assert multiply_checked(INT64_MAX, 1) == INT64_MAX
    assert add_checked(INT64_MAX - 1, 1) == INT64_MAX
    for call in (
        lambda: multiply_checked(INT64_MAX, 2),
        lambda: multiply_checked(-(2**63), 1),
        lambda: add_checked(INT64_MAX, 1),
        lambda: add_checked(-INT64_MAX, -1),
        lambda: notional_micro(10**10, 10**10, 100),
        lambda: div_half_even(-(2**63), 1),
    ):
        with pytest.raises(OverflowError):
            call()


def test_floor_ppm_rounds_down_and_refuses_negatives() -> None:
    assert floor_ppm(999_999, 1) == 0
    assert floor_ppm(1_000_000, 1) == 1
    assert floor_ppm(3, 333_333) == 0
    for amount, ppm in ((-1, 1), (1, -1)):
        with pytest.raises(ValueError, match="non-negative"):
            floor_ppm(amount, ppm)


def test_edges_are_exact_or_say_precision() -> None:
    assert to_micro(Decimal("-1.234567")) == -1_234_567
    assert from_micro(-1_234_567) == Decimal("-1.234567")
    assert str(from_micro(1_500_000)) == "1.500000"
    assert to_ticks(Decimal("12.3456"), TICK) == 123_456
    assert from_ticks(123_456, TICK) == Decimal("12.3456")
    for call in (
        lambda: to_micro(Decimal("0.0000001")),
        lambda: to_ticks(Decimal("12.34565"), TICK),
        lambda: to_ticks(Decimal(1), Decimal("0.03")),
        lambda: to_micro(Decimal("NaN")),
        lambda: to_ticks(Decimal("Infinity"), TICK),
        lambda: to_ticks(Decimal(1), Decimal(0)),
    ):
        with pytest.raises(ValueError, match="PRECISION"):
            call()


def test_edges_refuse_what_int64_cannot_hold() -> None:
    with pytest.raises(OverflowError):
        to_micro(Decimal(10) ** 14)
    with pytest.raises(OverflowError):
        from_micro(2**63)


def test_quantise_is_half_even() -> None:
    assert quantise(Decimal("0.00005"), TICK) == 0
    assert quantise(Decimal("0.00015"), TICK) == 2
    assert quantise(Decimal("0.000151"), TICK) == 2


def test_an_instrument_knows_what_a_tick_is_worth() -> None:
    assert Instrument().micro_per_tick == 100
    assert Instrument(Decimal("0.01"), Decimal("0.001")).micro_per_tick == 10
    with pytest.raises(ValueError, match="PRECISION"):
        _ = Instrument(Decimal("0.0001"), Decimal("0.001")).micro_per_tick
