"""``data check``: what is wrong with a table or a file, counted, with the first places."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data.bars_import import QUARANTINE, judge_bars, no_bars_before, row_text, together
from data.clocks import DAY_NS, Clock, ClockKind
from data.door import FLAWS, PASSES, Flaw, admit_rows, code_of, no_past
from data.errors import InputError
from data.formats import Reading, read_pieces
from data.lake import Manifest, read_manifest, scan, units_of, verify_files
from data.piece import OHLCV, QUOTE_SIDES, Kind, Piece
from data.session_hours import session_hours
from data.ticks import QUOTE
from data.ticks_import import best_quotes, exchange_names, judge_ticks, structured
from data.times import calendar_timezone, check_timezone
from data.units import float_places, power

PLACES = 5  # of each trouble
SILENCE_NS = 180 * DAY_NS  # Longer, and another company may have the ticker.
LARGE_MOVE = 0.5  # of a bar's close to the next: shown, because somebody should know it


@dataclass(frozen=True)
class CheckOptions:
    """How to read a file; a table knows all of it."""

    reading: Reading = field(default_factory=Reading)
    stamp: str | None = None
    clock: str | None = None
    calendar: str | None = None


@dataclass
class SymbolQuality:
    """One symbol. Gaps count missing intervals; moves are (ts, ratio) beyond LARGE_MOVE."""

    symbol: str
    rows: int
    first_ts: int
    last_ts: int
    missing: int = 0
    longest_gap_ns: int = 0
    longest_gap_from: int = 0
    zero_volume: int = 0
    large_moves: list[tuple[int, float]] = field(default_factory=list)
    crossed: int = 0
    locked: int = 0
    duplicates: int = 0  # trades or quotes equal to the row before them: a fact, not a fault


@dataclass
class Quality:
    """The whole report. ``flaws``: rows that the door refuses, or refused at the import."""

    name: str
    kind: Kind
    clock: str
    symbols: list[SymbolQuality]
    flaws: dict[str, int]
    examples: list[str]
    imported: bool  # flaws were kept out of the table
    trouble: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Nothing is wrong that would make a result wrong; gaps and large moves are facts."""
        return not self.trouble


def check(lake: Path, source: str, options: CheckOptions) -> Quality:
    """Reads everything of a file or table. InputError when it cannot be read at all."""
    check_timezone(options.reading.timezone)
    if options.stamp not in (None, "open", "close"):
        raise InputError(f"--stamp {options.stamp!r}: say open or close")
    path = Path(source).expanduser()
    report = _check_file(path, options) if path.exists() else _check_table(lake, source)
    if not report.symbols:
        report.trouble.append("it holds no good row")
    for reason, count in report.flaws.items():
        if reason == Flaw.KNOWN:
            continue
        kept = "kept out of the table" if report.imported else "to be quarantined"
        report.trouble.append(f"{count:,} rows {reason}, {kept}")
    for symbol in report.symbols:
        if symbol.longest_gap_ns > SILENCE_NS:
            since = np.datetime64(symbol.longest_gap_from, "ns").astype("datetime64[D]")
            days = symbol.longest_gap_ns // DAY_NS
            report.trouble.append(
                f"{symbol.symbol}: nothing for {days} days from {since}: is it the same company "
                "afterwards?"
            )
    crossed = sum(symbol.crossed for symbol in report.symbols)
    if crossed:
        report.trouble.append(f"quotes crossed {crossed:,} times")
    return report


def _check_table(lake: Path, name: str) -> Quality:
    manifest = read_manifest(lake, name)
    verify_files(lake, name, manifest)
    report = Quality(
        name, manifest.kind, manifest.clock, [], dict(manifest.quarantined),
        list(manifest.examples), True,
    )  # fmt: skip
    if not manifest.files:
        return report
    rows = scan(lake, name).with_columns(pl.col("ts").cast(pl.Int64)).collect()
    rows = rows.sort("symbol", "ts", maintain_order=True)
    if manifest.kind is Kind.BARS:
        tick = float(units_of(manifest)[0])
        rows = rows.with_columns(pl.col(OHLCV[:4]).cast(pl.Float64) * tick)
        # What the door finds now it did not see at the imports, one by one: jumps between them.
        _count_flaws(report, rows, name, _known_jumps(lake / name, manifest))
        clock = Clock.parse(manifest.clock)
        report.symbols = _bar_symbols(rows, clock, manifest.calendar or None)
    elif manifest.kind is Kind.QUOTES:
        report.symbols = _quote_symbols(rows, len(manifest.exchanges), manifest.calendar or None)
    else:
        report.symbols = _plain_symbols(rows)
    return report


