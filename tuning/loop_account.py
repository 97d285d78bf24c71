"""The account's side of the loop, compiled: orders meet bars, limits, submissions, cancellations.

Shared by the committee's loop and the loop of a plain signal. ``orders`` and ``fills`` are logs
(``tuning.loop_state``); one of length 0 keeps nothing.
"""

from __future__ import annotations

from actors.checks import Verdict, collar_price
from cloud_trader.account_step import (
    HALTED,
    drawdown_reached,
    hold_open,
    judge_order,
    let_go,
    net_lots,
)
from cloud_trader.venue import known_sigma, known_spread_bps, meet_bar, read_bar
from data.compiled import inline_njit, lean_njit
from data.money import add_checked
from tuning.loop_state import (
    CANCELLED,
    DECISION_ORDER,
    DELTA,
    EXPIRED,
    FILLED,
    FILLS,
    HALT_TS,
    LIMIT,
    LOG_ROWS,
    OPEN,
    OPERATOR_ORDER,
    ORDERS,
    RECENT_COUNT,
    REFUSALS,
    REFUSED,
    RESTING_COUNT,
    VERDICT,
)

_APPROVED, _REDUCED = int(Verdict.APPROVED), int(Verdict.REDUCED)


@inline_njit
def write_order(state, orders, ts, symbol, side, lots, limit, reserved, origin, code, status):
    """Logs an order, or its refusal, when orders are kept (a log of length 0 keeps nothing)."""
    row = state.counts[LOG_ROWS]
    state.counts[LOG_ROWS] = row + 1
    if len(orders) == 0:
        return
    entry = orders[row]
    entry.ts = ts
    entry.symbol = symbol
    entry.side = side
    entry.lots = lots
    entry.limit_ticks = limit
    entry.reserved_micro = reserved
    entry.origin = origin
    entry.code = code
    entry.status = status
    entry.filled_lots = 0


@lean_njit
def submit(setup, state, scratch, orders, ts, symbol, side, lots, limit, origin):
    """The order transaction of one approved change, or of an operator's order."""
    books, position = state.books[0], state.positions[symbol]
    code, allowed, reserved = judge_order(
        setup.limits,
        setup.costs,
        books,
        state.positions,
        scratch.order[0],
        symbol,
        side,
        lots,
        limit,
        origin,
        setup.micro_per_tick,
    )
    if allowed == 0:
        state.counts[REFUSALS] += 1
        write_order(state, orders, ts, symbol, side, lots, limit, 0, origin, code, REFUSED)
        return
    waiting = state.counts[RESTING_COUNT]
    if waiting == len(state.resting):
        raise RuntimeError("more open orders than there is room for")
    order = state.resting[waiting]
    order.symbol = symbol
    order.side = side
    order.lots = allowed
    order.limit_ticks = limit
    order.reserved_micro = reserved
    order.decided_ts = ts
    order.waited = 0
    order.from_decision = 1 if origin == DECISION_ORDER else 0
    order.number = state.counts[LOG_ROWS]
    hold_open(books, position, side, allowed, reserved)
    state.counts[RESTING_COUNT] = waiting + 1
    state.counts[ORDERS] += 1
    state.recent[state.counts[RECENT_COUNT] % len(state.recent)] = ts
    state.counts[RECENT_COUNT] += 1
    write_order(state, orders, ts, symbol, side, allowed, limit, reserved, origin, code, OPEN)


@inline_njit
def place(setup, state, scratch, orders, bars):
    """The order transactions of a round, in (ts, symbol) order."""
    for i in range(len(bars)):
        verdict, delta = scratch.verdicts[i, VERDICT], scratch.verdicts[i, DELTA]
        if verdict in (_APPROVED, _REDUCED) and delta != 0:
            submit(
                setup,
                state,
                scratch,
                orders,
                bars[i].ts,
                bars[i].symbol,
                1 if delta > 0 else -1,
                abs(delta),
                scratch.verdicts[i, LIMIT],
                DECISION_ORDER,
            )


@inline_njit
def _close_order(state, orders, order, filled, status):
    """Takes an order out of the books; returns the cash that it no longer reserves."""
    let_go(state.positions[order.symbol], order.side, order.lots)
    if len(orders) > 0:
        orders[order.number].status = status
        orders[order.number].filled_lots = filled
    return order.reserved_micro


