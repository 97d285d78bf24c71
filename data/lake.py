"""The Parquet lake: one directory a table, and the manifest that says what is in it.

``<lake>/<table>/symbol=X/day=YYYY-MM-DD/part-<hash>.parquet``; tables of hourly and longer bars
have ``year=YYYY`` in place of the day, because a file for each daily bar would be 700 bytes of
overhead around one row. The manifest is written last, by an atomic replace: only files that it
names are ever read, so what a crash left behind does not exist for a reader.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import polars as pl

from data.clocks import Clock, ClockKind
from data.errors import InputError
from data.piece import Kind

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
_HOUR_NS = 3600 * 10**9
_MOST_DIGITS = 18  # before or after the point of a tick or lot


class LakeFile(msgspec.Struct, frozen=True, kw_only=True):
    """One Parquet file of a table; ``path`` is relative to the table."""

    path: str
    symbol: str
    rows: int
    size: int
    sha256: str
    first_ts: int
    last_ts: int


class LakeSource(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was imported, how, and into which tables."""

    name: str
    sha256: str
    options: str  # SHA-256 of everything that shaped the import
    tables: list[str]  # all that this import wrote


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a table is and which files hold it."""

    version: int
    kind: Kind
    clock: str  # empty for trades and quotes
    tick: str
    lot: str
    currency: str
    group: str
    calendar: str  # empty: the market never closes
    bars_per_year: float  # 0 for trades and quotes
    stamp: str  # "close": bars are stamped when they became known
    exchanges: list[str]  # what the exchange column of trades and quotes points into
    sources: list[LakeSource]
    files: list[LakeFile]
    quarantined: dict[str, int]  # by reason, over all imports
    examples: list[str]  # a few of each reason, with file, row and column
    door: dict[str, tuple[int, float]]  # by symbol, ts and close the next bar is compared with
    quarantine: LakeFile | None  # every quarantined row: ts, symbol, flaw
    created: str

    @property
    def symbols(self) -> list[str]:
        """Names of the symbols, sorted."""
        return sorted({file.symbol for file in self.files})

    @property
    def all_files(self) -> list[LakeFile]:
        """The table's files and that of its quarantined rows."""
        return [*self.files, *([self.quarantine] if self.quarantine else [])]

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.files)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def span(self) -> tuple[int, int] | None:
        """First and last ts; None for an empty table."""
        if not self.files:
            return None
        return min(f.first_ts for f in self.files), max(f.last_ts for f in self.files)


def table_names(lake: Path) -> list[str]:
    """The tables that have a manifest."""
    return sorted(path.parent.name for path in lake.glob(f"*/{MANIFEST}"))


def check_name(name: str) -> str:
    """A table's name; InputError when it is no plain word."""
    plain = name.replace("-", "").replace("_", "").replace(".", "")
    if not plain.isalnum() or not plain.isascii() or name.startswith((".", "-")) or len(name) > 80:
        raise InputError(
            f"table name {name!r}: use letters, digits, dots, dashes and underscores, at most 80"
        )
    return name


def read_manifest(lake: Path, name: str) -> Manifest:
    """The manifest of a table, every file of which is there with its size.

    InputError, one line, for a table that does not exist, lost a file, or has a damaged manifest.
    """
    path = lake / check_name(name) / MANIFEST
    try:
        blob = path.read_bytes()
    except FileNotFoundError:
        known = ", ".join(table_names(lake)) or "no tables yet: see sapphire data import --help"
        raise InputError(
            f"{name!r} is neither a file nor a table of the lake, which holds {known}"
        ) from None
    except OSError as error:
        raise InputError(f"table {name}: {path}: {error.strerror}") from error
    try:
        manifest = msgspec.json.decode(blob, type=Manifest)
    except msgspec.DecodeError as error:
        raise InputError(f"table {name}: {path} is damaged ({error}): import it again") from error
    if manifest.version != SCHEMA_VERSION:
        raise InputError(
            f"table {name} has schema version {manifest.version}, this program reads "
            f"{SCHEMA_VERSION}: import it again"
        )
    _check_values(name, manifest)
    for file in manifest.all_files:
        _check_file(lake / name, name, file)
    return manifest