def _check_file(path: Path, options: CheckOptions) -> Quality:
    pieces = read_pieces(path, options.reading)
    if not pieces:
        raise InputError(f"data file {path.name} holds no bars, trades or quotes")
    parts = [_check_piece(piece, options) for piece in pieces]
    report = parts[0]
    for other in parts[1:]:
        report.symbols += other.symbols
        report.examples += other.examples
        for reason, count in other.flaws.items():
            report.flaws[reason] = report.flaws.get(reason, 0) + count
    report.name = path.name
    return report


def _check_piece(piece: Piece, options: CheckOptions) -> Quality:
    rows, refused = together([piece], piece.kind)
    report = Quality(piece.file, piece.kind, "", [], {}, [], False)
    _count_refused(report, refused.cast(QUARANTINE))  # type: ignore[arg-type]
    calendar = options.calendar or piece.calendar
    calendar = None if calendar == "none" else calendar
    if piece.kind is not Kind.BARS:
        return _check_ticks(report, rows, piece.kind, calendar)
    text = options.clock or piece.clock
    clock = Clock.parse(text) if text else _common_step(rows)
    report.clock = str(clock) if clock else "?"
    # The same judgement as an import's, in the finest units of the file.
    units = (
        power(max(float_places(rows[name].drop_nulls().to_numpy()) for name in OHLCV[:4])),
        power(float_places(rows["volume"].drop_nulls().to_numpy())),
    )
    details = {(r.file, r.row): r.detail for r in piece.refused if r.flaw is Flaw.NOT_A_NUMBER}
    judged = judge_bars(
        rows, clock or Clock.parse("1s"), options.stamp or piece.stamp or "close",
        calendar, units, (), no_bars_before, details,
    )  # fmt: skip
    _count_refused(report, judged.quarantine)
    good = judged.frame.with_columns(
        pl.col("ts").cast(pl.Int64), pl.col(OHLCV[:4]).cast(pl.Float64) * float(units[0])
    )
    report.symbols = _bar_symbols(good, clock, calendar)
    return report


def _check_ticks(report: Quality, rows: pl.DataFrame, kind: Kind, calendar: str | None) -> Quality:
    prices = ("price",) if kind is Kind.TRADES else ("bid", "ask")
    sizes = ("size",) if kind is Kind.TRADES else ("bid_size", "ask_size")
    places = [
        max(float_places(rows[name].drop_nulls().to_numpy()) for name in names)
        for names in (prices, sizes)
    ]
    exchanges = exchange_names([rows])
    late = int(rows.select((pl.col("ts").diff().over("symbol") < 0).sum()).item())
    judged = judge_ticks(rows, kind, (power(places[0]), power(places[1])), exchanges)
    _count_refused(report, judged.quarantine)
    if late:
        report.trouble.append(f"{late:,} rows out of order (an import sorts them)")
    good = judged.frame.with_columns(pl.col("ts").cast(pl.Int64))
    if kind is Kind.QUOTES:
        report.symbols = _quote_symbols(good, len(exchanges), calendar)
    else:
        report.symbols = _plain_symbols(good)
    return report


def _count_refused(report: Quality, rows: pl.DataFrame) -> None:
    for reason, count in rows.group_by("flaw").len().sort("flaw").iter_rows():
        report.flaws[reason] = report.flaws.get(reason, 0) + count
    first = rows.group_by("flaw", maintain_order=True).head(PLACES)
    report.examples += [
        f"{flaw}: {file} row {row} {symbol} {detail or ''}".rstrip()
        for flaw, file, row, symbol, detail in first.select(
            "flaw", "file", "row", "symbol", "detail"
        ).iter_rows()
    ]


