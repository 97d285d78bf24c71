import math

import numpy as np
import pytest

from cloud_trader.account_step import POSITION
from cloud_trader.books import (
    apply_fill,
    day_start,
    drawdown,
    equity_micro,
    gross_micro,
    new_peak,
    worst_lots,
)

M = 100  # micro-units per tick and lot


def test_a_round_trip_by_hand() -> None:
    # Buy 100 at 10.00 for 1.00, sell 40 at 12.00 for 1.00: realised 80.00.
    cash, position, cost, realised = apply_fill(10**10, 0, 0, 1, 100, 100_000, 10**6, M)
    assert (cash, position, cost, realised) == (10**10 - 1_001_000_000, 100, 10**9, 0)
    cash, position, cost, realised = apply_fill(cash, position, cost, -1, 40, 120_000, 10**6, M)
    assert (position, cost, realised) == (60, 600_000_000, 80_000_000)
    assert cash == 10**10 - 1_001_000_000 + 480_000_000 - 1_000_000


def test_through_zero_into_a_short() -> None:
    # Long 10 at 1.00; sell 15 at 2.00: 10.00 realised, short 5 at 2.00.
    cash, position, cost, realised = apply_fill(0, 10, 10_000_000, -1, 15, 20_000, 0, M)
    assert (cash, position, cost, realised) == (30_000_000, -5, -10_000_000, 10_000_000)
    # Cover 5 at 1.50: 2.50 realised.
    assert apply_fill(cash, position, cost, 1, 5, 15_000, 0, M) == (22_500_000, 0, 0, 2_500_000)


def test_the_last_lot_takes_the_rounding_with_it() -> None:
    # Three lots cost 100: shares of 33, 34 (half to even of the rest) and the remainder.
    left, released = (3, 100), []
    for _ in range(3):
        _, position, cost, realised = apply_fill(0, left[0], left[1], -1, 1, 1, 0, 1)
        released.append(1 - realised)
        left = (position, cost)
    assert left == (0, 0)
    assert sum(released) == 100
    assert released[0] == 33


def test_malformed_fills_are_refused() -> None:
    for args in ((0, 1, 1, 0), (1, 0, 1, 0), (1, 1, 0, 0), (1, 1, 1, -1)):
        with pytest.raises(ValueError, match="fill"):
            apply_fill(0, 0, 0, *args, M)
    with pytest.raises(OverflowError):
        apply_fill(0, 0, 0, 1, 10**12, 10**9, 0, M)


def positions(lots, marks, buys=(0, 0, 0), sells=(0, 0, 0)):
    rows = np.zeros(len(lots), POSITION)
    rows["lots"], rows["mark_ticks"] = lots, marks
    rows["open_buys"], rows["open_sells"] = buys[: len(lots)], sells[: len(lots)]
    return rows


def test_equity_and_gross() -> None:
    lots, marks = (10, -5, 0), (20_000, 10_000, 0)
    held = positions(lots, marks)
    assert equity_micro(1_000_000, held, M) == 1_000_000 + 20_000_000 - 5_000_000
    assert gross_micro(held, M, -1) == 25_000_000
    assert gross_micro(held, M, 0) == 5_000_000
    # At worst |10 - 30| = 20 lots and |-5 + 20| = 15 lots.
    working = positions(lots, marks, (5, 20, 0), (30, 1, 0))
    assert gross_micro(working, M, -1) == 40_000_000 + 15_000_000
    assert worst_lots(10, 5, 30) == 20


def test_an_unmarked_position_has_no_equity() -> None:
    with pytest.raises(ValueError, match="mark"):
        equity_micro(0, positions((1,), (0,)), M)
    with pytest.raises(ValueError, match="mark"):
        gross_micro(positions((0,), (0,), buys=(1,)), M, -1)


def test_peak_drawdown_and_day() -> None:
    assert new_peak(5, 4) == 5
    assert new_peak(5, 6) == 6
    assert drawdown(100, 75) == 0.25
    assert drawdown(100, 101) == 0.0
    assert math.isnan(drawdown(0, 1))
    assert day_start(3, 100, 3, 90) == (3, 100)
    assert day_start(3, 100, 4, 90) == (4, 90)
    assert day_start(4, 90, 3, 50) == (4, 90)
