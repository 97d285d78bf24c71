"""The books, kept a second time: from the account's records alone, in plain Python integers.

It shares no arithmetic with the code that wrote them (``cloud_trader.books``): an error there
would show here.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import psycopg

from cloud_trader.account_records import (
    BAR,
    CANCELLED,
    ENDED,
    OPENED,
    ORDER,
    REFUSED,
    BarEntry,
    CancelledEntry,
    EndedEntry,
    Opened,
    OrderEntry,
    RefusedEntry,
)
from cloud_trader.violation import Violation, require
from data.journal import Record
from data.records import SessionConfig, content_hash, encode


class BookCheck:
    """Applies the chain's records in order; Violation at the first that does not add up."""

    def __init__(self, config: SessionConfig) -> None:
        self._config = config
        self.cash = 0
        self.peak = 0
        self.equity = 0
        self.fills = 0
        self.refused: list[str] = []
        self.ended: tuple[str, str] | None = None
        self.orders: dict[str, OrderEntry] = {}
        self.last_order_reduced = False
        self._opened = False
        self._open: dict[str, OrderEntry] = {}
        self._status: dict[str, tuple[str, int]] = {}
        self._filled: dict[str, int] = {}
        self._positions: dict[str, int] = {}
        self._marks: dict[str, int] = {}
        self._fill_rows: dict[str, tuple[object, ...]] = {}

    def apply(self, record: Record) -> None:
        """One record."""
        where = f"{record.chain} record {record.seq} ({record.kind})"
        if record.kind == OPENED:
            opened = msgspec.json.decode(record.payload, type=Opened)
            require(
                opened.opening_micro == self._config.opening_micro, where, "opening cash differs"
            )
            require(
                opened.config_hash == content_hash(encode(self._config)),
                where,
                "the session's configuration is not the one it was opened with",
            )
            self.cash = self.peak = self.equity = opened.opening_micro
            self._opened = True
        elif record.kind == ORDER:
            self._order(where, msgspec.json.decode(record.payload, type=OrderEntry))
        elif record.kind == BAR:
            self._bar(where, record, msgspec.json.decode(record.payload, type=BarEntry))
        elif record.kind == CANCELLED:
            entry = msgspec.json.decode(record.payload, type=CancelledEntry)
            require(entry.client_order_id in self._open, where, "it cancels no open order")
            del self._open[entry.client_order_id]
            self._status[entry.client_order_id] = ("cancelled", 0)
        elif record.kind == ENDED and self.ended is None:
            last = msgspec.json.decode(record.payload, type=EndedEntry)
            self.ended = (last.status, last.detail)
        elif record.kind == REFUSED:
            entry_ = msgspec.json.decode(record.payload, type=RefusedEntry)
            self.refused.append(
                f"{entry_.symbol} {entry_.ts} {entry_.code}"
                f" (epoch {entry_.epoch}, in force {entry_.epoch_in_force})"
            )

    def _order(self, where: str, order: OrderEntry) -> None:
        require(order.client_order_id not in self.orders, where, "its order id was used before")
        require(order.lots > 0 and order.side in (-1, 1), where, "it is no order")
        position = self._positions.get(order.symbol, 0)
        before = position + sum(
            o.side * o.lots for o in self._open.values() if o.symbol == order.symbol
        )
        after = before + order.side * order.lots
        self.last_order_reduced = abs(after) < abs(before) and after * before >= 0
        self.orders[order.client_order_id] = order
        self._open[order.client_order_id] = order
        self._status[order.client_order_id] = ("open", 0)
        require(self._reserved() <= self.cash, where, "more cash is reserved than there is")

    def _reserved(self) -> int:
        return sum(order.reserved_micro for order in self._open.values())

    def _bar(self, where: str, record: Record, entry: BarEntry) -> None:
        per_tick = self._config.micro_per_tick
        for fill in entry.fills:
            order = self._open.get(fill.client_order_id)
            if order is None:
                raise Violation(where, f"fill {fill.fill_id} of an order that is not open")
            require(
                (fill.symbol, fill.side) == (order.symbol, order.side)
                and fill.side * fill.price_ticks <= fill.side * order.limit_ticks,
                where,
                f"fill {fill.fill_id} is not its order's symbol, side or limit",
            )
            require(fill.fill_id not in self._fill_rows, where, f"{fill.fill_id} came twice")
            total = self._filled.get(fill.client_order_id, 0) + fill.lots
            require(total <= order.lots, where, f"{fill.client_order_id} is overfilled")
            self._filled[fill.client_order_id] = total
            self.cash -= fill.side * fill.price_ticks * fill.lots * per_tick + fill.fee_micro
            self._positions[fill.symbol] = (
                self._positions.get(fill.symbol, 0) + fill.side * fill.lots
            )
            self.fills += 1
            self._fill_rows[fill.fill_id] = (
                fill.client_order_id,
                fill.symbol,
                entry.ts,
                fill.side,
                fill.lots,
                fill.price_ticks,
                fill.fee_micro,
                record.seq,
            )
        for closed in entry.closed:
            require(
                self._open.pop(closed.client_order_id, None) is not None,
                where,
                f"{closed.client_order_id} was not open",
            )
            require(
                closed.filled_lots == self._filled.get(closed.client_order_id, 0),
                where,
                f"{closed.client_order_id}: filled lots differ from its fills",
            )
            self._status[closed.client_order_id] = (closed.status, closed.filled_lots)
        self._marks = entry.marks
        self._compare_bar(where, entry)

    def _compare_bar(self, where: str, entry: BarEntry) -> None:
        held = {symbol: lots for symbol, lots in self._positions.items() if lots}
        require(held == entry.positions, where, "positions are not the sum of the fills")
        require(entry.cash_micro == self.cash, where, "cash is not opening minus fills and fees")
        require(self.cash >= 0, where, "cash is negative")
        missing = [symbol for symbol in held if entry.marks.get(symbol, 0) <= 0]
        require(not missing, where, f"no mark for {missing}")
        per_tick = self._config.micro_per_tick
        self.equity = self.cash + sum(
            lots * entry.marks[symbol] * per_tick for symbol, lots in held.items()
        )
        require(entry.equity_micro == self.equity, where, "equity is not cash + positions at marks")
        self.peak = max(self.peak, self.equity)
        require(entry.peak_micro == self.peak, where, "the peak is not the highest equity")
        require(entry.reserved_micro == self._reserved(), where, "reserved is not the open orders'")

    def compare(self, connection: psycopg.Connection) -> None:
        """The tables beside the journal say the same as its records."""
        account = self._config.account
        row = connection.execute(
            "SELECT cash_micro, reserved_micro, equity_micro, peak_micro FROM account"
            " WHERE account = %s",
            (account,),
        ).fetchone()
        books = (self.cash, self._reserved(), self.equity, self.peak)
        wanted = books if self._opened else None
        require(row == wanted, f"account {account}", f"says {row}, the records {wanted}")
        end = connection.execute(
            "SELECT status, detail FROM session_end WHERE session_id = %s",
            (self._config.session_id,),
        ).fetchone()
        require(end == self.ended, "session_end", f"says {end}, the records {self.ended}")
        positions = {
            str(symbol): int(lots)
            for symbol, lots in connection.execute(
                "SELECT symbol, lots FROM position WHERE account = %s AND lots <> 0", (account,)
            )
        }
        held = {symbol: lots for symbol, lots in self._positions.items() if lots}
        require(positions == held, "position", f"says {positions}, the records {held}")
        fills = {
            str(fill_id): tuple(values)
            for fill_id, *values in connection.execute(
                "SELECT fill_id, client_order_id, symbol, ts, side, lots, price_ticks, fee_micro,"
                " seq FROM fill WHERE account = %s",
                (account,),
            )
        }
        require(fills == self._fill_rows, "fill", _first_difference(fills, self._fill_rows))
        orders = {
            str(key): tuple(values)
            for key, *values in connection.execute(
                "SELECT client_order_id, symbol, ts, origin, side, lots, limit_ticks, epoch,"
                " reserved_micro, status, filled_lots FROM orders WHERE account = %s",
                (account,),
            )
        }
        expected = {
            key: (
                o.symbol,
                o.ts,
                o.origin,
                o.side,
                o.lots,
                o.limit_ticks,
                o.epoch,
                o.reserved_micro,
                *self._status[key],
            )
            for key, o in self.orders.items()
        }
        require(orders == expected, "orders", _first_difference(orders, expected))


def _first_difference(
    table: Mapping[str, tuple[object, ...]], records: Mapping[str, tuple[object, ...]]
) -> str:
    for key in sorted(table.keys() | records.keys()):
        if table.get(key) != records.get(key):
            return f"{key}: the table says {table.get(key)}, the records {records.get(key)}"
    return ""
