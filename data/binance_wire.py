"""Raw recordings of Binance web sockets: one message a line, ``<receive time ns> <json>``.

Spot and USD-M futures, gzipped or plain, streams ``trade`` and ``bookTicker``; the best of the book
that ``depthUpdate`` builds stands in for a missing bookTicker. Other messages are skipped.
The venue's clock is used, never the recorder's, which is not monotone: a trade's ``T``, a quote's
``T``. Spot quotes carry no time at all; they get the venue's time of the next message that has
one, so none is dated before it happened.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from data.depth_book import DepthBook
from data.door import Flaw
from data.errors import InputError
from data.piece import QUOTE_SIDES, Kind, Piece, Refused
from data.units import text_places

MS = 1_000_000
STABLE = ("USDT", "USDC", "FDUSD", "BUSD", "TUSD", "USD")


class _Data(msgspec.Struct):
    """The fields used of any message; depth books are never unpacked."""

    e: str = ""
    E: int = 0
    T: int = 0
    s: str = ""
    t: int = 0
    u: int = 0
    p: str = ""
    q: str = ""
    m: bool | None = None
    b: msgspec.Raw = msgspec.Raw()
    B: str = ""
    a: msgspec.Raw = msgspec.Raw()
    A: str = ""


class _Message(msgspec.Struct):
    """A stream's message, or the depth snapshot that a recorder asked for."""

    stream: str = ""
    data: _Data | None = None
    lastUpdateId: int = 0  # noqa: N815
    bids: msgspec.Raw = msgspec.Raw()
    asks: msgspec.Raw = msgspec.Raw()


def is_wire(first_line: bytes) -> bool:
    """Whether a file that begins with this line is a recording."""
    received, _, text = first_line.partition(b" ")
    return received.isdigit() and text.lstrip().startswith(b"{")


def read_wire(path: Path) -> list[Piece]:
    """The trades and quotes of a recording, each sorted by the venue's time."""
    return _Reader(path.name).read(_lines(path))


def _lines(path: Path) -> list[bytes]:
    blob = path.read_bytes()
    if blob[:2] == b"\x1f\x8b":
        try:
            blob = gzip.decompress(blob)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"data file {path}: damaged gzip ({error}): get it again") from error
    return blob.splitlines()


