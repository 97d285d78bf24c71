"""The recorded market data beside the project, for tests that hold formulas against real prices."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def recording(*parts: str) -> Path:
    """The path of a recording; skips the test where it is absent."""
    path = SHARED.joinpath(*parts)
    if not path.is_file():
        pytest.skip(f"needs the recording {'/'.join(parts)} in ../shared/data, absent here")
    return path


@cache
def binance(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Quotes (n, 5): received ns, bid, bid size, ask, ask size; trades (m, 4): received ns, price,
    size, side of the aggressor."""
    quotes, trades = [], []
    decode = msgspec.json.decode
    with gzip.open(recording("binance_wire", f"{name}.gz"), "rb") as lines:
        for line in lines:
            received, body = line.split(b" ", 1)
            if b'@bookTicker"' in body:
                d = decode(body)["data"]
                quotes.append((int(received), *(float(d[key]) for key in "bBaA")))
            elif b'@trade"' in body:
                d = decode(body)["data"]
                side = -1.0 if d["m"] else 1.0
                trades.append((int(received), float(d["p"]), float(d["q"]), side))
    return np.array(quotes), np.array(trades)


@cache
def bars(file: str, symbol: str, count: int) -> dict[str, np.ndarray]:
    """The first ``count`` bars of a symbol: float64 columns open, high, low, close, volume."""
    frame = pl.read_parquet(recording(*file.split("/"))).filter(pl.col("symbol") == symbol)
    frame = frame.sort("ts").head(count)
    return {
        name: frame[name].cast(pl.Float64).to_numpy()
        for name in ("open", "high", "low", "close", "volume")
    }
