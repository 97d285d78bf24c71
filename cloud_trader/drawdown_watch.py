"""What a drawdown at its limit demands of the account's next records.

The trader halts the account, takes back what decisions had ordered, and closes every position; at
each later moment of the halt it closes what was left open. A record that skips any of it, or a
closing order that nothing demanded, is a difference.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from actors.checks import TradingState
from cloud_trader.account_records import DECISION, OrderEntry
from cloud_trader.account_step import drawdown_reached
from cloud_trader.difference import Difference
from cloud_trader.operations_log import OperationsLog
from cloud_trader.order_rules import OrderRules

NEVER = -1


class DrawdownWatch:
    """Follows one account; ``marked`` after each moment, then what the records do about it."""

    def __init__(self, operations: OperationsLog, limit_ppm: int) -> None:
        self._operations = operations
        self._limit_ppm = limit_ppm
        self._halted = False  # by this limit, for good
        self._at: int | None = None  # ts of a moment that demands closing orders
        self._due: list[str] | None = None  # symbols still to close; None: not worked out yet
        self._new = False

    def marked(self, books: np.void, ts: int) -> None:
        """The books after a moment's fills and marks; their state is the one of that moment."""
        if self._halted:
            demands = books["state"] == TradingState.HALTED
        else:
            demands = bool(drawdown_reached(books, self._limit_ppm))
        self._new = demands and not self._halted
        self._halted = self._halted or demands
        self._at, self._due = (ts, None) if demands else (None, None)

    def closes(
        self,
        where: str,
        symbol: str,
        rules: OrderRules,
        positions: np.ndarray,
        waiting: Iterable[OrderEntry],
    ) -> None:
        """A closing order, or its refusal: the next symbol that is due."""
        due = self._work_out(where, rules, positions, waiting)
        if not due or due[0] != symbol:
            raise Difference(where, "closing order", symbol, due[0] if due else "none is due")
        due.pop(0)

    def settled(
        self,
        where: str,
        rules: OrderRules,
        positions: np.ndarray,
        waiting: Iterable[OrderEntry],
    ) -> None:
        """Before any other record: nothing may be left to close."""
        due = self._work_out(where, rules, positions, waiting)
        if due:
            raise Difference(where, "closing orders", "none", due)
        self._at = None

    def _work_out(
        self,
        where: str,
        rules: OrderRules,
        positions: np.ndarray,
        waiting: Iterable[OrderEntry],
    ) -> list[str]:
        if self._at is None:
            return []
        if self._due is None:
            if self._new and self._at not in self._operations.limit_halts:
                raise Difference(where, "trading state", "no halt", f"HALTED at {self._at}")
            left = [order.client_order_id for order in waiting if order.origin == DECISION]
            if self._new and left:
                raise Difference(where, "orders in flight", left[0], "taken back by the halt")
            self._due = rules.to_close(positions)
        return self._due
