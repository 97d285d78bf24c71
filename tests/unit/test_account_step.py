"""The account over arrays: a moment's fills and marks, the drawdown's line, an order judged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.account_checks import ORDER
from actors.checks import Code, TradingState
from actors.costs import CostModel
from actors.limits import RiskLimits
from cloud_trader.account_step import (
    BOOKS,
    DAY_NS,
    FILL,
    POSITION,
    drawdown_reached,
    hold_open,
    judge_order,
    let_go,
    net_lots,
    opened_books,
    settle,
)
from data.bars import Bars, empty_bars

M, PPM = 100, 10**6
NOBODY = np.zeros(0, np.int64)


def fills_of(*rows: tuple[int, int, int, int, int]) -> np.ndarray:
    """Fills of (symbol, side, lots, price, fee)."""
    return np.array(list(rows), FILL)


def closes(ts: int, **by_symbol: int) -> Bars:
    """Bars of one moment: s0=... the close of symbol 0."""
    bars = empty_bars(len(by_symbol))
    bars["ts"] = ts
    bars["symbol"] = [int(name[1:]) for name in by_symbol]
    bars["close"] = list(by_symbol.values())
    return bars


def test_a_new_account_holds_cash_and_nothing_else() -> None:
    books = opened_books(7)
    assert {name: int(books[name]) for name in BOOKS.names or ()} == {
        "cash_micro": 7, "reserved_micro": 0, "equity_micro": 7, "peak_micro": 7, "day": 0,
        "day_open_micro": 7, "state": TradingState.ACTIVE,
    }  # fmt: skip


def test_a_moment_by_hand() -> None:
    books, positions = opened_books(10**9), np.zeros(2, POSITION)
    books["reserved_micro"] = 500
    day = 3 * DAY_NS
    fills = fills_of((0, 1, 10, 1_000, 7), (1, -1, 5, 2_000, 3))
    settle(books, positions, fills, 200, closes(day, s0=1_100, s1=1_900), NOBODY, day, M)
    # Fills first: -10 * 1000 * 100 - 7 + 5 * 2000 * 100 - 3; then marks: 10 * 100 and 5 * 100 won.
    assert books["cash_micro"] == 10**9 - 10
    assert books["equity_micro"] == 10**9 - 10 + 10 * 100 * M + 5 * 100 * M
    assert books["peak_micro"] == books["equity_micro"]
    assert books["reserved_micro"] == 300
    assert positions["lots"].tolist() == [10, -5]
    assert positions["cost_micro"].tolist() == [10**6, -(10**6)]
    assert positions["mark_ticks"].tolist() == [1_100, 1_900]
    # The day began with what the account was worth before this moment's fills.
    assert (books["day"], books["day_open_micro"]) == (3, 10**9)
    before = int(books["equity_micro"])
    settle(books, positions, fills[:0], 0, closes(day + 1, s0=900), NOBODY, day + 1, M)
    assert books["equity_micro"] == before - 10 * 200 * M
    assert (books["peak_micro"], books["day_open_micro"]) == (before, 10**9)


def test_only_what_is_held_after_the_fills_is_locked() -> None:
    books, positions = opened_books(10**9), np.zeros(3, POSITION)
    positions["lots"], positions["mark_ticks"] = (1, 0, 4), 1_000
    locks = np.array([0, 1, 2])
    fills = fills_of((0, -1, 1, 1_000, 0))  # Symbol 0 is left at the moment that would lock it.
    settle(books, positions, fills, 0, closes(1, s0=1_000), locks, 1, M)
    assert positions["locked"].tolist() == [0, 0, 1]


def test_a_held_symbol_without_a_mark_is_no_equity() -> None:
    books, positions = opened_books(10**9), np.zeros(2, POSITION)
    with pytest.raises(ValueError, match="no mark"):
        settle(
            books, positions, fills_of((1, 1, 1, 5, 0)), 0, closes(1, s0=5), NOBODY, 1, M
        )  # fmt: skip


@settings(deadline=None)
@given(
    peak=st.integers(1, 10**15),
    limit=st.integers(1, PPM - 1),
    near=st.integers(-2, 2),
)
def test_the_drawdown_is_reached_exactly_at_its_limit(peak: int, limit: int, near: int) -> None:
    books = opened_books(peak)
    lost = -(-peak * limit // PPM) + near
    books["equity_micro"] = peak - lost
    assert drawdown_reached(books, limit) == (lost * PPM >= peak * limit)


def test_open_orders_are_held_and_let_go() -> None:
    books, positions = opened_books(100), np.zeros(1, POSITION)
    position = positions[0]
    position["lots"] = 10
    hold_open(books, position, 1, 4, 30)
    hold_open(books, position, -1, 9, 0)
    assert (books["reserved_micro"], net_lots(position)) == (30, 5)
    let_go(position, -1, 9)
    assert (books["reserved_micro"], net_lots(position)) == (30, 14)
    let_go(position, 1, 4)
    assert net_lots(position) == position["lots"] == 10


LIMITS = RiskLimits(max_position_fraction=0.5, max_gross=0.8, min_order_notional=0)


def judged(side: int, lots: int, changes: dict[str, Any]) -> tuple[Code, int, int]:
    """An order for symbol 0 at its mark, of an account of 10,000.00 with marks at 1,000 ticks."""
    books, positions = opened_books(10**10), np.zeros(2, POSITION)
    positions["mark_ticks"] = 1_000
    for name, value in changes.items():
        if name in (BOOKS.names or ()):
            books[name] = value
        elif name in (POSITION.names or ()):
            positions[name] = value
    costs = CostModel(commission_per_lot_micro=10, commission_min_micro=0)
    code, allowed, reserved = judge_order(
        LIMITS.record(), costs.record(), books, positions, np.zeros(1, ORDER)[0], 0, side, lots,
        1_000, changes.get("operator", 0), M,
    )  # fmt: skip
    return Code(code), int(allowed), int(reserved)


@pytest.mark.parametrize(
    ("side", "lots", "changes", "expected"),
    [
        # A lot costs 10^5; half of 10^10 is 50,000 lots. A buy reserves its worst price and fee.
        (1, 50_000, {}, (Code.NONE, 50_000, 50_000 * (10**5 + 10))),
        (1, 50_001, {}, (Code.CONCENTRATION, 50_000, 50_000 * (10**5 + 10))),
        # The other symbol's worst exposure counts against the gross limit of 80,000 lots.
        (1, 50_000, {"lots": (0, -60_000)}, (Code.GROSS, 20_000, 20_000 * (10**5 + 10))),
        (1, 50_000, {"open_sells": (0, 60_000)}, (Code.GROSS, 20_000, 20_000 * (10**5 + 10))),
        # What other orders hold back is not there to spend.
        (1, 50_000, {"reserved_micro": 10**10 - 100_010}, (Code.CASH, 1, 100_010)),
        (1, 50_000, {"reserved_micro": 10**10}, (Code.CASH, 0, 0)),
        # A sell reserves nothing and goes no further than zero, open sells counted.
        (-1, 10, {"lots": (10, 0)}, (Code.NONE, 10, 0)),
        (-1, 10, {"lots": (10, 0), "open_sells": (4, 0)}, (Code.SHORT, 6, 0)),
        (-1, 10, {}, (Code.SHORT, 0, 0)),
        (1, 10, {"state": TradingState.HALTED}, (Code.HALTED, 0, 0)),
        (-1, 10, {"lots": (10, 0), "state": TradingState.HALTED, "operator": 1},
         (Code.NONE, 10, 0)),
        (1, 10, {"operator": 1}, (Code.REDUCING_ONLY, 0, 0)),
        (1, 10, {"peak_micro": 2 * 10**10}, (Code.DRAWDOWN, 0, 0)),
        (1, 10, {"day_open_micro": 2 * 10**10}, (Code.DAILY_LOSS, 0, 0)),
    ],
)  # fmt: skip
def test_an_order_beside_the_books(
    side: int, lots: int, changes: dict[str, Any], expected: tuple[Code, int, int]
) -> None:
    assert judged(side, lots, changes) == expected
