"""A feed: the bars of one session with all that says how to read them, and where it comes from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from data.bars import Bars
from data.door import Quarantined
from data.errors import InputError
from data.money import Instrument

SAMPLE_TICK = Decimal("0.0001")


@dataclass(frozen=True)
class Feed:
    """Bars in (ts, symbol) order with the symbol table they point into.

    All symbols share ``tick`` (price of one tick) and ``lot`` (quantity of one lot), because one
    account counts in them. ``bars_per_year`` annualises volatility. ``quarantined_at`` holds
    (ts, symbol) of the refused rows that have a moment: they lock their symbol.
    """

    symbols: tuple[str, ...]
    bars: Bars
    quarantined: tuple[Quarantined, ...]
    quarantined_at: tuple[tuple[int, int], ...]
    name: str
    content_hash: str
    tick: Decimal = SAMPLE_TICK
    lot: Decimal = Decimal(1)
    clock: str = "1d"
    bars_per_year: float = 252.0
    currency: str = "USD"
    group: str = "us-equity-daily"

    @property
    def micro_per_tick(self) -> int:
        """Micro-units of the currency per tick and lot."""
        return Instrument(self.tick, self.lot).micro_per_tick


def feed_hash(bars: Bars, symbols: Sequence[str]) -> str:
    """SHA-256 hex of the bars and their symbol table."""
    return hashlib.sha256(bars.tobytes() + ",".join(symbols).encode()).hexdigest()


def chosen_symbols(present: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """``wanted``, sorted, or all that is present; InputError for one that is not."""
    unknown = [name for name in wanted if name not in present]
    if unknown:
        raise InputError(
            f"unknown symbol {', '.join(unknown)}: this data holds {', '.join(present)}"
        )
    return tuple(sorted(set(wanted))) or tuple(present)


def open_feed(source: str | None, symbols: Sequence[str], lake: Path) -> Feed:
    """The feed of ``symbols`` (all when empty).

    ``source``: None, the shipped sample; a path of a file, a daily table or one in the contract's
    own columns; gs://BUCKET/OBJECT, such a file in a bucket, kept beside the lake once fetched;
    else the name of a table in the ``lake``. InputError says what is wrong with it.
    """
    from data.daily_stocks import load_feed
    from data.lake_feed import load_table

    if source is None:
        return load_feed(None, symbols)
    if source.startswith("gs://"):
        from data.cloud_file import fetched

        path = fetched(source, lake.parent / "fetched")
        try:
            return replace(_open_file(path, symbols), name=source)
        except InputError as error:
            raise InputError(f"{source}: {error}") from error
    path = Path(source).expanduser()
    if not path.exists() and not _looks_like_a_path(source):
        return load_table(lake, source, symbols)
    return _open_file(path, symbols)


def _open_file(path: Path, symbols: Sequence[str]) -> Feed:
    from data.daily_stocks import load_feed
    from data.feed_file import is_contract_file, load_contract_file

    if path.is_file() and is_contract_file(path):
        return load_contract_file(path, symbols)
    return load_feed(path, symbols)


def names_a_file(source: str) -> bool:
    """Whether a source of ``open_feed`` is a file, here or in a bucket, and no table."""
    return source.startswith("gs://") or Path(source).expanduser().exists()


def _looks_like_a_path(source: str) -> bool:
    return "/" in source or source.lower().endswith((".csv", ".gz", ".parquet", ".arrow"))
