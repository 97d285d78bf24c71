"""The recorded days and wires in ``../shared/data`` as trades and quotes, for measuring."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from data.money import to_ticks
from data.ticks import NBBO, QUOTE, TRADE, Quotes, Trades

EQUITY_TICK = 10_000  # Ticks a dollar.
MS = 1_000_000
END_OF_TIME = 2**62


def equity_trades(path: Path) -> Trades:
    """TRADE rows of a day of US equity prints: ticks of 0.0001 USD, lots of a share, no side."""
    frame = pl.read_parquet(path)
    trades = np.zeros(len(frame), TRADE)
    trades["ts"] = frame["ts"].dt.epoch("ns").to_numpy()
    trades["price"] = np.rint(frame["price"].to_numpy() * EQUITY_TICK)
    trades["size"] = frame["size"].to_numpy()
    return trades


def equity_quotes(path: Path) -> tuple[Quotes, int]:
    """QUOTE rows of a day, and the number of exchanges in it (numbered by their letter)."""
    frame = pl.read_parquet(path)
    quotes = np.zeros(len(frame), QUOTE)
    quotes["ts"] = frame["ts"].dt.epoch("ns").to_numpy()
    letters = frame["exchange"].to_numpy().astype(str)
    names, quotes["exchange"] = np.unique(letters, return_inverse=True)
    for side in ("bid", "ask"):
        quotes[side] = np.rint(frame[side].to_numpy() * EQUITY_TICK)
        quotes[f"{side}_size"] = frame[f"{side}_size"].to_numpy()
    return quotes, len(names)


@dataclass(frozen=True)
class Wire:
    """A recorded web socket. Trades in the order of their ids, quotes of their update ids.

    ``trades`` carry the venue's time and flag; ``quotes`` (NBBO rows: bookTicker is the venue's
    whole best) the receive time. ``trade_received``, shape (trades,): receive time.
    ``quote_venue``, shape (quotes,): the venue's time, 0 where the stream has none (spot).
    ``quote_bound``: the time of the first depthUpdate that contains the quote's update id, the
    latest moment at which the venue can have made it; END_OF_TIME after the last depthUpdate.
    """

    trades: Trades
    quotes: Quotes
    trade_received: NDArray[np.int64]
    quote_venue: NDArray[np.int64]
    quote_bound: NDArray[np.int64]


def wire(path: Path, tick: str, lot: str) -> Wire:
    """Reads a recording; ``tick`` and ``lot`` are the units of its prices and quantities."""
    price_unit, size_unit = Decimal(tick), Decimal(lot)
    trades, quotes, depths = [], [], []
    with gzip.open(path, "rb") as lines:
        for line in lines:
            received, _, text = line.partition(b" ")
            message = msgspec.json.decode(text)
            data = message.get("data", {})  # A depth snapshot by REST has none.
            kind = message.get("stream", "").split("@")[1:2]
            if kind == ["trade"]:
                price = to_ticks(Decimal(data["p"]), price_unit)
                size = to_ticks(Decimal(data["q"]), size_unit)
                side = -1 if data["m"] else 1
                trades.append((data["t"], int(received), data["T"] * MS, price, size, side, 0))
            elif kind == ["bookTicker"]:
                units = {"b": price_unit, "B": size_unit, "a": price_unit, "A": size_unit}
                row = [to_ticks(Decimal(data[name]), unit) for name, unit in units.items()]
                quotes.append((data["u"], data.get("T", 0) * MS, int(received), *row))
            elif kind == ["depth"]:
                depths.append((data["u"], data["E"] * MS))
    trades.sort()
    quotes.sort()
    updates, moments = np.array([*sorted(depths), (0, END_OF_TIME)]).T
    place = np.searchsorted(updates[:-1], [row[0] for row in quotes])
    return Wire(
        np.array([row[2:] for row in trades], TRADE),
        np.array([row[2:] for row in quotes], NBBO),
        np.array([row[1] for row in trades]),
        np.array([row[1] for row in quotes]),
        moments[place],
    )
