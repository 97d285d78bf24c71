"""Writing a lake table: files first, each under its final name in one step, the manifest last.

One writer at a time holds the table's lock; the kernel drops it when the writer dies. Whatever a
dead writer left is removed by the next one.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

import msgspec
import polars as pl

from data.errors import InputError
from data.lake import (
    MANIFEST,
    LakeFile,
    Manifest,
    check_name,
    partition_unit,
    read_manifest,
    verify_files,
)
from data.piece import Kind

_LOCK = ".lock"
LONGEST_FOLDER = 255  # bytes, of every usual file system
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


@contextmanager
def locked(lake: Path, name: str) -> Iterator[Path]:
    """The table's directory, made when it is not there, with its lock held.

    InputError when another process is writing it, or it cannot be made.
    """
    table = lake / check_name(name)
    try:
        table.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(table / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputError(
            f"the lake cannot be written: {error.filename}: {error.strerror}: "
            "check SAPPHIRE_HOME and its permissions"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"table {name} is being written by another import: wait until it has ended"
            ) from None
        yield table
    finally:
        os.close(descriptor)


def current(lake: Path, name: str) -> Manifest | None:
    """The manifest of the table that an import adds to; None when there is none.

    InputError when a file of the table was altered: nothing is added to what cannot be read.
    """
    if not os.path.exists(lake / name / MANIFEST):  # False where one may not look.
        return None
    manifest = read_manifest(lake, name)
    verify_files(lake, name, manifest)
    return manifest


def clean(table: Path, manifest: Manifest | None) -> int:
    """Removes every file that the manifest does not name; how many. The lock must be held."""
    named = {MANIFEST, _LOCK}
    if manifest is not None:
        named |= {file.path for file in manifest.files}
        if manifest.quarantine is not None:
            named.add(manifest.quarantine.path)
    removed = 0
    for path in sorted(table.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif str(path.relative_to(table)) not in named:
            path.unlink()
            removed += 1
    return removed


def write_files(table: Path, kind: Kind, clock: str, frame: pl.DataFrame) -> list[LakeFile]:
    """One file for each symbol and day (or year). ``frame``: ts (UTC), symbol, columns of ints.

    InputError for a symbol that cannot be a directory's name; nothing is then written.
    """
    for symbol in frame["symbol"].unique():
        check_symbol(symbol)
    unit = partition_unit(kind, clock)
    day = pl.col("ts").dt.date()
    keys = [day.alias("day")] if unit == "day" else [day.alias("day"), day.dt.year().alias("year")]
    frame = frame.with_columns(keys)
    files = []
    for key, rows in frame.partition_by(
        ["symbol", unit], as_dict=True, maintain_order=True
    ).items():
        symbol, moment = str(key[0]), key[1]
        text = moment.isoformat() if isinstance(moment, date) else str(moment)
        folder = f"{_folder(symbol)}/{unit}={text}"
        kept = rows.drop("symbol", unit)
        files.append(write_file(table, folder, "part", symbol, kept))
    return files


def check_symbol(symbol: str) -> None:
    """InputError for a symbol that no directory can be named after."""
    if symbol == _HIVE_NULL:
        raise InputError(f"symbol {symbol}: readers of the lake take it for a missing value")
    if len(_folder(symbol)) > LONGEST_FOLDER:
        raise InputError(
            f"symbol {symbol[:20]}… has {len(symbol)} characters: its directory's name would be "
            f"longer than {LONGEST_FOLDER} bytes (all but letters, digits, _ . - ~ take three or "
            "more): shorten it"
        )


def _folder(symbol: str) -> str:
    return f"symbol={quote(symbol, safe='')}"


def write_file(table: Path, folder: str, prefix: str, symbol: str, rows: pl.DataFrame) -> LakeFile:
    """Writes rows (sorted by ts) under a name that holds their content's hash."""
    buffer = io.BytesIO()
    rows.write_parquet(buffer, compression="lz4")
    blob = buffer.getvalue()
    digest = hashlib.sha256(blob).hexdigest()
    path = table / folder / f"{prefix}-{digest[:16]}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_whole(path, blob)
    stamps = rows["ts"].cast(pl.Int64).drop_nulls()
    first, last = (int(stamps[0]), int(stamps[-1])) if len(stamps) else (0, 0)
    return LakeFile(
        path=str(path.relative_to(table)), symbol=symbol, rows=len(rows), size=len(blob),
        sha256=digest, first_ts=first, last_ts=last,
    )  # fmt: skip


