"""The account's books in PostgreSQL: opening, fills and marks of one moment, the end.

Each method is one transaction under the account's lock. The chain record and the tables say the
same; ``verify`` recomputes the second from the first.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg

from actors.limits import recorded_limits
from cloud_trader.account_records import (
    BAR,
    ENDED,
    OPENED,
    BarEntry,
    EndedEntry,
    Opened,
)
from cloud_trader.account_sql import (
    ACTIVE,
    CLOSE,
    FILL,
    HALTED,
    LEASE,
    LOCKS,
    READ_MOMENT,
    SEEN,
    WRITE_MOMENT,
)
from cloud_trader.account_step import BOOKS, POSITION, drawdown_reached
from cloud_trader.account_step import HALTED as HALTED_STATE
from cloud_trader.books import drawdown
from cloud_trader.broker import DoneEvent, Event
from cloud_trader.moment import settle_moment
from data.bars import Bars
from data.journal import (
    GENESIS,
    OPERATIONS,
    Head,
    Record,
    account_chain,
    append,
    cell_chain,
    head,
    next_record,
)
from data.records import SessionConfig, content_hash, encode
from data.store import ACCOUNT_LOCK_CLASS, TRADING_LOCK


class NotHolder(RuntimeError):
    """This process does not hold the account's lease: it may write nothing."""


@dataclass(frozen=True)
class Marked:
    """The books after a moment's fills and marks."""

    equity_micro: int
    peak_micro: int
    halted: bool
    limit_reached: bool  # drawdown from the peak

    @property
    def drawdown(self) -> float:
        """Loss from the peak as a fraction."""
        return float(drawdown(self.peak_micro, self.equity_micro))


