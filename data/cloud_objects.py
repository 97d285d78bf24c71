"""Objects of a Google Cloud Storage bucket, through Google's own client.

The client speaks to STORAGE_EMULATOR_HOST without credentials where that is set, else to Google
with the application default credentials. Each call has a time-out, and is repeated for a bounded
time: reading changes nothing, and an object is only ever created, where there is none.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple
from uuid import uuid4

PATIENCE_S = 60.0  # with one call: no try begins later
SLOWEST = 2**20  # bytes a second: a large object is waited for accordingly longer
TIMEOUT_S = (10.0, 60.0)  # of one try: to connect, between two bytes
_WAIT_S = (0.25, 8.0)  # between two tries: the first and the longest
_WRITER = "sapphire-writer"
_PART = 2**20  # bytes
_DAMAGED = "what came is not what was sent (its checksum differs): try again"
_ADDRESS = re.compile(
    r"gs://(?P<bucket>[a-z0-9][a-z0-9._-]{1,220}[a-z0-9])"
    r"(?P<name>(/(?!\.\.?(/|$))[^/\x00-\x1f\x7f?#]+)*)/?"
)


class ObjectError(RuntimeError):
    """The storage refused, did not answer, or holds something else: one line."""


def parse_address(address: str) -> tuple[str, str] | None:
    """Bucket and name (a prefix, or an object; maybe "") of gs://BUCKET/NAME; None for no such."""
    found = _ADDRESS.fullmatch(address)
    return (found["bucket"], found["name"].lstrip("/")) if found else None


class About(NamedTuple):
    """An object as it is stored now."""

    generation: int  # changes with the content
    size: int  # bytes
    crc32c: str  # of the bytes: base64


class CloudFolder:
    """The objects of ``bucket`` whose names begin with ``prefix`` and a slash.

    Methods raise ObjectError; none begins another try after ``patience_s``.
    """

    def __init__(self, bucket: str, prefix: str = "", patience_s: float = PATIENCE_S) -> None:
        self.where = f"gs://{bucket}/{prefix}".rstrip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        with _one_line(self.where):
            from google.cloud.storage import Client
            from google.cloud.storage.retry import DEFAULT_RETRY

            # Objects need no project, and credentials may know none.
            self._client = Client(project=None)
        self._patience_s = patience_s
        self._retry = DEFAULT_RETRY.with_delay(*_WAIT_S)
        self._terms = self._for(patience_s)
        self._bucket = self._client.bucket(bucket)

    def _for(self, patience_s: float) -> dict[str, Any]:
        return {"timeout": TIMEOUT_S, "retry": self._retry.with_timeout(patience_s)}

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()

    def put_new(self, name: str, blob: bytes) -> bool:
        """Creates the object; False, and nothing changed, where there is one."""
        from google.api_core.exceptions import PreconditionFailed

        writer = uuid4().hex
        made = self._bucket.blob(self._prefix + name)
        made.metadata = {_WRITER: writer}
        with _one_line(f"{self.where}/{name}", missing="bucket"):
            try:
                made.upload_from_string(
                    blob,
                    content_type="application/octet-stream",
                    if_generation_match=0,
                    **self._terms,
                )
            except PreconditionFailed:
                # So is a second try answered whose first succeeded without our hearing of it.
                # Equal bytes would not tell: two drivers may begin equal studies.
                there = self._bucket.blob(self._prefix + name)
                there.reload(**self._terms)
                return (there.metadata or {}).get(_WRITER) == writer
        return True

    def get(self, name: str) -> bytes:
        """The object's bytes, as they were stored."""
        with _one_line(f"{self.where}/{name}"):
            blob = self._bucket.blob(self._prefix + name)
            return bytes(blob.download_as_bytes(raw_download=True, **self._terms))

    def names(self) -> list[str]:
        """The names of all objects, without the prefix, in order."""
        with _one_line(self.where, missing="bucket"):
            found = self._client.list_blobs(
                self._bucket,
                prefix=self._prefix or None,
                fields="items(name),nextPageToken",
                **self._terms,
            )
            return sorted(blob.name.removeprefix(self._prefix) for blob in found)

    def about(self, name: str) -> About:
        """What is stored under the name."""
        with _one_line(f"{self.where}/{name}"):
            blob = self._bucket.blob(self._prefix + name)
            blob.reload(**self._terms)
            return About(int(blob.generation), int(blob.size), str(blob.crc32c))

    def save(self, name: str, about: About, file: BinaryIO) -> None:
        """Writes this generation's bytes to ``file`` (read as well), as they were stored.

        One that breaks off goes on where it was: the client then compares no checksum, so here the
        whole is.
        """
        where = f"{self.where}/{name}"
        with _one_line(where):
            blob = self._bucket.blob(self._prefix + name, generation=about.generation)
            terms = self._for(self._patience_s + about.size / SLOWEST)
            blob.download_to_file(file, raw_download=True, **terms)
        if _crc32c(file) != about.crc32c:
            raise ObjectError(f"{where}: {_DAMAGED}")


