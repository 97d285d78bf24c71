"""Bars of any file to bars of a table: stamped at the close, adjusted, judged, quantised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from data.adjust import Adjustment, adjust
from data.clocks import Clock
from data.door import FLAWS, Flaw, admit_rows, code_of, no_past
from data.piece import EXTRAS, OHLCV, Kind, Piece
from data.times import calendar_timezone, stamped_at_close
from data.units import fits, to_units

EXAMPLES = 5  # of each reason
_PRICE_EXTRAS = ("bid", "ask")
QUARANTINE: dict[str, pl.DataType | type[pl.DataType]] = {
    "ts": pl.Datetime("ns", "UTC"), "symbol": pl.String, "flaw": pl.String, "file": pl.String,
    "row": pl.Int64, "detail": pl.String, "kind": pl.String,
}  # fmt: skip


# (symbol, ts of its first new row) -> ts and close of the bar before, None when there is none.
Past = Callable[[str, int], tuple[int, float] | None]


def no_bars_before(symbol: str, ts: int) -> tuple[int, float] | None:  # noqa: ARG001
    """The past of a new table."""
    return None


@dataclass
class Judged:
    """Rows fit for a table, and the quarantined ones with reason and place.

    ``frame``: ts (UTC), symbol, int64 columns in ticks and lots; sorted by symbol and ts.
    ``quarantine``: the columns of QUARANTINE. ``door``: by symbol, ts and close of the last bar
    that the door took as its reference, which may be one that it refused.
    """

    frame: pl.DataFrame
    quarantine: pl.DataFrame
    said: list[str] = field(default_factory=list)
    door: dict[str, tuple[int, float]] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """Quarantined rows by reason."""
        found = self.quarantine.group_by("flaw").len().sort("flaw")
        return dict(found.iter_rows())

    @property
    def examples(self) -> list[str]:
        """A few lines for each reason."""
        first = self.quarantine.group_by("flaw", maintain_order=True).head(EXAMPLES)
        return [
            f"{flaw}: {file} row {row} {symbol} {detail or ''}".rstrip()
            for flaw, _, symbol, file, row, detail in first.select(
                "flaw", "ts", "symbol", "file", "row", "detail"
            ).iter_rows()
        ]


def quarantine_frame(
    rows: pl.DataFrame, flaws: pl.Series, details: pl.Series, kind: Kind = Kind.BARS
) -> pl.DataFrame:
    """Quarantine entries of ``rows`` (ts, symbol, file, row)."""
    return rows.select(
        pl.col("ts").cast(pl.Datetime("ns")).dt.replace_time_zone("UTC"),
        "symbol",
        flaws.cast(pl.String).alias("flaw"),
        "file",
        pl.col("row").cast(pl.Int64),
        details.cast(pl.String).alias("detail"),
        pl.lit(kind.value).alias("kind"),
    )


def together(pieces: list[Piece], kind: Kind) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All rows of one kind with their file, and the quarantine that their readers filled.

    Files come in the order of time, whichever way they were named. A trade (``id``: the venue's
    number) that another file brought already is quarantined.
    """
    mine = in_time_order([piece for piece in pieces if piece.kind is kind])
    frames = [piece.frame.with_columns(pl.lit(piece.file).alias("file")) for piece in mine]
    rows = pl.concat(frames, how="diagonal")
    refused = [
        (None, entry.symbol, entry.flaw.value, entry.file, entry.row, entry.detail, kind.value)
        for piece in mine
        for entry in piece.refused
        # A number that could not be read is met again in its row, and described from here.
        if entry.flaw is not Flaw.NOT_A_NUMBER
    ]
    quarantine = pl.DataFrame(refused, schema=QUARANTINE, orient="row")
    if "id" not in rows.columns:
        return rows, quarantine
    # Ids are a market's own: the moment tells spot from futures. One source may cut it to ms.
    same = pl.struct("symbol", "id", pl.col("ts") // 1_000_000)
    twice = rows.select(~same.is_first_distinct() & pl.col("id").is_not_null()).to_series()
    again = rows.filter(twice)
    flaws = pl.repeat(Flaw.DUPLICATE.value, len(again), dtype=pl.String, eager=True)
    details = "trade id " + again["id"].cast(pl.String) + " of another file"
    quarantine = pl.concat([quarantine, quarantine_frame(again, flaws, details, kind)])
    return rows.filter(~twice).drop("id"), quarantine


def in_time_order(pieces: list[Piece]) -> list[Piece]:
    """Pieces by their first moment; one that runs backwards from its end to its start is turned."""
    turned = [
        replace(piece, frame=piece.frame.reverse()) if _descends(piece.frame) else piece
        for piece in pieces
    ]
    far = np.iinfo(np.int64).max
    firsts = [piece.frame["ts"].drop_nulls().first() for piece in turned]
    keys = [
        (first if isinstance(first, int) else far, piece.file, -len(piece.frame))
        for first, piece in zip(firsts, turned, strict=True)
    ]
    return [turned[i] for i in sorted(range(len(turned)), key=keys.__getitem__)]


def _descends(frame: pl.DataFrame) -> bool:
    """Whether each row is earlier than the one before it of its symbol."""
    steps = frame.select(pl.col("ts") - pl.col("ts").shift().over("symbol"))["ts"].drop_nulls()
    return len(steps) > 0 and bool((steps < 0).all())


def judge_bars(
    rows: pl.DataFrame,
    clock: Clock,
    stamp: str,
    calendar: str | None,
    units: tuple[Decimal, Decimal],
    adjustments: tuple[Adjustment, ...],
    past: Past,
    details: dict[tuple[str, int], str],
    zone: str | None = None,
) -> Judged:
    """Bars as they may be stored, in the order of symbol and ts.

    ``rows``: file, row, ts, symbol, OHLCV, any EXTRAS. ``past``: what the door
    knew of a symbol before these rows. ``details``: what readers said about a file's row.
    ``zone``: of the adjustments' dates; None: the calendar's, without one UTC.
    """
    untimed = rows["ts"].is_null()
    bad = [_refuse(rows.filter(untimed), Flaw.NO_TIME, details)]
    rows = rows.filter(~untimed)
    said: list[str] = []
    if len(rows):
        ts, nowhere = stamped_at_close(rows["ts"].to_numpy(), clock, stamp, calendar)
        rows = rows.with_columns(pl.Series("ts", ts))
        missing = pl.Series(nowhere)
        bad.append(_refuse(rows.filter(missing), Flaw.NOT_A_SESSION, details))
        rows = rows.filter(~missing)
    if adjustments and len(rows):
        zone = zone or (calendar_timezone(calendar) if calendar else "UTC")
        # A bar that closes at midnight is of the day that ends there.
        inside = (rows["ts"] - 1).cast(pl.Datetime("ns", "UTC")).dt.convert_time_zone(zone)
        rows, _, cut = adjust(rows, inside.dt.date(), adjustments)
        if cut:
            said.append(f"{cut:,} rows left out: before a reused ticker's date")
    codes, door = _verdicts(rows, past, units)
    refused = pl.Series(codes != 0)
    flaws = pl.Series([FLAWS[code - 1].value for code in codes[codes != 0]], dtype=pl.String)
    refused_rows = rows.filter(refused)
    bad.append(quarantine_frame(refused_rows, flaws, _details(refused_rows, flaws, details)))
    frame, off, below = _quantised(rows.filter(~refused), units)
    if off:
        said.append(f"{off:,} prices or sizes were rounded to the tick and lot")
    bad.append(_refuse(rows.filter(~refused).filter(below), Flaw.NON_POSITIVE, details))
    frame, doubts = _without_nonsense(frame, rows.filter(~refused))
    said += doubts
    kept = frame.filter(~below).sort("symbol", "ts")
    return Judged(kept, pl.concat(bad), said, door)


def _refuse(rows: pl.DataFrame, flaw: Flaw, details: dict[tuple[str, int], str]) -> pl.DataFrame:
    flaws = pl.repeat(flaw.value, len(rows), dtype=pl.String, eager=True)
    return quarantine_frame(rows, flaws, _details(rows, flaws, details))


def _details(
    rows: pl.DataFrame, flaws: pl.Series, details: dict[tuple[str, int], str]
) -> pl.Series:
    """What a reader said about the row, else its values; full text for the first of each flaw."""
    texts: list[str | None] = [None] * len(rows)
    told: dict[str, int] = {}
    for i, flaw in enumerate(flaws.to_list()):
        told[flaw] = told.get(flaw, 0) + 1
        if told[flaw] <= EXAMPLES:
            row = rows.row(i, named=True)
            texts[i] = details.get((row["file"], row["row"])) or row_text(row)
    return pl.Series(texts, dtype=pl.String)


def row_text(row: dict[str, Any]) -> str:
    """A bar's moment and values for a person."""
    ts = row["ts"]
    when = str(np.datetime64(ts, "ns"))[:19] if isinstance(ts, int) else "no time"
    pairs = [f"{name}={_short(row[name])}" for name in OHLCV if name in row]
    return f"{when} {' '.join(pairs)}"


def _short(value: object) -> str:
    return f"{value:.10g}" if isinstance(value, float) else "none" if value is None else str(value)


def _verdicts(
    rows: pl.DataFrame, past: Past, units: tuple[Decimal, Decimal]
) -> tuple[np.ndarray, dict[str, tuple[int, float]]]:
    """The door's verdicts, and what it then knows of each symbol."""
    if not len(rows):
        return np.zeros(0, np.int8), {}
    tick, lot = units
    names = rows["symbol"].unique().sort()
    numbers = rows["symbol"].replace_strict(
        {name: i for i, name in enumerate(names)}, return_dtype=pl.Int64, default=0
    )
    last_ts, last_close = no_past(len(names))
    for i, (name, first) in enumerate(
        rows.group_by("symbol").agg(pl.col("ts").min()).sort("symbol").iter_rows()
    ):
        last_ts[i], last_close[i] = past(name, first) or (0, 0.0)
    values = rows.select(pl.col(OHLCV).fill_null(float("nan"))).to_numpy()
    # A number too large to be counted is none.
    prices = np.where(fits(values[:, :4], tick), values[:, :4], np.nan)
    volume = np.where(fits(values[:, 4], lot), values[:, 4], np.nan)
    codes = admit_rows(
        numbers.to_numpy(), rows["ts"].to_numpy(), prices, volume, (last_ts, last_close)
    )
    # A row without a symbol belongs to nothing.
    codes = np.where((rows["symbol"] == "").to_numpy(), code_of(Flaw.UNREADABLE), codes)
    known = zip(names, last_ts.tolist(), last_close.tolist(), strict=True)
    return codes, {name: (ts, close) for name, ts, close in known if close > 0.0}


def _quantised(
    rows: pl.DataFrame, units: tuple[Decimal, Decimal]
) -> tuple[pl.DataFrame, int, pl.Series]:
    """int64 columns, how many values were rounded, and which rows have a price below one tick."""
    tick, lot = units
    off, columns = 0, []
    for name in OHLCV:
        values, rounded = to_units(rows[name].to_numpy(), lot if name == "volume" else tick)
        columns.append(pl.Series(name, values))
        off += rounded
    columns += [_extra(rows, name, units) for name in EXTRAS]
    ts = rows["ts"].cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")
    frame = pl.DataFrame([ts, rows["symbol"], *columns])
    return frame, off, frame["low"] < 1


def _without_nonsense(frame: pl.DataFrame, rows: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Optional columns that contradict the bar become unknown; lines that count them.

    ``rows``: the same rows as the file has them, of which ``frame`` is counted in units.
    """
    crossed = (frame["bid"] > frame["ask"]).fill_null(False)
    bought = (frame["buy_volume"] > frame["volume"]).fill_null(False)
    negative = pl.Series(np.zeros(len(rows), bool))
    if "buy_volume" in rows.columns:
        negative = (rows["buy_volume"] < 0).fill_null(False)
    frame = frame.with_columns(
        pl.when(~crossed).then(pl.col("bid", "ask")),
        pl.when(~bought).then(pl.col("buy_volume")),
    )
    said = []
    if crossed.any():
        said.append(f"{crossed.sum():,} bars with a bid above the ask: both taken as unknown")
    if count := int((bought | negative).sum()):
        said.append(f"{count:,} buy volumes above the volume or negative: taken as unknown")
    return frame, said


def _extra(rows: pl.DataFrame, name: str, units: tuple[Decimal, Decimal]) -> pl.Series:
    """An optional column, null where the file does not know it or has nonsense."""
    if name not in rows.columns:
        return pl.Series(name, [None] * len(rows), dtype=pl.Int64)
    unit = Decimal(1) if name == "trades" else units[0] if name in _PRICE_EXTRAS else units[1]
    floats = rows[name].fill_null(float("nan")).to_numpy()
    least = 1 if name in _PRICE_EXTRAS else 0
    fine = fits(floats, unit) & (floats >= 0)
    values, _ = to_units(np.where(fine, floats, 0.0), unit)
    series = pl.Series(name, values)
    return pl.select(
        pl.when(pl.Series(fine) & (series >= least)).then(series).otherwise(None).alias(name)
    ).to_series()