def _known_jumps(table: Path, manifest: Manifest) -> dict[str, list[int]]:
    """Moments of the jumps that were kept out of a table: the bars after them jump again."""
    if manifest.quarantine is None:
        return {}
    rows = pl.read_parquet(table / manifest.quarantine.path, hive_partitioning=False, glob=False)
    rows = rows.filter(pl.col("flaw") == Flaw.JUMP.value).drop_nulls("ts")
    found: dict[str, list[int]] = {}
    for symbol, ts in rows.select("symbol", pl.col("ts").cast(pl.Int64)).iter_rows():
        found.setdefault(symbol, []).append(ts)
    return found


def _count_flaws(
    report: Quality, rows: pl.DataFrame, table: str, known: dict[str, list[int]]
) -> None:
    """Runs the door over a table's rows and counts what it refuses.

    ``known``: by symbol, moments of jumps that need not be told again.
    """
    names = rows["symbol"].unique().sort()
    numbers = rows["symbol"].replace_strict(
        {name: i for i, name in enumerate(names)}, return_dtype=pl.Int64, default=0
    )
    filled = rows.select(pl.col(OHLCV).cast(pl.Float64).fill_null(float("nan")))
    codes = admit_rows(
        numbers.to_numpy(), rows["ts"].to_numpy(), filled.select(OHLCV[:4]).to_numpy(),
        filled["volume"].to_numpy(), no_past(len(names)),
    )  # fmt: skip
    for symbol, moments in known.items():
        mine = np.flatnonzero((rows["symbol"] == symbol).to_numpy())
        after = np.searchsorted(rows["ts"].to_numpy()[mine], moments)
        after = mine[after[after < len(mine)]]
        codes[after[codes[after] == code_of(Flaw.JUMP)]] = PASSES
    for code in np.unique(codes[codes != PASSES]):
        flaw = FLAWS[code - 1].value
        places = np.flatnonzero(codes == code)
        report.flaws[flaw] = report.flaws.get(flaw, 0) + len(places)
        for i in places[:PLACES]:
            row = rows.row(int(i), named=True)
            report.examples.append(f"{flaw}: {table} {row['symbol']} {row_text(row)}")


def _bar_symbols(
    rows: pl.DataFrame, clock: Clock | None, calendar: str | None
) -> list[SymbolQuality]:
    found = []
    for symbol, mine in _by_symbol(rows):
        ts, close = mine["ts"].to_numpy(), mine["close"].to_numpy()
        entry = SymbolQuality(symbol, len(ts), int(ts[0]), int(ts[-1]))
        entry.zero_volume = int((mine["volume"] == 0).sum())
        if clock is not None and clock.kind is ClockKind.TIME:
            _gaps(entry, ts, clock, calendar)
        ratio = close[1:] / close[:-1]
        large = np.flatnonzero((ratio > 1 + LARGE_MOVE) | (ratio < 1 - LARGE_MOVE))
        entry.large_moves = [(int(ts[i + 1]), float(ratio[i])) for i in large]
        found.append(entry)
    return found


