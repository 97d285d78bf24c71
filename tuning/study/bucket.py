"""Studies kept in a directory or a bucket (``gs://BUCKET/PREFIX``), for drivers that come and go.

An object store takes whole objects, not rows: so what becomes durable is written as one object
more, and the working copy is a SQLite file of this process. Opening reads the objects back. An
object is written before what is in it counts, and the same content has the same name: a write that
is repeated changes nothing.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import numpy as np
import pyarrow as pa
from pyarrow import fs

from data.errors import InputError
from data.records import content_hash
from tuning.study.contract import StudySpec, Trial
from tuning.study.database import DatabaseError, Sqlite
from tuning.study.store import StudyStore, check_name

_GS = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[^/\x00-\x20?#]+)*/?")
SPEC, TRIALS, EVENTS = "spec.json", "trials", "events"


class BucketStore(StudyStore):
    """A store whose writes stand in the bucket before they stand in the working copy."""

    def __init__(self, files: Any, root: str, database: Sqlite) -> None:
        super().__init__(database)
        self._files = files
        self._root = root.rstrip("/")
        self._read_all()

    def create(self, spec: StudySpec) -> None:
        """See StudyStore."""
        check_name(spec.name)
        if not self.exists(spec.name):
            self._write(f"{spec.name}/{SPEC}", msgspec.json.encode(spec))
        super().create(spec)

    def save(self, name: str, trials: Sequence[Trial]) -> None:
        """See StudyStore."""
        if trials:
            blob = msgspec.msgpack.encode([_packed(trial) for trial in trials])
            first = min(trial.number for trial in trials)
            self._write(f"{name}/{TRIALS}/{first:09d}-{content_hash(blob)[:16]}", blob)
        super().save(name, trials)

    def note(self, name: str, kind: str, detail: dict[str, Any]) -> None:
        """See StudyStore."""
        count = len(self.events(name))
        blob = json.dumps({"kind": kind, "detail": detail}).encode()
        self._write(f"{name}/{EVENTS}/{count:06d}-{content_hash(blob)[:16]}", blob)
        super().note(name, kind, detail)

    def _write(self, name: str, blob: bytes) -> None:
        path = f"{self._root}/{name}"
        try:
            if isinstance(self._files, fs.LocalFileSystem):
                self._write_file(path, blob)
                return
            with self._files.open_output_stream(path) as stream:
                stream.write(blob)
        except (OSError, pa.ArrowException) as error:
            raise DatabaseError(f"{path}: {_line(error)}") from error

    def _write_file(self, path: str, blob: bytes) -> None:
        """An object store shows an object whole or not at all; a file must be made to."""
        self._files.create_dir(path.rpartition("/")[0], recursive=True)
        aside = Path(f"{path}.part")
        with aside.open("wb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)

    def _read_all(self) -> None:
        try:
            found = self._files.get_file_info(
                fs.FileSelector(self._root, recursive=True, allow_not_found=True)
            )
            names = sorted(
                info.path for info in found if info.is_file and not info.path.endswith(".part")
            )
            # Specs first: trials and events refer to them.
            for path in sorted(names, key=lambda path: not path.endswith(f"/{SPEC}")):
                self._take(path, self._blob(path))
        except (OSError, pa.ArrowException) as error:
            raise DatabaseError(f"{self._root}: {_line(error)}") from error

    def _blob(self, path: str) -> bytes:
        with self._files.open_input_stream(path) as stream:
            return bytes(stream.read())

    def _take(self, path: str, blob: bytes) -> None:
        parts = path.removeprefix(f"{self._root}/").split("/")
        if parts[-1] == SPEC:
            super().create(msgspec.json.decode(blob, type=StudySpec))
        elif parts[-2] == TRIALS:
            super().save(parts[0], [_unpacked(row) for row in msgspec.msgpack.decode(blob)])
        elif parts[-2] == EVENTS:
            event = json.loads(blob)
            super().note(parts[0], event["kind"], event["detail"])


def check_storage(storage: str) -> None:
    """InputError for what can be no storage; nothing is asked over the network."""
    if storage.startswith("gs://"):
        if not _GS.fullmatch(storage):
            raise InputError(f"--storage {storage}: write gs://BUCKET/PREFIX")
        return
    if "://" in storage and not storage.startswith("file:///"):
        raise InputError(f"--storage {storage}: only a directory, file:// or gs://BUCKET/PREFIX")
    path = Path(unquote(storage.removeprefix("file://"))).expanduser()
    if path.is_file():
        raise InputError(f"--storage {storage} is a file: give a directory")


def open_storage(storage: str, stack: ExitStack) -> BucketStore:
    """The studies at ``storage``; what is opened for it is closed with ``stack``.

    InputError when it cannot be reached.
    """
    check_storage(storage)
    try:
        files, root = (
            fs.FileSystem.from_uri(storage)
            if "://" in storage
            else (fs.LocalFileSystem(), str(Path(storage).expanduser().absolute()))
        )
    except (OSError, pa.ArrowException, ValueError) as error:
        raise InputError(f"--storage {storage}: {_line(error)}") from error
    copy = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sapphire-studies-")))
    database = Sqlite(copy / "studies.db")
    stack.callback(database.close)
    database.where = storage
    try:
        return BucketStore(files, root, database)
    except DatabaseError as error:
        raise InputError(f"--storage {storage}: {error}") from error


def _packed(trial: Trial) -> dict[str, Any]:
    fields = dict(vars(trial))
    fields["returns"] = np.asarray(trial.returns, "<f4").tobytes()
    return fields


def _unpacked(fields: dict[str, Any]) -> Trial:
    return Trial(
        **{
            **fields,
            "values": tuple(fields["values"]),
            "folds": tuple(tuple(fold) for fold in fields["folds"]),
            "returns": np.frombuffer(fields["returns"], "<f4").astype(np.float32),
        }
    )


def _line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