def _check_values(name: str, manifest: Manifest) -> None:
    """InputError for a value that no import writes; a path must stay inside its table."""
    wrong = [
        f"{what} {text!r}"
        for what, text in (("tick", manifest.tick), ("lot", manifest.lot))
        if not _is_unit(text)
    ]
    if manifest.kind is Kind.BARS:
        try:
            Clock.parse(manifest.clock)
        except InputError:
            wrong.append(f"clock {manifest.clock!r}")
    for file in manifest.all_files:
        path = PurePosixPath(file.path)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in file.path:
            wrong.append(f"file {file.path!r}")
    if wrong:
        raise InputError(
            f"table {name}: {MANIFEST} was altered ({wrong[0]}): import it again with --replace"
        )


def _is_unit(text: str) -> bool:
    try:
        value = Decimal(text)
    except InvalidOperation:
        return False
    return value.is_finite() and value > 0 and abs(value.adjusted()) <= _MOST_DIGITS


def _check_file(table: Path, name: str, file: LakeFile) -> None:
    try:
        size = (table / file.path).stat().st_size
    except OSError:
        raise InputError(
            f"table {name}: {file.path} is missing: import it again with --replace"
        ) from None
    if size != file.size:
        raise InputError(
            f"table {name}: {file.path} has {size} bytes, not {file.size}: it was altered; "
            "import it again with --replace"
        )


def verify_files(lake: Path, name: str, manifest: Manifest) -> None:
    """InputError when the content of a file, the quarantine's too, is not what was written."""
    for file in manifest.all_files:
        try:
            with (lake / name / file.path).open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"table {name}: {file.path}: {error.strerror}") from error
        if digest != file.sha256:
            raise InputError(
                f"table {name}: {file.path} was altered: import it again with --replace"
            )


def partition_unit(kind: Kind, clock: str) -> str:
    """``day`` or ``year``: what a file of such a table covers."""
    if kind is Kind.BARS and clock:
        parsed = Clock.parse(clock)
        if parsed.kind is ClockKind.TIME and parsed.size >= _HOUR_NS:
            return "year"
    return "day"


def scan(lake: Path, name: str, symbols: Sequence[str] = ()) -> pl.LazyFrame:
    """A lazy table: ts, symbol, day (dates), and int64 columns in ticks and lots.

    Filters on symbol and day skip files or row groups. Unknown optional values are null.
    """
    manifest = read_manifest(lake, name)
    files = _paths(lake, name, manifest, symbols)
    if not files:
        raise InputError(f"table {name} is empty")
    frame = pl.scan_parquet(files, hive_partitioning=True, hive_schema=_hive(manifest), glob=False)
    return frame.drop("year", strict=False)


def dataset(lake: Path, name: str) -> Any:
    """The same table as a ``pyarrow.dataset.Dataset``, partitioned by symbol and day or year."""
    import pyarrow as pa
    from pyarrow import dataset as pads

    manifest = read_manifest(lake, name)
    types = {"symbol": pa.string(), "day": pa.date32(), "year": pa.int32()}
    keys = ["symbol", partition_unit(manifest.kind, manifest.clock)]
    partitioning = pads.partitioning(pa.schema([(key, types[key]) for key in keys]), flavor="hive")
    return pads.dataset(
        [str(path) for path in _paths(lake, name, manifest, ())],
        format="parquet",
        partitioning=partitioning,
        partition_base_dir=str(lake / name),
    )


def _hive(manifest: Manifest) -> dict[str, Any]:
    unit = partition_unit(manifest.kind, manifest.clock)
    return {"symbol": pl.String, unit: pl.Date if unit == "day" else pl.Int32}


def _paths(lake: Path, name: str, manifest: Manifest, symbols: Sequence[str]) -> list[Path]:
    """Files in the order of their symbol and time."""
    wanted = [file for file in manifest.files if not symbols or file.symbol in symbols]
    wanted.sort(key=lambda file: (file.symbol, file.first_ts, file.path))
    return [lake / name / file.path for file in wanted]


def units_of(manifest: Manifest) -> tuple[Decimal, Decimal]:
    """Tick and lot."""
    return Decimal(manifest.tick), Decimal(manifest.lot)
