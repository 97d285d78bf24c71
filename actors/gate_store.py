"""The gate's SQL: epochs, the account's committed view, output records with their approvals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import psycopg
from numpy.typing import NDArray

from data.journal import (
    APPEND_CTE,
    OPERATIONS,
    Record,
    account_chain,
    append_operation,
)
from data.records import SessionConfig
from data.store import TRADING_LOCK

MINUTE_NS = 60_000_000_000

_TAKE = """
INSERT INTO gate_lease (cell, epoch, holder) VALUES (%s, 1, %s)
ON CONFLICT (cell) DO UPDATE
SET epoch = gate_lease.epoch + 1, holder = EXCLUDED.holder, taken_at = clock_timestamp()
RETURNING epoch
"""

# One round trip; READ COMMITTED, so what follows sees what was committed before the lock was had.
_BEGIN = f"BEGIN; SELECT pg_advisory_xact_lock_shared({TRADING_LOCK[0]}, {TRADING_LOCK[1]})"

_VIEW = """
SELECT
  (SELECT epoch FROM gate_lease WHERE cell = %(cell)s),
  (SELECT a.equity_micro FROM account a WHERE a.account = %(account)s),
  (SELECT coalesce(max(CASE state WHEN 'HALTED' THEN 2 WHEN 'REDUCING' THEN 1 ELSE 0 END), 0)
     FROM trading_state WHERE scope IN ('*', %(account)s)),
  EXISTS (SELECT 1 FROM trader_lease
          WHERE account = %(account)s AND expires_at > clock_timestamp()),
  (SELECT count(*) FROM orders WHERE account = %(account)s AND ts > %(since)s),
  (SELECT coalesce(max(seq), 0) FROM journal_identity WHERE chain = %(account_chain)s),
  (SELECT coalesce(max(seq), 0) FROM journal_identity WHERE chain = %(operations)s),
  (SELECT o.seq FROM round_output o WHERE o.cell = %(cell)s AND o.round = %(round)s),
  h.symbols, h.lots, h.open_lots, h.locked
FROM (
  SELECT array_agg(coalesce(p.symbol, o.symbol)) AS symbols,
         array_agg(coalesce(p.lots, 0)) AS lots,
         array_agg(coalesce(o.lots, 0)::bigint) AS open_lots,
         array_agg(p.lock_code IS NOT NULL) AS locked
  FROM (SELECT symbol, lots, lock_code FROM position WHERE account = %(account)s) p
  FULL JOIN (SELECT symbol, sum(side * (lots - filled_lots)) AS lots FROM orders
             WHERE account = %(account)s AND status = 'open' GROUP BY symbol) o
    ON o.symbol = p.symbol
) h
"""

_OUTPUT = f"""
WITH {APPEND_CTE}, round_row AS (
    INSERT INTO round_output (cell, round, session_id, seq, kind, epoch)
    VALUES (%(cell)s, %(round)s, %(session_id)s, %(seq)s, 'output', %(epoch)s)
  ), approval_rows AS (
    INSERT INTO approval (session_id, symbol, ts, account, cell, round, epoch, side, max_lots,
                          limit_ticks, net_lots, expires_at)
    SELECT %(session_id)s, s, t, %(account)s, %(cell)s, %(round)s, %(epoch)s, d, q, p, n,
           clock_timestamp() + make_interval(secs => %(ttl)s)
    FROM unnest(%(symbols)s::text[], %(ts_list)s::bigint[], %(sides)s::smallint[],
                %(lots)s::bigint[], %(limits)s::bigint[], %(nets)s::bigint[])
         AS a(s, t, d, q, p, n)
  )
SELECT 1
"""


@dataclass(frozen=True)
class Holding:
    """One symbol of the account: position, open orders (signed), and whether it is locked."""

    lots: int
    open_lots: int
    locked: bool


@dataclass(frozen=True)
class AccountView:
    """The account as committed; ``equity_micro`` is None when there is no such account."""

    epoch: int | None
    equity_micro: int | None
    state: int
    trader_leased: bool
    orders_last_minute: int  # by event time
    account_seq: int
    operations_seq: int
    recorded: int | None  # number of the round's output record, when it has one already
    holdings: dict[str, Holding]


def take_epoch(connection: psycopg.Connection, cell: int, holder: str) -> int:
    """A new epoch of the cell, journalled; voids every approval of the epochs before."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", TRADING_LOCK)
        row = connection.execute(_TAKE, (cell, holder)).fetchone()
        if row is None:
            raise RuntimeError("the gate lease was not written")
        epoch = int(row[0])
        body = {"cell": cell, "epoch": epoch, "holder": holder}
        append_operation(connection, "gate_epoch", body)
    return epoch


@contextmanager
def view_transaction(connection: psycopg.Connection) -> Iterator[None]:
    """A transaction that first waits out whoever changes who may trade.

    psycopg's own transactions and pipelines take twice as many round trips.
    """
    connection.execute(_BEGIN)
    try:
        yield
    except BaseException:
        if not connection.closed:
            connection.rollback()
        raise
    connection.execute("COMMIT")


def read_view(
    connection: psycopg.Connection, cell: int, account: str, number: int, clock_ns: int
) -> AccountView:
    """The account as committed, in a ``view_transaction``; ``clock_ns``: session clock."""
    values = {
        "since": clock_ns - MINUTE_NS,
        "cell": cell,
        "round": number,
        "account": account,
        "account_chain": account_chain(account),
        "operations": OPERATIONS,
    }
    row = connection.execute(_VIEW, values, prepare=True).fetchone()
    if row is None:
        raise RuntimeError("the account view gave no row")
    epoch, equity, state, leased, recent, account_seq, operations_seq, recorded, *columns = row
    rows = zip(*[column or [] for column in columns], strict=True)
    return AccountView(
        epoch=epoch,
        equity_micro=equity,
        state=state,
        trader_leased=leased,
        orders_last_minute=recent,
        account_seq=account_seq,
        operations_seq=operations_seq,
        recorded=recorded,
        holdings={symbol: Holding(*rest) for symbol, *rest in rows},
    )


def commit_output(
    connection: psycopg.Connection,
    record: Record,
    config: SessionConfig,
    number: int,
    epoch: int,
    approved: NDArray[np.void],
) -> None:
    """Output record, round row and approvals (rows of DECISION) in one statement."""
    values = record.parameters() | {
        "cell": config.cell,
        "round": number,
        "epoch": epoch,
        "account": config.account,
        "ttl": config.approval_ttl_s,
        "symbols": [config.symbols[symbol] for symbol in approved["symbol"].tolist()],
        "ts_list": approved["ts"].tolist(),
        "sides": approved["side"].tolist(),
        "lots": approved["lots"].tolist(),
        "limits": approved["limit_ticks"].tolist(),
        "nets": approved["net_lots"].tolist(),
    }
    connection.execute(_OUTPUT, values, prepare=True)