def publish(table: Path, manifest: Manifest) -> None:
    """Puts the manifest in force, then removes what it no longer names."""
    blob = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    _write_whole(table / MANIFEST, blob + b"\n")
    clean(table, manifest)


def known_rows(table: Path, manifest: Manifest | None, frame: pl.DataFrame) -> pl.Series:
    """Whether each row of ``frame`` (ts, symbol) is in the table already.

    A bar is known by its symbol and ts. A trade or a quote has no such name: it is known when its
    ts lies inside the span of a file of its symbol, because a file holds all of its span.
    """
    if manifest is None or not manifest.files or not len(frame):
        return pl.repeat(False, len(frame), eager=True)
    stamps = frame["ts"].cast(pl.Int64)
    first, last = int(stamps.min() or 0), int(stamps.max() or 0)  # type: ignore[arg-type]
    symbols = set(frame["symbol"].unique().to_list())
    touched = [
        file
        for file in manifest.files
        if file.symbol in symbols and file.first_ts <= last and file.last_ts >= first
    ]
    if manifest.kind is not Kind.BARS:
        inside = pl.lit(False)
        for file in touched:
            inside |= (pl.col("symbol") == file.symbol) & pl.col("ts").is_between(
                file.first_ts, file.last_ts
            )
        keys = frame.select(pl.col("ts").cast(pl.Int64), "symbol")
        return keys.select(pl.repeat(False, len(frame)) | inside).to_series()
    if not touched:
        return pl.repeat(False, len(frame), eager=True)
    held = pl.concat(
        [
            pl.read_parquet(
                table / file.path, columns=["ts"], hive_partitioning=False, glob=False
            ).select(pl.col("ts").cast(pl.Int64), pl.lit(file.symbol).alias("symbol"))
            for file in touched
        ]
    ).with_columns(pl.lit(True).alias("known"))
    keys = frame.select(pl.col("ts").cast(pl.Int64), "symbol")
    joined = keys.join(held, on=["ts", "symbol"], how="left", maintain_order="left")
    return joined["known"].fill_null(False)


def bar_before(
    table: Path, manifest: Manifest | None, symbol: str, ts: int
) -> tuple[int, float] | None:
    """ts and close of the last bar before ``ts`` that the door saw of a symbol, else None.

    After everything that was imported it is the door's own reference, which may be a bar that it
    refused; before that, the last bar stored.
    """
    if manifest is None:
        return None
    reference = manifest.door.get(symbol)
    if reference is not None and reference[0] < ts:
        return reference
    earlier = [f for f in manifest.files if f.symbol == symbol and f.first_ts < ts]
    if not earlier:
        return None
    newest = max(earlier, key=lambda file: min(file.last_ts, ts - 1))
    rows = pl.read_parquet(
        table / newest.path, columns=["ts", "close"], hive_partitioning=False, glob=False
    ).filter(pl.col("ts").cast(pl.Int64) < ts)
    close = float(int(rows["close"][-1]) * Decimal(manifest.tick))
    return int(rows["ts"].cast(pl.Int64)[-1]), close


def _write_whole(path: Path, blob: bytes) -> None:
    """Either the old content or all of the new one is there, whenever the writer dies."""
    whole = path.with_name(f".{path.name}.{os.getpid()}")
    with whole.open("wb") as file:
        file.write(blob)
        file.flush()
        os.fsync(file.fileno())
    os.replace(whole, path)
