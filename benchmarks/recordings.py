"""The recorded days and wires in ``../shared/data`` as trades and quotes, for measuring."""

from __future__ import annotations

import gzip
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from data.money import to_ticks
from data.ticks import NBBO, QUOTE, TRADE, Quotes, Trades

EQUITY_TICK = 10_000  # Ticks a dollar.


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


def wire(path: Path, tick: str, lot: str) -> tuple[Trades, Quotes, list[int]]:
    """Trades and bookTicker quotes of a recorded wire, in the order of the lines.

    ``ts`` of both is the receive clock: the one clock that both carry on every venue. The list
    holds each trade's venue id. bookTicker is the venue's whole best, so the quotes are NBBO rows.
    """
    trades, quotes, ids = [], [], []
    price_unit, size_unit = Decimal(tick), Decimal(lot)
    with gzip.open(path, "rb") as lines:
        for line in lines:
            received, _, text = line.partition(b" ")
            message = msgspec.json.decode(text)
            data = message["data"]
            stream = message["stream"].partition("@")[2]
            if stream == "trade":
                price = to_ticks(Decimal(data["p"]), price_unit)
                size = to_ticks(Decimal(data["q"]), size_unit)
                trades.append((int(received), price, size, -1 if data["m"] else 1, 0))
                ids.append(data["t"])
            elif stream == "bookTicker":
                units = (("b", price_unit), ("B", size_unit), ("a", price_unit), ("A", size_unit))
                row = (to_ticks(Decimal(data[name]), unit) for name, unit in units)
                quotes.append((int(received), *row))
    return np.array(trades, TRADE), np.array(quotes, NBBO), ids
