"""The order transaction: from an approval row to an order row, or to a refusal with its code.

READ COMMITTED. First statement: the trading lock shared and the account's lock exclusive. What
decides is read after the locks, deadlines are compared with clock_timestamp() (now() is the
transaction's start). The order stands on disk, with its reserved cash, before it is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
import structlog

from actors.account_checks import ORDER, check_order, reserve_micro
from actors.checks import Code, TradingState, collar_price
from cloud_trader.account_records import (
    CANCELLED,
    DECISION,
    OPERATOR,
    REFUSED,
    CancelledEntry,
    OrderEntry,
    RefusedEntry,
)
from cloud_trader.account_records import (
    ORDER as ORDER_KIND,
)
from cloud_trader.account_store import AccountStore
from cloud_trader.broker import Order
from data.money import multiply_checked
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
_BOOKS = """
SELECT cash_micro, reserved_micro, equity_micro, peak_micro, day_open_micro,
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
_INSERT = """
INSERT INTO orders (client_order_id, session_id, account, symbol, ts, origin, side, lots,
                    limit_ticks, epoch, reserved_micro, send_by, seq, status)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
        clock_timestamp() + make_interval(secs => %s), %s, 'open')
"""
_RESERVE = "UPDATE account SET reserved_micro = reserved_micro + %s WHERE account = %s"


@dataclass(frozen=True)
class Exposure:
    """One symbol: filled lots, mark in ticks, lots of open buys and sells."""

    lots: int
    mark_ticks: int
    open_buys: int
    open_sells: int

    @property
    def net(self) -> int:
        return self.lots + self.open_buys - self.open_sells

    @property
    def worst(self) -> int:
        """The largest |position| that the open orders could lead to."""
        return max(abs(self.lots + self.open_buys), abs(self.lots - self.open_sells))


