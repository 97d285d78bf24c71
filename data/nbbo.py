"""The national best bid and offer out of the exchanges' own quotes.

The best bid is the highest of the exchanges' bids, its size the sum over the exchanges at that
price; the offer likewise (Regulation NMS, 17 CFR 242.600). Two kinds of feed:

- ``EXCHANGES``: a row is the top of ONE exchange's book and stands until that exchange replaces or
  withdraws it.
- ``NATIONAL``: a row is the national best of its side already, and ``exchange`` only tells where
  it stands: the newest row replaces the side whatever exchange held it. Files that hold a bid row
  and an ask row of the same ts by turns are of this kind (``is_national``). Read as EXCHANGES,
  whose old quotes nothing ever withdraws, they would be crossed nearly always.

A crossed moment (bid > ask) is no market in which one could trade: while it lasts both sides are
not known, as Holden and Jacobsen (2014), 'Liquidity measurement problems in fast, competitive
markets', Journal of Finance 69(4), delete such quotes. A locked moment (bid = ask) stands. Both are
counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numba import njit
from numpy.typing import NDArray

from data.money import add_checked
from data.ticks import NBBO, QUOTE, Quotes, check_order, rows_of

NATIONAL_SHARE = 0.99
BEGINNING = -(2**62)  # Before every ts.

# Slots of the tallies.
_LAST_TS, _MOOD, _CROSSED, _LOCKED, _CROSSED_NS, _LOCKED_NS, _BEST = 0, 1, 2, 3, 4, 5, 6
_TALLIES = 10
_CALM, _IS_LOCKED, _IS_CROSSED = 0, 1, 2


class Feed(IntEnum):
    """What one row of quotes says."""

    EXCHANGES = 0
    NATIONAL = 1


@dataclass(frozen=True)
class Counts:
    """How often the market became crossed or locked, and how long it was so, nanoseconds."""

    crossed: int
    locked: int
    crossed_ns: int
    locked_ns: int

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.crossed + other.crossed,
            self.locked + other.locked,
            self.crossed_ns + other.crossed_ns,
            self.locked_ns + other.locked_ns,
        )


@njit(cache=True)
def is_crossed(bid, ask):
    """Whether both sides are known and the bid is above the ask."""
    return bid > 0 and ask > 0 and bid > ask


@njit(cache=True)
def set_side(book, national, exchange, column, price, size):
    """One exchange's bid (column 0) or ask (column 2); see the module for the two feeds."""
    if price == 0:
        return
    if national:
        book[:, column] = 0
        book[:, column + 1] = 0
    book[exchange, column] = price if size > 0 else 0
    book[exchange, column + 1] = size


@njit(cache=True)
def best_side(book, column, direction):
    """Best price of a side and the lots there; (0, 0) when no exchange shows one.

    ``direction``: +1 the highest price is best (bids), -1 the lowest (asks).
    """
    best = 0
    size = 0
    for exchange in range(len(book)):
        price = book[exchange, column]
        if price == 0:
            continue
        if best == 0 or (price - best) * direction > 0:
            best = price
            size = book[exchange, column + 1]
        elif price == best:
            size = add_checked(size, book[exchange, column + 1])
    return best, size


@njit(cache=True)
def nbbo_step(book, tallies, national, ts, exchange, bid, bid_size, ask, ask_size):
    """Takes one row; the NBBO after it: (bid, bid_size, ask, ask_size), zeros where not known."""
    mood = tallies[_MOOD]
    if mood == _IS_CROSSED:
        tallies[_CROSSED_NS] += ts - tallies[_LAST_TS]
    elif mood == _IS_LOCKED:
        tallies[_LOCKED_NS] += ts - tallies[_LAST_TS]
    set_side(book, national, exchange, 0, bid, bid_size)
    set_side(book, national, exchange, 2, ask, ask_size)
    best_bid, bid_lots = best_side(book, 0, 1)
    best_ask, ask_lots = best_side(book, 2, -1)
    crossed = is_crossed(best_bid, best_ask)
    now = _CALM
    if crossed:
        now = _IS_CROSSED
        tallies[_CROSSED] += mood != now
    elif best_bid > 0 and best_bid == best_ask:
        now = _IS_LOCKED
        tallies[_LOCKED] += mood != now
    tallies[_LAST_TS] = ts
    tallies[_MOOD] = now
    if crossed:
        return 0, 0, 0, 0
    return best_bid, bid_lots, best_ask, ask_lots


@njit(cache=True)
def consolidate_rows(book, tallies, national, quotes, out):
    """Steps through ``quotes``; writes a row of ``out`` for each change, returns their number."""
    written = 0
    for i in range(len(quotes)):
        row = quotes[i]
        bid, bid_size, ask, ask_size = nbbo_step(
            book, tallies, national, row["ts"], row["exchange"],
            row["bid"], row["bid_size"], row["ask"], row["ask_size"],
        )  # fmt: skip
        if (
            bid == tallies[_BEST]
            and bid_size == tallies[_BEST + 1]
            and ask == tallies[_BEST + 2]
            and ask_size == tallies[_BEST + 3]
        ):
            continue
        tallies[_BEST] = bid
        tallies[_BEST + 1] = bid_size
        tallies[_BEST + 2] = ask
        tallies[_BEST + 3] = ask_size
        best = out[written]
        best["ts"] = row["ts"]
        best["bid"] = bid
        best["bid_size"] = bid_size
        best["ask"] = ask
        best["ask_size"] = ask_size
        written += 1
    return written


