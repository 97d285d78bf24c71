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
from numpy.typing import NDArray

from data.bars import Bars, empty_bars
from data.door import FLAWS, PASSES, Flaw, Quarantined, admit_rows, code_of, no_past
from data.errors import InputError
from data.feed import SAMPLE_TICK, Feed, chosen_symbols, feed_hash
from data.times import YEARS, exchange_closes

TICK = SAMPLE_TICK
COLUMNS = ("symbol", "date", "open", "high", "low", "close", "volume", "adj_close")
NO_SESSION = int(np.iinfo(np.int64).min)
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
    closed = _closing_times_of(rows["date"])
    numbers = {name: index for index, name in enumerate(symbols)}
    symbol = np.array([numbers[str(name)] for name in rows["symbol"]], np.int64)
    codes, prices, volume = _adjust(rows)
    codes[(codes == PASSES) & (closed == NO_SESSION)] = code_of(Flaw.NOT_A_SESSION)
    sound = codes == PASSES
    codes[sound] = admit_rows(
        symbol[sound], closed[sound], prices[sound], volume[sound], no_past(len(symbols))
    )
    good = codes == PASSES
    bars = empty_bars(int(good.sum()))
    bars["ts"], bars["symbol"] = closed[good], symbol[good]
    for name, column in zip(("open", "high", "low", "close"), prices[good].T, strict=True):
        bars[name] = np.rint(column / float(TICK))
    bars["volume"] = np.rint(volume[good])
    bad = np.flatnonzero(~good)
    refused = [
        Quarantined(str(rows["date"][int(i)]), symbols[symbol[i]], FLAWS[codes[i] - 1]) for i in bad
    ]
    moments = [(int(closed[i]), int(symbol[i])) for i in bad if closed[i] != NO_SESSION]
    return bars[np.lexsort((bars["symbol"], bars["ts"]))], refused, moments


def _closing_times_of(texts: pl.Series) -> NDArray[np.int64]:
    """UTC ns of each date's close (n,); NO_SESSION for no date, or one without a session."""
    dates = {text: _parse_date(text) for text in texts.unique()}
    known = [day for day in dates.values() if day is not None and day.year in YEARS]
    closes = closing_times(min(known), max(known)) if known else {}
    moments = {
        text: NO_SESSION if day is None else closes.get(day, NO_SESSION)
        for text, day in dates.items()
    }
    return np.array([moments[text] for text in texts], np.int64)


def _adjust(
    rows: pl.DataFrame,
) -> tuple[NDArray[np.int8], NDArray[np.float64], NDArray[np.float64]]:
    """(codes (n,) of the door, adjusted open, high, low, close (n, 4), adjusted volume (n,))."""
    values = rows.select(COLUMNS[2:]).fill_null(math.nan).to_numpy()
    raw, volume, adjusted = values[:, :4], values[:, 4], values[:, 5]
    finite = np.isfinite(values).all(axis=1)
    positive = finite & (raw[:, 3] > 0.0) & (adjusted > 0.0)
    factor = np.divide(adjusted, raw[:, 3], out=np.ones(len(values)), where=positive)
    # One multiplication for all four: rounding then cannot cross prices that did not cross.
    prices = raw * factor[:, None]
    positive &= prices.min(axis=1, initial=math.inf, where=finite[:, None]) >= float(TICK)
    codes = np.where(positive, PASSES, code_of(Flaw.NON_POSITIVE)).astype(np.int8)
    codes[~finite] = code_of(Flaw.NOT_A_NUMBER)
    return codes, prices, volume / factor
