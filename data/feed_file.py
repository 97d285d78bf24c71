"""A file in the contract's own columns as a feed, without the lake."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from data.bars_import import judge_bars, no_bars_before, together
from data.clocks import Clock
from data.door import Flaw, Quarantined
from data.errors import InputError
from data.feed import Feed, chosen_symbols, feed_hash
from data.formats import guess_format
from data.piece import OHLCV, Kind
from data.tabular import read_frame, read_tabular
from data.ticks_import import frame_bars
from data.units import account_units, float_places, found_units
from data.years import bars_in_a_year

_COLUMNS = {"ts", "symbol", *OHLCV}


def is_contract_file(path: Path) -> bool:
    """Whether a file is Parquet or Arrow, or a CSV whose header holds the contract's columns."""
    file_format = guess_format(path)
    if file_format in ("parquet", "arrow"):
        return True
    if file_format != "csv":
        return False
    return set(read_frame(path, "csv").columns) >= _COLUMNS


def load_contract_file(path: Path, symbols: Sequence[str]) -> Feed:
    """Bars of ts (at the close), symbol, open, high, low, close, volume and optional fields.

    Tick and lot are the finest decimals found, the clock is the commonest distance of two bars.
    InputError for a file that holds something else.
    """
    piece = read_tabular(path, guess_format(path), {})
    if piece.kind is not Kind.BARS:
        raise InputError(
            f"data file {path.name} holds {piece.kind.value}: import it with --clock, "
            "see sapphire data import --help"
        )
    rows, refused_lines = together([piece], Kind.BARS)
    chosen = chosen_symbols(sorted(rows["symbol"].unique().to_list()), symbols)
    places = piece.places or (
        max(float_places(rows[name].drop_nulls().to_numpy()) for name in OHLCV[:4]),
        float_places(rows["volume"].drop_nulls().to_numpy()),
    )
    try:
        units = account_units(found_units(None, None, *places), False, "USD")
    except InputError as error:
        raise InputError(f"import {path.name} first (sapphire data import): {error}") from None
    rows = rows.filter(pl.col("symbol").is_in(chosen))
    clock = _clock(rows, path)
    details = {(r.file, r.row): r.detail for r in piece.refused if r.flaw is Flaw.NOT_A_NUMBER}
    judged = judge_bars(
        rows, clock, "close", None, (units.tick, units.lot), (), no_bars_before, details
    )
    bars = frame_bars(judged.frame, chosen)
    refused = pl.concat([refused_lines, judged.quarantine])
    timed = refused.drop_nulls("ts").select(pl.col("ts").cast(pl.Int64), "symbol")
    return Feed(
        chosen,
        bars,
        tuple(
            Quarantined(f"row {row}", symbol, Flaw(flaw))
            for row, symbol, flaw in refused.select("row", "symbol", "flaw").iter_rows()
        ),
        tuple((ts, chosen.index(symbol)) for ts, symbol in timed.iter_rows()),
        path.name,
        feed_hash(bars, chosen),
        units.tick,
        units.lot,
        str(clock),
        bars_in_a_year(clock, None, rows),
        "USD",
        path.stem,
    )


def _clock(rows: pl.DataFrame, path: Path) -> Clock:
    """The time clock whose length is the commonest distance of a symbol's bars."""
    steps = rows.select(pl.col("ts").diff().over("symbol")).to_series().drop_nulls()
    steps = steps.filter(steps > 0)
    if not len(steps):
        raise InputError(f"data file {path.name} holds too few bars to tell their length")
    counts = steps.value_counts(sort=True)
    step = int(counts[steps.name][0])
    unit = next((text for text, ns in _UNITS if step % ns == 0), None)
    if unit is None:
        raise InputError(
            f"data file {path.name}: its bars are {step} ns apart, which is no clock: import it, "
            "see sapphire data import --help"
        )
    ns = dict(_UNITS)[unit]
    return Clock.parse(f"{step // ns}{unit}")


_UNITS = (
    ("d", 86_400 * 10**9), ("h", 3600 * 10**9), ("m", 60 * 10**9), ("s", 10**9), ("ms", 10**6),
)  # fmt: skip
