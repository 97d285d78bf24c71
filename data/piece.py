"""What a reader makes of one file: rows in the house's columns, not yet judged or quantised."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import polars as pl

from data.door import Flaw

OHLCV = ("open", "high", "low", "close", "volume")
EXTRAS = ("buy_volume", "trades", "bid", "ask", "bid_size", "ask_size")
PRICES = frozenset(("open", "high", "low", "close", "bid", "ask", "price"))
QUOTE_SIDES = ("bid", "bid_size", "ask", "ask_size")


class Kind(StrEnum):
    """What the rows of a file or table are."""

    BARS = "bars"
    TRADES = "trades"
    QUOTES = "quotes"


# Besides ``row`` (1 is the file's first data row), ``ts`` (UTC ns) and ``symbol``.
NEEDED = {Kind.BARS: OHLCV, Kind.TRADES: ("price", "size"), Kind.QUOTES: QUOTE_SIDES}
OPTIONAL = {Kind.BARS: EXTRAS, Kind.TRADES: ("side", "exchange"), Kind.QUOTES: ("exchange",)}


@dataclass(frozen=True)
class Refused:
    """A row that a reader or the door kept out. ``detail`` names the column and its value."""

    file: str
    row: int
    symbol: str
    flaw: Flaw
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.flaw.value}: {self.file} row {self.row} {self.symbol} {self.detail}".rstrip()


@dataclass(frozen=True)
class Piece:
    """Rows of one kind out of one file, in its order; numbers are floats, null where unreadable.

    ``frame`` holds row, ts, symbol, then NEEDED and any OPTIONAL of its kind. ``stamp``: for bars,
    whether ts is at the open or the close. ``places``: decimals of prices and sizes where the file
    writes them as text. The others are what the format itself says, None where it does not.
    """

    kind: Kind
    frame: pl.DataFrame
    file: str
    refused: tuple[Refused, ...] = ()
    stamp: str | None = None
    clock: str | None = None
    calendar: str | None = None
    places: tuple[int, int] | None = None
    currency: str | None = None
    group: str | None = None
    said: tuple[str, ...] = ()
