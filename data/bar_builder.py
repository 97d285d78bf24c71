"""Bars out of trades, and of quotes where there are any: streaming and in bulk by one step.

- **Time** bars cover [start, end), aligned to the UTC day; ``ts`` is the end. A trade exactly on
  the boundary belongs to the next bar. A bar is finished when a later trade, a quote or an
  explicit ``close_until`` reaches its end. An interval without a trade gives no bar.
- **Tick, volume and dollar** bars close with the trade that fills them; ``ts`` is that trade's. A
  trade that is bigger than what was missing is NOT split and the bar keeps the overshoot: half a
  trade never happened, and a split would make two bars of one moment. The next bar starts at zero.
- ``buy_volume`` is the sum of the lots signed +1 (``data.trade_sign``), UNKNOWN when any trade of
  the bar has no sign.
- Bid and ask are those that stood strictly before the bar's ``ts``, UNKNOWN sides where none
  stood or the market was crossed.

Trades and quotes come sorted by ts (ties keep the feed's order) and no row may be earlier than
what was pushed before: ValueError otherwise, and the builder is as it was. Importers sort and
quarantine. How trades and quotes of one ts interleave makes no difference.
"""

from __future__ import annotations

import numpy as np

from data.bar_kernel import (
    CLOSED,
    END,
    FLOOR,
    LAST_TRADE,
    SLOTS,
    TRADES,
    build_step,
    close_bar,
    time_step,
)
from data.bars import BAR, Bars
from data.clocks import Clock, ClockKind
from data.nbbo import BEGINNING, Feed, NbboBook, consolidate
from data.ticks import NBBO, QUOTE, TRADE, Quotes, Trades, check_order, rows_of
from data.trade_sign import SignRule, fresh_sign_state, quote_before, sign_trades

_PIECE = 1 << 14  # Bars made room for at once.
_HIGHEST_PRICE = 2**60  # Twice a difference of prices fits.


