"""The account's judgement of one order, inside the order transaction.

Account scope of the limits: cash, position, gross exposure, concentration, daily loss, drawdown,
shorts. Every amount is taken at the worst price that the order may get, and as if all open orders
of the account were already filled, so that no sequence of fills can pass a limit. The part of an
order that only reduces a position is stopped by nothing but halt, precision, collar and cash.

An operator's order (named action, reason) may only reduce; it is exempt from loss, drawdown, and
minimum size, and allowed in every state; never from precision or the position's sign.
"""

from __future__ import annotations

import numpy as np

from actors.checks import (
    APPROVED,
    DENIED,
    Code,
    all_or_none,
    at_most,
    check_collar,
    check_min_notional,
    check_precision,
    check_state,
    lot_notional,
    reducing_lots,
    then,
)
from actors.costs import commission_micro
from data.compiled import lean_njit
from data.money import PPM, add_checked, floor_ppm, multiply_checked

ORDER = np.dtype(
    [
        ("side", "<i8"),  # +1 buy, -1 sell
        ("lots", "<i8"),
        ("limit_price", "<i8"),  # ticks
        ("operator", "<i8"),  # 1: origin operator, 0: origin decision
        ("reference", "<i8"),  # ticks: the mark, centre of the collar
        ("micro_per_tick", "<i8"),
        ("state", "<i8"),  # TradingState
        ("position", "<i8"),  # filled lots of this symbol, signed
        ("open_buys", "<i8"),  # lots of this symbol's other open orders
        ("open_sells", "<i8"),
        ("cash_micro", "<i8"),
        ("reserved_micro", "<i8"),  # of open orders
        ("equity_micro", "<i8"),
        ("peak_micro", "<i8"),
        ("day_start_micro", "<i8"),
        ("gross_other_micro", "<i8"),  # other symbols' worst exposure, open orders included
    ]
)

_CASH, _POSITION, _GROSS = int(Code.CASH), int(Code.POSITION), int(Code.GROSS)
_CONCENTRATION, _SHORT = int(Code.CONCENTRATION), int(Code.SHORT)
_DAILY_LOSS, _DRAWDOWN = int(Code.DAILY_LOSS), int(Code.DRAWDOWN)
_REDUCING_ONLY, _PRECISION = int(Code.REDUCING_ONLY), int(Code.PRECISION)


@lean_njit
def exposure_before(order):
    """The position that this order could meet at worst, on its own side."""
    if order.side > 0:
        return add_checked(order.position, order.open_buys)
    return add_checked(order.position, -order.open_sells)


@lean_njit
def loss_reached(limit_ppm, start_micro, equity_micro):
    """True when the loss since ``start_micro`` is at or beyond its limit; without a start, too."""
    if start_micro <= 0:
        return True
    return add_checked(start_micro, -equity_micro) >= floor_ppm(start_micro, limit_ppm)


@lean_njit
def check_short(limits, order, lots):
    """A sell may go to zero and, unless shorts are allowed, not through it."""
    if order.side > 0 or limits.allow_short == 1:
        return at_most(lots, lots, _SHORT)
    return at_most(lots, max(exposure_before(order), 0), _SHORT)


@lean_njit
def check_loss(limit_ppm, start_micro, order, lots, code):
    """Daily loss and drawdown: beyond the limit only reductions pass."""
    if not loss_reached(limit_ppm, start_micro, order.equity_micro):
        return at_most(lots, lots, code)
    return at_most(lots, reducing_lots(exposure_before(order), order.side, lots), code)


@lean_njit
def check_exposure(order, lots, cap_micro, code):
    """Resulting |position| * worst price <= cap; the reducing part always passes."""
    before = exposure_before(order)
    price = max(order.limit_price, order.reference)
    most = max(cap_micro, 0) // lot_notional(price, order.micro_per_tick)
    if order.side * before >= 0:
        return at_most(lots, max(most - abs(before), 0), code)
    # Through zero: first the reduction, then up to the cap on the other side.
    return at_most(lots, add_checked(abs(before), most), code)


