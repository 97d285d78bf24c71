"""The one table inside a zip file."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from data.errors import InputError


def read_zip(path: Path) -> tuple[str, bytes]:
    """Name and bytes of the zip's only CSV; InputError when there is not just one, or damage."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.lower().endswith((".csv", ".txt"))]
            if len(names) != 1:
                raise InputError(f"data file {path}: the zip holds {len(names)} tables, not one")
            return names[0], archive.read(names[0])
    # zipfile says RuntimeError for an encrypted file and NotImplementedError for a rare method.
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
        raise InputError(f"data file {path}: damaged zip ({error}): get it again") from error


def first_lines(path: Path, count: int = 3) -> tuple[str, list[str]]:
    """Name and first lines of the table inside."""
    name, blob = read_zip(path)
    return name, blob[:4096].decode("utf-8", "replace").splitlines()[:count]