class _Reader:
    def __init__(self, file: str) -> None:
        self.file = file
        self.trades: list[tuple[int, int, int, str, str, str, bool | None]] = []
        self.quotes: list[tuple[int, int, int, str, bytes, str, bytes, str]] = []
        self.refused: list[Refused] = []
        self.futures = False
        self._depths: list[tuple[int, _Data | _Message]] = []
        self._untimed = 0  # Quotes from here on wait for the next venue time.

    def read(self, lines: list[bytes]) -> list[Piece]:
        decode = msgspec.json.Decoder(_Message).decode
        for row, line in enumerate(lines, 1):
            try:
                message = decode(line[line.index(b" ") + 1 :])
            except (ValueError, msgspec.DecodeError) as error:
                self.refused.append(
                    Refused(self.file, row, "", Flaw.UNREADABLE, str(error).splitlines()[0])
                )
                continue
            if message.data is not None:
                self._take(row, message.stream.partition("@")[2], message.data)
            elif message.lastUpdateId:
                self._depths.append((row, message))
        if not self.quotes:
            self._quotes_of_depth()
        for row, _, _, symbol, *_ in self.quotes[self._untimed :]:
            self.refused.append(Refused(self.file, row, symbol, Flaw.NO_TIME, "no later message"))
        del self.quotes[self._untimed :]
        pieces = [self._trade_piece(), self._quote_piece()]
        found = [piece for piece in pieces if len(piece.frame)]
        # A line that cannot be read is of no kind: the first piece tells of all.
        said = ("times are the venue's own, not the recorder's",)
        first = [replace(piece, refused=tuple(self.refused), said=said) for piece in found[:1]]
        return first + found[1:]

    def _take(self, row: int, stream: str, data: _Data) -> None:
        venue = data.T or data.E
        if data.e == "trade":
            self.trades.append((row, data.T, data.t, data.s, data.p, data.q, data.m))
        elif stream == "bookTicker" or data.e == "bookTicker":
            self.futures = self.futures or venue > 0
            self.quotes.append(
                (row, venue, data.u, data.s, bytes(data.b), data.B, bytes(data.a), data.A)
            )
            if venue and self._untimed == len(self.quotes) - 1:
                self._untimed += 1
            return
        elif data.e == "depthUpdate":
            self.futures = self.futures or data.T > 0
            self._depths.append((row, data))
        # E is when the venue made the message: no earlier than the quotes that came before it.
        sent = data.E or data.T
        if sent:
            for i in range(self._untimed, len(self.quotes)):
                quote = self.quotes[i]
                if not quote[1]:
                    self.quotes[i] = (quote[0], sent, *quote[2:])
            self._untimed = len(self.quotes)

    def _quotes_of_depth(self) -> None:
        """Quotes where the recording has depth changes and no bookTicker."""
        levels = msgspec.json.Decoder(list[tuple[str, str]]).decode
        books: dict[str, DepthBook] = {}
        names = {entry.s for _, entry in self._depths if isinstance(entry, _Data)}
        known = 0
        for row, entry in self._depths:
            if isinstance(entry, _Message):
                # A snapshot does not say its symbol.
                if len(names) == 1:
                    book = books.setdefault(next(iter(names)), DepthBook())
                    try:
                        book.snapshot(levels(entry.bids), levels(entry.asks))
                    except ValueError as error:
                        detail = str(error).splitlines()[0]
                        self.refused.append(Refused(self.file, row, "", Flaw.UNREADABLE, detail))
                        continue
                    known = entry.lastUpdateId
            elif entry.u > known:
                book = books.setdefault(entry.s, DepthBook())
                try:
                    best = book.change(levels(entry.b), levels(entry.a))
                except ValueError as error:  # msgspec's errors are ValueErrors, too.
                    detail = str(error).splitlines()[0]
                    self.refused.append(Refused(self.file, row, entry.s, Flaw.UNREADABLE, detail))
                    continue
                if best is not None:
                    (bid, bid_size), (ask, ask_size) = best
                    self.quotes.append(
                        (row, entry.T or entry.E, entry.u, entry.s, bid.encode(), bid_size,
                         ask.encode(), ask_size)
                    )  # fmt: skip
        self._untimed = len(self.quotes)

    def _trade_piece(self) -> Piece:
        names = ["row", "ms", "id", "symbol", "price", "size", "maker"]
        frame = pl.DataFrame(self.trades, schema=names, orient="row") if self.trades else _none()
        if not len(frame):
            return self._piece(Kind.TRADES, frame, (0, 0))
        places = (text_places(frame["price"]), text_places(frame["size"]))
        # A trade that the venue sends twice, after a reconnection, has one id.
        twice = ~frame.select(pl.struct("symbol", "id").is_first_distinct()).to_series()
        self.refused += [
            Refused(self.file, row, symbol, Flaw.DUPLICATE, f"trade id {number}")
            for row, symbol, number in frame.filter(twice).select("row", "symbol", "id").iter_rows()
        ]
        side = pl.when("maker").then(-1).otherwise(1)
        frame = frame.filter(~twice).select(
            "row",
            ts=pl.col("ms") * MS,
            symbol="symbol",
            price=pl.col("price").cast(pl.Float64, strict=False),
            size=pl.col("size").cast(pl.Float64, strict=False),
            side=pl.when(pl.col("maker").is_null()).then(0).otherwise(side).cast(pl.Float64),
            id="id",
        )
        return self._piece(Kind.TRADES, frame.sort("ts", "id"), places)

    def _quote_piece(self) -> Piece:
        names = ["row", "ms", "id", "symbol", "bid", "bid_size", "ask", "ask_size"]
        frame = pl.DataFrame(self.quotes, schema=names, orient="row") if self.quotes else _none()
        if not len(frame):
            return self._piece(Kind.QUOTES, frame, (0, 0))
        frame = frame.with_columns(pl.col("bid", "ask").cast(pl.String).str.strip_chars('"'))
        places = (
            max(text_places(frame["bid"]), text_places(frame["ask"])),
            max(text_places(frame["bid_size"]), text_places(frame["ask_size"])),
        )
        # The book's update numbers give the order; a time that falls back inside it is held.
        frame = frame.sort("id", maintain_order=True).select(
            "row",
            (pl.col("ms").cum_max().over("symbol") * MS).alias("ts"),
            "symbol",
            pl.col(QUOTE_SIDES).cast(pl.Float64, strict=False),
        )
        frame = frame.sort("ts", maintain_order=True)
        return self._piece(Kind.QUOTES, frame, places)

    def _piece(self, kind: Kind, frame: pl.DataFrame, places: tuple[int, int]) -> Piece:
        group = "crypto-binance-usdm" if self.futures else "crypto-binance-spot"
        symbols = frame["symbol"].unique().to_list() if len(frame) else []
        return Piece(
            kind, frame, self.file, (), None, "1s", None, places, quote_currency(symbols), group,
        )  # fmt: skip


def quote_currency(symbols: list[str]) -> str | None:
    """The currency in which all these Binance symbols are quoted, when it is one of the dollars."""
    found = {next((end for end in STABLE if name.endswith(end)), None) for name in symbols}
    return found.pop() if len(found) == 1 else None


def _none() -> pl.DataFrame:
    return pl.DataFrame({"symbol": np.empty(0, str)})