class BarBuilder:
    """Builds the bars of one symbol, batch by batch.

    ``symbol`` is the index written into the bars, ``micro_per_tick`` the micro-units of a tick on
    a lot (``data.money``). With a ``book`` the builder takes QUOTE rows of single exchanges,
    without one NBBO rows.
    """

    def __init__(
        self,
        clock: Clock,
        symbol: int,
        micro_per_tick: int,
        sign: SignRule = SignRule.AUTO,
        book: NbboBook | None = None,
    ) -> None:
        if micro_per_tick < 1:
            raise ValueError(f"micro_per_tick is {micro_per_tick}: it must be positive")
        self.clock = clock
        self._head = [int(clock.kind), clock.threshold, micro_per_tick, int(symbol), int(sign)]
        self._book = book.copy() if book is not None else None
        self._state = fresh_sign_state(SLOTS)
        self._state[FLOOR] = self._state[CLOSED] = BEGINNING

    @property
    def book(self) -> NbboBook | None:
        """A copy of the builder's book, for its counts of crossed and locked moments."""
        return self._book.copy() if self._book is not None else None

    def push(self, trades: Trades, quotes: Quotes | None = None) -> Bars:
        """The bars that these rows finish, shape (n,).

        ValueError for rows out of order or a trade without a positive price and size;
        OverflowError when a bar's volume or amount leaves int64. The builder is then unchanged.
        """
        trades = rows_of(trades, TRADE, "trades")
        floor = int(self._state[FLOOR])
        check_order(trades["ts"], floor, "trades")
        _check_trades(trades)
        book, nbbo = self._national(quotes, floor)
        state = self._state.copy()
        kind, size, micro_per_tick, symbol, rule = self._head
        pieces, i, j = [], 0, 0
        while True:
            room = min(_PIECE, len(trades) - i + len(nbbo) - j)
            out = np.empty(max(room, 1), BAR)
            i, j, written = build_step(
                kind, size, micro_per_tick, symbol, rule, state, trades, nbbo, i, j, out
            )
            pieces.append(out[:written])
            if i == len(trades) and j == len(nbbo):
                break
        self._state, self._book = state, book
        return np.concatenate(pieces) if len(pieces) > 1 else pieces[0]

    def close_until(self, ts: int) -> Bars:
        """Event time has reached ``ts``: the time bar that ends by then, if one is open.

        Afterwards no row before ``ts`` is taken. ValueError when time would go back.
        """
        if ts < self._state[FLOOR]:
            raise ValueError(f"ts {ts} is before {self._state[FLOOR]}, which has passed")
        out = np.empty(1, BAR)
        return out[: time_step(self._head[0], self._state, self._head[3], ts, out, 0)]

    def flush(self) -> Bars:
        """The unfinished bar, if any: for the end of a stream, after which nothing comes.

        A time bar is stamped with its interval's end as ever, and event time goes there; any
        other bar is stamped with its last trade.
        """
        out = np.empty(1, BAR)
        state = self._state
        if state[TRADES] == 0:
            return out[:0]
        if self.clock.kind is ClockKind.TIME:
            return self.close_until(int(state[END]))
        last = int(state[LAST_TRADE])
        close_bar(state, self._head[3], last, quote_before(state, last), out[0])
        return out

    def snapshot(self) -> bytes:
        """Everything needed to go on elsewhere: little-endian int64."""
        parts = [np.array(self._head, np.int64), self._state]
        if self._book is not None:
            parts.append(self._book.snapshot())
        return np.concatenate(parts).astype("<i8").tobytes()

    def restore(self, snapshot: bytes) -> None:
        """Takes up a snapshot; ValueError when it is of a builder made with other arguments."""
        numbers = np.frombuffer(snapshot, "<i8").astype(np.int64)
        head, start = len(self._head), len(self._head) + SLOTS
        if len(numbers) < start or numbers[:head].tolist() != self._head:
            raise ValueError("the snapshot is of a builder with another clock, symbol or rule")
        if (len(numbers) > start) != (self._book is not None):
            raise ValueError("the snapshot is of a builder with other quotes")
        if self._book is not None:
            self._book.restore(numbers[start:])
        self._state = numbers[head:start].copy()

    def _national(self, quotes: Quotes | None, floor: int) -> tuple[NbboBook | None, Quotes]:
        """The book after ``quotes`` and the NBBO rows they make; the builder's book stays."""
        if quotes is None or len(quotes) == 0:
            return self._book, np.empty(0, NBBO)
        if self._book is None:
            quotes = rows_of(quotes, NBBO, "quotes of a builder without a book")
            check_order(quotes["ts"], floor, "quotes")
            return None, quotes
        quotes = rows_of(quotes, QUOTE, "quotes of a builder with a book")
        check_order(quotes["ts"], floor, "quotes")
        book = self._book.copy()
        return book, book.push(quotes)


def build_bars(
    trades: Trades,
    clock: Clock,
    symbol: int,
    micro_per_tick: int,
    nbbo: Quotes | None = None,
    sign: SignRule = SignRule.AUTO,
    until: int | None = None,
) -> Bars:
    """All finished bars of ``trades`` (TRADE rows) at once, shape (n,); see ``BarBuilder``.

    ``nbbo``: NBBO rows, or None. ``until``: the moment up to which the stream is known to be
    complete, so that the last time bar can be finished without a later trade. ValueError when it
    is before the last row.
    """
    builder = BarBuilder(clock, symbol, micro_per_tick, sign)
    bars = builder.push(trades, nbbo)
    return bars if until is None else np.concatenate([bars, builder.close_until(until)])


def warm_builder() -> None:
    """Calls every compiled function of the builder once, on a handful of rows."""
    trades = np.array([(1, 10, 1, 0, 0), (2, 11, 1, 1, 0)], TRADE)
    quotes = np.array([(1, 0, 9, 1, 0, 0), (1, 0, 0, 0, 11, 1)], QUOTE)
    nbbo, _ = consolidate(quotes, 1, Feed.NATIONAL)
    sign_trades(trades, nbbo)
    for clock in (Clock(ClockKind.TIME, 10**9), Clock(ClockKind.TICK, 3)):
        builder = BarBuilder(clock, 0, 100)
        builder.push(trades, nbbo)
        builder.flush()


def _check_trades(trades: Trades) -> None:
    wrong = (trades["price"] < 1) | (trades["price"] > _HIGHEST_PRICE) | (trades["size"] < 1)
    wrong |= (trades["side"] < -1) | (trades["side"] > 1)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"trades row {row}: {trades[row]} needs a price in 1..2^60, a positive size "
            "and a side of -1, 0 or 1"
        )
