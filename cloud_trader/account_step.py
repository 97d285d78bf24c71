"""The account over arrays, compiled: one moment's fills and marks, and the judgement of an order.

The live account, replay and the backtest's loop call these same functions. ``books`` is one
``BOOKS`` record and ``positions`` a ``POSITION`` array (m,), one row per symbol of the session;
both are written in place. Money is int64 micro-units, prices ticks, quantities lots.
"""

from __future__ import annotations

import numpy as np

from actors.account_checks import check_order, reserve_micro
from actors.checks import TradingState
from cloud_trader.books import apply_fill, day_start, equity_micro, gross_micro, new_peak
from data.compiled import lean_njit
from data.money import PPM, add_checked, floor_ppm, multiply_checked

DAY_NS = 86_400_000_000_000

BOOKS = np.dtype(
    [
        ("cash_micro", "<i8"),
        ("reserved_micro", "<i8"),
        ("equity_micro", "<i8"),
        ("peak_micro", "<i8"),
        ("day", "<i8"),  # event day: days since 1970-01-01 UTC
        ("day_open_micro", "<i8"),
        ("state", "<i8"),  # actors.checks.TradingState
    ]
)
POSITION = np.dtype(
    [
        ("lots", "<i8"),
        ("cost_micro", "<i8"),
        ("mark_ticks", "<i8"),  # 0 before the first mark
        ("locked", "<i8"),
        ("open_buys", "<i8"),  # lots of open orders
        ("open_sells", "<i8"),
    ]
)
FILL = np.dtype(
    [
        ("symbol", "<i8"),
        ("side", "<i8"),
        ("lots", "<i8"),
        ("price_ticks", "<i8"),
        ("fee_micro", "<i8"),
    ]
)
ACTIVE, HALTED = int(TradingState.ACTIVE), int(TradingState.HALTED)


def opened_books(opening_micro: int) -> np.void:
    """The books of an account that holds nothing but cash."""
    books = np.zeros(1, BOOKS)
    for name in ("cash_micro", "equity_micro", "peak_micro", "day_open_micro"):
        books[name] = opening_micro
    return books[0]


@lean_njit
def net_lots(position):
    """Signed lots, open orders included."""
    return position.lots + position.open_buys - position.open_sells


@lean_njit
def take_fill(books, position, side, lots, price, fee, micro_per_tick):
    """Books one fill; see ``cloud_trader.books.apply_fill``."""
    cash, held, cost, _ = apply_fill(
        books.cash_micro,
        position.lots,
        position.cost_micro,
        side,
        lots,
        price,
        fee,
        micro_per_tick,
    )
    books.cash_micro = cash
    position.lots = held
    position.cost_micro = cost


@lean_njit
def mark_books(books, positions, ts, micro_per_tick):
    """Equity, peak and day of a moment whose fills are booked and whose closes are marked."""
    before = books.equity_micro
    day, start = day_start(books.day, books.day_open_micro, ts // DAY_NS, before)
    books.day = day
    books.day_open_micro = start
    books.equity_micro = equity_micro(books.cash_micro, positions, micro_per_tick)
    books.peak_micro = new_peak(books.peak_micro, books.equity_micro)


@lean_njit
def settle(books, positions, fills, freed_micro, bars, locks, ts, micro_per_tick):
    """One moment: ``fills`` (FILL), then marks at the closes of ``bars``, locks, equity.

    ``freed_micro``: cash that closed orders no longer reserve. ``locks`` (k,) symbols of which a
    bad bar was quarantined: those held are locked until an operator looks.
    """
    for i in range(len(fills)):
        fill = fills[i]
        take_fill(
            books,
            positions[fill.symbol],
            fill.side,
            fill.lots,
            fill.price_ticks,
            fill.fee_micro,
            micro_per_tick,
        )
    books.reserved_micro = add_checked(books.reserved_micro, -freed_micro)
    for i in range(len(bars)):
        positions[bars[i].symbol].mark_ticks = bars[i].close
    for i in range(len(locks)):
        if positions[locks[i]].lots != 0:
            positions[locks[i]].locked = 1
    mark_books(books, positions, ts, micro_per_tick)


@lean_njit
def drawdown_reached(books, limit_ppm):
    """Whether equity is at or below its peak by the limit, in exact integers."""
    lost = add_checked(books.peak_micro, -books.equity_micro)
    rest = multiply_checked(books.peak_micro % PPM, limit_ppm) % PPM
    return lost >= floor_ppm(books.peak_micro, limit_ppm) + (1 if rest > 0 else 0)


@lean_njit
def judge_order(
    limits,
    costs,
    books,
    positions,
    order,
    symbol,
    side,
    lots,
    limit_ticks,
    operator,
    micro_per_tick,
):
    """Account limits of one order beside the books as they are now.

    ``order`` is an ``actors.account_checks.ORDER`` record to write on. Returns (code, lots,
    reserved_micro): lots 0 when the order is refused with that code.
    """
    position = positions[symbol]
    order.side = side
    order.lots = lots
    order.limit_price = limit_ticks
    order.operator = operator
    order.reference = position.mark_ticks
    order.micro_per_tick = micro_per_tick
    order.state = books.state
    order.position = position.lots
    order.open_buys = position.open_buys
    order.open_sells = position.open_sells
    order.cash_micro = books.cash_micro
    order.reserved_micro = books.reserved_micro
    order.equity_micro = books.equity_micro
    order.peak_micro = books.peak_micro
    order.day_start_micro = books.day_open_micro
    order.gross_other_micro = gross_micro(positions, micro_per_tick, symbol)
    _, code, allowed = check_order(limits, costs, order)
    if allowed <= 0:
        return code, 0, 0
    return code, allowed, reserve_micro(costs, side, allowed, limit_ticks, micro_per_tick)


@lean_njit
def hold_open(books, position, side, lots, reserved_micro):
    """Counts an order of ``lots`` that is now open, with the cash that it holds back."""
    books.reserved_micro = add_checked(books.reserved_micro, reserved_micro)
    if side > 0:
        position.open_buys += lots
    else:
        position.open_sells += lots


@lean_njit
def let_go(position, side, lots):
    """Takes an order of ``lots`` out of the open ones; its cash is freed by the caller."""
    if side > 0:
        position.open_buys -= lots
    else:
        position.open_sells -= lots
