"""A file of a bucket, fetched once and kept: what polars and the importers read is a local file."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shutil
from pathlib import Path
from uuid import uuid4

from data.cloud_objects import CloudFolder, ObjectError, parse_address
from data.errors import InputError

MOST_BYTES = 4 * 1024**3  # as stored; a feed is held in memory
KEPT = 3  # contents of one object


def fetched(address: str, folder: Path, most_bytes: int = MOST_BYTES) -> Path:
    """The local copy below ``folder`` of what gs://BUCKET/OBJECT holds now.

    Each content of an object has a path of its own, with the object's last name, by which formats
    are told; it is there whole or not at all. Of an object the last KEPT are kept. InputError where
    it cannot be had or is larger than ``most_bytes``.
    """
    parsed = parse_address(address)
    if parsed is None or not parsed[1] or address.endswith("/"):
        raise InputError(f"--data {address}: write gs://BUCKET/OBJECT")
    bucket, name = parsed
    try:
        cloud = CloudFolder(bucket)
        try:
            return _fetched(cloud, bucket, name, folder, most_bytes)
        finally:
            cloud.close()
    except ObjectError as error:
        raise InputError(f"--data {error}") from error
    except OSError as error:
        raise InputError(
            f"--data {address} cannot be kept in {folder}: {error.strerror or error}"
        ) from error


def _fetched(cloud: CloudFolder, bucket: str, name: str, folder: Path, most_bytes: int) -> Path:
    about = cloud.about(name)
    if about.size > most_bytes:
        raise InputError(
            f"--data gs://{bucket}/{name} has {about.size:,} bytes, at most {most_bytes:,}: cut it,"
            " or import it into the lake ('sapphire data import')"
        )
    # A name may be longer than a file's may; an emulator may give a generation twice.
    copies = folder / bucket / hashlib.sha256(name.encode()).hexdigest()[:16]
    content = base64.b64decode(about.crc32c).hex()
    path = copies / f"{about.generation:020d}-{content}" / name.rpartition("/")[2]
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{uuid4().hex}.part")
    try:
        with aside.open("x+b") as file:
            cloud.save(name, about, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()  # which only works where nothing came of it
    whole = [copy for copy in sorted(copies.iterdir()) if (copy / path.name).is_file()]
    for old in whole[:-KEPT]:
        if old != path.parent:
            shutil.rmtree(old, ignore_errors=True)
    return path
