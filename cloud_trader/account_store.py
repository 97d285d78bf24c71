"""The account's books in PostgreSQL: opening, fills and marks of one moment, the end.

Each method is one transaction under the account's lock. The chain record and the tables say the
same; ``verify`` recomputes the second from the first.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from cloud_trader.account_records import (
    BAR,
    ENDED,
    OPENED,
    BarEntry,
    ClosedEntry,
    EndedEntry,
    FillEntry,
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
from cloud_trader.books import apply_fill, drawdown
from cloud_trader.broker import DoneEvent, Event, FillEvent
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
from data.money import PPM, notional_micro
from data.records import SessionConfig, content_hash, encode
from data.store import ACCOUNT_LOCK_CLASS, TRADING_LOCK

DAY_NS = 86_400_000_000_000


class NotHolder(RuntimeError):
    """This process does not hold the account's lease: it may write nothing."""


@dataclass
class _Holding:
    lots: int
    cost_micro: int
    mark_ticks: int
    locked: bool


@dataclass(frozen=True)
class Marked:
    """The books after a moment's fills and marks."""

    equity_micro: int
    peak_micro: int
    halted: bool

    @property
    def drawdown(self) -> float:
        """Loss from the peak as a fraction."""
        return float(drawdown(self.peak_micro, self.equity_micro))

    def drawdown_above(self, limit_ppm: int) -> bool:
        """Whether equity is at or below its peak by the limit, in exact integers."""
        return (self.peak_micro - self.equity_micro) * PPM >= self.peak_micro * limit_ppm


class AccountStore:
    """Writes of one account. ``connection`` is the trader's own, in autocommit mode."""

    def __init__(self, connection: psycopg.Connection, config: SessionConfig) -> None:
        self._connection = connection
        self._config = config
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
            leased, books, halted, freed, seq, digest, cell_seq, operations_seq, *positions = row
            self._require_lease(leased)
            columns = zip(*[column or [] for column in positions], strict=True)
            holdings = {symbol: _Holding(*rest) for symbol, *rest in columns}
            entry = self._settle(ts, bars, events, locked, books, holdings, freed)
            record = self._next(
                Head(seq, bytes(digest)) if seq else Head(0, GENESIS),
                BAR,
                ts,
                entry,
                {cell: cell_seq, OPERATIONS: operations_seq},
            )
            self._write(entry, holdings, record)
        return Marked(entry.equity_micro, entry.peak_micro, bool(halted))

    def _settle(
        self,
        ts: int,
        bars: Bars,
        events: Sequence[Event],
        locked: Sequence[int],
        books: tuple[int, ...],
        holdings: dict[str, _Holding],
        freed: int,
    ) -> BarEntry:
        """The moment's record; ``holdings`` move on with it. ``freed``: cash no longer reserved."""
        cash, reserved, before, peak, day, day_open = books
        fills = [event for event in events if isinstance(event, FillEvent)]
        done = [event for event in events if isinstance(event, DoneEvent)]
        for fill in fills:
            held = holdings.setdefault(fill.order.symbol, _Holding(0, 0, 0, False))
            cash, held.lots, held.cost_micro, _ = apply_fill(
                cash,
                held.lots,
                held.cost_micro,
                fill.order.side,
                fill.lots,
                fill.price_ticks,
                fill.fee_micro,
                self._config.micro_per_tick,
            )
        reserved -= freed
        for bar in bars:
            symbol = self._config.symbols[int(bar["symbol"])]
            holdings.setdefault(symbol, _Holding(0, 0, 0, False)).mark_ticks = int(bar["close"])
        for number in locked:
            of_symbol = holdings.get(self._config.symbols[number])
            if of_symbol is not None and of_symbol.lots != 0:
                of_symbol.locked = True
        equity = self._equity(cash, holdings)
        if ts // DAY_NS > day:
            day, day_open = ts // DAY_NS, before
        return BarEntry(
            ts=ts,
            fills=[_fill_entry(fill) for fill in fills],
            closed=[_closed_entry(event) for event in done],
            marks={symbol: held.mark_ticks for symbol, held in sorted(holdings.items())},
            positions={s: held.lots for s, held in sorted(holdings.items()) if held.lots},
            cash_micro=int(cash),
            reserved_micro=int(reserved),
            equity_micro=equity,
            peak_micro=max(peak, equity),
            day=day,
            day_open_micro=day_open,
            locked=[symbol for symbol, held in sorted(holdings.items()) if held.locked],
        )

    def _equity(self, cash: int, holdings: dict[str, _Holding]) -> int:
        total = int(cash)
        for held in holdings.values():
            if held.lots:
                per_tick = self._config.micro_per_tick
                total += int(notional_micro(held.mark_ticks, held.lots, per_tick))
        return total

    def _write(self, entry: BarEntry, holdings: dict[str, _Holding], record: Record) -> None:
        account = self._config.account
        values = record.parameters() | {
            "account": account,
            "symbols": list(holdings),
            "lots": [int(held.lots) for held in holdings.values()],
            "costs": [int(held.cost_micro) for held in holdings.values()],
            "marks": [held.mark_ticks for held in holdings.values()],
            "locks": ["quarantined" if held.locked else None for held in holdings.values()],
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


def _fill_entry(fill: FillEvent) -> FillEntry:
    return FillEntry(
        fill_id=fill.fill_id,
        client_order_id=fill.order.client_order_id,
        symbol=fill.order.symbol,
        side=fill.order.side,
        lots=fill.lots,
        price_ticks=fill.price_ticks,
        fee_micro=fill.fee_micro,
    )


def _closed_entry(event: DoneEvent) -> ClosedEntry:
    return ClosedEntry(
        client_order_id=event.order.client_order_id,
        status=event.status,
        filled_lots=event.filled_lots,
    )


def trading_active(connection: psycopg.Connection, account: str) -> bool:
    """Whether no scope restricts the account's trading."""
    row = connection.execute(ACTIVE, (account,)).fetchone()
    return bool(row and row[0])
