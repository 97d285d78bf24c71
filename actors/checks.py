"""Verdicts, reason codes and trading states, and one pure function per check.

Every check returns (verdict, code, allowed_lots) with 0 <= allowed_lots <= lots: it may shrink an
order, never enlarge or turn it. ``lots`` is positive, ``side`` +1 to buy and -1 to sell; money is
int64 micro-units, compared exactly. Fractions come in millionths (``actors.limits``).

The composers are ``actors.judge.judge_intent`` (gate) and ``actors.account_checks.check_order``
(order transaction).
"""

from __future__ import annotations

import math
from enum import IntEnum

from data.compiled import lean_njit
from data.money import add_checked, floor_ppm, multiply_checked


class Verdict(IntEnum):
    APPROVED = 0
    REDUCED = 1
    DENIED = 2
    NO_TRADE = 3  # nothing was wanted, so nothing was refused


class TradingState(IntEnum):
    ACTIVE = 0
    REDUCING = 1  # only orders that reduce a position
    HALTED = 2


class Code(IntEnum):
    """Why: the last check that shrank, denied or ended the matter. Words in ``MEANING``."""

    NONE = 0
    WARMING_UP = 1
    NO_QUORUM = 2
    DISSENT = 3
    STALE_DATA = 4
    TOXIC = 5
    NO_EDGE = 6
    NO_CHANGE = 7
    ORDER_NOTIONAL = 8
    COLLAR = 9
    HALTED = 10
    NO_LEASE = 11
    REDUCING_ONLY = 12
    SYMBOL_LOCKED = 13
    EPOCH_VOID = 14
    EXPIRED = 15
    NO_APPROVAL = 16
    STALE_VIEW = 17
    CASH = 18
    POSITION = 19
    GROSS = 20
    CONCENTRATION = 21
    DAILY_LOSS = 22
    DRAWDOWN = 23
    SHORT = 24
    PRECISION = 25
    MIN_NOTIONAL = 26
    RATE = 27
    DUPLICATE = 28
    VOLATILITY = 29
    INVALID = 30


MEANING: dict[Code, str] = {
    Code.NONE: "nothing to object",
    Code.WARMING_UP: "before the first traded date, or the symbol's volatility is not yet known",
    Code.NO_QUORUM: "too few agents awake, or they carry too little of the weight",
    Code.DISSENT: "the agents disagree more than allowed",
    Code.STALE_DATA: "the bar is older than allowed at the session clock",
    Code.TOXIC: "order flow so toxic that no position is increased",
    Code.NO_EDGE: "the expected gain does not pay for the round trip",
    Code.NO_CHANGE: "the position is close enough to its target",
    Code.ORDER_NOTIONAL: "order larger than one order may be",
    Code.COLLAR: "limit price outside the collar round the reference price",
    Code.HALTED: "trading is halted",
    Code.NO_LEASE: "the trader does not hold the account's lease",
    Code.REDUCING_ONLY: "only orders that reduce a position are allowed now",
    Code.SYMBOL_LOCKED: "a bad bar locked the symbol until an operator looks",
    Code.EPOCH_VOID: "a newer gate has started: the approval is void",
    Code.EXPIRED: "the approval or the order is past its deadline",
    Code.NO_APPROVAL: "no approval, or none of its quantity is left",
    Code.STALE_VIEW: "the position changed after it was judged",
    Code.CASH: "not enough free cash at the worst allowed price",
    Code.POSITION: "position notional above its limit",
    Code.GROSS: "gross exposure above its limit",
    Code.CONCENTRATION: "one symbol above its share of equity",
    Code.DAILY_LOSS: "the day's loss limit is reached",
    Code.DRAWDOWN: "drawdown from the peak reached its limit",
    Code.SHORT: "short positions are not allowed",
    Code.PRECISION: "price or quantity is no whole positive number of ticks or lots",
    Code.MIN_NOTIONAL: "order smaller than it is worth sending",
    Code.RATE: "too many orders in a minute",
    Code.DUPLICATE: "the decision already has its order",
    Code.VOLATILITY: "the symbol moves more than allowed",
    Code.INVALID: "an input is no number or outside its range",
}

APPROVED, REDUCED = int(Verdict.APPROVED), int(Verdict.REDUCED)
DENIED, NO_TRADE = int(Verdict.DENIED), int(Verdict.NO_TRADE)
_HALTED, _REDUCING = int(TradingState.HALTED), int(TradingState.REDUCING)
_ACTIVE = int(TradingState.ACTIVE)
_NONE = int(Code.NONE)
_C_NO_QUORUM, _C_DISSENT, _C_STALE = int(Code.NO_QUORUM), int(Code.DISSENT), int(Code.STALE_DATA)
_C_TOXIC, _C_VOLATILITY = int(Code.TOXIC), int(Code.VOLATILITY)
_C_ORDER, _C_MIN, _C_RATE = int(Code.ORDER_NOTIONAL), int(Code.MIN_NOTIONAL), int(Code.RATE)
_C_HALTED, _C_REDUCING, _C_LOCKED = (
    int(Code.HALTED),
    int(Code.REDUCING_ONLY),
    int(Code.SYMBOL_LOCKED),
)
_C_PRECISION, _C_COLLAR = int(Code.PRECISION), int(Code.COLLAR)


