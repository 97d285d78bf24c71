"""Splits and reused tickers: applied from a table that a person gives, never guessed.

The table is a CSV ``symbol,date,kind,ratio``. ``split``: ``ratio`` new shares for one old share
(2, 1.5, 0.05, or 2:1, 1:20); prices before the date are divided by it, volumes multiplied.
``reuse``: another company has the ticker from the date on, all before it is left out. What the
table does not name meets the door and is quarantined there when it looks like a split.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from pathlib import Path

import numpy as np
import polars as pl

from data.errors import InputError
from data.piece import PRICES

COLUMNS = ("symbol", "date", "kind", "ratio")
LARGEST = 10**6  # of a ratio and its inverse
LARGEST_PRODUCT = 10**12  # of all splits of a symbol
_SIZES = ("volume", "size", "buy_volume", "bid_size", "ask_size")


@dataclass(frozen=True)
class Adjustment:
    """One line of the table; ``ratio`` is None for a reused ticker."""

    symbol: str
    day: date
    ratio: Fraction | None


def read_adjustments(path: Path) -> tuple[Adjustment, ...]:
    """The table; InputError names the row and the column that is wrong."""
    try:
        frame = pl.read_csv(path, infer_schema=False, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"adjustment table {path}: {reason}") from error
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise InputError(
            f"adjustment table {path} lacks the column(s) {', '.join(missing)}: its header must be "
            f"{','.join(COLUMNS)}"
        )
    return tuple(
        _parse(path, row, *values)
        for row, values in enumerate(frame.select(COLUMNS).iter_rows(), 1)
    )


def _parse(
    path: Path, row: int, symbol: str | None, day: str | None, kind: str | None, ratio: str | None
) -> Adjustment:
    where = f"adjustment table {path} row {row}"
    if not symbol:
        raise InputError(f"{where}: column symbol is empty")
    try:
        when = date.fromisoformat((day or "").strip())
    except ValueError:
        raise InputError(f"{where}: column date {day!r}: write YYYY-MM-DD") from None
    if kind == "reuse":
        if ratio:
            raise InputError(f"{where}: column ratio {ratio!r}: a reused ticker has none")
        return Adjustment(symbol, when, None)
    if kind != "split":
        raise InputError(f"{where}: column kind {kind!r}: write split or reuse")
    # Exponents are refused before they are computed: 1e999999999 would be a gigabyte of digits.
    plain = "" if "e" in (ratio or "").lower() else ratio or ""
    new, sign, old = plain.partition(":")
    try:
        value = Fraction(new) / Fraction(old if sign else 1)
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if not Fraction(1, LARGEST) <= value <= LARGEST:
        raise InputError(
            f"{where}: column ratio {ratio!r}: write new shares for one old share, as 2:1 or 0.05, "
            f"at most {LARGEST:,} to one"
        )
    return Adjustment(symbol, when, value)


def adjust(
    frame: pl.DataFrame, days: pl.Series, adjustments: tuple[Adjustment, ...]
) -> tuple[pl.DataFrame, pl.Series, int]:
    """Rows with adjusted prices and sizes, which of the old rows are left, how many are not.

    ``days``: the local date of each row.
    """
    symbols = frame["symbol"]
    factor = np.ones(len(frame))
    kept = np.ones(len(frame), bool)
    for symbol in {entry.symbol for entry in adjustments}:
        mine = (symbols == symbol).to_numpy()
        total = Fraction(1)
        # From the newest date back: the factor of a row is the product of all splits after it.
        for entry in sorted(
            (entry for entry in adjustments if entry.symbol == symbol),
            key=lambda entry: entry.day,
            reverse=True,
        ):
            before = mine & (days < entry.day).to_numpy()
            if entry.ratio is None:
                kept &= ~before
            else:
                total *= entry.ratio
                if not Fraction(1, LARGEST_PRODUCT) <= total <= LARGEST_PRODUCT:
                    raise InputError(
                        f"adjustment table: the splits of {symbol} from {entry.day} on multiply to "
                        f"{float(total):g}: at most {LARGEST_PRODUCT:,} to one, correct its rows"
                    )
                factor[before] = float(total)
    scale = pl.Series("factor", factor)
    prices = [frame[name] / scale for name in frame.columns if name in PRICES]
    sizes = [frame[name] * scale for name in frame.columns if name in _SIZES]
    mask = pl.Series("kept", kept)
    return frame.with_columns(*prices, *sizes).filter(mask), mask, int((~kept).sum())