class AccountStore:
    """Writes of one account. ``connection`` is the trader's own, in autocommit mode."""

    def __init__(self, connection: psycopg.Connection, config: SessionConfig) -> None:
        self._connection = connection
        self._config = config
        self._max_drawdown_ppm = int(recorded_limits(config.limits).record()["max_drawdown_ppm"])
        self._chain = account_chain(config.account)

    # -- shared by every transaction of the account ------------------------------------------

    def lock(self, holder: str) -> None:
        """First statements of a transaction: trading lock shared, account's exclusive, lease."""
        account = self._config.account
        self._connection.execute(LOCKS, (*TRADING_LOCK, ACCOUNT_LOCK_CLASS, account))
        row = self._connection.execute(LEASE, (holder, account)).fetchone()
        self._require_lease(row is not None and row[0])

    def _require_lease(self, leased: object) -> None:
        if leased is not True:
            raise NotHolder(f"the lease of {self._config.account} is not held by this trader")

    def head(self) -> Head:
        """The last record of the account's chain."""
        return head(self._connection, self._chain)

    def record(self, after: Head, kind: str, ts: int, payload: object) -> Head:
        """Appends to the account's chain, naming what it saw of the other chains."""
        others = [cell_chain(self._config.cell), OPERATIONS]
        rows = self._connection.execute(SEEN, (others,))
        seen = {str(chain): int(seq) for chain, seq in rows}
        record = self._next(after, kind, ts, payload, seen)
        append(self._connection, record)
        return record.head

    def _next(
        self, after: Head, kind: str, ts: int, payload: object, seen: dict[str, int]
    ) -> Record:
        return next_record(
            after,
            chain=self._chain,
            kind=kind,
            session_id=self._config.session_id,
            ts=ts,
            written_ns=time.time_ns(),
            payload=payload,
            seen=seen,
        )

    # -- life of the account -----------------------------------------------------------------

    def open(self, holder: str) -> None:
        """Opens the account with the session's cash unless it is open."""
        config = self._config
        opening = config.opening_micro
        with self._connection.transaction():
            self.lock(holder)
            row = self._connection.execute(
                "SELECT 1 FROM account WHERE account = %s", (config.account,)
            ).fetchone()
            if row is not None:
                return
            body = Opened(
                account=config.account,
                opening_micro=opening,
                holder=holder,
                config_hash=content_hash(encode(config)),
            )
            self.record(self.head(), OPENED, 0, body)
            self._connection.execute(
                "INSERT INTO account (account, session_id, opening_micro, cash_micro,"
                " equity_micro, peak_micro, day_open_micro) VALUES (%s, %s, %s, %s, %s, %s, %s)",
                (config.account, config.session_id, opening, opening, opening, opening, opening),
            )

    def halted(self) -> bool:
        """Whether the account, or the whole system, is halted now."""
        row = self._connection.execute(HALTED, (self._config.account,)).fetchone()
        if row is None:
            raise LookupError("the trading state gave no row")
        return bool(row[0])

    def end(self, status: str, detail: str, holder: str) -> None:
        """The session's last record and row; NotHolder when another trader has the account."""
        with self._connection.transaction():
            self.lock(holder)
            self.record(self.head(), ENDED, 0, EndedEntry(status=status, detail=detail))
            self._connection.execute(
                "INSERT INTO session_end (session_id, status, detail) VALUES (%s, %s, %s)"
                " ON CONFLICT (session_id) DO NOTHING",
                (self._config.session_id, status, detail),
            )

    # -- one moment --------------------------------------------------------------------------

    def mark(
        self, ts: int, bars: Bars, events: Sequence[Event], locked: Sequence[int], holder: str
    ) -> Marked:
        """Applies fills, marks to the closes, and commits record and books."""
        account = self._config.account
        cell = cell_chain(self._config.cell)
        values = {
            "holder": holder,
            "account": account,
            "closed": [e.order.client_order_id for e in events if isinstance(e, DoneEvent)],
            "chain": self._chain,
            "cell_chain": cell,
            "operations": OPERATIONS,
        }
        with self._connection.transaction():
            self._connection.execute(LOCKS, (*TRADING_LOCK, ACCOUNT_LOCK_CLASS, account))
            row = self._connection.execute(READ_MOMENT, values).fetchone()
            if row is None:
                raise LookupError(f"account {account} is not open")
            leased, columns, halted, freed, seq, digest, cell_seq, operations_seq, *held = row
            self._require_lease(leased)
            books = np.array([(*columns, HALTED_STATE if halted else 0)], BOOKS)[0]
            positions = self._positions(held)
            entry = settle_moment(
                self._config, books, positions, ts, bars, events, locked, int(freed)
            )
            record = self._next(
                Head(seq, bytes(digest)) if seq else Head(0, GENESIS),
                BAR,
                ts,
                entry,
                {cell: cell_seq, OPERATIONS: operations_seq},
            )
            self._write(entry, positions, record)
        reached = bool(drawdown_reached(books, self._max_drawdown_ppm))
        return Marked(entry.equity_micro, entry.peak_micro, bool(halted), reached)

    def _positions(self, held: list[list[Any] | None]) -> np.ndarray:
        """POSITION rows (m,) from the parallel columns that were read."""
        positions = np.zeros(len(self._config.symbols), POSITION)
        for name, *values in zip(*[column or [] for column in held], strict=True):
            row = positions[self._config.symbols.index(name)]
            row["lots"], row["cost_micro"], row["mark_ticks"], row["locked"] = values
        return positions

    def _write(self, entry: BarEntry, positions: np.ndarray, record: Record) -> None:
        account = self._config.account
        known = np.flatnonzero(positions["mark_ticks"])
        held = positions[known]
        values = record.parameters() | {
            "account": account,
            "symbols": [self._config.symbols[i] for i in known],
            "lots": held["lots"].tolist(),
            "costs": held["cost_micro"].tolist(),
            "marks": held["mark_ticks"].tolist(),
            "locks": ["quarantined" if locked else None for locked in held["locked"]],
            "cash": entry.cash_micro,
            "reserved": entry.reserved_micro,
            "equity": entry.equity_micro,
            "peak": entry.peak_micro,
            "day": entry.day,
            "day_open": entry.day_open_micro,
        }
        with self._connection.cursor() as cursor:
            cursor.execute(WRITE_MOMENT, values)
            if entry.fills:
                cursor.executemany(
                    FILL,
                    [
                        (f.fill_id, f.client_order_id, account, f.symbol, entry.ts, f.side, f.lots,
                         f.price_ticks, f.fee_micro, record.seq)
                        for f in entry.fills
                    ],
                )  # fmt: skip
            if entry.closed:
                rows = [(c.status, c.filled_lots, c.client_order_id) for c in entry.closed]
                cursor.executemany(CLOSE, rows)


def trading_active(connection: psycopg.Connection, account: str) -> bool:
    """Whether no scope restricts the account's trading."""
    row = connection.execute(ACTIVE, (account,)).fetchone()
    return bool(row and row[0])
