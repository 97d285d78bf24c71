"""What HTTP asks of the log: known requests, known decisions and their outputs. Read only.

A connection of its own, so that a question never waits behind a round, nor a round behind it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import psycopg

from data.journal import cell_chain
from data.records import RoundOutput, SessionConfig, output_decoder
from data.store import connect_async

_OUTPUTS = """
SELECT o.round, j.payload
FROM round_output o JOIN journal j ON j.chain = %s AND j.seq = o.seq
WHERE o.cell = %s AND o.round = ANY(%s) AND o.kind = 'output' ORDER BY o.round
"""
_DECISIONS = """
SELECT symbol, ts, bar_hash, round FROM decision_identity WHERE session_id = %s
AND (symbol, ts) IN (SELECT * FROM unnest(%s::text[], %s::bigint[]))
"""


@dataclass(frozen=True)
class KnownDecision:
    """A decision that stands in the log already."""

    bar_hash: bytes
    round: int


class DecisionLog:
    """Questions one after the other over one asynchronous connection."""

    def __init__(self, url: str, cell: int) -> None:
        self._url = url
        self._cell = cell
        self._connection: psycopg.AsyncConnection | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """Closes the connection; the next question opens a new one."""
        if self._connection is not None:
            await self._connection.close()

    async def _rows(self, query: str, values: Any) -> list[tuple[Any, ...]]:
        async with self._opening:
            if self._connection is None or self._connection.closed:
                name = f"coordinator-log-{self._cell}"
                self._connection = await connect_async(self._url, name=name)
        cursor = await self._connection.execute(query, values, prepare=True)
        return await cursor.fetchall()

    async def outputs(self, numbers: list[int]) -> list[RoundOutput]:
        """The recorded outputs of those rounds that have verdicts, by number."""
        rows = await self._rows(_OUTPUTS, (cell_chain(self._cell), self._cell, numbers))
        return [output_decoder.decode(payload) for _, payload in rows]

    async def aborted(self, numbers: list[int]) -> bool:
        """Whether one of those rounds was closed as aborted."""
        rows = await self._rows(
            "SELECT 1 FROM round_output WHERE cell = %s AND round = ANY(%s) AND kind = 'aborted'"
            " LIMIT 1",
            (self._cell, numbers),
        )
        return bool(rows)

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
        names = [config.symbols[symbol] for symbol, _ in keys]
        rows = await self._rows(_DECISIONS, (config.session_id, names, [ts for _, ts in keys]))
        numbers = {config.symbols[symbol]: symbol for symbol, _ in keys}
        return {
            (numbers[symbol], int(ts)): KnownDecision(bytes(bar_hash), int(number))
            for symbol, ts, bar_hash, number in rows
        }
