"""The door: each flaw by the smallest change of a good row."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.door import Door, Flaw, flaw_of_prices, is_split_like

GOOD = {"open_": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 100.0}


@pytest.mark.parametrize(
    ("change", "flaw"),
    [
        ({}, None),
        ({"volume": 0.0}, None),
        ({"high": 11.0}, None),
        ({"low": 10.0}, None),
        ({"open_": math.nan}, Flaw.NOT_A_NUMBER),
        ({"volume": math.nan}, Flaw.NOT_A_NUMBER),
        ({"high": math.inf}, Flaw.NOT_A_NUMBER),
        ({"low": 0.0}, Flaw.NON_POSITIVE),
        ({"close": -11.0}, Flaw.NON_POSITIVE),
        ({"volume": -1.0}, Flaw.NEGATIVE_VOLUME),
        ({"high": 10.9}, Flaw.CROSSED),
        ({"high": 8.0}, Flaw.CROSSED),
        ({"low": 10.1}, Flaw.CROSSED),
        ({"open_": 12.1}, Flaw.CROSSED),
    ],
)
def test_flaw_of_a_single_row(change: dict[str, float], flaw: Flaw | None) -> None:
    assert flaw_of_prices(**(GOOD | change)) == flaw


@given(st.lists(st.floats(0.01, 1e6), min_size=4, max_size=4), st.permutations(range(4)))
def test_a_row_passes_exactly_when_high_and_low_are_the_extremes(
    prices: list[float], order: list[int]
) -> None:
    open_, high, low, close = (prices[i] for i in order)
    right = high == max(prices) and low == min(prices)
    assert (flaw_of_prices(open_, high, low, close, 1.0) is None) == right


@pytest.mark.parametrize(
    ("previous", "open_", "close", "split"),
    [
        (100, 50.2, 50.4, True),  # 2:1
        (100, 201, 199, True),  # 1:2
        (100, 66.5, 67.0, True),  # 3:2
        (100, 10.05, 9.9, True),  # 10:1
        (100, 50.2, 60.0, False),  # a crash that recovers
        (100, 98.0, 50.0, False),  # opened where it closed: a fall during the day
        (100, 40.0, 39.0, False),  # -61 %, on no ratio
        (100, 102.0, 104.0, False),
        (100, 3.1, 3.0, True),  # a reused ticker
        (100, 99.0, 3.0, False),
    ],
)
def test_split_like_jumps(previous: float, open_: float, close: float, split: bool) -> None:
    assert is_split_like(previous, open_, close) == split


def row(close: float) -> tuple[float, float, float, float]:
    return close, close, close, close


def test_order_of_rows_counts_per_symbol() -> None:
    door = Door()
    assert door.admit("A", 10, row(100), 1) is None
    assert door.admit("A", 10, row(100), 1) == Flaw.DUPLICATE
    assert door.admit("B", 5, row(50), 1) is None
    assert door.admit("A", 9, row(100), 1) == Flaw.OUT_OF_ORDER
    # A flawed row moves nothing: the next good one is not out of order.
    assert door.admit("A", 99, row(math.nan), 1) == Flaw.NOT_A_NUMBER
    assert door.admit("A", 11, row(101), 1) is None


def test_after_a_jump_the_new_level_is_the_reference() -> None:
    door = Door()
    assert door.admit("A", 1, row(100), 1) is None
    assert door.admit("A", 2, row(50), 1) == Flaw.JUMP
    assert door.admit("A", 3, row(51), 1) is None
    assert door.admit("A", 4, row(102), 1) == Flaw.JUMP
