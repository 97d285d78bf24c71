"""One import at work: pieces of files become tables, each table's manifest last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path

import msgspec
import polars as pl

from data.adjust import Adjustment
from data.bars_import import QUARANTINE, Judged, judge_bars, together
from data.clocks import Clock
from data.door import Flaw
from data.errors import InputError
from data.formats import Reading
from data.lake import LakeSource, Manifest, units_of
from data.lake_writer import bar_before, current, known_rows, locked
from data.piece import Kind, Piece
from data.table_import import Table, add_rows, adjustments_name, same_table
from data.ticks_import import bars_of_ticks, coarser_lots, exchange_names, judge_ticks
from data.times import calendar_timezone
from data.units import FINEST, Units, account_units, float_places, found_units, power
from data.years import bars_in_a_year


@dataclass(frozen=True)
class ImportOptions:
    """What a person said; None where the file's own format or the house's default decides."""

    name: str | None = None
    reading: Reading = field(default_factory=Reading)
    clock: str | None = None
    stamp: str | None = None
    tick: Decimal | None = None
    lot: Decimal | None = None
    calendar: str | None = None
    currency: str | None = None
    group: str | None = None
    bars_per_year: float | None = None
    symbols: tuple[str, ...] = ()
    adjust: Path | None = None
    keep_ticks: bool = False
    replace: bool = False


@dataclass
class Imported:
    """One table after an import: what came in, and what to tell."""

    name: str
    manifest: Manifest
    added: int
    quarantined: dict[str, int]
    examples: list[str]


@dataclass
class ImportReport:
    """All tables that an import wrote; none when everything was in the lake already."""

    tables: list[Imported] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


@dataclass
class Job:
    lake: Path
    base: str
    pieces: list[Piece]
    sources: list[LakeSource]
    options: ImportOptions
    adjustments: tuple[Adjustment, ...]
    report: ImportReport

    def bars(self, clock: Clock) -> None:
        """Bars as they are, stamped at their close."""
        stamp = self.options.stamp or one([piece.stamp for piece in self.pieces])
        if stamp is None:
            raise InputError(
                "say with --stamp whether ts is at the open or at the close of a bar "
                "(the data's documentation tells)"
            )
        rows, refused = together(self.pieces, Kind.BARS)
        self._will_write([self._bar_name(clock)])
        units = self._account_units(self._units([rows], self._bar_name(clock)))
        table = self._bar_table(clock, units, rows)
        with locked(self.lake, table.name) as directory:
            before = None if self.options.replace else current(self.lake, table.name)
            same_table(before, table)
            past = partial(bar_before, directory, before)
            details = {
                (entry.file, entry.row): entry.detail
                for piece in self.pieces
                for entry in piece.refused
                if entry.flaw is Flaw.NOT_A_NUMBER
            }
            judged = judge_bars(
                rows, clock, stamp, table.calendar or None, (table.tick, table.lot),
                self.adjustments, past, details,
            )  # fmt: skip
            judged.quarantine = pl.concat([refused, judged.quarantine])
            self._add(directory, before, table, judged)

    def ticks(self, clock: Clock | None) -> None:
        """Trades and quotes: bars when there is a clock, themselves when asked or without one."""
        found = {kind: together(self.pieces, kind) for kind in (Kind.TRADES, Kind.QUOTES)
                 if any(piece.kind is kind for piece in self.pieces)}  # fmt: skip
        if clock is not None and Kind.TRADES not in found:
            raise InputError("--clock builds bars out of trades, and these files hold none")
        frames = [rows for rows, _ in found.values()]
        exchanges = exchange_names(frames)
        trades_table = f"{self.base}-{Kind.TRADES.value}"
        units = exact = self._units(
            frames, trades_table if clock is None else self._bar_name(clock)
        )
        if clock is not None:
            units = self._account_units(units)
            # Trades are counted exactly, and only what they add up to is rounded to the lot.
            exact = replace(exact, lot=exact_lot(frames, self.pieces, units.lot))
        judged: dict[Kind, Judged] = {}
        for kind, (rows, refused) in found.items():
            judged[kind] = judge_ticks(rows, kind, (exact.tick, exact.lot), exchanges)
            judged[kind].quarantine = pl.concat([refused, judged[kind].quarantine])
            self.report.said += judged[kind].said
            judged[kind].said = []
        self._will_write(
            [self._bar_name(clock)] * (clock is not None)
            + [f"{self.base}-{kind.value}" for kind in found if self._keeps(clock)]
        )
        if clock is not None:
            self._built(clock, judged, exact, units, len(exchanges))
        if self._keeps(clock):
            for kind, ready in judged.items():
                self._kept_ticks(kind, ready, exact, exchanges)

    def _built(
        self, clock: Clock, judged: dict[Kind, Judged], exact: Units, units: Units, exchanges: int
    ) -> None:
        trades = judged[Kind.TRADES].frame
        if not len(trades):
            raise InputError("no trade of these files can be used: see --format and --map")
        quotes = judged[Kind.QUOTES].frame if Kind.QUOTES in judged else None
        made, said = bars_of_ticks(
            trades,
            quotes,
            clock,
            (exact.tick, exact.lot),
            exchanges,
            self._calendar(),
        )
        self.report.said += said
        made = coarser_lots(made, exact.lot, units.lot)
        floats = made.with_columns(
            pl.col("open", "high", "low", "close", "bid", "ask").cast(pl.Float64)
            * float(units.tick),
            pl.col("volume", "buy_volume", "bid_size", "ask_size").cast(pl.Float64)
            * float(units.lot),
            pl.col("ts").cast(pl.Int64),
            file=pl.lit(self.pieces[0].file),
            row=pl.int_range(1, pl.len() + 1),
        )
        table = self._bar_table(clock, units, floats)
        with locked(self.lake, table.name) as directory:
            before = None if self.options.replace else current(self.lake, table.name)
            same_table(before, table)
            past = partial(bar_before, directory, before)
            zone = calendar_timezone(table.calendar) if table.calendar else None
            result = judge_bars(
                floats, clock, "close", None, (units.tick, units.lot), self.adjustments, past, {},
                zone,
            )  # fmt: skip
            result.quarantine = pl.concat(
                [*(rows.quarantine for rows in judged.values()), result.quarantine]
            )
            self._add(directory, before, table, result)

    def _kept_ticks(self, kind: Kind, rows: Judged, units: Units, exchanges: list[str]) -> None:
        if self.options.clock is None:
            self._say(units)
        table = Table(
            f"{self.base}-{kind.value}", kind, "", units.tick, units.lot, self._currency(),
            self._group(), self.options.calendar or "", 0.0,
        )  # fmt: skip
        with locked(self.lake, table.name) as directory:
            before = None if self.options.replace else current(self.lake, table.name)
            same_table(before, table)
            if before is not None:
                table, rows = replace(table), _same_exchanges(before, exchanges, rows)
                exchanges = exchange_names([], [*before.exchanges]) + [
                    name for name in exchanges if name not in before.exchanges
                ]
            self._add(directory, before, table, rows, exchanges)

    def _add(
        self,
        directory: Path,
        before: Manifest | None,
        table: Table,
        judged: Judged,
        exchanges: Sequence[str] = (),
    ) -> None:
        known = known_rows(directory, before, judged.frame)
        again = judged.frame.filter(known)
        if len(again):
            files = pl.lit(self.pieces[0].file)
            extra = again.select(
                "ts", "symbol", flaw=pl.lit(Flaw.KNOWN.value), file=files,
                row=pl.lit(0, pl.Int64), detail=pl.lit(None, pl.String),
                kind=pl.lit(table.kind.value),
            )  # fmt: skip
            judged.quarantine = pl.concat([judged.quarantine, extra.cast(QUARANTINE)])  # type: ignore[arg-type]
            judged.frame = judged.frame.filter(~known)
        if before is None and not len(judged.frame):
            counts = ", ".join(f"{count:,} {reason}" for reason, count in judged.counts.items())
            first = f"; the first: {judged.examples[0]}" if judged.examples else ""
            raise InputError(f"no row can be used: {counts or 'there is none'}{first}")
        manifest = add_rows(directory, before, table, judged, self.sources, exchanges)
        self.report.said += judged.said
        self.report.tables.append(
            Imported(table.name, manifest, len(judged.frame), judged.counts, judged.examples)
        )

    def _keeps(self, clock: Clock | None) -> bool:
        return clock is None or self.options.keep_ticks

    def _bar_name(self, clock: Clock | None) -> str:
        return self.base if self.options.name else f"{self.base}-{str(clock).replace(':', '-')}"

    def _will_write(self, names: list[str]) -> None:
        """Each source tells all tables of its import, so that a half one can be told."""
        self.sources = [msgspec.structs.replace(entry, tables=names) for entry in self.sources]

    def _bar_table(self, clock: Clock, units: Units, rows: pl.DataFrame) -> Table:
        calendar = self._calendar()
        self._say(units)
        year = self.options.bars_per_year or bars_in_a_year(clock, calendar, rows)
        return Table(
            self._bar_name(clock), Kind.BARS, str(clock), units.tick, units.lot, self._currency(),
            self._group(), calendar or "", year, adjustments_name(self.adjustments),
        )  # fmt: skip

    def _units(self, frames: list[pl.DataFrame], table: str) -> Units:
        """What was given, else what the table has, else the finest decimals of these files."""
        before = None if self.options.replace else current(self.lake, table)
        tick, lot = units_of(before) if before is not None else (None, None)
        given = self.options.tick or tick, self.options.lot or lot
        places = [piece.places for piece in self.pieces]
        if None in places and None in given:
            prices, sizes = _places(frames)
        else:
            known = [pair for pair in places if pair is not None]
            prices = max((pair[0] for pair in known), default=0)
            sizes = max((pair[1] for pair in known), default=0)
        return found_units(*given, prices, sizes)

    def _account_units(self, units: Units) -> Units:
        return account_units(units, self.options.lot is not None, self._currency())

    def _say(self, units: Units) -> None:
        self.report.said += [line for line in units.said if line not in self.report.said]

    def _currency(self) -> str:
        return self.options.currency or one([piece.currency for piece in self.pieces]) or "USD"

    def _calendar(self) -> str | None:
        """The exchange's calendar, asked for or known by the format; None: it never closes."""
        chosen = self.options.calendar or one([piece.calendar for piece in self.pieces])
        return None if chosen == "none" else chosen

    def _group(self) -> str:
        return self.options.group or one([piece.group for piece in self.pieces]) or self.base


