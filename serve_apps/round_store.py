"""The round path's SQL: input records with their identities, and where the log stands.

Synchronous, for the one thread that writes rounds; what HTTP asks of the log goes over
``serve_apps.decision_log``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from actors.contract import Floats
from actors.gate import Judged
from data.journal import (
    APPEND_CTE,
    OPERATIONS,
    Head,
    Record,
    cell_chain,
    head,
    read_chain,
    read_record,
)
from data.model_changes import (
    StoredModel,
    model_with_params,
    newest_operation,
    stored_models,
)
from data.records import RoundInput, SessionConfig, output_decoder
from data.sessions import UnknownSession, parse_session
from data.store import connect
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
  ), news_rows AS (
    INSERT INTO news_round (session_id, id, cell, round)
    SELECT %(session_id)s, n, %(cell)s, %(round)s FROM unnest(%(news)s::text[]) AS i(n)
  )
SELECT 1
"""

_ABORT = f"""
WITH {APPEND_CTE}
INSERT INTO round_output (cell, round, session_id, seq, kind, epoch)
VALUES (%(cell)s, %(round)s, %(session_id)s, %(seq)s, 'aborted', 0)
"""

_OUTPUT = "SELECT kind, seq FROM round_output WHERE cell = %s AND round = %s"


@dataclass(frozen=True)
class StoredOutput:
    """How a round was closed, and its record."""

    kind: str
    record: Record

    def judged(self) -> Judged:
        """What the gate answered, or would have; the record is an output."""
        output, record = output_decoder.decode(self.record.payload), self.record
        return Judged(
            output.epoch,
            output.clock_ns,
            output.votes_digest(),
            output.table,
            record.seq,
            record.hash,
            record.seen_of(OPERATIONS),
        )


class RoundStore:
    """One connection; opened again after an error, never retries a write by itself."""

    def __init__(self, url: str, cell: int) -> None:
        self._url = url
        self._cell = cell
        self._chain = cell_chain(cell)
        self._connection: psycopg.Connection | None = None

    def connection(self) -> psycopg.Connection:
        """The live connection, opened when there is none."""
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._url, name=f"coordinator-{self._cell}")
        return self._connection

    def close(self) -> None:
        """Closes the connection; the next call opens a new one."""
        if self._connection is not None:
            self._connection.close()

    def _rows(self, query: str, values: Any) -> list[tuple[Any, ...]]:
        return self.connection().execute(query, values, prepare=True).fetchall()

    def head(self) -> Head:
        """The last record of the cell's chain."""
        return head(self.connection(), self._chain)

    def operations(self, after: int) -> tuple[int, list[Record]]:
        """The operations chain's last number, and its records after number ``after``.

        One look at an index while there is nothing new.
        """
        last = newest_operation(self.connection(), after)
        if last == after:
            return last, []
        return last, list(read_chain(self.connection(), OPERATIONS, after, last))

    def session(self, session_id: str) -> tuple[SessionConfig, bool]:
        """A session and whether it has ended; UnknownSession when there is none."""
        rows = self._rows(
            "SELECT s.config, e.status IS NOT NULL FROM session s"
            " LEFT JOIN session_end e USING (session_id) WHERE s.session_id = %s",
            (session_id,),
        )
        if not rows:
            raise UnknownSession(session_id)
        return parse_session(bytes(rows[0][0])), bool(rows[0][1])

    def stored_models(self, names: list[str]) -> dict[str, StoredModel]:
        """What the rows of those models say that are stored."""
        return stored_models(self.connection(), names)

    def model(self, name: str) -> tuple[StoredModel, Floats]:
        """A model's row and params; LookupError when absent, ValueError when altered."""
        return model_with_params(self.connection(), name)

    def commit_input(
        self, record: Record, config: SessionConfig, given: RoundInput, asked: Sequence[Asked]
    ) -> None:
        """Input record and identities in one statement; UniqueViolation when one is known."""
        values = record.parameters() | {
            "cell": self._cell,
            "round": given.round,
            "request_ids": [request.request_id for request in asked],
            "body_hashes": [request.body_hash for request in asked],
            "symbols": [config.symbols[symbol] for r in asked for symbol, _ in r.keys],
            "bar_ts": [ts for request in asked for _, ts in request.keys],
            "news": [item.id for item in given.news],
            "bar_hashes": [digest for request in asked for digest in request.bar_hashes],
        }
        self.connection().execute(_INPUT, values, prepare=True)

    def commit_aborted(self, record: Record, number: int) -> None:
        """Closes a round without verdicts."""
        values = record.parameters() | {"cell": self._cell, "round": number}
        self.connection().execute(_ABORT, values)

    def output(self, number: int) -> StoredOutput | None:
        """How round ``number`` was closed; None while it is open."""
        rows = self._rows(_OUTPUT, (self._cell, number))
        if not rows:
            return None
        kind, seq = rows[0]
        return StoredOutput(kind, read_record(self.connection(), self._chain, int(seq)))