@inline_njit
def meet(setup, state, scratch, orders, fills, bars):
    """Open orders meet the moment's bars. Returns (number of fills, freed cash)."""
    for i in range(len(bars)):
        scratch.bar_of[bars[i].symbol] = i
    count, left, freed = 0, 0, 0
    for k in range(state.counts[RESTING_COUNT]):
        order = state.resting[k]
        at = scratch.bar_of[order.symbol]
        met, lots, price, fee = False, 0, 0, 0
        if at >= 0:
            met, lots, price, fee = meet_bar(
                setup.costs,
                state.tape[order.symbol],
                order,
                bars[at],
                setup.latency_bars,
                setup.latency_ns,
                setup.bar_ns,
                setup.micro_per_tick,
            )
        if not met:
            state.resting[left] = order
            left += 1
            continue
        status = FILLED if lots == order.lots else EXPIRED
        freed = add_checked(freed, _close_order(state, orders, order, lots, status))
        if lots > 0:
            fill = scratch.fills[count]
            fill.symbol = order.symbol
            fill.side = order.side
            fill.lots = lots
            fill.price_ticks = price
            fill.fee_micro = fee
            _write_fill(setup, state, fills, order, bars[at], fill)
            count += 1
    state.counts[RESTING_COUNT] = left
    for i in range(len(bars)):
        scratch.bar_of[bars[i].symbol] = -1
        read_bar(state.tape[bars[i].symbol], bars[i])
    return count, freed


@inline_njit
def _write_fill(setup, state, fills, order, bar, fill):
    row = state.counts[FILLS]
    state.counts[FILLS] = row + 1
    if len(fills) == 0:
        return
    tape, entry = state.tape[order.symbol], fills[row]
    entry.ts = bar.ts
    entry.order = order.number
    entry.symbol = fill.symbol
    entry.side = fill.side
    entry.lots = fill.lots
    entry.price_ticks = fill.price_ticks
    entry.fee_micro = fill.fee_micro
    entry.open_ticks = bar.open
    entry.volume = bar.volume
    entry.spread_bps = known_spread_bps(setup.costs, tape)
    entry.sigma = known_sigma(tape)


@lean_njit
def cancel(state, orders, decisions_only):
    """Takes back the open orders, or those of decisions."""
    left = 0
    for k in range(state.counts[RESTING_COUNT]):
        order = state.resting[k]
        if decisions_only and order.from_decision == 0:
            state.resting[left] = order
            left += 1
            continue
        books = state.books[0]
        freed = _close_order(state, orders, order, 0, CANCELLED)
        books.reserved_micro = add_checked(books.reserved_micro, -freed)
    state.counts[RESTING_COUNT] = left


@lean_njit
def flatten(setup, state, scratch, orders, ts):
    """Operator orders that close every position, each limited by the collar at its mark."""
    for symbol in range(len(state.positions)):
        position = state.positions[symbol]
        net = net_lots(position)
        if net != 0:
            side = -1 if net > 0 else 1
            limit = collar_price(setup.limits, side, position.mark_ticks)
            submit(setup, state, scratch, orders, ts, symbol, side, abs(net), limit, OPERATOR_ORDER)


@inline_njit
def watch_drawdown(setup, state, scratch, orders, ts):
    """A drawdown at its limit takes decisions' orders back, flattens, and halts for good."""
    books = state.books[0]
    if books.state != HALTED:
        if not drawdown_reached(books, setup.limits.max_drawdown_ppm):
            return
        books.state = HALTED
        state.counts[HALT_TS] = ts
        cancel(state, orders, True)
    flatten(setup, state, scratch, orders, ts)


@inline_njit
def has_room(state, orders, fills, bars):
    """Whether the logs can take what a moment of ``bars`` bars may add at most."""
    if len(orders) == 0:
        return True
    new_orders = bars + len(state.positions)
    new_fills = state.counts[RESTING_COUNT]
    return state.counts[LOG_ROWS] + new_orders <= len(orders) and state.counts[
        FILLS
    ] + new_fills <= len(fills)
