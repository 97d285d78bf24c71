"""Which format a file has, told from its content, and its reader."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

from data.errors import InputError
from data.piece import Piece

FORMATS = ("binance-wire", "binance-dump", "lean", "parquet", "arrow", "csv")
_HEAD = 1 << 16
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Reading:
    """What a person said about a file: format, mapping, symbol, time zone (None: not said)."""

    file_format: str | None = None
    mapping: tuple[tuple[str, str], ...] = ()
    symbol: str | None = None
    timezone: str | None = None


def read_pieces(path: Path, reading: Reading) -> list[Piece]:
    """All that one file holds; InputError when it cannot be read or its format is not known."""
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "is not there"
        raise InputError(f"data file {path} {what}: give the path of a file")
    if reading.file_format is not None and reading.file_format not in FORMATS:
        raise InputError(f"--format {reading.file_format!r}: use one of {', '.join(FORMATS)}")
    file_format = reading.file_format or guess_format(path)
    if file_format == "binance-wire":
        from data.binance_wire import read_wire

        return read_wire(path)
    if file_format == "binance-dump":
        from data.binance_dump import read_dump

        return [read_dump(path, reading.symbol)]
    if file_format == "lean":
        from data.lean_zip import read_lean

        return [read_lean(path, reading.symbol)]
    from data.tabular import read_tabular

    return [
        read_tabular(path, file_format, dict(reading.mapping), reading.symbol, reading.timezone)
    ]


def guess_format(path: Path) -> str:
    """The format's name; InputError when nothing fits."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise InputError(f"data file {path}: {error.strerror}: check the path") from error
    if not head:
        raise InputError(f"data file {path} is empty")
    if head[:4] == b"PAR1":
        return "parquet"
    if head[:6] == b"ARROW1":
        return "arrow"
    if head[:2] == b"PK":
        return _guess_zip(path)
    if head[:2] == _GZIP:
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, _HEAD)
        except zlib.error as error:
            raise InputError(f"data file {path}: damaged gzip ({error}): get it again") from error
    return _guess_text(path, head)


def _guess_zip(path: Path) -> str:
    from data.binance_dump import is_dump
    from data.lean_zip import is_lean
    from data.zipped import first_lines

    name, lines = first_lines(path)
    if is_dump(name, lines):
        return "binance-dump"
    if is_lean(lines):
        return "lean"
    raise _unknown(path, f"the zip holds {name}")


def _guess_text(path: Path, head: bytes) -> str:
    from data.binance_dump import is_dump
    from data.binance_wire import is_wire

    lines = head.splitlines()
    if lines and is_wire(lines[0]):
        return "binance-wire"
    texts = [line.decode("utf-8", "replace") for line in lines[:3]]
    if is_dump(path.name, texts):
        return "binance-dump"
    if b"\x00" not in head and texts and "," in texts[0]:
        return "csv"
    raise _unknown(path, "neither magic bytes nor a comma in its first line")


def _unknown(path: Path, why: str) -> InputError:
    return InputError(
        f"data file {path}: unknown format ({why}): say which with --format {'|'.join(FORMATS)}"
    )


def open_text(path: Path) -> bytes:
    """A text file's bytes, unzipped when it is gzip; InputError for one that is cut or damaged."""
    try:
        blob = path.read_bytes()
        return gzip.decompress(blob) if blob[:2] == _GZIP else blob
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"data file {path}: damaged gzip ({error}): get it again") from error
