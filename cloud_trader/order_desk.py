"""The order transaction: from an approval row to an order row, or to a refusal with its code.

READ COMMITTED. First statement: the trading lock shared and the account's lock exclusive. What
decides is read after the locks, deadlines are compared with clock_timestamp() (now() is the
transaction's start). The order stands on disk, with its reserved cash, before it is sent.
"""

from __future__ import annotations

import numpy as np
import psycopg
import structlog

from actors.checks import Code
from cloud_trader.account_records import (
    CANCELLED,
    REFUSED,
    CancelledEntry,
    OrderEntry,
    RefusedEntry,
)
from cloud_trader.account_records import (
    ORDER as ORDER_KIND,
)
from cloud_trader.account_step import BOOKS, POSITION
from cloud_trader.account_store import AccountStore
from cloud_trader.broker import Order, broker_order
from cloud_trader.order_rules import Approval, OrderRules, refusal
from data.records import SessionConfig

log = structlog.get_logger("trader")

_READ = """
SELECT a.side, a.max_lots, a.limit_ticks, a.net_lots, a.epoch, a.account,
       a.expires_at > clock_timestamp() AS fresh,
       (SELECT epoch FROM gate_lease WHERE cell = a.cell) AS epoch_in_force,
       (SELECT coalesce(sum(lots), 0) FROM orders o
         WHERE o.session_id = a.session_id AND o.symbol = a.symbol AND o.ts = a.ts
           AND o.origin = 'decision') AS ordered
FROM approval a WHERE a.session_id = %s AND a.symbol = %s AND a.ts = %s
"""
# In BOOKS' field order.
_BOOKS = """
SELECT cash_micro, reserved_micro, equity_micro, peak_micro, day, day_open_micro,
       (SELECT coalesce(max(CASE state WHEN 'HALTED' THEN 2 WHEN 'REDUCING' THEN 1 ELSE 0 END), 0)
          FROM trading_state WHERE scope IN ('*', account.account))
FROM account WHERE account = %s
"""
_POSITIONS = """
SELECT coalesce(p.symbol, o.symbol), coalesce(p.lots, 0), coalesce(p.mark_ticks, 0),
       coalesce(o.buys, 0), coalesce(o.sells, 0)
FROM (SELECT symbol, lots, mark_ticks FROM position WHERE account = %(account)s) p
FULL JOIN (SELECT symbol,
             sum(lots - filled_lots) FILTER (WHERE side > 0) AS buys,
             sum(lots - filled_lots) FILTER (WHERE side < 0) AS sells
           FROM orders WHERE account = %(account)s AND status = 'open' GROUP BY symbol) o
  ON o.symbol = p.symbol
"""
_POSITION_FIELDS = ("lots", "mark_ticks", "open_buys", "open_sells")
_INSERT = """
INSERT INTO orders (client_order_id, session_id, account, symbol, ts, origin, side, lots,
                    limit_ticks, epoch, reserved_micro, send_by, seq, status)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
        clock_timestamp() + make_interval(secs => %s), %s, 'open')
"""
_RESERVE = "UPDATE account SET reserved_micro = reserved_micro + %s WHERE account = %s"


class OrderDesk:
    """Turns approvals into orders for one account."""

    def __init__(
        self,
        accounts: AccountStore,
        connection: psycopg.Connection,
        config: SessionConfig,
        limits: np.void,
        costs: np.void,
        holder: str,
    ) -> None:
        self._accounts = accounts
        self._connection = connection
        self._config = config
        self._rules = OrderRules(config, limits, costs)
        self._holder = holder

    def place(self, symbol: str, ts: int) -> Order | None:
        """The order of an approved decision, committed; None when it was refused (journalled)."""
        with self._connection.transaction():
            self._accounts.lock(self._holder)
            row = self._connection.execute(_READ, (self._config.session_id, symbol, ts)).fetchone()
            if row is None:
                return self._write(refusal(symbol, ts, 0, 0, Code.NO_APPROVAL, 0, 0))
            side, most, limit, net, epoch, account, fresh, in_force, ordered = row
            approval = Approval(
                account=account,
                symbol=symbol,
                ts=ts,
                side=side,
                lots=most,
                limit_ticks=limit,
                net_lots=net,
                epoch=epoch,
                epoch_in_force=in_force,
                fresh=fresh,
                ordered=bool(ordered),
            )
            return self._write(self._rules.decide(approval, self._books(), self._positions()))

    def flatten(self, ts: int, action: str) -> list[Order]:
        """Operator orders that close every position, each limited by the collar at its mark."""
        with self._connection.transaction():
            self._accounts.lock(self._holder)
            symbols = self._rules.to_close(self._positions())
        orders = [self._close(symbol, ts, action) for symbol in symbols]
        return [order for order in orders if order is not None]

    def cancelled(self, client_order_id: str, ts: int, why: str) -> None:
        """Records that an open order was taken back and frees its cash."""
        with self._connection.transaction():
            self._accounts.lock(self._holder)
            row = self._connection.execute(
                "UPDATE orders SET status = 'cancelled' WHERE client_order_id = %s"
                " AND status = 'open' RETURNING reserved_micro",
                (client_order_id,),
            ).fetchone()
            if row is None:
                return
            body = CancelledEntry(client_order_id=client_order_id, why=why)
            self._accounts.record(self._accounts.head(), CANCELLED, ts, body)
            self._connection.execute(_RESERVE, (-row[0], self._config.account))

    def _close(self, symbol: str, ts: int, action: str) -> Order | None:
        with self._connection.transaction():
            self._accounts.lock(self._holder)
            books, positions = self._books(), self._positions()
            return self._write(self._rules.close(symbol, ts, action, books, positions))

    def _books(self) -> np.void:
        """One BOOKS record, as committed."""
        row = self._connection.execute(_BOOKS, (self._config.account,)).fetchone()
        if row is None:
            raise LookupError(f"account {self._config.account} is not open")
        return np.array([row], BOOKS)[0]

    def _positions(self) -> np.ndarray:
        """POSITION rows (m,), open orders included; what they cost is not read here."""
        positions = np.zeros(len(self._config.symbols), POSITION)
        for name, *values in self._connection.execute(
            _POSITIONS, {"account": self._config.account}
        ):
            row = positions[self._config.symbols.index(name)]
            for field, value in zip(_POSITION_FIELDS, values, strict=True):
                row[field] = value
        return positions

    def _write(self, entry: OrderEntry | RefusedEntry) -> Order | None:
        """Appends the record and, for an order, its row and the cash it holds back."""
        config = self._config
        if isinstance(entry, RefusedEntry):
            self._accounts.record(self._accounts.head(), REFUSED, entry.ts, entry)
            log.info("order refused", symbol=entry.symbol, ts=entry.ts, code=entry.code)
            return None
        seq = self._accounts.record(self._accounts.head(), ORDER_KIND, entry.ts, entry).seq
        self._connection.execute(
            _INSERT,
            (entry.client_order_id, config.session_id, config.account, entry.symbol, entry.ts,
             entry.origin, entry.side, entry.lots, entry.limit_ticks, entry.epoch,
             entry.reserved_micro, config.approval_ttl_s, seq),
        )  # fmt: skip
        self._connection.execute(_RESERVE, (entry.reserved_micro, config.account))
        return broker_order(entry)
