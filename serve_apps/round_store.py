"""The coordinator's SQL: input records, identities, and answers from the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from data.journal import APPEND_CTE, GENESIS, HEAD, OPERATIONS, Head, Record, cell_chain
from data.records import RoundOutput, SessionConfig, output_decoder
from data.sessions import UnknownSession, parse_session
from data.store import connect_async
from serve_apps.requests import Asked

_INPUT = f"""
WITH {APPEND_CTE}, round_row AS (
    INSERT INTO round_input (cell, round, session_id, seq)
    VALUES (%(cell)s, %(round)s, %(session_id)s, %(seq)s)
  ), request_rows AS (
    INSERT INTO request_identity (request_id, body_hash, cell, round)
    SELECT r, b, %(cell)s, %(round)s
    FROM unnest(%(request_ids)s::text[], %(body_hashes)s::bytea[]) AS t(r, b)
  ), decision_rows AS (
    INSERT INTO decision_identity (session_id, symbol, ts, bar_hash, cell, round)
    SELECT %(session_id)s, s, t, h, %(cell)s, %(round)s
    FROM unnest(%(symbols)s::text[], %(bar_ts)s::bigint[], %(bar_hashes)s::bytea[]) AS d(s, t, h)
  )
SELECT 1
"""

_ABORT = f"""
WITH {APPEND_CTE}
INSERT INTO round_output (cell, round, session_id, seq, kind, epoch)
VALUES (%(cell)s, %(round)s, %(session_id)s, %(seq)s, 'aborted', 0)
"""

_OUTPUT = """
SELECT o.kind, j.payload, j.seq, j.hash
FROM round_output o JOIN journal j ON j.chain = %s AND j.seq = o.seq
WHERE o.cell = %s AND o.round = %s
"""


@dataclass(frozen=True)
class StoredOutput:
    """How a round was closed, and the chain's head after it."""

    kind: str
    payload: bytes
    head: Head


@dataclass(frozen=True)
class KnownDecision:
    """A decision that stands in the log already."""

    bar_hash: bytes
    round: int


class RoundStore:
    """One asynchronous connection; reconnects after an error, never retries a write by itself."""

    def __init__(self, url: str, cell: int) -> None:
        self._url = url
        self._cell = cell
        self._chain = cell_chain(cell)
        self._connection: psycopg.AsyncConnection | None = None

    async def connection(self) -> psycopg.AsyncConnection:
        """The live connection, opened when there is none."""
        if self._connection is None or self._connection.closed:
            self._connection = await connect_async(self._url, name=f"coordinator-{self._cell}")
        return self._connection

    async def _rows(self, query: str, values: Any) -> list[tuple[Any, ...]]:
        connection = await self.connection()
        cursor = await connection.execute(query, values, prepare=True)
        return await cursor.fetchall()

    async def head(self) -> Head:
        """The last record of the cell's chain."""
        rows = await self._rows(HEAD, (self._chain,))
        return Head(int(rows[0][0]), bytes(rows[0][1])) if rows else Head(0, GENESIS)

    async def operations_seq(self) -> int:
        """The last number of the operations chain."""
        rows = await self._rows(HEAD, (OPERATIONS,))
        return int(rows[0][0]) if rows else 0

    async def session(self, session_id: str) -> tuple[SessionConfig, bool]:
        """A session and whether it has ended; UnknownSession when there is none."""
        rows = await self._rows(
            "SELECT s.config, e.status IS NOT NULL FROM session s"
            " LEFT JOIN session_end e USING (session_id) WHERE s.session_id = %s",
            (session_id,),
        )
        if not rows:
            raise UnknownSession(session_id)
        return parse_session(bytes(rows[0][0])), bool(rows[0][1])

    async def models_trained_until(self, names: list[str]) -> tuple[int, int]:
        """(how many of the models are stored, the latest moment that any was trained on)."""
        rows = await self._rows(
            "SELECT count(*), coalesce(max(trained_until), 0) FROM model WHERE model_id = ANY(%s)",
            (names,),
        )
        return int(rows[0][0]), int(rows[0][1])

    async def commit_input(
        self, record: Record, config: SessionConfig, number: int, asked: list[Asked]
    ) -> None:
        """Input record and identities in one statement; UniqueViolation when one is known."""
        bars = [bar for request in asked for bar in request.bars]
        values = record.parameters() | {
            "cell": self._cell,
            "round": number,
            "request_ids": [request.request_id for request in asked],
            "body_hashes": [request.body_hash for request in asked],
            "symbols": [config.symbols[int(bar["symbol"])] for bar in bars],
            "bar_ts": [int(bar["ts"]) for bar in bars],
            "bar_hashes": [h for request in asked for h in request.bar_hashes],
        }
        connection = await self.connection()
        await connection.execute(_INPUT, values, prepare=True)

    async def commit_aborted(self, record: Record, number: int) -> None:
        """Closes a round without verdicts."""
        connection = await self.connection()
        await connection.execute(
            _ABORT, record.parameters() | {"cell": self._cell, "round": number}
        )

    async def output(self, number: int) -> StoredOutput | None:
        """How round ``number`` was closed; None while it is open."""
        rows = await self._rows(_OUTPUT, (self._chain, self._cell, number))
        if not rows:
            return None
        kind, payload, seq, digest = rows[0]
        return StoredOutput(kind, bytes(payload), Head(int(seq), bytes(digest)))

    async def outputs(self, numbers: list[int]) -> list[RoundOutput]:
        """The recorded outputs of these rounds that have verdicts."""
        found = [await self.output(number) for number in sorted(set(numbers))]
        return [output_decoder.decode(o.payload) for o in found if o and o.kind == "output"]

    async def request(self, request_id: str) -> tuple[bytes, int] | None:
        """(body hash, round) of a known request."""
        rows = await self._rows(
            "SELECT body_hash, round FROM request_identity WHERE request_id = %s", (request_id,)
        )
        return (bytes(rows[0][0]), int(rows[0][1])) if rows else None

    async def decisions(
        self, config: SessionConfig, keys: list[tuple[int, int]]
    ) -> dict[tuple[int, int], KnownDecision]:
        """Those of the (symbol, ts) that were decided before."""
        rows = await self._rows(
            "SELECT symbol, ts, bar_hash, round FROM decision_identity WHERE session_id = %s"
            " AND (symbol, ts) IN (SELECT * FROM unnest(%s::text[], %s::bigint[]))",
            (
                config.session_id,
                [config.symbols[symbol] for symbol, _ in keys],
                [ts for _, ts in keys],
            ),
        )
        numbers = {name: index for index, name in enumerate(config.symbols)}
        return {
            (numbers[symbol], int(ts)): KnownDecision(bytes(bar_hash), int(number))
            for symbol, ts, bar_hash, number in rows
        }
