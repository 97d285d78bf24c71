"""The bars that all engines of ``make bench`` read: a million real minutes, one after the other.

The recorded minutes of BTCUSD, then ETHUSD, then XRPUSD (Bitfinex, January to September 2019), as
one series: each later part is scaled by one factor so that it opens where the part before closed
(its volumes by the inverse, which keeps the money), and begins a minute after it; all prices are
rounded to a cent. Minutes without a trade stay absent. Where the recordings are not at hand, a
generated random walk stands in for them, and the table says so.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from data.bars import Bars, empty_bars

RECORDED = (
    Path(__file__).resolve().parents[2] / "shared/data/crypto_bars/bitfinex_minute_2019.parquet"
)
PARTS = ("BTCUSD", "ETHUSD", "XRPUSD")
MINUTE = 60_000_000_000
TICKS, LOTS = 100, 10_000  # per unit: a cent, a ten-thousandth of a coin
MICRO_PER_TICK = 1  # 0.01 x 0.0001 of the account's currency
PRICES = ("open", "high", "low", "close")
# Peers ignore volume or take it as the size of the book: no order of the EMA cross reaches this.
ENDLESS = 10**9


def recorded(count: int) -> pl.DataFrame | None:
    """The first ``count`` rows of the chained recordings; None where they are not at hand."""
    if not RECORDED.is_file():
        return None
    rows = pl.read_parquet(RECORDED)
    parts: list[pl.DataFrame] = []
    last_close, last_ts = 0.0, 0
    for symbol in PARTS:
        part = rows.filter(pl.col("symbol") == symbol).sort("ts")
        part = part.with_columns(pl.col("ts").dt.timestamp("ns") + MINUTE)  # stamped at the open
        factor = last_close / part["open"][0] if parts else 1.0
        moved = last_ts + MINUTE - part["ts"][0] if parts else 0
        part = part.select(
            pl.col("ts") + moved,
            *((pl.col(name) * factor).round(2) for name in PRICES),
            pl.col("volume") / factor,
        )
        last_close, last_ts = float(part["close"][-1]), int(part["ts"][-1])
        parts.append(part)
    return pl.concat(parts).head(count)


def generated(count: int, seed: int = 7) -> pl.DataFrame:
    """A geometric random walk of one-minute bars with about the volatility of the recorded ones."""
    rng = np.random.default_rng(seed)
    close = np.round(4_000 * np.exp(np.cumsum(rng.normal(0.0, 7e-4, count))), 2)
    opened = np.round(np.concatenate([[4_000.0], close[:-1]]) + rng.normal(0, 0.2, count), 2)
    width = np.round(np.abs(rng.normal(0, 1.0, count)), 2)
    return pl.DataFrame(
        {
            "ts": np.arange(1, count + 1) * MINUTE + 1_546_300_800 * 10**9,
            "open": opened,
            "high": np.maximum(opened, close) + width,
            "low": np.minimum(opened, close) - width,
            "close": close,
            "volume": rng.lognormal(0.5, 1.5, count),
        }
    )


def write(path: Path, count: int) -> str:
    """Writes ``count`` bars for every engine to read; returns what they are, for the table."""
    rows = recorded(count)
    what = f"{' + '.join(PARTS)} one-minute bars, Bitfinex 2019, chained"
    if rows is None:
        rows, what = generated(count), "generated one-minute bars"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(path)
    return f"{len(rows):,} {what}"


def as_bars(columns: dict[str, np.ndarray], endless: bool = False) -> Bars:
    """Columns as ``BAR`` rows; with ``endless`` volume, as the peers have it."""
    bars = empty_bars(len(columns["ts"]))
    bars["ts"] = columns["ts"]
    for name in PRICES:
        bars[name] = np.rint(columns[name] * TICKS)
    bars["volume"] = ENDLESS if endless else np.rint(columns["volume"] * LOTS)
    return bars


def to_and_fro(bars: Bars, count: int) -> Bars:
    """``count`` bars: forwards, backwards in time, forwards again, without a jump in price."""
    long = empty_bars(count)
    span = int(bars["ts"][-1] - bars["ts"][0]) + MINUTE
    for turn, first in enumerate(range(0, count, len(bars))):
        part = long[first : first + len(bars)]
        source = bars[: len(part)] if turn % 2 == 0 else bars[::-1][: len(part)]
        part[:] = source
        if turn % 2 == 1:
            part["open"], part["close"] = source["close"], source["open"]
            part["ts"] = bars["ts"][0] + bars["ts"][-1] - source["ts"]
        part["ts"] += turn * span
    return long
