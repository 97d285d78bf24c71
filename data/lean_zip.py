"""LEAN's zips (QuantConnect): a CSV of bars, trades or quotes of one symbol, no header.

Equities: prices x 10,000, New York time; crypto: plain decimals, UTC. Daily and hourly files hold
``YYYYMMDD HH:MM,open,high,low,close,volume``; minute, second and tick files hold milliseconds since
midnight and carry the day in their name, ``20131007_trade.zip``.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import polars as pl

from data.door import Flaw
from data.errors import InputError
from data.piece import OHLCV, QUOTE_SIDES, Kind, Piece, Refused
from data.units import text_places
from data.zipped import read_zip

NEW_YORK = "America/New_York"
_STAMPED = re.compile(r"^\d{8} \d\d:\d\d,")
_MILLIS = re.compile(r"^\d{1,8},[\d.]")
# 20131007_aig_minute_trade.csv; tick files of equities name the contract style in between.
_INNER = re.compile(r"^(\d{8})_(.+?)_(?:.*_)?(tick|second|minute)_(trade|quote)", re.IGNORECASE)
_SCALE = 10_000.0
# LEAN's folders, and whether their prices are plain decimals in UTC; None: look at the prices.
_SECURITY_TYPES = {
    "equity": False, "option": False, "crypto": True, "cryptofuture": True, "forex": None,
    "cfd": None, "future": None, "futureoption": None, "index": None, "indexoption": None,
}  # fmt: skip


def is_lean(lines: list[str]) -> bool:
    """Whether a zip's table that begins with these lines is LEAN's."""
    return bool(lines) and bool(_STAMPED.match(lines[0]) or _MILLIS.match(lines[0]))


def read_lean(path: Path, symbol: str | None) -> Piece:
    """Bars, trades or quotes of a LEAN zip. InputError when it is none or names too little."""
    inner, blob = read_zip(path)
    try:
        raw = pl.read_csv(blob, has_header=False, infer_schema=False, truncate_ragged_lines=True)
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"data file {path.name} is no LEAN table ({reason})") from error
    raw.columns = [f"column_{number}" for number in range(1, raw.width + 1)]
    raw = raw.with_columns(pl.all().str.strip_chars()).with_row_index("row", 1)
    raw = raw.with_columns(pl.col("row").cast(pl.Int64))
    first = ",".join(str(value) for value in raw.row(0)[1:])
    crypto = _is_crypto(path, raw)
    if _STAMPED.match(first):
        name = (symbol or Path(inner).stem.split("_")[0]).upper()
        return _stamped(path.name, raw, name, crypto)
    found = _INNER.match(Path(inner).name)
    if found is None:
        raise InputError(
            f"data file {path.name}: {inner} does not name its day, resolution and kind as "
            "20131007_aig_minute_trade.csv does"
        )
    name = (symbol or found[2]).upper()
    resolution, kind = found[3].lower(), found[4].lower()
    raw = raw.with_columns(_moment(found[1], crypto))
    if resolution == "tick":
        return _ticks(path.name, raw, name, crypto, kind)
    clock = {"second": "1s", "minute": "1m"}[resolution]
    if kind == "trade":
        return _bars(path.name, raw, name, crypto, clock)
    return _quote_bars(path.name, raw, name, crypto, clock)


def _is_crypto(path: Path, raw: pl.DataFrame) -> bool:
    """The nearest folder of a type of security says it; else prices with a decimal point do."""
    folders = (part.lower() for part in reversed(path.parts[:-1]))
    nearest = next((folder for folder in folders if folder in _SECURITY_TYPES), None)
    if nearest is not None and _SECURITY_TYPES[nearest] is not None:
        return bool(_SECURITY_TYPES[nearest])
    return bool(raw[raw.columns[2]].str.contains(".", literal=True).any())


def _moment(day: str, crypto: bool) -> pl.Expr:
    """ts of milliseconds since the local midnight of ``day``."""
    try:
        midnight = datetime.strptime(day, "%Y%m%d")  # noqa: DTZ007
    except ValueError:
        raise InputError(f"LEAN file of day {day}: that is no date") from None
    clock = pl.lit(midnight).cast(pl.Datetime("ns")) + pl.duration(
        milliseconds=pl.col("column_1").cast(pl.Int64, strict=False)
    )
    zone = "UTC" if crypto else NEW_YORK
    local = clock.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    return local.dt.convert_time_zone("UTC").dt.cast_time_unit("ns").cast(pl.Int64).alias("ts")


def _stamped(file: str, raw: pl.DataFrame, symbol: str, crypto: bool) -> Piece:
    local = raw["column_1"].str.to_datetime("%Y%m%d %H:%M", time_unit="ns", strict=False)
    daily = bool((local.dt.hour() == 0).all())
    zone = "UTC" if crypto else NEW_YORK
    ts = local.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    raw = raw.with_columns(ts.dt.convert_time_zone("UTC").cast(pl.Int64).alias("ts"))
    return _bars(file, raw, symbol, crypto, "1d" if daily else "1h")


def _bars(file: str, raw: pl.DataFrame, symbol: str, crypto: bool, clock: str) -> Piece:
    columns = dict(
        zip(OHLCV, ("column_2", "column_3", "column_4", "column_5", "column_6"), strict=True)
    )
    frame = _frame(raw, symbol, columns, crypto, file)
    return _piece(Kind.BARS, frame, raw, columns, file, crypto, clock)


def _quote_bars(file: str, raw: pl.DataFrame, symbol: str, crypto: bool, clock: str) -> Piece:
    """Quote bars: bid open, high, low, close, size, the same of the ask; the close is kept."""
    columns = dict(
        zip(QUOTE_SIDES, ("column_5", "column_6", "column_10", "column_11"), strict=True)
    )
    frame = _frame(raw, symbol, columns, crypto, file)
    length = {"1s": 10**9, "1m": 60 * 10**9}[clock]
    frame = frame.with_columns(pl.col("ts") + length, pl.col(QUOTE_SIDES).fill_null(0.0))
    return _piece(Kind.QUOTES, frame, raw, columns, file, crypto, None)


def _ticks(file: str, raw: pl.DataFrame, symbol: str, crypto: bool, kind: str) -> Piece:
    if kind == "trade":
        columns = {"price": "column_2", "size": "column_3"}
        exchange, suspicious = "column_4", "column_6"
    else:
        columns = dict(
            zip(QUOTE_SIDES, ("column_2", "column_3", "column_4", "column_5"), strict=True)
        )
        exchange, suspicious = "column_6", "column_8"
    refused: tuple[Refused, ...] = ()
    if suspicious in raw.columns:
        odd = (raw[suspicious] == "1").fill_null(False)
        refused = tuple(
            Refused(file, row, symbol, Flaw.UNREADABLE, "marked suspicious by its source")
            for row in raw.filter(odd)["row"].to_list()
        )
        raw = raw.filter(~odd)
    frame = _frame(raw, symbol, columns, crypto, file)
    if exchange in raw.columns:
        frame = frame.with_columns(raw[exchange].fill_null("").alias("exchange"))
    what = Kind.TRADES if kind == "trade" else Kind.QUOTES
    return _piece(what, frame, raw, columns, file, crypto, None, refused)


def _width(raw: pl.DataFrame) -> int:
    return sum(name.startswith("column_") for name in raw.columns)


def _frame(
    raw: pl.DataFrame, symbol: str, columns: dict[str, str], crypto: bool, file: str
) -> pl.DataFrame:
    missing = [old for old in columns.values() if old not in raw.columns]
    if missing:
        raise InputError(
            f"data file {file} has {_width(raw)} columns, too few for LEAN's {', '.join(columns)}"
        )
    scale = 1.0 if crypto else _SCALE
    return raw.select(
        "row",
        "ts" if "ts" in raw.columns else pl.lit(None, pl.Int64).alias("ts"),
        pl.lit(symbol).alias("symbol"),
        *[
            pl.col(old).cast(pl.Float64, strict=False).alias(new)
            / (1.0 if new in ("volume", "size", "bid_size", "ask_size") else scale)
            for new, old in columns.items()
        ],
    )


def _piece(
    kind: Kind,
    frame: pl.DataFrame,
    raw: pl.DataFrame,
    columns: dict[str, str],
    file: str,
    crypto: bool,
    clock: str | None,
    refused: tuple[Refused, ...] = (),
) -> Piece:
    sized = ("volume", "size", "bid_size", "ask_size")
    sizes = max(text_places(raw[old]) for new, old in columns.items() if new in sized)
    prices = max(text_places(raw[old]) for new, old in columns.items() if new not in sized)
    stamp = "open" if kind is Kind.BARS else None
    calendar = None if crypto or kind is not Kind.BARS else "XNYS"
    group = "crypto" if crypto else "us-equity"
    return Piece(
        kind, frame, file, refused, stamp, clock, calendar, (prices if crypto else 4, sizes),
        "USD", group,
    )  # fmt: skip
