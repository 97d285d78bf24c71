"""Daily stock tables to bars: adjusted, quantised to a tick, stamped at the exchange's close.

Prices are multiplied by adjusted close / close (splits and dividends), volumes divided by it, so
that dollar volume is kept. The default table is the one in ``bokeh-sampledata`` (BSD-3).
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl

from data.bars import BAR, UNKNOWN, Bars
from data.door import Door, Flaw, Quarantined
from data.errors import InputError
from data.feed import SAMPLE_TICK, Feed, chosen_symbols, feed_hash
from data.times import YEARS, exchange_closes

TICK = SAMPLE_TICK
COLUMNS = ("symbol", "date", "open", "high", "low", "close", "volume", "adj_close")
_ALIASES = {"ticker": "symbol", "adj close": "adj_close"}


def sample_table() -> Path:
    """The table shipped with bokeh-sampledata; InputError when the package is not installed."""
    spec = find_spec("bokeh_sampledata")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("bokeh-sampledata is not installed: run 'make setup'")
    return Path(next(iter(spec.submodule_search_locations))) / "_data" / "stocks.csv.gz"


def read_table(path: Path) -> pl.DataFrame:
    """The raw rows of a CSV (or .csv.gz) with the columns of COLUMNS, in file order."""
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise InputError(f"data file {path}: {error.strerror}: check the path") from error
    try:
        frame = pl.read_csv(
            gzip.decompress(blob) if path.suffix == ".gz" else blob, infer_schema=False
        )
    except (pl.exceptions.PolarsError, OSError, EOFError, zlib.error) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"data file {path} is not a CSV table ({reason})") from error
    frame = frame.rename(
        {name: _ALIASES.get(name.strip().lower(), name.strip().lower()) for name in frame.columns}
    )
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise InputError(f"data file {path} lacks the column(s) {', '.join(missing)}")
    numbers = [pl.col(name).cast(pl.Float64, strict=False) for name in COLUMNS[2:]]
    return frame.select("symbol", "date", *numbers)


def closing_times(first: date, last: date) -> dict[date, int]:
    """UTC ns of each New York Stock Exchange close between two dates; half days close earlier."""
    return exchange_closes("XNYS", first, last)


def load_feed(path: Path | None = None, symbols: Sequence[str] = ()) -> Feed:
    """The feed of ``symbols`` (all when empty) from ``path`` (the sample table when None).

    InputError for an unreadable file or a symbol that the table does not hold.
    """
    source = path or sample_table()
    frame = read_table(source)
    present = sorted(str(name) for name in frame["symbol"].drop_nulls().unique())
    chosen = chosen_symbols(present, symbols)
    rows = frame.filter(pl.col("symbol").is_in(chosen))
    bars, refused, moments = _admit(rows, chosen)
    digest = feed_hash(bars, chosen)
    return Feed(chosen, bars, tuple(refused), tuple(moments), source.name, digest)


def _parse_date(text: object) -> date | None:
    try:
        return date.fromisoformat(str(text))
    except ValueError:
        return None


def _admit(
    rows: pl.DataFrame, symbols: tuple[str, ...]
) -> tuple[Bars, list[Quarantined], list[tuple[int, int]]]:
    dates = [_parse_date(text) for text in rows["date"]]
    known = [day for day in dates if day is not None and day.year in YEARS]
    closes = closing_times(min(known), max(known)) if known else {}
    door = Door()
    good: list[tuple[int, ...]] = []
    refused: list[Quarantined] = []
    moments: list[tuple[int, int]] = []
    for day, row in zip(dates, rows.iter_rows(), strict=True):
        symbol, when = str(row[0]), str(row[1])
        ts = closes.get(day) if day is not None else None
        flaw, prices, volume = _adjust(row)
        if flaw is None and ts is None:
            flaw = Flaw.NOT_A_SESSION
        if flaw is None and ts is not None:
            flaw = door.admit(symbol, ts, prices, volume)
        if flaw is not None:
            refused.append(Quarantined(when, symbol, flaw))
            if ts is not None:
                moments.append((ts, symbols.index(symbol)))
            continue
        ticks = [round(price / float(TICK)) for price in prices]
        good.append((ts or 0, symbols.index(symbol), *ticks, round(volume), *[UNKNOWN] * 6))
    bars = np.array(good, BAR)
    return bars[np.lexsort((bars["symbol"], bars["ts"]))], refused, moments


def _adjust(
    row: tuple[object, ...],
) -> tuple[Flaw | None, tuple[float, float, float, float], float]:
    """Adjusted (open, high, low, close) and volume; a flaw where they cannot be had."""
    values = [math.nan if value is None else float(str(value)) for value in row[2:]]
    open_, high, low, close, volume, adjusted = values
    if not all(math.isfinite(value) for value in values):
        return Flaw.NOT_A_NUMBER, (0.0, 0.0, 0.0, 0.0), 0.0
    if close <= 0.0 or adjusted <= 0.0:
        return Flaw.NON_POSITIVE, (0.0, 0.0, 0.0, 0.0), 0.0
    factor = adjusted / close
    # One multiplication for all four: rounding then cannot cross prices that did not cross.
    prices = (open_ * factor, high * factor, low * factor, close * factor)
    if min(prices) < float(TICK):
        return Flaw.NON_POSITIVE, prices, 0.0
    return None, prices, volume / factor