def _crc32c(file: BinaryIO) -> str:
    """Of the whole file, as the storage writes it."""
    import google_crc32c

    sum_ = google_crc32c.Checksum()
    file.seek(0)
    while part := file.read(_PART):
        sum_.update(part)
    return base64.b64encode(sum_.digest()).decode()


@contextmanager
def _one_line(where: str, missing: str = "object") -> Iterator[None]:
    """ObjectError for what the client says; ``missing`` is what a 404 is about."""
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
    from urllib3.exceptions import HTTPError

    try:
        yield
    # An error of requests is an OSError.
    except (
        GoogleAPIError, GoogleAuthError, DataCorruption, InvalidResponse, HTTPError, OSError,
        ValueError,  # of the client, about its own settings
    ) as error:  # fmt: skip
        raise ObjectError(f"{where}: {_why(error, missing)}") from error


def _why(error: Exception, missing: str) -> str:
    from google.api_core.exceptions import RetryError
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
    from google.cloud.storage.exceptions import DataCorruption

    cause = (error.cause or error) if isinstance(error, RetryError) else error
    if isinstance(cause, DefaultCredentialsError):
        return (
            f"there are no Google credentials ({first_line(cause)}): give the pod a service"
            " account, name a key file in GOOGLE_APPLICATION_CREDENTIALS, or run 'gcloud auth"
            " application-default login'"
        )
    if isinstance(cause, GoogleAuthError):
        return f"the Google credentials do not work ({first_line(cause)}): renew them"
    if isinstance(cause, DataCorruption):
        return _DAMAGED
    # The client has two kinds of errors for an answer.
    response = getattr(cause, "response", None)
    code = getattr(cause, "code", None) or getattr(response, "status_code", None)
    if code in (401, 403):
        return (
            f"access denied ({_reason(cause)}): the credentials need a role on this bucket, Storage"
            " Object User to keep studies in it, Storage Object Viewer to read data"
        )
    if code == 404:
        return f"there is no such {missing}: check the name, or create it"
    if code is not None and 400 <= int(code) < 500 and int(code) not in (408, 429):
        return f"the storage answered {int(code)} ({_reason(cause)}): check the address"
    if code is not None:
        return f"the storage answered {int(code)} ({_reason(cause)}): try again later"
    if isinstance(cause, OSError) and cause.errno:
        return str(cause.strerror)
    return (
        f"nothing answers ({type(cause).__name__}): check the network, and STORAGE_EMULATOR_HOST"
        " (http://HOST:PORT) where it is set"
    )


def _reason(error: object) -> str:
    """What the storage itself said: in its JSON, or as plain text."""
    response = getattr(error, "response", None)
    try:
        return first_line(response.json()["error"]["message"])  # type: ignore[union-attr]
    except (AttributeError, ValueError, LookupError, TypeError):
        return first_line(getattr(response, "text", "") or getattr(error, "message", error))


def first_line(said: object) -> str:
    """The first line of an error's text, which may have many; its type where it has none."""
    lines = str(said).strip().splitlines()
    return lines[0][:300] if lines else type(said).__name__
