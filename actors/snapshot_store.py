"""Snapshots in PostgreSQL: written by the gate for committed rounds, read by whoever restarts."""

from __future__ import annotations

import psycopg
import structlog

from actors.snapshot import KEPT, Snapshot

log = structlog.get_logger("snapshots")

_SAVE = """
INSERT INTO snapshot (cell, session_id, part, round, code, hash, payload)
SELECT %(cell)s, o.session_id, %(part)s, o.round, %(code)s, %(hash)s, %(payload)b
FROM round_output o
WHERE o.cell = %(cell)s AND o.round = %(round)s AND o.session_id = %(session_id)s
ON CONFLICT DO NOTHING
"""
_FORGET = """
DELETE FROM snapshot WHERE cell = %(cell)s AND part = %(part)s AND round < (
  SELECT round FROM snapshot WHERE cell = %(cell)s AND part = %(part)s
  ORDER BY round DESC OFFSET %(kept)s - 1 LIMIT 1)
"""
_NEWEST = """
SELECT round, hash, payload FROM snapshot
WHERE cell = %s AND session_id = %s AND part = %s AND code = %s AND round <= %s
ORDER BY round DESC
"""


def save(connection: psycopg.Connection, cell: int, session_id: str, snapshot: Snapshot) -> bool:
    """Whether it was written: only a round that is closed may have one. Forgets older ones."""
    values = {
        "cell": cell,
        "session_id": session_id,
        "part": snapshot.part,
        "round": snapshot.round,
        "code": snapshot.code,
        "hash": snapshot.digest(session_id),
        "payload": snapshot.payload,
        "kept": KEPT,
    }
    with connection.transaction():
        written = connection.execute(_SAVE, values).rowcount == 1
        connection.execute(_FORGET, values)
    return written


def newest(
    connection: psycopg.Connection,
    cell: int,
    session_id: str,
    part: str,
    code: str,
    at_most: int,
) -> Snapshot | None:
    """The part's newest memory of this code up to round ``at_most``; altered ones are passed by."""
    rows = connection.execute(_NEWEST, (cell, session_id, part, code, at_most))
    for number, digest, payload in rows:
        kept = Snapshot(part, int(number), code, bytes(payload))
        if kept.digest(session_id) == bytes(digest):
            return kept
        log.error("a snapshot was altered", cell=cell, part=part, round=number)
    return None