@lean_njit
def reducing_lots(position, side, lots):
    """How many of ``lots`` only bring ``position`` nearer to zero."""
    if side * position >= 0:
        return 0
    return min(lots, abs(position))


@lean_njit
def at_most(lots, allowed, code):
    """The common end of a check: approved, reduced to ``allowed`` or denied with ``code``.

    0 lots, what an earlier check left of a denied order, pass unchanged; fewer are denied.
    """
    if lots < 0:
        return DENIED, code, 0
    if allowed >= lots:
        return APPROVED, _NONE, lots
    if allowed > 0:
        return REDUCED, code, allowed
    return DENIED, code, 0


@lean_njit
def all_or_none(passes, lots, code):
    """A check that knows no part: all lots or none."""
    return at_most(lots, lots if passes else 0, code)


@lean_njit
def then(verdict, code, result):
    """Chains a check's ``result`` to what was judged before: only an objection replaces it."""
    if result[0] != APPROVED:
        return result
    return verdict, code, result[2]


@lean_njit
def check_quorum(limits, agents_awake, awake_weight, lots):
    passes = agents_awake >= limits.min_agents and awake_weight >= limits.min_weight_share
    return all_or_none(passes, lots, _C_NO_QUORUM)


@lean_njit
def check_dissent(limits, dissent, lots):
    return all_or_none(dissent <= limits.max_dissent, lots, _C_DISSENT)


@lean_njit
def check_staleness(limits, staleness_seconds, lots):
    """A bar from the future (negative age) is as wrong as an old one."""
    passes = 0.0 <= staleness_seconds <= limits.max_staleness_seconds
    return all_or_none(passes, lots, _C_STALE)


@lean_njit
def check_lock(locked, lots):
    return all_or_none(locked == 0, lots, _C_LOCKED)


@lean_njit
def check_rate(limits, orders_last_minute, lots):
    return all_or_none(orders_last_minute < limits.max_orders_per_minute, lots, _C_RATE)


@lean_njit
def check_state(state, position, side, lots):
    """HALTED stops all; REDUCING lets the reducing part through; unknown states stop all."""
    if state == _ACTIVE:
        return APPROVED, _NONE, lots
    if state == _REDUCING:
        return at_most(lots, reducing_lots(position, side, lots), _C_REDUCING)
    return DENIED, _C_HALTED, 0


@lean_njit
def check_toxicity(limits, toxicity, position, side, lots):
    """Toxic flow stops increases only: leaving is always allowed."""
    if toxicity <= limits.max_toxicity:
        return APPROVED, _NONE, lots
    return at_most(lots, reducing_lots(position, side, lots), _C_TOXIC)


@lean_njit
def check_volatility(limits, sigma, position, side, lots):
    """Wild symbols may be left, not entered."""
    if sigma <= limits.max_sigma:
        return APPROVED, _NONE, lots
    return at_most(lots, reducing_lots(position, side, lots), _C_VOLATILITY)


@lean_njit
def check_order_notional(limits, equity_micro, lot_micro, lots):
    """At most the notional, and the fraction of equity, that ONE order may have."""
    cap = min(
        limits.max_order_notional_micro, floor_ppm(max(equity_micro, 0), limits.max_order_ppm)
    )
    return at_most(lots, cap // lot_micro, _C_ORDER)


@lean_njit
def check_min_notional(limits, lot_micro, position, side, lots):
    """Too small to send, unless it closes the position to the last lot."""
    if lots == reducing_lots(position, side, lots) and lots == abs(position):
        return APPROVED, _NONE, lots
    passes = lots > 0 and lots >= -(-limits.min_order_notional_micro // lot_micro)
    return all_or_none(passes, lots, _C_MIN)


@lean_njit
def check_precision(limit_price, lots):
    """Whole positive numbers: ticks and lots are integers, so only their sign can be wrong."""
    if limit_price > 0 and lots > 0:
        return APPROVED, _NONE, lots
    return DENIED, _C_PRECISION, 0


@lean_njit
def collar_price(limits, side, reference):
    """The worst price, in ticks, that an order may accept: never looser than the collar."""
    width = floor_ppm(reference, limits.collar_ppm)
    if side > 0:
        return add_checked(reference, width)
    return max(reference - width, 1)


@lean_njit
def check_collar(limits, side, limit_price, reference, lots):
    worst = collar_price(limits, side, reference)
    passes = limit_price <= worst if side > 0 else limit_price >= worst
    return all_or_none(passes, lots, _C_COLLAR)


@lean_njit
def lot_notional(price, micro_per_tick):
    """Micro-units of one lot at ``price`` ticks."""
    return multiply_checked(price, micro_per_tick)


@lean_njit
def finite(value):
    return not (math.isnan(value) or math.isinf(value))
