"""What ``sapphire data`` prints: tables for people, one JSON object for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from data.errors import InputError
from data.import_job import Imported, ImportReport
from data.lake import Manifest, read_manifest, table_names
from data.piece import Kind
from data.quality import Quality


def show_import(run: Callable[[], ImportReport], as_json: bool) -> None:
    """Runs an import and tells what came of it."""
    began = time.perf_counter()
    report = run()
    seconds = time.perf_counter() - began
    if as_json:
        _print_json(
            {
                "tables": [
                    {
                        **_summary(table.name, table.manifest),
                        "added": table.added,
                        "quarantined": table.quarantined,
                        "examples": table.examples,
                    }
                    for table in report.tables
                ],
                "notes": report.said,
                "seconds": round(seconds, 3),
            }
        )
        return
    console = _console()
    for table in report.tables:
        _say_table(console, table)
    for line in report.said:
        console.print(Text(f"  note: {line}"))
    if report.tables:
        console.print(f"  {seconds:.2f} s")


def _say_table(console: Console, table: Imported) -> None:
    made = table.manifest
    what = f"{made.clock} bars" if made.clock else made.kind.value
    console.print(Text(f"{table.name}: {table.added:,} {what} added, {made.rows:,} in the table"))
    first = f"  {_some(made.symbols) or 'no symbols'}; {_span(made)}"
    console.print(Text(first))
    year = f", {made.bars_per_year:,.0f} bars a year" if made.bars_per_year else ""
    console.print(
        Text(f"  tick {made.tick} {made.currency}, lot {made.lot}, group {made.group}{year}")
    )
    total = sum(table.quarantined.values())
    if total:
        reasons = ", ".join(f"{count:,} {name}" for name, count in table.quarantined.items())
        console.print(Text(f"  quarantined {total:,} rows: {reasons}"))
        for line in table.examples[:10]:
            console.print(Text(f"    {line}"), soft_wrap=True)


def _console() -> Console:
    """A terminal's width, or room enough for every column when the output goes elsewhere."""
    console = Console()
    return console if console.is_terminal else Console(width=140)


def show_tables(lake: Path, as_json: bool) -> None:
    """The lake's tables."""
    found, broken = [], []
    for name in table_names(lake):
        try:
            found.append((name, read_manifest(lake, name)))
        except InputError as error:  # The others are as good as before.
            broken.append(str(error))
    if as_json:
        tables = [_summary(name, manifest) for name, manifest in found]
        _print_json({"tables": tables, "broken": broken})
        return
    console = _console()
    for line in broken:
        console.print(Text(f"broken: {line}"), soft_wrap=True)
    if not found and not broken:
        console.print("no tables yet: sapphire data import PATH makes one")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("table", "clock", "symbols", "from", "to"):
        table.add_column(name, no_wrap=name != "symbols")
    for name in ("rows", "size", "refused"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, made in found:
        table.add_row(
            Text(name),
            made.clock or made.kind.value,
            Text(_some(made.symbols)),
            *([_moment(ts)[:10] for ts in made.span] if made.span else ["", ""]),
            f"{made.rows:,}",
            f"{made.size / 1e6:,.2f} MB",
            f"{sum(made.quarantined.values()):,}",
        )
    console.print(table)


def _summary(name: str, made: Manifest) -> dict[str, Any]:
    return {
        "name": name,
        "kind": made.kind.value,
        "clock": made.clock or None,
        "symbols": made.symbols,
        "span": [_moment(ts) for ts in made.span] if made.span else None,
        "rows": made.rows,
        "bytes": made.size,
        "tick": made.tick,
        "lot": made.lot,
        "currency": made.currency,
        "group": made.group,
        "bars_per_year": made.bars_per_year or None,
        "quarantined_total": made.quarantined,
        "created": made.created,
    }


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _span(made: Manifest) -> str:
    if made.span is None:
        return "empty"
    return " to ".join(_moment(ts) for ts in made.span)


def _moment(ts: int) -> str:
    text = datetime.fromtimestamp(ts // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return text if ts % 10**9 == 0 else f"{text}.{ts % 10**9 // 10**6:03}"


def _print_json(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")


def show_check(report: Quality, as_json: bool) -> int:
    """The quality report; exit code 0 when clean, else 1."""
    if as_json:
        value = asdict(report)
        value["clean"] = report.clean
        _print_json(value)
        return 0 if report.clean else 1
    console = _console()
    what = f"{report.clock} bars" if report.kind is Kind.BARS else report.kind.value
    rows = sum(symbol.rows for symbol in report.symbols)
    console.print(Text(f"{report.name}: {rows:,} good rows, {what}"))
    if report.symbols:
        console.print(_symbol_table(report))
    for line in report.trouble:
        console.print(Text(f"wrong: {line}"))
    for line in report.examples:
        console.print(Text(f"  {line}"), soft_wrap=True)
    _say_moves(console, report)
    console.print("clean" if report.clean else "not clean")
    return 0 if report.clean else 1


def _symbol_table(report: Quality) -> Table:
    bars = report.kind is Kind.BARS
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("symbol", "from", "to"):
        table.add_column(name, no_wrap=True)
    names = ["rows", *(["missing"] if bars else []), "longest gap", "gap from"]
    names += ["zero vol."] if bars else ["duplicates"]
    names += ["crossed", "locked"] if report.kind is Kind.QUOTES else []
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for entry in report.symbols:
        cells = [f"{entry.rows:,}"]
        if bars:
            cells.append(f"{entry.missing:,}")
        gap = entry.longest_gap_ns
        cells += [_length(gap), _moment(entry.longest_gap_from)[:16]] if gap else ["none", ""]
        if bars:
            cells.append(f"{entry.zero_volume:,}")
        else:
            cells.append(f"{entry.duplicates:,}")
        if report.kind is Kind.QUOTES:
            cells += [f"{entry.crossed:,}", f"{entry.locked:,}"]
        days = [_moment(ts)[:10] for ts in (entry.first_ts, entry.last_ts)]
        table.add_row(Text(entry.symbol), *days, *cells)
    return table


def _say_moves(console: Console, report: Quality) -> None:
    moves = [(entry.symbol, *move) for entry in report.symbols for move in entry.large_moves]
    for symbol, ts, ratio in moves[:10]:
        console.print(Text(f"large move, for you to judge: {symbol} {_moment(ts)} x{ratio:.3f}"))
    if len(moves) > 10:
        console.print(f"and {len(moves) - 10} more large moves (--json names all)")


def _length(ns: int) -> str:
    seconds = ns / 1e9
    for size, name in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.3g} s"