def _gaps(entry: SymbolQuality, ts: np.ndarray, clock: Clock, calendar: str | None) -> None:
    """Missing intervals between a symbol's first and last bar; the exchange's nights are none."""
    if len(ts) < 2:
        return
    steps = np.diff(ts)
    if calendar is None:
        missing = np.maximum(steps // clock.size - 1, 0)
    else:
        missing = _session_gaps(ts, clock, calendar)
    entry.missing = int(missing.sum())
    if entry.missing:
        longest = int(np.where(missing > 0, steps, 0).argmax())
        entry.longest_gap_ns = int(steps[longest])
        entry.longest_gap_from = int(ts[longest])


def _session_gaps(ts: np.ndarray, clock: Clock, calendar: str) -> np.ndarray:
    """Missing bars between each bar and the next, ``ts`` being closes of bars.

    Daily bars: sessions skipped. Others: intervals from each session's open to its close, late
    starts, early ends and whole sessions included; bars outside of a session count for nothing.
    """
    opens, closes = session_hours(calendar, int(ts[0]), int(ts[-1]))
    if clock.size == DAY_NS:
        # A day's bar may stand before its close, at midnight: what counts is its local date.
        zone = calendar_timezone(calendar)
        place = np.searchsorted(_days(closes, zone), _days(ts, zone))
        return np.asarray(np.maximum(np.diff(place) - 1, 0))
    # Bars may be aligned to the open, as 09:30 to 10:30: the grid is where most of them are.
    phases, often = np.unique(ts % clock.size, return_counts=True)
    phase = phases[often.argmax()]
    before = (opens - phase) // clock.size
    lengths = -((phase - closes) // clock.size) - before
    earlier = np.concatenate([[0], np.cumsum(lengths)])
    session = np.searchsorted(opens, ts, "left") - 1
    inside = -((phase - ts) // clock.size) - before[session]
    expected = earlier[session] + np.minimum(inside, lengths[session])
    is_expected = inside <= lengths[session]
    return np.asarray(np.maximum(np.diff(expected) - is_expected[1:], 0))


def _days(ts: np.ndarray, zone: str) -> np.ndarray:
    local = pl.Series(ts).cast(pl.Datetime("ns", "UTC")).dt.convert_time_zone(zone)
    return local.dt.date().to_numpy().astype("datetime64[D]")


def _quote_symbols(rows: pl.DataFrame, exchanges: int, calendar: str | None) -> list[SymbolQuality]:
    found = []
    for symbol, mine in _by_symbol(rows):
        quotes = structured(mine.select("ts", "exchange", *QUOTE_SIDES), QUOTE)
        _, counts, _ = best_quotes(quotes, exchanges, calendar, int(quotes["ts"][-1]))
        entry = SymbolQuality(symbol, len(mine), int(quotes["ts"][0]), int(quotes["ts"][-1]))
        entry.crossed, entry.locked = counts.crossed, counts.locked
        entry.duplicates = _repeated(mine)
        entry.longest_gap_ns, entry.longest_gap_from = _longest(quotes["ts"])
        found.append(entry)
    return found


def _plain_symbols(rows: pl.DataFrame) -> list[SymbolQuality]:
    found = []
    for symbol, mine in _by_symbol(rows):
        ts = mine["ts"].to_numpy()
        entry = SymbolQuality(symbol, len(ts), int(ts[0]), int(ts[-1]))
        entry.longest_gap_ns, entry.longest_gap_from = _longest(ts)
        entry.duplicates = _repeated(mine)
        price = mine["price"].to_numpy().astype(float)
        ratio = price[1:] / price[:-1]
        large = np.flatnonzero((ratio > 1 + LARGE_MOVE) | (ratio < 1 - LARGE_MOVE))
        entry.large_moves = [(int(ts[i + 1]), float(ratio[i])) for i in large]
        found.append(entry)
    return found


def _repeated(rows: pl.DataFrame) -> int:
    """Rows that equal the row before them in every column."""
    names = [name for name in rows.columns if name not in ("symbol", "day")]
    equal = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift()) for name in names)
    return int(rows.select(equal).to_series()[1:].sum())


def _longest(ts: np.ndarray) -> tuple[int, int]:
    if len(ts) < 2:
        return 0, 0
    steps = np.diff(ts)
    longest = int(steps.argmax())
    return int(steps[longest]), int(ts[longest])


def _by_symbol(rows: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    parts: dict[Any, pl.DataFrame] = rows.partition_by("symbol", as_dict=True, maintain_order=True)
    return [(str(key[0]), parts[key]) for key in sorted(parts)]


def _common_step(rows: pl.DataFrame) -> Clock | None:
    """A clock of the commonest distance of two bars, when there is such a clock."""
    steps = rows.select(pl.col("ts").diff().over("symbol").alias("step")).to_series().drop_nulls()
    steps = steps.filter(steps > 0)
    if not len(steps):
        return None
    step = int(steps.value_counts(sort=True)["step"][0])
    try:
        return Clock(ClockKind.TIME, step)
    except InputError:
        return None
