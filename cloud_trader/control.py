"""Halt and resume: operator actions that hold through PostgreSQL alone, also when Ray is dead.

They take the trading lock exclusively: once a halt is acknowledged, no decision order commits.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from data.journal import append_operation
from data.store import TRADING_LOCK

EVERYWHERE = "*"

_SET = """
INSERT INTO trading_state (scope, state, reason, seq) VALUES (%s, %s, %s, %s)
ON CONFLICT (scope) DO UPDATE
SET state = EXCLUDED.state, reason = EXCLUDED.reason, seq = EXCLUDED.seq,
    since = clock_timestamp()
"""


@dataclass(frozen=True)
class TradingState:
    """What holds for a scope: '*' everywhere, else one account."""

    scope: str
    state: str
    reason: str
    since: str


def set_state(
    connection: psycopg.Connection,
    scope: str,
    state: str,
    reason: str,
    actor: str,
    session_id: str = "",
    ts: int = 0,
) -> int:
    """Sets ACTIVE, REDUCING or HALTED with a reason; returns the operations record's number.

    ValueError for an empty reason.
    """
    if not reason.strip():
        raise ValueError("a reason is needed: say why")
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", TRADING_LOCK)
        body = {"scope": scope, "state": state, "reason": reason, "actor": actor}
        seq = append_operation(connection, "state", body, session_id, ts)
        connection.execute(_SET, (scope, state, reason, seq))
    return seq


def unlock(connection: psycopg.Connection, symbol: str, reason: str, actor: str) -> list[str]:
    """Takes a symbol's lock back in every account that has one; returns the accounts.

    A bad bar locked it; whoever unlocks has looked at the data. ValueError for an empty reason.
    """
    if not reason.strip():
        raise ValueError("a reason is needed: say why")
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", TRADING_LOCK)
        rows = connection.execute(
            "UPDATE position SET lock_code = NULL WHERE symbol = %s AND lock_code IS NOT NULL"
            " RETURNING account",
            (symbol,),
        )
        accounts = sorted(str(row[0]) for row in rows)
        for account in accounts:
            body = {"account": account, "symbol": symbol, "reason": reason, "actor": actor}
            append_operation(connection, "unlock", body)
    return accounts


def states(connection: psycopg.Connection) -> list[TradingState]:
    """Every scope's state, the whole system first."""
    rows = connection.execute(
        "SELECT scope, state, reason, to_char(since AT TIME ZONE 'UTC',"
        " 'YYYY-MM-DD HH24:MI:SS\"Z\"') FROM trading_state ORDER BY scope <> '*', scope"
    )
    return [TradingState(*row) for row in rows]


def open_orders(connection: psycopg.Connection) -> list[tuple[str, str, int, int]]:
    """(client order id, symbol, side, open lots) of the orders in flight."""
    rows = connection.execute(
        "SELECT client_order_id, symbol, side, lots - filled_lots FROM orders"
        " WHERE status = 'open' ORDER BY client_order_id"
    )
    return [(str(a), str(b), int(c), int(d)) for a, b, c, d in rows]