def _same_exchanges(before: Manifest, exchanges: list[str], rows: Judged) -> Judged:
    """Rows whose exchange column points into the table that the lake has already."""
    table = exchange_names([], before.exchanges)
    table += [name for name in exchanges if name not in table]
    numbers = {i: table.index(name) for i, name in enumerate(exchanges)}
    if numbers:
        rows.frame = rows.frame.with_columns(
            pl.col("exchange").replace_strict(numbers, return_dtype=pl.Int64)
        )
    return rows


def exact_lot(frames: list[pl.DataFrame], pieces: list[Piece], lot: Decimal) -> Decimal:
    """The finest size seen, when it divides ``lot``; else ``lot`` itself."""
    places = [piece.places for piece in pieces]
    sizes = _places(frames)[1] if None in places else max(pair[1] for pair in places if pair)
    fine = power(sizes)
    return fine if sizes < FINEST and fine < lot and lot % fine == 0 else lot


def _places(frames: list[pl.DataFrame]) -> tuple[int, int]:
    """Decimals of prices and sizes in binary columns."""
    prices = ("price", "open", "high", "low", "close", "bid", "ask")
    sizes = ("size", "volume", "bid_size", "ask_size")

    def most(names: tuple[str, ...]) -> int:
        found = [
            float_places(frame[name].drop_nulls().to_numpy())
            for frame in frames
            for name in names
            if name in frame.columns
        ]
        return max(found, default=0)

    return most(prices), most(sizes)


def one(values: Sequence[str | None]) -> str | None:
    """The one value that they share."""
    found = {value for value in values if value is not None}
    return found.pop() if len(found) == 1 else None
