"""What a running session has come to, read from PostgreSQL: the one truth, whoever asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from data.journal import cell_chain
from data.records import RoundOutput, SessionConfig, output_decoder

_LAST = """
SELECT o.round, j.ts, j.payload, o.kind
FROM round_output o JOIN journal j ON j.chain = %(chain)s AND j.seq = o.seq
WHERE o.cell = %(cell)s AND o.session_id = %(session_id)s
ORDER BY o.round DESC LIMIT 1
"""
_FIRST = """
SELECT round FROM round_input WHERE session_id = %(session_id)s ORDER BY round LIMIT 1
"""
_ACCOUNT = """
SELECT equity_micro, peak_micro FROM account WHERE account = %(account)s
"""
_STATE = """
SELECT state, reason FROM trading_state WHERE scope IN ('*', %(account)s)
ORDER BY CASE state WHEN 'HALTED' THEN 0 WHEN 'REDUCING' THEN 1 ELSE 2 END LIMIT 1
"""
_EPOCH = "SELECT epoch FROM gate_lease WHERE cell = %(cell)s"
_ENDED = "SELECT status, detail FROM session_end WHERE session_id = %(session_id)s"


@dataclass(frozen=True)
class Snapshot:
    """One look. ``ts`` and ``output`` are None before the first round is closed."""

    rounds_done: int
    ts: int | None
    output: RoundOutput | None
    equity_micro: int | None
    peak_micro: int | None
    state: str
    reason: str
    epoch: int | None
    ended: tuple[str, str] | None


class SessionWatch:
    """Looks at one session on a connection of its own."""

    def __init__(self, connection: psycopg.Connection, config: SessionConfig) -> None:
        self._connection = connection
        self._values = {
            "chain": cell_chain(config.cell),
            "cell": config.cell,
            "session_id": config.session_id,
            "account": config.account,
        }
        self._first: int | None = None

    def look(self) -> Snapshot:
        """The session as committed now."""
        ended = self._one(_ENDED)
        last = self._one(_LAST)
        if self._first is None and (first := self._one(_FIRST)):
            self._first = first[0]
        account = self._one(_ACCOUNT)
        state = self._one(_STATE) or ("ACTIVE", "")
        epoch = self._one(_EPOCH)
        return Snapshot(
            rounds_done=last[0] - self._first + 1 if last and self._first is not None else 0,
            ts=last[1] if last else None,
            output=output_decoder.decode(last[2]) if last and last[3] == "output" else None,
            equity_micro=account[0] if account else None,
            peak_micro=account[1] if account else None,
            state=state[0],
            reason=state[1],
            epoch=epoch[0] if epoch else None,
            ended=(ended[0], ended[1]) if ended else None,
        )

    def _one(self, query: str) -> tuple[Any, ...] | None:
        return self._connection.execute(query, self._values, prepare=True).fetchone()