NOTHING = Exposure(0, 0, 0, 0)


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
        self._limits = limits
        self._costs = costs
        self._holder = holder

    def place(self, symbol: str, ts: int) -> Order | None:
        """The order of an approved decision, committed; None when it was refused (journalled)."""
        with self._connection.transaction():
            self._accounts.lock(self._holder)
            row = self._connection.execute(_READ, (self._config.session_id, symbol, ts)).fetchone()
            if row is None:
                self._refuse(symbol, ts, 0, 0, Code.NO_APPROVAL, 0, 0)
                return None
            side, most, limit, net, epoch, account, fresh, in_force, ordered = row
            exposures = self._exposures()
            exposure = exposures.get(symbol, NOTHING)
            code = self._void(account, epoch, in_force, fresh, ordered, exposure.net, net)
            if code is None:
                _, number, lots = check_order(
                    self._limits,
                    self._costs,
                    self._order(symbol, side, most, limit, exposures, operator=False),
                )
                code = Code(number)
                if lots > 0:
                    return self._commit(
                        symbol, ts, DECISION, side, int(lots), limit, epoch, code.name
                    )
            self._refuse(symbol, ts, side, most, code, epoch, in_force or 0)
            return None

    def flatten(self, ts: int, action: str) -> list[Order]:
        """Operator orders that close every position, each limited by the collar at its mark."""
        with self._connection.transaction():
            self._accounts.lock(self._holder)
            exposures = self._exposures()
        orders = [
            self._close(symbol, ts, action)
            for symbol, exposure in sorted(exposures.items())
            if exposure.net != 0
        ]
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

    # -- inside a transaction ----------------------------------------------------------------

    def _void(
        self,
        account: str,
        epoch: int,
        in_force: int | None,
        fresh: bool,
        ordered: int,
        net_now: int,
        net_judged: int,
    ) -> Code | None:
        """Why the approval is no longer good; None when it is."""
        if account != self._config.account:
            return Code.NO_APPROVAL
        if epoch != in_force:
            return Code.EPOCH_VOID
        if not fresh:
            return Code.EXPIRED
        # Client order ids derive from the decision: it has one order, whatever became of it.
        if ordered:
            return Code.DUPLICATE
        return Code.STALE_VIEW if net_now != net_judged else None

    def _close(self, symbol: str, ts: int, action: str) -> Order | None:
        with self._connection.transaction():
            self._accounts.lock(self._holder)
            exposures = self._exposures()
            exposure = exposures[symbol]
            side = -1 if exposure.net > 0 else 1
            limit = int(collar_price(self._limits, side, exposure.mark_ticks))
            order = self._order(symbol, side, abs(exposure.net), limit, exposures, operator=True)
            _, number, lots = check_order(self._limits, self._costs, order)
            if lots <= 0:
                self._refuse(symbol, ts, side, abs(exposure.net), Code(number), 0, 0)
                return None
            return self._commit(symbol, ts, OPERATOR, side, int(lots), limit, None, action)

    def _exposures(self) -> dict[str, Exposure]:
        rows = self._connection.execute(_POSITIONS, {"account": self._config.account})
        return {str(row[0]): Exposure(*[int(value) for value in row[1:]]) for row in rows}

    def _order(
        self,
        symbol: str,
        side: int,
        lots: int,
        limit: int,
        exposures: dict[str, Exposure],
        *,
        operator: bool,
    ) -> np.void:
        """One ORDER record: the order beside the books as they are now."""
        books = self._connection.execute(_BOOKS, (self._config.account,)).fetchone()
        if books is None:
            raise LookupError(f"account {self._config.account} is not open")
        cash, reserved, equity, peak, day_open, state = books
        exposure = exposures.get(symbol, NOTHING)
        per_tick = self._config.micro_per_tick
        row = np.zeros(1, ORDER)
        values: dict[str, Any] = {
            "side": side,
            "lots": lots,
            "limit_price": limit,
            "operator": int(operator),
            "reference": exposure.mark_ticks,
            "micro_per_tick": per_tick,
            "state": int(TradingState(state)),
            "position": exposure.lots,
            "open_buys": exposure.open_buys,
            "open_sells": exposure.open_sells,
            "cash_micro": cash,
            "reserved_micro": reserved,
            "equity_micro": equity,
            "peak_micro": peak,
            "day_start_micro": day_open,
            "gross_other_micro": sum(
                int(multiply_checked(other.worst, other.mark_ticks * per_tick))
                for name, other in exposures.items()
                if name != symbol
            ),
        }
        for name, value in values.items():
            row[name] = value
        return row[0]

    def _commit(
        self,
        symbol: str,
        ts: int,
        origin: str,
        side: int,
        lots: int,
        limit: int,
        epoch: int | None,
        code: str,
    ) -> Order:
        config = self._config
        client_order_id = f"{config.session_id}/{symbol}/{ts}/{origin[0]}"
        reserved = int(reserve_micro(self._costs, side, lots, limit, config.micro_per_tick))
        body = OrderEntry(
            client_order_id=client_order_id,
            symbol=symbol,
            ts=ts,
            origin=origin,
            side=side,
            lots=lots,
            limit_ticks=limit,
            epoch=epoch,
            reserved_micro=reserved,
            code=code,
        )
        seq = self._accounts.record(self._accounts.head(), ORDER_KIND, ts, body).seq
        self._connection.execute(
            _INSERT,
            (client_order_id, config.session_id, config.account, symbol, ts, origin, side, lots,
             limit, epoch, reserved, config.approval_ttl_s, seq),
        )  # fmt: skip
        self._connection.execute(_RESERVE, (reserved, config.account))
        return Order(client_order_id, symbol, side, lots, limit, origin == DECISION)

    def _refuse(
        self, symbol: str, ts: int, side: int, lots: int, code: Code, epoch: int, in_force: int
    ) -> None:
        body = RefusedEntry(
            symbol=symbol,
            ts=ts,
            side=side,
            lots=lots,
            code=code.name,
            epoch=epoch,
            epoch_in_force=in_force,
        )
        self._accounts.record(self._accounts.head(), REFUSED, ts, body)
        log.info("order refused", symbol=symbol, ts=ts, code=code.name)
