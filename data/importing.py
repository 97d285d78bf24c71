"""``import``: files to tables of the lake, each table's files first and its manifest last."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from data.adjust import Adjustment, read_adjustments
from data.clocks import Clock
from data.errors import InputError
from data.formats import read_pieces
from data.import_job import ImportOptions, ImportReport, Job, one
from data.lake import MANIFEST, LakeSource, check_name
from data.lake_writer import current
from data.piece import Kind, Piece
from data.times import calendar_timezone, check_timezone


def import_files(lake: Path, paths: Sequence[Path], options: ImportOptions) -> ImportReport:
    """Imports files that belong together (bars, or trades and quotes) into the lake.

    InputError, one line, for everything that a person can mend; nothing is then in force.
    """
    check_timezone(options.reading.timezone)
    if options.stamp not in (None, "open", "close"):
        raise InputError(f"--stamp {options.stamp!r}: say open or close")
    clock = Clock.parse(options.clock) if options.clock is not None else None
    adjustments = read_adjustments(options.adjust) if options.adjust is not None else ()
    sources = [_source(path, options, adjustments) for path in paths]
    base = check_name(options.name) if options.name else _stem(paths[0])
    if not options.replace and _all_known(lake, base, options, sources):
        return ImportReport(said=[f"already in the lake, nothing to do: {base}"])
    reading = options.reading
    if reading.timezone is None and options.calendar not in (None, "none"):
        # Naive times of a market with a calendar are that market's.
        reading = replace(reading, timezone=calendar_timezone(str(options.calendar)))
    pieces = [piece for path in paths for piece in read_pieces(path, reading)]
    pieces = _only_symbols([piece for piece in pieces if len(piece.frame)], options.symbols)
    kinds = {piece.kind for piece in pieces}
    if not pieces:
        raise InputError(f"{paths[0]} holds no bars, trades or quotes")
    said = [line for piece in pieces for line in piece.said]
    job = Job(lake, base, pieces, sources, options, adjustments, ImportReport(said=said))
    if Kind.BARS in kinds:
        if kinds != {Kind.BARS}:
            raise InputError("bars cannot be imported together with trades or quotes")
        job.bars(clock or _hinted_clock(pieces, paths[0]))
    else:
        job.ticks(clock or _wire_clock(pieces))
    return job.report


def _source(path: Path, options: ImportOptions, adjustments: tuple[Adjustment, ...]) -> LakeSource:
    shaped = repr((replace(options, name=None, replace=False, adjust=None), adjustments))
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"data file {path}: {error.strerror}: check the path") from error
    options_hash = hashlib.sha256(shaped.encode()).hexdigest()
    return LakeSource(name=path.name, sha256=digest, options=options_hash, tables=[])


def _all_known(lake: Path, base: str, options: ImportOptions, sources: list[LakeSource]) -> bool:
    """Whether an equal import of all these sources has reached every table that it wrote."""
    asked = {(source.sha256, source.options) for source in sources}
    tails = ("", "-trades", "-quotes")
    found: dict[str, set[tuple[str, str]]] = {}
    wrote: set[str] = set()
    for path in lake.glob(f"{base}*/{MANIFEST}"):
        name = path.parent.name
        if name not in {base + tail for tail in tails} and (
            options.name or not name.startswith(f"{base}-")
        ):
            continue
        manifest = current(lake, name)
        if manifest is None:
            continue
        found[name] = {(entry.sha256, entry.options) for entry in manifest.sources}
        for entry in manifest.sources:
            if (entry.sha256, entry.options) in asked:
                wrote |= set(entry.tables)
    return bool(wrote) and all(asked <= found.get(name, set()) for name in wrote)


def _stem(path: Path) -> str:
    stem = re.sub(r"(\.(gz|zip|csv|parquet|arrow|feather|txt|json))+$", "", path.name.lower())
    return check_name(re.sub(r"[^a-z0-9._-]+", "-", stem).strip("-.") or "table")


def _only_symbols(pieces: list[Piece], symbols: tuple[str, ...]) -> list[Piece]:
    if not symbols:
        return pieces
    present = sorted({name for piece in pieces for name in piece.frame["symbol"].unique()})
    unknown = [name for name in symbols if name not in present]
    if unknown:
        raise InputError(
            f"unknown symbol {', '.join(unknown)}: these files hold {', '.join(present)}"
        )
    return [
        replace(piece, frame=piece.frame.filter(pl.col("symbol").is_in(symbols)))
        for piece in pieces
    ]


def _hinted_clock(pieces: list[Piece], path: Path) -> Clock:
    hint = one([piece.clock for piece in pieces])
    if hint is None:
        raise InputError(f"{path.name} holds bars: say how long one is with --clock, as 1m or 1d")
    return Clock.parse(hint)


def _wire_clock(pieces: list[Piece]) -> Clock | None:
    has_trades = any(piece.kind is Kind.TRADES for piece in pieces)
    hint = one([piece.clock for piece in pieces])
    return Clock.parse(hint) if hint is not None and has_trades else None
