"""Any Parquet, Arrow or CSV table, with a mapping of its columns to the house's names."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from data.door import Flaw
from data.errors import InputError
from data.formats import open_text
from data.piece import NEEDED, OPTIONAL, PRICES, Kind, Piece, Refused
from data.times import to_utc_ns
from data.units import text_places

EXAMPLES = 5  # Unreadable values described one by one, of each column.
_KNOWN = {"ts", "symbol", *(name for kind in Kind for name in (*NEEDED[kind], *OPTIONAL[kind]))}


def read_frame(path: Path, file_format: str) -> pl.DataFrame:
    """The raw table; CSV columns stay texts. ``file_format``: parquet, arrow or csv."""
    try:
        if file_format == "parquet":
            return pl.read_parquet(path, glob=False)
        if file_format == "arrow":
            # By its handle: as a path, [ and * in its name would be a pattern.
            with path.open("rb") as file:
                return pl.read_ipc(file)
        return _read_csv(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"data file {path} is not a {file_format} table ({reason})") from error


def _read_csv(path: Path) -> pl.DataFrame:
    blob = open_text(path)
    try:
        return pl.read_csv(blob, infer_schema=False)
    except pl.exceptions.ComputeError:
        lines = csv.reader(blob.decode("utf-8", "replace").splitlines())
        width = len(next(lines, []))
        for row, fields in enumerate(lines, 1):
            if len(fields) > width:
                raise InputError(
                    f"data file {path.name} row {row} has {len(fields)} columns, its header {width}"
                ) from None
        raise


def parse_mapping(text: str | None) -> dict[str, str]:
    """``open=o,ts=time`` as {house's name: file's column}; InputError for anything else."""
    found: dict[str, str] = {}
    for part in (text or "").split(","):
        if not part.strip():
            continue
        ours, sign, theirs = (word.strip() for word in part.partition("="))
        if not sign or not theirs or ours not in _KNOWN:
            raise InputError(
                f"--map {part.strip()!r}: write NAME=COLUMN with a NAME out of "
                f"{', '.join(sorted(_KNOWN))}"
            )
        found[ours] = theirs
    return found


def read_tabular(
    path: Path,
    file_format: str,
    mapping: Mapping[str, str],
    symbol: str | None = None,
    timezone: str | None = None,
) -> Piece:
    """One table's rows. ``symbol`` stands in for a missing symbol column.

    InputError for a column that is missing, or that holds no times or no numbers at all.
    """
    frame = read_frame(path, file_format)
    frame = _renamed(frame, mapping, path.name)
    kind = _kind(frame, mapping, path.name)
    if symbol is not None and "symbol" not in frame.columns:
        frame = frame.with_columns(pl.lit(symbol).alias("symbol"))
    needed = ("ts", "symbol", *NEEDED[kind])
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        hint = "; a file of one symbol needs --symbol" if missing == ["symbol"] else ""
        raise InputError(
            f"data file {path.name} lacks the column(s) {', '.join(missing)}: it has "
            f"{', '.join(read_names(frame))}; name them with --map {missing[0]}=COLUMN{hint}"
        )
    extras = [name for name in OPTIONAL[kind] if name in frame.columns]
    numbers = [name for name in (*NEEDED[kind], *extras) if name != "exchange"]
    refused: list[Refused] = []
    columns = [
        to_utc_ns(frame["ts"], timezone, path.name).alias("ts"),
        frame["symbol"].cast(pl.String).fill_null(""),
    ]
    columns += [_numbers(frame[name], frame["symbol"], path.name, refused) for name in numbers]
    if "exchange" in extras:
        columns.append(frame["exchange"].cast(pl.String))
    rows = pl.DataFrame(columns).with_row_index("row", 1).with_columns(pl.col("row").cast(pl.Int64))
    return Piece(kind, rows, path.name, tuple(refused), places=_places(frame, numbers))


def read_names(frame: pl.DataFrame) -> list[str]:
    """Names of the columns, at most twenty."""
    more = ["..."] if frame.width > 20 else []
    return [*frame.columns[:20], *more]


def _renamed(frame: pl.DataFrame, mapping: Mapping[str, str], file: str) -> pl.DataFrame:
    absent = [column for column in mapping.values() if column not in frame.columns]
    if absent:
        raise InputError(
            f"data file {file} has no column {', '.join(absent)} that --map names: it has "
            f"{', '.join(read_names(frame))}"
        )
    taken = set(mapping) | set(mapping.values())
    kept = {name: name for name in frame.columns if name in _KNOWN and name not in taken}
    lower = {name.strip().lower(): name for name in frame.columns}
    for name in _KNOWN - set(kept) - taken:
        if name in lower and lower[name] not in mapping.values():
            kept[name] = lower[name]
    chosen = {**kept, **mapping}
    others = [name for name in frame.columns if name not in chosen.values()]
    clash = [name for name in others if name in chosen]
    return frame.drop(clash).select(
        *[frame[theirs].alias(ours) for ours, theirs in chosen.items()],
        *[name for name in others if name not in clash],
    )


def _kind(frame: pl.DataFrame, mapping: Mapping[str, str], file: str) -> Kind:
    """What most of the needed columns say; bars when in doubt."""
    if {"open", "high", "low", "close"} & set(frame.columns):
        return Kind.BARS
    if {"price", "size"} <= set(frame.columns):
        return Kind.TRADES
    if {"bid", "ask"} <= set(frame.columns):
        return Kind.QUOTES
    if {"price", "size"} & set(mapping):
        return Kind.TRADES
    raise InputError(
        f"data file {file} is not known as bars (open, high, low, close), trades (price, size) or "
        f"quotes (bid, ask): it has {', '.join(read_names(frame))}; name its columns with --map"
    )


def _numbers(values: pl.Series, symbols: pl.Series, file: str, refused: list[Refused]) -> pl.Series:
    """A column as doubles; null where it is no number, the first of which are described."""
    if values.dtype.is_numeric():
        return values.cast(pl.Float64)
    if values.dtype.is_decimal():
        return values.cast(pl.Float64)
    if values.dtype.is_nested() or values.dtype.is_temporal():
        raise InputError(
            f"data file {file}: column {values.name} ({values.dtype}) holds no numbers"
        )
    numbers = values.cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False)
    bad = (numbers.is_null() & values.is_not_null()).arg_true()
    if len(bad) and len(bad) == len(values) - values.null_count():
        raise InputError(
            f"data file {file}: column {values.name} holds no numbers (row {bad[0] + 1}: "
            f"{values[bad[0]]!r})"
        )
    refused += [
        Refused(file, row + 1, str(symbols[row]), Flaw.NOT_A_NUMBER,
                f"column {values.name}: {values[row]!r}")
        for row in bad[:EXAMPLES].to_list()
    ]  # fmt: skip
    return numbers


def _places(frame: pl.DataFrame, numbers: list[str]) -> tuple[int, int] | None:
    """Decimals of texts; None when the numbers are binary."""
    texts = [name for name in numbers if frame[name].dtype == pl.String]
    if not texts:
        return None
    places = {name: text_places(frame[name]) for name in texts}
    prices = [count for name, count in places.items() if name in PRICES]
    sizes = [count for name, count in places.items() if name not in PRICES]
    return max(prices, default=0), max(sizes, default=0)
