"""A table of the lake as a session's feed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from data.door import Flaw, Quarantined
from data.errors import InputError
from data.feed import Feed, chosen_symbols, feed_hash
from data.lake import Manifest, read_manifest, scan, units_of, verify_files
from data.piece import Kind
from data.ticks_import import frame_bars


def load_table(lake: Path, name: str, symbols: Sequence[str]) -> Feed:
    """The bars of ``symbols`` (all when empty), every file of the table checked by its hash.

    InputError for a table that is not there, holds no bars, or was altered.
    """
    manifest = read_manifest(lake, name)
    if manifest.kind is not Kind.BARS:
        raise InputError(
            f"table {name} holds {manifest.kind.value}, not bars: import them with --clock"
        )
    if not manifest.files:
        raise InputError(f"table {name} holds no bars")
    verify_files(lake, name, manifest)
    chosen = chosen_symbols(manifest.symbols, symbols)
    bars = frame_bars(scan(lake, name, chosen).collect(), chosen)
    tick, lot = units_of(manifest)
    refused, moments = _quarantined(lake / name, manifest, chosen)
    return Feed(
        chosen, bars, refused, moments, name, feed_hash(bars, chosen), tick, lot, manifest.clock,
        manifest.bars_per_year, manifest.currency, manifest.group,
    )  # fmt: skip


def _quarantined(
    table: Path, manifest: Manifest, symbols: Sequence[str]
) -> tuple[tuple[Quarantined, ...], tuple[tuple[int, int], ...]]:
    """The quarantined bars of ``symbols``; a bar that is in the table anyway locks nothing."""
    if manifest.quarantine is None:
        return (), ()
    rows = (
        pl.read_parquet(table / manifest.quarantine.path, hive_partitioning=False, glob=False)
        .filter(pl.col("symbol").is_in(symbols), pl.col("flaw") != Flaw.KNOWN.value)
        .with_columns(pl.col("ts").dt.to_string("%Y-%m-%dT%H:%M:%S%.fZ").alias("when"))
    )
    entries = tuple(
        Quarantined(when or "no time", symbol, Flaw(flaw))
        for when, symbol, flaw in rows.select("when", "symbol", "flaw").iter_rows()
    )
    # A bad trade leaves its bar without it; only a bad bar locks its symbol.
    timed = (
        rows.drop_nulls("ts")
        .filter(pl.col("kind") == Kind.BARS.value)
        .select(pl.col("ts").cast(pl.Int64), "symbol")
    )
    moments = tuple((ts, symbols.index(symbol)) for ts, symbol in timed.iter_rows())
    return entries, moments
