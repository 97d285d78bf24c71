"""The log of rounds, read back: how agents and coordinators rebuild what they knew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

from data.journal import cell_chain

_ROUNDS = """
SELECT i.round, j.payload, o.kind, k.payload
FROM round_input i
JOIN journal j ON j.chain = %(chain)s AND j.seq = i.seq
LEFT JOIN round_output o ON o.cell = i.cell AND o.round = i.round
LEFT JOIN journal k ON k.chain = %(chain)s AND k.seq = o.seq
WHERE i.cell = %(cell)s AND i.session_id = %(session_id)s
  AND i.round > %(after)s AND (%(before)s::bigint IS NULL OR i.round < %(before)s)
ORDER BY i.round
"""

_INPUTS = """
SELECT j.payload
FROM round_input i JOIN journal j ON j.chain = %(chain)s AND j.seq = i.seq
WHERE i.cell = %(cell)s AND i.session_id = %(session_id)s
  AND i.round > %(after)s AND i.round < %(before)s
ORDER BY i.round
"""


@dataclass(frozen=True)
class LoggedRound:
    """One round as recorded; ``kind`` and ``output`` are None while it is open."""

    round: int
    input: bytes
    kind: str | None  # output, aborted
    output: bytes | None


def rounds(
    connection: psycopg.Connection,
    cell: int,
    session_id: str,
    after: int = 0,
    before: int | None = None,
) -> Iterator[LoggedRound]:
    """The session's rounds with after < number < before, in order, streamed."""
    values = {
        "chain": cell_chain(cell),
        "cell": cell,
        "session_id": session_id,
        "after": after,
        "before": before,
    }
    with connection.transaction(), connection.cursor(name="rounds") as cursor:
        cursor.itersize = 500
        cursor.execute(_ROUNDS, values)
        for number, given, kind, output in cursor:
            yield LoggedRound(
                int(number), bytes(given), kind, None if output is None else bytes(output)
            )


def inputs(
    connection: psycopg.Connection, cell: int, session_id: str, after: int, before: int
) -> Iterator[bytes]:
    """The payloads of the session's input records with after < round < before, in order."""
    values = {
        "chain": cell_chain(cell),
        "cell": cell,
        "session_id": session_id,
        "after": after,
        "before": before,
    }
    with connection.transaction(), connection.cursor(name="round_inputs") as cursor:
        cursor.itersize = 500
        cursor.execute(_INPUTS, values)
        for (payload,) in cursor:
            yield bytes(payload)


def last_round(connection: psycopg.Connection, cell: int) -> tuple[int, str] | None:
    """Number and session of the cell's last input record; None before the first."""
    row = connection.execute(
        "SELECT round, session_id FROM round_input WHERE cell = %s ORDER BY round DESC LIMIT 1",
        (cell,),
    ).fetchone()
    return (int(row[0]), str(row[1])) if row else None
