"""The compiled step of the bar builder: one trade or quote in, at most one finished bar out.

``state`` is one int64 array: the slots of ``data.trade_sign`` first, the open bar's behind them.
Streaming and bulk building run these functions and nothing else.
"""

from __future__ import annotations

from numba import njit

from data.bars import UNKNOWN
from data.money import add_checked, notional_micro
from data.trade_sign import NOW, SIGN_SLOTS, quote_before, quote_seen, trade_seen

# The open bar. FLOOR: no later row may have an earlier ts. UNSIGNED: lots without a sign.
FLOOR = SIGN_SLOTS
END = FLOOR + 1
TRADES = FLOOR + 2
OPEN = FLOOR + 3
HIGH = FLOOR + 4
LOW = FLOOR + 5
CLOSE = FLOOR + 6
VOLUME = FLOOR + 7
BUYS = FLOOR + 8
UNSIGNED = FLOOR + 9
AMOUNT = FLOOR + 10
LAST_TRADE = FLOOR + 11
CLOSED = FLOOR + 12  # ts of the bar before
SLOTS = FLOOR + 13

TIME, TICK, VOLUME_CLOCK, DOLLAR = 0, 1, 2, 3


@njit(cache=True)
def close_bar(state, symbol, ts, quote, bar):
    """Writes the open bar, stamped ``ts``, with the quote at slot ``quote``, and forgets it.

    A decision is named by symbol and ts, so no two bars share one: a bar that closes in the same
    nanosecond as the one before it, or earlier, is stamped one later than that.
    """
    state[CLOSED] = max(ts, state[CLOSED] + 1)
    bar["ts"] = state[CLOSED]
    bar["symbol"] = symbol
    bar["open"] = state[OPEN]
    bar["high"] = state[HIGH]
    bar["low"] = state[LOW]
    bar["close"] = state[CLOSE]
    bar["volume"] = state[VOLUME]
    bar["buy_volume"] = state[BUYS] if state[UNSIGNED] == 0 else UNKNOWN
    bar["trades"] = state[TRADES]
    has_bid = state[quote] > 0
    has_ask = state[quote + 2] > 0
    bar["bid"] = state[quote] if has_bid else UNKNOWN
    bar["bid_size"] = state[quote + 1] if has_bid else UNKNOWN
    bar["ask"] = state[quote + 2] if has_ask else UNKNOWN
    bar["ask_size"] = state[quote + 3] if has_ask else UNKNOWN
    state[TRADES] = 0


@njit(cache=True)
def add_trade(kind, size, micro_per_tick, state, ts, price, lots, sign):
    """Adds a trade to the open bar, opening one first when there is none."""
    if state[TRADES] == 0:
        state[OPEN] = price
        state[HIGH] = price
        state[LOW] = price
        state[VOLUME] = 0
        state[BUYS] = 0
        state[UNSIGNED] = 0
        state[AMOUNT] = 0
        if kind == TIME:
            state[END] = ts - ts % size + size
    state[TRADES] += 1
    state[HIGH] = max(state[HIGH], price)
    state[LOW] = min(state[LOW], price)
    state[CLOSE] = price
    state[VOLUME] = add_checked(state[VOLUME], lots)
    state[LAST_TRADE] = ts
    if sign > 0:
        state[BUYS] += lots  # Never above VOLUME.
    elif sign == 0:
        state[UNSIGNED] += lots
    if kind == DOLLAR:
        amount = notional_micro(price, lots, micro_per_tick)
        state[AMOUNT] = add_checked(state[AMOUNT], amount)


@njit(cache=True)
def is_full(kind, size, state):
    """Whether the trade just added completes a tick, volume or dollar bar."""
    if kind == TICK:
        return state[TRADES] >= size
    if kind == VOLUME_CLOCK:
        return state[VOLUME] >= size
    return kind == DOLLAR and state[AMOUNT] >= size


@njit(cache=True)
def time_step(kind, state, symbol, ts, out, written):
    """Event time reaches ``ts``: a time bar whose interval is over is written. New ``written``."""
    state[FLOOR] = ts
    if kind == TIME and state[TRADES] > 0 and ts >= state[END]:
        # No quote of END or later is in the state yet: it would have closed the bar itself.
        close_bar(state, symbol, state[END], NOW, out[written])
        return written + 1
    return written


@njit(cache=True)
def build_step(kind, size, micro_per_tick, symbol, rule, state, trades, quotes, i, j, out):
    """Steps through trades from ``i`` and NBBO rows from ``j``, in the order of their ts.

    Stops when both are used up or ``out`` is full; returns the new i and j and the bars written.
    """
    written = 0
    while written < len(out):
        if j < len(quotes) and (i >= len(trades) or quotes[j]["ts"] <= trades[i]["ts"]):
            row = quotes[j]
            written = time_step(kind, state, symbol, row["ts"], out, written)
            quote_seen(state, row["ts"], row["bid"], row["bid_size"], row["ask"], row["ask_size"])
            j += 1
        elif i < len(trades):
            trade = trades[i]
            ts = trade["ts"]
            price = trade["price"]
            written = time_step(kind, state, symbol, ts, out, written)
            sign = trade_seen(state, rule, ts, price, trade["side"])
            add_trade(kind, size, micro_per_tick, state, ts, price, trade["size"], sign)
            if is_full(kind, size, state):
                close_bar(state, symbol, ts, quote_before(state, ts), out[written])
                written += 1
            i += 1
        else:
            break
    return i, j, written