class NbboBook:
    """The streaming consolidation. ``exchanges``: how many there are in the feed's table."""

    def __init__(self, exchanges: int, feed: Feed = Feed.EXCHANGES) -> None:
        if exchanges < 1:
            raise ValueError(f"{exchanges} exchanges: at least one is needed")
        self.feed = feed
        self._book = np.zeros((exchanges, 4), np.int64)
        self._tallies = np.zeros(_TALLIES, np.int64)
        self._tallies[_LAST_TS] = BEGINNING

    def push(self, quotes: Quotes) -> Quotes:
        """NBBO rows, one for each change of the best; ``quotes`` are QUOTE rows sorted by ts.

        ValueError for rows out of order (also against an earlier push), an exchange outside the
        table, a negative number; the book is then as it was before.
        """
        quotes = rows_of(quotes, QUOTE, "quotes")
        check_order(quotes["ts"], int(self._tallies[_LAST_TS]), "quotes")
        _check_values(quotes, len(self._book))
        out = np.empty(len(quotes), NBBO)
        book, tallies = self._book.copy(), self._tallies.copy()
        count = consolidate_rows(book, tallies, int(self.feed), quotes, out)
        self._book, self._tallies = book, tallies
        return out[:count]

    @property
    def counts(self) -> Counts:
        """Crossed and locked moments so far; the last one counts until the last row."""
        return Counts(*(int(n) for n in self._tallies[_CROSSED : _LOCKED_NS + 1]))

    def copy(self) -> NbboBook:
        """An independent book in the same state."""
        other = NbboBook(len(self._book), self.feed)
        other._book, other._tallies = self._book.copy(), self._tallies.copy()
        return other

    def snapshot(self) -> NDArray[np.int64]:
        """The whole state, shape (12 + 4 exchanges,)."""
        head = [len(self._book), int(self.feed)]
        return np.concatenate([np.array(head, np.int64), self._tallies, self._book.ravel()])

    def restore(self, snapshot: NDArray[np.int64]) -> None:
        """Takes up a snapshot; ValueError when it is of another feed or number of exchanges."""
        head = [len(self._book), int(self.feed)]
        if len(snapshot) != 2 + _TALLIES + self._book.size or snapshot[:2].tolist() != head:
            raise ValueError("the snapshot is of a book with other exchanges or another feed")
        self._tallies = snapshot[2 : 2 + _TALLIES].copy()
        self._book = snapshot[2 + _TALLIES :].reshape(self._book.shape).copy()


def consolidate(
    quotes: Quotes, exchanges: int, feed: Feed = Feed.EXCHANGES
) -> tuple[Quotes, Counts]:
    """All of ``quotes`` at once: NBBO rows, and the crossed and locked moments met."""
    book = NbboBook(exchanges, feed)
    return book.push(quotes), book.counts


def consolidate_sessions(
    quotes: Quotes, exchanges: int, feed: Feed, ends: NDArray[np.int64]
) -> tuple[Quotes, Counts]:
    """As ``consolidate``, but no quote outlives the moments ``ends`` (UTC ns, sorted).

    At each the book is empty again, which a row of zeros tells; a quote of that very ts counts for
    what follows. Unlike a cleared best, an empty book holds no exchange's old side for the morning.
    """
    parts: list[Quotes] = []
    total = Counts(0, 0, 0, 0)
    cuts = np.searchsorted(quotes["ts"], ends, "left")
    begin = 0
    for end, cut in zip([*ends.tolist(), None], [*cuts.tolist(), len(quotes)], strict=True):
        best, counts = consolidate(quotes[begin:cut], exchanges, feed)
        parts.append(best)
        total = total + counts
        if end is not None:
            nothing = np.zeros(1, NBBO)
            nothing["ts"] = end
            parts.append(nothing)
        begin = cut
    return np.concatenate(parts), total


def is_national(quotes: Quotes) -> bool:
    """Whether ``quotes`` are pairs of a bid row and then an ask row of the same ts.

    NATIONAL_SHARE of the rows must be in a pair: a few that a file lost or that were refused do not
    turn the reading of all the others.
    """
    if len(quotes) < 2:
        return False
    bids, asks = quotes[:-1], quotes[1:]
    pairs = (
        (bids["ts"] == asks["ts"])
        & (bids["bid"] > 0)
        & (bids["ask"] == 0)
        & (asks["ask"] > 0)
        & (asks["bid"] == 0)
    )
    return 2 * int(pairs.sum()) >= NATIONAL_SHARE * len(quotes)


def _check_values(quotes: Quotes, exchanges: int) -> None:
    wrong = (quotes["exchange"] < 0) | (quotes["exchange"] >= exchanges)
    for name in ("bid", "bid_size", "ask", "ask_size"):
        wrong |= quotes[name] < 0
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"quotes row {row}: {quotes[row]} has a negative number or an exchange outside "
            f"0..{exchanges - 1}"
        )
