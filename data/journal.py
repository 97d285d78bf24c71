"""The journal: append-only records in one SHA-256 hash chain per writer.

A record's hash covers its predecessor's hash and every field, each with its length in front, so
that no two different records give the same bytes. ``seen`` names the last number that the writer
saw of the other chains: it orders the chains against each other without a second clock.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec
import psycopg

GENESIS = bytes(32)
OPERATIONS = "operations"

_json = msgspec.json.Encoder(order="deterministic")


def cell_chain(cell: int) -> str:
    """The chain of a cell's rounds: the coordinator's inputs and the gate's outputs."""
    return f"cell/{cell}"


def account_chain(account: str) -> str:
    """The chain of one account's trader: orders, fills, marks."""
    return f"account/{account}"


@dataclass(frozen=True)
class Head:
    """The last record of a chain; seq 0 and GENESIS when the chain is empty."""

    seq: int
    hash: bytes


@dataclass(frozen=True)
class Record:
    """One journal record, complete."""

    chain: str
    seq: int
    kind: str
    session_id: str
    ts: int
    written_ns: int
    seen: bytes
    payload: bytes
    prev_hash: bytes
    hash: bytes

    @property
    def head(self) -> Head:
        return Head(self.seq, self.hash)

    def seen_of(self, chain: str) -> int:
        """The last number of ``chain`` its writer had seen; 0 when it names none."""
        return int(msgspec.json.decode(self.seen).get(chain, 0))

    def parameters(self) -> dict[str, object]:
        """For the named parameters of ``APPEND``."""
        return dict(self.__dict__)


def record_hash(
    prev_hash: bytes,
    chain: str,
    seq: int,
    kind: str,
    session_id: str,
    ts: int,
    written_ns: int,
    seen: bytes,
    payload: bytes,
) -> bytes:
    """SHA-256 (FIPS 180-4) over all fields, length-prefixed."""
    digest = hashlib.sha256()
    parts = (
        prev_hash,
        chain.encode(),
        str(seq).encode(),
        kind.encode(),
        session_id.encode(),
        str(ts).encode(),
        str(written_ns).encode(),
        seen,
        payload,
    )
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def next_record(
    head: Head,
    *,
    chain: str,
    kind: str,
    session_id: str,
    ts: int,
    written_ns: int,
    payload: object,
    seen: Mapping[str, int],
) -> Record:
    """The record that follows ``head``; ``payload`` is JSON bytes or anything msgspec encodes."""
    body = payload if isinstance(payload, bytes) else _json.encode(payload)
    known = _json.encode(dict(seen))
    seq = head.seq + 1
    digest = record_hash(head.hash, chain, seq, kind, session_id, ts, written_ns, known, body)
    return Record(chain, seq, kind, session_id, ts, written_ns, known, body, head.hash, digest)


# One statement: identity and record stand or fall together, in one round trip. A second writer of
# the same number fails on the primary key.
APPEND_CTE = """
  journal_id AS (
    INSERT INTO journal_identity (chain, seq, hash) VALUES (%(chain)s, %(seq)s, %(hash)s)
  ), journal_row AS (
    INSERT INTO journal (chain, seq, kind, session_id, ts, written_ns, seen, payload,
                         prev_hash, hash)
    VALUES (%(chain)s, %(seq)s, %(kind)s, %(session_id)s, %(ts)s, %(written_ns)s, %(seen)s,
            %(payload)s, %(prev_hash)s, %(hash)s)
  )"""
APPEND = f"WITH {APPEND_CTE} SELECT 1"
HEAD = "SELECT seq, hash FROM journal_identity WHERE chain = %s ORDER BY seq DESC LIMIT 1"
_COLUMNS = "chain, seq, kind, session_id, ts, written_ns, seen, payload, prev_hash, hash"


def head(connection: psycopg.Connection, chain: str) -> Head:
    """The chain's last committed record."""
    row = connection.execute(HEAD, (chain,)).fetchone()
    return Head(int(row[0]), bytes(row[1])) if row else Head(0, GENESIS)


def append(connection: psycopg.Connection, record: Record) -> None:
    """Appends inside the caller's transaction; psycopg.errors.UniqueViolation when forked."""
    connection.execute(APPEND, record.parameters())


def append_operation(
    connection: psycopg.Connection,
    kind: str,
    payload: object,
    session_id: str = "",
    ts: int = 0,
) -> int:
    """The next record of the operations chain; returns its number.

    Its writers all hold the trading lock exclusively, so that they cannot fork the chain.
    """
    record = next_record(
        head(connection, OPERATIONS),
        chain=OPERATIONS,
        kind=kind,
        session_id=session_id,
        ts=ts,
        written_ns=time.time_ns(),
        payload=payload,
        seen={},
    )
    append(connection, record)
    return record.seq


def read_chain(
    connection: psycopg.Connection, chain: str, after: int = 0, until: int | None = None
) -> Iterator[Record]:
    """Records of ``chain`` with ``after`` < seq <= ``until``, in order, streamed."""
    with connection.transaction(), connection.cursor(name="journal_read") as cursor:
        cursor.itersize = 500
        cursor.execute(
            f"SELECT {_COLUMNS} FROM journal WHERE chain = %s AND seq > %s"
            " AND (%s::bigint IS NULL OR seq <= %s) ORDER BY seq",
            (chain, after, until, until),
        )
        for row in cursor:
            yield Record(*row)


def read_record(connection: psycopg.Connection, chain: str, seq: int) -> Record:
    """One record; LookupError when the chain has none of this number."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM journal WHERE chain = %s AND seq = %s", (chain, seq)
    ).fetchone()
    if row is None:
        raise LookupError(f"{chain} has no record {seq}")
    return Record(*row)


def broken_link(record: Record, before: Head) -> str | None:
    """Why ``record`` does not follow ``before``; None when it does."""
    if record.seq != before.seq + 1:
        return f"number {record.seq} follows {before.seq}"
    if record.prev_hash != before.hash:
        return "its previous hash is not its predecessor's hash"
    digest = record_hash(
        record.prev_hash,
        record.chain,
        record.seq,
        record.kind,
        record.session_id,
        record.ts,
        record.written_ns,
        record.seen,
        record.payload,
    )
    return None if digest == record.hash else "its content does not give its hash"
