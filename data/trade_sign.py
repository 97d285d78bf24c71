"""Who was the aggressor of a trade: +1 the buyer, -1 the seller, 0 cannot be said.

In this order, as far as the rule allows: the venue's own flag; the quotes, Lee and Ready (1991),
'Inferring trade direction from intraday data', Journal of Finance 46(2): above the midpoint of the
quote a buy, below it a sell, at the midpoint the tick test; the tick rule alone where no quote is
known (an uptick is a buy, a zero tick takes the last sign). What stays 0 leaves its bar without a
buy volume, and the agents classify that bar in bulk (``data.microstructure.bulk_buy_volume``).

The quote used is the one that stood STRICTLY before the trade's ts: a quote of the same ts may be
the trade's own consequence. So the order of a trade and a quote of one ts does not matter.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numba import njit
from numpy.typing import NDArray

from data.nbbo import BEGINNING, is_crossed
from data.ticks import NBBO, TRADE, Quotes, Trades, check_order, rows_of

# Slots of the signer's state; the bar builder keeps its own behind them.
LAST_PRICE, TICK_SIGN, QUOTE_TS, NOW, BEFORE = 0, 1, 2, 3, 7
SIGN_SLOTS = 11

_FLAG, _QUOTES, _TICK = 1, 2, 4


class SignRule(IntEnum):
    """Which sources may be used: the bits 1 flag, 2 quotes, 4 ticks."""

    BULK = 0
    FLAG = _FLAG
    TICK = _TICK
    LEE_READY = _QUOTES | _TICK
    AUTO = _FLAG | _QUOTES | _TICK


@njit(cache=True)
def quote_seen(state, ts, bid, bid_size, ask, ask_size):
    """Takes an NBBO row; a crossed one leaves both sides unknown."""
    if ts > state[QUOTE_TS]:
        for k in range(4):
            state[BEFORE + k] = state[NOW + k]
        state[QUOTE_TS] = ts
    known = not is_crossed(bid, ask)
    state[NOW] = bid if known else 0
    state[NOW + 1] = bid_size if known else 0
    state[NOW + 2] = ask if known else 0
    state[NOW + 3] = ask_size if known else 0


@njit(cache=True)
def quote_before(state, ts):
    """Slot of the quote (bid, bid_size, ask, ask_size) that stood strictly before ``ts``."""
    return NOW if state[QUOTE_TS] < ts else BEFORE


@njit(cache=True)
def midpoint_sign(price, bid, ask):
    """Side of the midpoint on which a trade lies; 0 at it, or when a side is unknown."""
    if bid == 0 or ask == 0:
        return 0
    # Twice the distance to the midpoint, as two differences: no sum of prices to overflow.
    distance = (price - bid) + (price - ask)
    return (distance > 0) - (distance < 0)


@njit(cache=True)
def trade_seen(state, rule, ts, price, side):
    """Takes a trade; its sign."""
    if state[LAST_PRICE] > 0:
        if price > state[LAST_PRICE]:
            state[TICK_SIGN] = 1
        elif price < state[LAST_PRICE]:
            state[TICK_SIGN] = -1
    state[LAST_PRICE] = price
    if rule & _FLAG and side != 0:
        return side
    if rule & _QUOTES:
        quote = quote_before(state, ts)
        sign = midpoint_sign(price, state[quote], state[quote + 2])
        if sign != 0:
            return sign
    if rule & _TICK:
        return state[TICK_SIGN]
    return 0


@njit(cache=True)
def sign_rows(state, rule, trades, quotes, out):
    """Steps through trades and NBBO rows in the order of their ts, writing the trades' signs."""
    j = 0
    for i in range(len(trades)):
        trade = trades[i]
        while j < len(quotes) and quotes[j]["ts"] < trade["ts"]:
            row = quotes[j]
            quote_seen(state, row["ts"], row["bid"], row["bid_size"], row["ask"], row["ask_size"])
            j += 1
        out[i] = trade_seen(state, rule, trade["ts"], trade["price"], trade["side"])
    while j < len(quotes):
        row = quotes[j]
        quote_seen(state, row["ts"], row["bid"], row["bid_size"], row["ask"], row["ask_size"])
        j += 1


def fresh_sign_state(slots: int = SIGN_SLOTS) -> NDArray[np.int64]:
    """Nothing seen yet, shape (slots,)."""
    state = np.zeros(slots, np.int64)
    state[QUOTE_TS] = BEGINNING
    return state


class TradeSigner:
    """The streaming form of ``sign_trades``."""

    def __init__(self, rule: SignRule = SignRule.AUTO) -> None:
        self._rule = rule
        self._floor = BEGINNING
        self._state = fresh_sign_state()

    def push(self, trades: Trades, nbbo: Quotes | None = None) -> NDArray[np.int64]:
        """Signs of ``trades``, shape (n,). Both sorted by ts and none before an earlier push."""
        trades = rows_of(trades, TRADE, "trades")
        quotes = rows_of(nbbo if nbbo is not None else np.empty(0, NBBO), NBBO, "nbbo")
        check_order(trades["ts"], self._floor, "trades")
        check_order(quotes["ts"], self._floor, "nbbo")
        signs = np.empty(len(trades), np.int64)
        sign_rows(self._state, int(self._rule), trades, quotes, signs)
        for rows in (trades, quotes):
            if len(rows):
                self._floor = max(self._floor, int(rows["ts"][-1]))
        return signs


def sign_trades(
    trades: Trades, nbbo: Quotes | None = None, rule: SignRule = SignRule.AUTO
) -> NDArray[np.int64]:
    """+1, -1 or 0 for each trade, shape (n,); ValueError for rows that are not sorted by ts."""
    return TradeSigner(rule).push(trades, nbbo)
