"""A folder of whole objects: what studies need of a bucket, and the same of a directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from data.cloud_objects import ObjectError, first_line

PART = ".part"  # ends the names of files that are still being written


class ObjectFolder(Protocol):
    """Objects are created whole and never change. Methods raise ObjectError."""

    where: str  # for people

    def put_new(self, name: str, blob: bytes) -> bool:
        """Creates the object durably; False, and nothing changed, where there is one."""

    def get(self, name: str) -> bytes:
        """The object's bytes."""

    def names(self) -> list[str]:
        """The names of all objects, in order."""


class Directory:
    """An ObjectFolder below ``root``, which need not be there yet; '/' in names makes folders."""

    def __init__(self, root: Path) -> None:
        self.where = str(root)
        self._root = root

    def put_new(self, name: str, blob: bytes) -> bool:
        """See ObjectFolder."""
        path = self._root / name
        with _one_line(path):
            _make(path.parent)
            aside = path.with_name(f".{uuid4().hex}{PART}")
            try:
                with aside.open("xb") as file:
                    file.write(blob)
                    file.flush()
                    os.fsync(file.fileno())
                # Unlike a rename, a link never replaces what another driver has put there.
                os.link(aside, path)
            except FileExistsError:
                return False
            finally:
                aside.unlink(missing_ok=True)
            _sync(path.parent)
        return True

    def get(self, name: str) -> bytes:
        """See ObjectFolder."""
        with _one_line(self._root / name):
            return (self._root / name).read_bytes()

    def names(self) -> list[str]:
        """See ObjectFolder."""
        with _one_line(self._root):
            # Unlike a glob, a walk can tell a folder that may not be read from an empty one.
            walk = os.walk(self._root, onerror=_raise) if self._root.exists() else ()
            return sorted(
                (Path(folder) / file).relative_to(self._root).as_posix()
                for folder, _, files in walk
                for file in files
                if not file.endswith(PART)
            )


def _make(folder: Path) -> None:
    """The folder and those above it, on disk before anything is put into them."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _raise(error: OSError) -> None:
    raise error


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ObjectError(
            f"{error.filename or path}: {error.strerror or first_line(error)}"
        ) from error
