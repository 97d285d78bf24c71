"""The account's arithmetic, in exact integers: cash, positions, average cost, equity, drawdown.

Used by the paper broker, the order transaction, the backtest and ``verify``. Amounts are int64
micro-units and overflow raises. Realised profit uses the average cost of the position, kept as the
exact total cost of the lots held; when part of a position is closed its share of that total is
rounded half to even, and what is rounded off stays with the rest, so that nothing is ever lost:

    cash + sum lots * mark = initial + realised + unrealised - fees        (exactly)
    unrealised = sum (lots * mark - cost)
"""

from __future__ import annotations

import math

from data.compiled import lean_njit
from data.money import add_checked, div_half_even, multiply_checked, notional_micro


@lean_njit
def apply_fill(cash, position, cost, side, lots, price, fee, micro_per_tick):
    """One fill. Returns (cash, position, cost, realised), the first three after the fill.

    ``position`` signed lots, ``cost`` the signed amount paid for them (negative for a short),
    ``price`` ticks, ``fee`` micro-units >= 0. Realised profit does not contain the fee. ValueError
    for a malformed fill, OverflowError outside int64; nothing is changed then.
    """
    if side not in (1, -1) or lots <= 0 or price <= 0 or fee < 0:
        raise ValueError("fill: side +1 or -1, lots and price above 0, fee not negative")
    amount = notional_micro(price, lots, micro_per_tick)
    new_cash = add_checked(add_checked(cash, -side * amount), -fee)
    new_position = add_checked(position, side * lots)
    if side * position >= 0:
        return new_cash, new_position, add_checked(cost, side * amount), 0
    closing = min(lots, abs(position))
    released = _share(cost, closing, abs(position))
    received = notional_micro(price, closing, micro_per_tick)
    realised = add_checked(-side * received, -released)
    rest = add_checked(cost, -released)
    opened = side * notional_micro(price, lots - closing, micro_per_tick)
    return new_cash, new_position, add_checked(rest, opened), realised


@lean_njit
def _share(cost, part, whole):
    """cost * part / whole, half to even, for 0 < part <= whole, without a wide product."""
    if part == whole:
        return cost
    quotient = abs(cost) // whole
    rest = abs(cost) - quotient * whole
    share = add_checked(
        multiply_checked(quotient, part), div_half_even(multiply_checked(rest, part), whole)
    )
    return share if cost >= 0 else -share


@lean_njit
def equity_micro(cash, positions, micro_per_tick):
    """cash + sum of lots * mark, exact; ``positions`` (m,) with ``lots`` and ``mark_ticks``.

    ValueError when a held symbol has no mark: equity is then unknown, not smaller.
    """
    total = cash
    for i in range(len(positions)):
        held = positions[i]
        if held.lots != 0:
            if held.mark_ticks <= 0:
                raise ValueError("a held symbol has no mark")
            total = add_checked(total, notional_micro(held.mark_ticks, held.lots, micro_per_tick))
    return total


@lean_njit
def worst_lots(position, open_buys, open_sells):
    """The largest |position| that the open orders could lead to."""
    return max(abs(add_checked(position, open_buys)), abs(add_checked(position, -open_sells)))


@lean_njit
def gross_micro(positions, micro_per_tick, leave_out):
    """Worst gross exposure over all symbols but index ``leave_out`` (-1: none left out).

    ``positions`` (m,) with ``lots``, ``open_buys``, ``open_sells`` and ``mark_ticks``.
    """
    total = 0
    for i in range(len(positions)):
        held = positions[i]
        worst = worst_lots(held.lots, held.open_buys, held.open_sells)
        if i != leave_out and worst != 0:
            if held.mark_ticks <= 0:
                raise ValueError("an exposed symbol has no mark")
            total = add_checked(total, notional_micro(held.mark_ticks, worst, micro_per_tick))
    return total


@lean_njit
def new_peak(peak, equity):
    return max(peak, equity)


@lean_njit
def drawdown(peak, equity):
    """Loss from the peak as a fraction, for people; limits compare integers. 0 at a new peak."""
    if peak <= 0:
        return math.nan
    return max(peak - equity, 0) / peak


@lean_njit
def day_start(previous_day, previous_start, day, equity):
    """Equity at which a day began: (day, start) stay until ``day`` (event time) is a later one.

    Call it with the equity marked BEFORE the day's first trade. Days are whole numbers.
    """
    if day > previous_day:
        return day, equity
    return previous_day, previous_start
