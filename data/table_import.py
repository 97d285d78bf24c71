"""One import into one table: does it fit, which rows are new, and the manifest that follows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import polars as pl

from data.adjust import Adjustment
from data.bars_import import EXAMPLES, QUARANTINE, Judged
from data.errors import InputError
from data.lake import SCHEMA_VERSION, LakeFile, LakeSource, Manifest
from data.lake_writer import publish, write_file, write_files
from data.piece import Kind

_ADJUSTED = re.compile(r" \(adjusted ([0-9a-f]{12})\)$")


@dataclass(frozen=True)
class Table:
    """What a table is; all imports into it must agree."""

    name: str
    kind: Kind
    clock: str
    tick: Decimal
    lot: Decimal
    currency: str
    group: str
    calendar: str
    bars_per_year: float
    adjustments: str = ""  # what names the splits that its bars are adjusted by


def adjustments_name(adjustments: Sequence[Adjustment]) -> str:
    """A short name of a table of adjustments, whatever the order of its lines; "" for none."""
    lines = sorted(f"{entry.symbol} {entry.day} {entry.ratio}" for entry in adjustments)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12] if lines else ""


def _adjusted(source: LakeSource, adjustments: str) -> LakeSource:
    """The source as the manifest names it: with its adjustments, where it has any."""
    if not adjustments:
        return source
    return msgspec.structs.replace(source, name=f"{source.name} (adjusted {adjustments})")


def _adjustments_of(source: LakeSource) -> str:
    found = _ADJUSTED.search(source.name)
    return found[1] if found else ""


def same_table(before: Manifest | None, table: Table) -> None:
    """InputError when the table in the lake is of another kind, clock, tick, lot or currency.

    Nor may its rows be adjusted by another table: where they meet, prices would jump by the split.
    """
    if before is None:
        return
    pairs = {
        "kind": (before.kind, table.kind),
        "clock": (before.clock, table.clock),
        "tick": (Decimal(before.tick), table.tick),
        "lot": (Decimal(before.lot), table.lot),
        "currency": (before.currency, table.currency),
        "calendar": (before.calendar, table.calendar),
    }
    for what, (old, new) in pairs.items():
        if old != new:
            raise InputError(
                f"table {table.name} has {what} {old or 'none'}, this import {new or 'none'}: "
                "give another --name, the same options, or --replace"
            )
    if {_adjustments_of(source) for source in before.sources} - {table.adjustments}:
        raise InputError(
            f"table {table.name} was imported with another --adjust, or none: import all its "
            "files again with this one and --replace"
        )


def add_rows(
    directory: Path,
    before: Manifest | None,
    table: Table,
    judged: Judged,
    sources: Sequence[LakeSource],
    exchanges: Sequence[str],
) -> Manifest:
    """Writes the new rows and puts the new manifest in force; the table's lock must be held."""
    files = write_files(directory, table.kind, table.clock, judged.frame)
    old_counts = before.quarantined if before else {}
    counts = {
        reason: old_counts.get(reason, 0) + judged.counts.get(reason, 0)
        for reason in sorted({*old_counts, *judged.counts})
    }
    manifest = Manifest(
        version=SCHEMA_VERSION,
        kind=table.kind,
        clock=table.clock,
        tick=f"{table.tick:f}",
        lot=f"{table.lot:f}",
        currency=table.currency,
        group=before.group if before else table.group,
        calendar=table.calendar,
        bars_per_year=before.bars_per_year if before else table.bars_per_year,
        stamp="close",
        exchanges=list(exchanges),
        sources=[
            *(before.sources if before else ()),
            *(_adjusted(source, table.adjustments) for source in sources),
        ],
        files=_merged(before.files if before else [], files),
        quarantined=counts,
        examples=_examples(before.examples if before else [], judged.examples),
        door=_door(before.door if before else {}, judged.door),
        quarantine=_quarantine(directory, before, judged.quarantine),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    publish(directory, manifest)
    return manifest


def _merged(old: Sequence[LakeFile], new: Sequence[LakeFile]) -> list[LakeFile]:
    """Files by name: equal content has one name."""
    return list({file.path: file for file in (*old, *new)}.values())


def _door(
    old: dict[str, tuple[int, float]], new: dict[str, tuple[int, float]]
) -> dict[str, tuple[int, float]]:
    """The later reference of each symbol."""
    return {
        symbol: max(found[symbol] for found in (old, new) if symbol in found)
        for symbol in sorted({*old, *new})
    }


def _examples(old: Sequence[str], new: Sequence[str]) -> list[str]:
    kept: list[str] = []
    for line in (*old, *new):
        reason = line.partition(":")[0]
        if sum(other.startswith(f"{reason}:") for other in kept) < EXAMPLES:
            kept.append(line)
    return kept


def _quarantine(directory: Path, before: Manifest | None, rows: pl.DataFrame) -> LakeFile | None:
    """Every quarantined row of all imports in one file."""
    rows = rows.cast(QUARANTINE)  # type: ignore[arg-type]
    old = before.quarantine if before else None
    if old is not None:
        if not len(rows):
            return old
        rows = pl.concat([pl.read_parquet(directory / old.path, hive_partitioning=False), rows])
    if not len(rows):
        return None
    return write_file(directory, "", "quarantine", "", rows.sort("ts", maintain_order=True))