@lean_njit
def affordable_lots(costs, free_micro, lot_micro):
    """The most lots whose price and commission fit into ``free_micro``."""
    if free_micro <= costs.commission_min_micro:
        return 0
    by_minimum = (free_micro - costs.commission_min_micro) // lot_micro
    # Rounded up for each lot, so that the commission of many lots is never more than theirs.
    fee = -(-multiply_checked(lot_micro, costs.commission_ppm) // PPM)
    each = add_checked(add_checked(lot_micro, fee), costs.commission_per_lot_micro)
    return min(by_minimum, free_micro // each)


@lean_njit
def reserve_micro(costs, side, lots, limit_price, micro_per_tick):
    """Cash that an open order holds back: a buy's worst price and commission, a sell's nothing."""
    if side < 0 or lots <= 0:
        return 0
    price = multiply_checked(lot_notional(limit_price, micro_per_tick), lots)
    return add_checked(price, commission_micro(costs, lots, price))


@lean_njit
def check_cash(costs, order, lots):
    """Cash stays non-negative at the worst price; a sell must at least pay its commission."""
    free = add_checked(order.cash_micro, -order.reserved_micro)
    lot_micro = lot_notional(order.limit_price, order.micro_per_tick)
    if order.side > 0:
        return at_most(lots, affordable_lots(costs, free, lot_micro), _CASH)
    proceeds = multiply_checked(lot_micro, lots)
    net = add_checked(proceeds, -commission_micro(costs, lots, proceeds))
    return all_or_none(net >= 0 or add_checked(max(free, 0), net) >= 0, lots, _CASH)


@lean_njit
def check_order(limits, costs, order):
    """Judges one ``ORDER`` record; returns (verdict, code, lots) with 0 <= lots <= order.lots."""
    verdict, code, lots = check_precision(order.limit_price, order.lots)
    known = order.side in (1, -1) and order.reference > 0 and order.micro_per_tick > 0
    if verdict != APPROVED or not known:
        return DENIED, _PRECISION, 0
    if order.operator == 1:
        # Only reducing, so no exposure or loss limit can be touched.
        allowed = reducing_lots(exposure_before(order), order.side, lots)
        verdict, code, lots = then(verdict, code, at_most(lots, allowed, _REDUCING_ONLY))
        return then(verdict, code, check_cash(costs, order, lots))
    result = check_state(order.state, exposure_before(order), order.side, lots)
    verdict, code, lots = then(verdict, code, result)
    result = check_collar(limits, order.side, order.limit_price, order.reference, lots)
    verdict, code, lots = then(verdict, code, result)
    verdict, code, lots = then(verdict, code, check_short(limits, order, lots))
    verdict, code, lots = _losses(limits, order, verdict, code, lots)
    verdict, code, lots = _exposures(limits, order, verdict, code, lots)
    verdict, code, lots = then(verdict, code, check_cash(costs, order, lots))
    lot_micro = lot_notional(order.limit_price, order.micro_per_tick)
    result = check_min_notional(limits, lot_micro, exposure_before(order), order.side, lots)
    return then(verdict, code, result)


@lean_njit
def _losses(limits, order, verdict, code, lots):
    result = check_loss(limits.max_daily_loss_ppm, order.day_start_micro, order, lots, _DAILY_LOSS)
    verdict, code, lots = then(verdict, code, result)
    result = check_loss(limits.max_drawdown_ppm, order.peak_micro, order, lots, _DRAWDOWN)
    return then(verdict, code, result)


@lean_njit
def _exposures(limits, order, verdict, code, lots):
    equity = max(order.equity_micro, 0)
    cap = limits.max_position_notional_micro
    verdict, code, lots = then(verdict, code, check_exposure(order, lots, cap, _POSITION))
    cap = floor_ppm(equity, limits.max_position_ppm)
    verdict, code, lots = then(verdict, code, check_exposure(order, lots, cap, _CONCENTRATION))
    cap = add_checked(floor_ppm(equity, limits.max_gross_ppm), -order.gross_other_micro)
    return then(verdict, code, check_exposure(order, lots, cap, _GROSS))
