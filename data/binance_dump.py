"""Binance's public dumps (data.binance.vision): trades, aggTrades, klines, bookTicker; CSV or zip.

A header row is optional. Times are milliseconds, spot dumps since 2025 microseconds: the unit is
told from the magnitude. The symbol stands in the file's name alone, ``BTCUSDT-1m-2024-08.zip``.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import replace
from pathlib import Path

import polars as pl

from data.binance_wire import quote_currency
from data.clocks import Clock, ClockKind
from data.door import Flaw
from data.errors import InputError
from data.piece import OHLCV, QUOTE_SIDES, Kind, Piece, Refused
from data.times import epoch_ns, epoch_unit
from data.units import text_places

_NAME = re.compile(
    r"^([A-Z0-9_]+)-(trades|aggTrades|bookTicker|\d+(?:s|m|h|d|w|mo))(?:-\d{4}.*)?\.(?:csv|zip)",
    re.IGNORECASE,
)
_TRADES = ("id", "price", "size", "quote", "time", "maker")
_AGG = ("id", "price", "size", "first", "last", "time", "maker")
_KLINES = (
    "open_time", *OHLCV, "close_time", "quote", "trades", "buy_volume", "taker_quote", "ignore",
)  # fmt: skip
_BOOK = ("id", "bid", "bid_size", "ask", "ask_size", "time", "event")
_HEADERS = ("id,", "trade_id,", "agg_trade_id,", "aggtradeid,", "open_time,", "update_id,")


def is_dump(name: str, lines: list[str]) -> bool:
    """Whether a file of this name that begins with these lines is a dump."""
    return bool(lines) and _columns(Path(name).name, lines) is not None


def _columns(name: str, lines: list[str]) -> tuple[str, ...] | None:
    """The columns of the kind of dump; None for anything else."""
    header = lines[0].lower().startswith(_HEADERS)
    row = lines[1] if header and len(lines) > 1 else lines[0]
    values = row.split(",")
    width = len(values)
    if width == 12 and values[0].isdigit() and values[6].isdigit():
        return _KLINES
    if not values[0].isdigit():
        return None
    flags = {value.strip().lower() for value in values[5:]}
    if flags & {"true", "false"}:
        if width in (6, 7) and _is_epoch(values[4]) and not _is_epoch(values[5]):
            return _TRADES
        if width in (7, 8) and _is_epoch(values[5]):
            return _AGG
    if (
        width == 7
        and _is_epoch(values[5])
        and _is_epoch(values[6])
        and "bookticker" in name.lower()
    ):
        return _BOOK
    return None


def _is_epoch(text: str) -> bool:
    return text.isdigit() and 13 <= len(text) <= 16


def read_dump(path: Path, symbol: str | None) -> Piece:
    """The trades, quotes or bars of a dump. InputError when it is none, or names no symbol."""
    from data.formats import open_text
    from data.zipped import read_zip

    zipped = path.read_bytes()[:2] == b"PK"
    try:
        name, blob = read_zip(path) if zipped else (path.name, open_text(path))
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"data file {path}: damaged gzip ({error}): get it again") from error
    lines = blob[:4096].decode("utf-8", "replace").splitlines()[:3]
    columns = _columns(Path(name).name, lines) if lines else None
    if columns is None:
        raise InputError(f"data file {path.name} is no Binance trades, aggTrades or klines dump")
    found = _NAME.match(Path(name).name) or _NAME.match(path.name)
    symbol = symbol or (found[1].upper() if found else None)
    if symbol is None:
        raise InputError(f"data file {path.name} names no symbol: say it with --symbol")
    header = lines[0].lower().startswith(_HEADERS)
    width = lines[int(header and len(lines) > 1)].count(",") + 1
    raw, ragged = _table(blob, int(header), width, path.name)
    raw = raw.select(
        "row",
        *(
            pl.col(old).str.strip_chars().alias(new)
            for old, new in zip(raw.columns[1:], columns, strict=False)
        ),
    )
    piece = _piece(raw, columns, symbol, path.name)
    refused = [
        Refused(path.name, row, symbol, Flaw.UNREADABLE, f"{fields} fields, not {width}")
        for row, fields in ragged
    ]
    return replace(piece, refused=(*refused, *piece.refused))


def _table(
    blob: bytes, skip: int, width: int, file: str
) -> tuple[pl.DataFrame, list[tuple[int, int]]]:
    """The rows as texts, numbered from 1, and (row, fields) of those with too many fields."""
    schema = {f"column_{i}": pl.String for i in range(1, width + 1)}
    try:
        raw = pl.read_csv(blob, has_header=False, skip_rows=skip, schema=schema)
        return raw.with_row_index("row", 1), []
    except pl.exceptions.PolarsError as error:
        # Dumps quote nothing: the commas of a line count its fields.
        fields = [line.count(b",") + 1 for line in blob.splitlines()[skip:]]
        ragged = [(row, count) for row, count in enumerate(fields, 1) if count > width]
        if not ragged:
            reason = str(error).splitlines()[0]
            raise InputError(f"data file {file} is damaged ({reason})") from error
    good = [line for line, n in zip(blob.splitlines()[skip:], fields, strict=True) if n <= width]
    rows = [row for row, count in enumerate(fields, 1) if count <= width]
    raw, _ = _table(b"\n".join(good), 0, width, file)
    return raw.with_columns(pl.Series("row", rows)), ragged


def _piece(raw: pl.DataFrame, columns: tuple[str, ...], symbol: str, file: str) -> Piece:
    time = "open_time" if columns is _KLINES else "time"
    stamps = raw[time].cast(pl.Int64, strict=False)
    base = raw.select(
        pl.col("row").cast(pl.Int64),
        epoch_ns(stamps).alias("ts"),
        pl.lit(symbol).alias("symbol"),
    )
    if columns is _KLINES:
        names = (*OHLCV, "trades", "buy_volume")
        clock = _kline_clock(raw, epoch_unit(stamps), file)
        frame = base.hstack(_floats(raw, names))
        return _made(Kind.BARS, frame, file, symbol, raw, OHLCV[:4], ("volume",), (), clock)
    if columns is _BOOK:
        frame = base.hstack(_floats(raw, QUOTE_SIDES))
        prices, sizes = ("bid", "ask"), ("bid_size", "ask_size")
        return _made(Kind.QUOTES, frame, file, symbol, raw, prices, sizes)
    maker = raw["maker"].str.to_lowercase()
    side = (
        pl.when(maker == "true").then(-1.0).when(maker == "false").then(1.0).otherwise(0.0)
    ).alias("side")
    number = raw["id"].cast(pl.Int64, strict=False)
    frame = base.hstack(_floats(raw, ("price", "size"))).with_columns(side, number)
    twice = ~raw["id"].is_first_distinct()
    refused = tuple(
        Refused(file, row, symbol, Flaw.DUPLICATE, f"id {number}")
        for row, number in raw.filter(twice).select("row", "id").iter_rows()
    )
    kept = frame.filter(~twice)
    return _made(Kind.TRADES, kept, file, symbol, raw, ("price",), ("size",), refused)


def _made(
    kind: Kind,
    frame: pl.DataFrame,
    file: str,
    symbol: str,
    raw: pl.DataFrame,
    prices: tuple[str, ...],
    sizes: tuple[str, ...],
    refused: tuple[Refused, ...] = (),
    clock: str | None = None,
) -> Piece:
    places = (
        max(text_places(raw[name]) for name in prices),
        max(text_places(raw[name]) for name in sizes),
    )
    return Piece(
        kind, frame, file, refused, "open" if kind is Kind.BARS else None, clock, None, places,
        quote_currency([symbol]), "crypto-binance",
    )  # fmt: skip


def _floats(raw: pl.DataFrame, names: tuple[str, ...]) -> pl.DataFrame:
    return raw.select(pl.col(name).cast(pl.Float64, strict=False) for name in names)


def _kline_clock(raw: pl.DataFrame, unit: int, file: str) -> str:
    """The bar's length: a kline's close time is one unit before the next open."""
    opens = raw["open_time"].cast(pl.Int64, strict=False)
    closes = raw["close_time"].cast(pl.Int64, strict=False)
    length = ((closes - opens + 1) * unit).drop_nulls()
    if not len(length):
        raise InputError(f"data file {file}: no row has an open and a close time")
    try:
        return str(Clock(ClockKind.TIME, int(length.median() or 0)))  # type: ignore[arg-type]
    except InputError as error:
        raise InputError(f"data file {file}: {error}") from None
