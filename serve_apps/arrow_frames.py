"""The frames of an Arrow IPC stream, looked at before any of its buffers is decoded.

A stream is a list of encapsulated messages: 0xFFFFFFFF, the size of the metadata (int32), the
metadata (a flatbuffer), the body. Only a schema, at most one dictionary and one record batch may
come here, uncompressed, and with a declared row count that is allowed.
Sources: Arrow columnar format 1.5 ("Serialization and Interprocess Communication"), Message.fbs;
flatbuffers "Internals" (a table starts with the signed distance back to its vtable).
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from serve_apps.wire import MAX_ARROW_ROWS, Refused

_CONTINUATION = 0xFFFFFFFF
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3  # MessageHeader
_U16, _U32, _I32, _I64 = Struct("<H"), Struct("<I"), Struct("<i"), Struct("<q")
_METADATA_LIMIT = 64 << 10


class _Broken(Exception):
    """The metadata points outside of itself, or ends too early."""


@dataclass(frozen=True)
class _Table:
    """A flatbuffer table at ``at`` of ``data``."""

    data: memoryview
    at: int

    def _field(self, slot: int) -> int:
        """Where the field stands; 0 when it is absent, so that its default holds."""
        vtable = self.at - _read(self.data, self.at, _I32)
        size = _read(self.data, vtable, _U16)
        where = 4 + 2 * slot
        if where + 2 > size:
            return 0
        offset = _read(self.data, vtable + where, _U16)
        return self.at + offset if offset else 0

    def has(self, slot: int) -> bool:
        """Whether the field is there."""
        return self._field(slot) != 0

    def byte(self, slot: int) -> int:
        """An unsigned byte, 0 when absent."""
        at = self._field(slot)
        if not at:
            return 0
        if at >= len(self.data):
            raise _Broken
        return self.data[at]

    def int64(self, slot: int) -> int:
        """A signed 64-bit integer, 0 when absent."""
        at = self._field(slot)
        return _read(self.data, at, _I64) if at else 0

    def table(self, slot: int) -> _Table:
        """A table that must be there."""
        at = self._field(slot)
        if not at:
            raise _Broken
        return _Table(self.data, at + _read(self.data, at, _U32))


def _read(data: memoryview, at: int, kind: Struct) -> int:
    if not 0 <= at <= len(data) - kind.size:
        raise _Broken
    return int(kind.unpack_from(data, at)[0])


def check_frames(body: bytes) -> None:
    """Refused unless the stream is one schema, at most one dictionary, and one small plain batch.

    422 ``arrow_malformed``, ``arrow_compressed``, ``arrow_several_batches``; 413 ``too_many_bars``.
    """
    try:
        kinds = _kinds(memoryview(body))
    except _Broken:
        raise malformed("it is truncated, or its metadata is damaged") from None
    if kinds.count(_BATCH) > 1:
        detail = "send one record batch a request"
        raise Refused(422, "Several batches", detail, code="arrow_several_batches")
    if kinds not in ([_SCHEMA, _BATCH], [_SCHEMA, _DICTIONARY, _BATCH]):
        raise malformed("it must hold a schema, at most one dictionary, and one record batch")


def _kinds(stream: memoryview) -> list[int]:
    kinds: list[int] = []
    at = 0
    while at < len(stream):
        if _read(stream, at, _U32) != _CONTINUATION:
            raise _Broken
        size = _read(stream, at + 4, _I32)
        at += 8
        if size == 0:  # the end-of-stream marker
            if at != len(stream):
                raise _Broken
            break
        if not 0 < size <= _METADATA_LIMIT or at + size > len(stream):
            raise _Broken
        metadata = stream[at : at + size]
        message = _Table(metadata, _read(metadata, 0, _U32))
        kind, length = message.byte(1), message.int64(3)
        at += size
        if not 0 <= length <= len(stream) - at:
            raise _Broken
        at += length
        kinds.append(kind)
        if kind in (_DICTIONARY, _BATCH):
            _check_batch(message.table(2), kind)
    return kinds


def _check_batch(header: _Table, kind: int) -> None:
    if kind == _DICTIONARY:
        if header.byte(2):
            raise malformed("delta dictionaries are not read")
        header = header.table(1)
    if header.has(3):
        detail = "send the buffers uncompressed"
        raise Refused(422, "Compressed buffers", detail, code="arrow_compressed")
    rows = header.int64(0)
    if rows < 0:
        raise _Broken
    if rows > MAX_ARROW_ROWS:
        detail = f"{rows} rows, {MAX_ARROW_ROWS} allowed: send several requests"
        raise Refused(413, "Too many bars", detail, code="too_many_bars")


def malformed(why: str) -> Refused:
    """A body that is no Arrow stream that is read here."""
    return Refused(422, "Bad Arrow stream", why, code="arrow_malformed")
