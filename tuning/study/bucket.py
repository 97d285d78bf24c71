"""Studies kept in a directory or a bucket (``gs://BUCKET/PREFIX``), for drivers that come and go.

An object store takes whole objects, not rows: so what becomes durable is written as one object
more, and the working copy is a SQLite file of this process. Opening reads the objects back. An
object is written before what is in it counts, and the same content has the same name: a write that
is repeated changes nothing. A study's spec is created where there is none, so of two drivers that
begin a study of one name one does. Where two ran the same study, the trial counts whose object's
name comes first; for an exact study they differ in their seconds only.
"""

from __future__ import annotations

import json
import re
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import numpy as np

from data.cloud_objects import CloudFolder, ObjectError, first_line, parse_address
from data.errors import InputError
from data.records import content_hash
from tuning.study.contract import StudySpec, Trial
from tuning.study.database import DatabaseError, Sqlite
from tuning.study.objects import Directory, ObjectFolder
from tuning.study.store import StudyStore, check_name

SPEC, TRIALS, EVENTS = "spec.json", "trials", "events"
_OBJECT = re.compile(rf"(?P<study>[^/]+)/({re.escape(SPEC)}|(?P<kind>{TRIALS}|{EVENTS})/[^/]+)")
READERS = 8  # objects that are read at a time; Google's client keeps ten connections
_AHEAD = 64  # objects that are in memory at a time


class BucketStore(StudyStore):
    """A store whose writes stand in the bucket before they stand in the working copy."""

    def __init__(self, objects: ObjectFolder, database: Sqlite) -> None:
        super().__init__(database)
        self._objects = objects
        with _as_database():
            self._read()

    def resume_words(self, name: str) -> str:
        """See StudyStore."""
        return f"{super().resume_words(name)} --storage {shlex.quote(self.database.where)}"

    def create(self, spec: StudySpec) -> None:
        """See StudyStore."""
        check_name(spec.name)
        with _as_database():
            if not self.exists(spec.name) and not self._objects.put_new(
                f"{spec.name}/{SPEC}", msgspec.json.encode(spec)
            ):
                # Another driver was first: its study is the one of this name.
                self._read(spec.name)
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
        """Where the object is there already, it is the same: its name holds its hash."""
        with _as_database():
            self._objects.put_new(name, blob)

    def _read(self, only: str = "") -> None:
        """Takes all objects into the working copy, or those of one study."""
        found = [each for each in map(_OBJECT.fullmatch, self._objects.names()) if each]
        found = [each for each in found if only in ("", each["study"])]
        # Specs first: trials and events refer to them. One that is missing beside them is an error.
        specs = [f"{study}/{SPEC}" for study in sorted({each["study"] for each in found})]
        for name, blob in self._blobs([*specs, *(each[0] for each in found if each["kind"])]):
            self._take(name, blob)

    def _blobs(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """The objects in the order of ``names``, a few of them read at a time."""
        with ThreadPoolExecutor(READERS) as pool:
            for start in range(0, len(names), _AHEAD):
                some = names[start : start + _AHEAD]
                yield from zip(some, pool.map(self._objects.get, some), strict=True)

    def _take(self, name: str, blob: bytes) -> None:
        """Puts what an object holds into the working copy."""
        study, kind = name.split("/")[:2]
        try:
            if kind == SPEC:
                spec = msgspec.json.decode(blob, type=StudySpec)
                if spec.name != study:
                    raise InputError(f"it names {spec.name}")
                super().create(spec)
            elif kind == TRIALS:
                super().save(study, [_unpacked(row) for row in msgspec.msgpack.decode(blob)])
            else:
                event = json.loads(blob)
                super().note(study, event["kind"], event["detail"])
        except (msgspec.MsgspecError, ValueError, LookupError, TypeError) as error:
            raise DatabaseError(
                f"{self._objects.where}/{name} is no object of this study ({first_line(error)})"
            ) from error


@contextmanager
def _as_database() -> Iterator[None]:
    try:
        yield
    except ObjectError as error:
        raise DatabaseError(str(error)) from error


def check_storage(storage: str) -> None:
    """InputError for what can be no storage; nothing is asked over the network."""
    if storage.startswith("gs://"):
        if parse_address(storage) is None:
            raise InputError(f"--storage {storage}: write gs://BUCKET/PREFIX")
        return
    if "://" in storage and not storage.startswith("file:///"):
        raise InputError(f"--storage {storage}: only a directory, file:// or gs://BUCKET/PREFIX")
    path = _path(storage)
    if path.is_file():
        raise InputError(f"--storage {storage} is a file: give a directory")


def open_storage(storage: str, stack: ExitStack) -> BucketStore:
    """The studies at ``storage``; what is opened for it is closed with ``stack``.

    InputError when it cannot be reached.
    """
    check_storage(storage)
    try:
        objects = _folder(storage, stack)
        copy = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sapphire-studies-")))
        database = Sqlite(copy / "studies.db")
        stack.callback(database.close)
        database.where = storage
        return BucketStore(objects, database)
    except (ObjectError, DatabaseError) as error:
        raise InputError(f"--storage {storage}: {error}") from error


def _folder(storage: str, stack: ExitStack) -> ObjectFolder:
    address = parse_address(storage)
    if address is None:
        return Directory(_path(storage))
    cloud = CloudFolder(*address)
    stack.callback(cloud.close)
    return cloud


def _path(storage: str) -> Path:
    """The directory of a path or a file:// address."""
    if storage.startswith("file://"):
        return Path(unquote(storage.removeprefix("file://")))
    return Path(storage).expanduser().absolute()


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
