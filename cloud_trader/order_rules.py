"""The order transaction's judgement: from an approval and the books to an order or a refusal. Pure.

Live and replay call the same functions; only where books and approval come from differs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from actors.account_checks import ORDER
from actors.checks import Code, collar_price
from cloud_trader.account_records import DECISION, OPERATOR, OrderEntry, RefusedEntry
from cloud_trader.account_step import judge_order, net_lots
from data.records import SessionConfig


@dataclass(frozen=True)
class Approval:
    """An approval as its transaction finds it. ``fresh``: not expired, by the database's clock."""

    account: str
    symbol: str
    ts: int
    side: int
    lots: int
    limit_ticks: int
    net_lots: int
    epoch: int
    epoch_in_force: int | None
    fresh: bool
    ordered: bool  # the decision has an order already


class OrderRules:
    """One session's account limits and costs, as the compiled functions take them."""

    def __init__(self, config: SessionConfig, limits: np.void, costs: np.void) -> None:
        self.config = config
        self._limits = limits
        self._costs = costs
        self._numbers = {name: index for index, name in enumerate(config.symbols)}

    def decide(
        self, approval: Approval, books: np.void, positions: np.ndarray
    ) -> OrderEntry | RefusedEntry:
        """The order that the approval becomes, or why it becomes none."""
        position = positions[self._numbers[approval.symbol]]
        void = self._void(approval, int(net_lots(position)))
        code, lots, reserved = (
            self._judge(
                books,
                positions,
                approval.symbol,
                approval.side,
                approval.lots,
                approval.limit_ticks,
                operator=False,
            )
            if void is None
            else (void, 0, 0)
        )
        if lots > 0:
            return self._order(
                approval.symbol,
                approval.ts,
                DECISION,
                approval.side,
                lots,
                approval.limit_ticks,
                approval.epoch,
                reserved,
                code.name,
            )
        return refusal(
            approval.symbol,
            approval.ts,
            approval.side,
            approval.lots,
            code,
            approval.epoch,
            approval.epoch_in_force or 0,
        )

    def close(
        self, symbol: str, ts: int, action: str, books: np.void, positions: np.ndarray
    ) -> OrderEntry | RefusedEntry:
        """The operator's order that takes ``symbol`` to zero, limited by the collar at its mark."""
        position = positions[self._numbers[symbol]]
        net = int(net_lots(position))
        side = -1 if net > 0 else 1
        limit = int(collar_price(self._limits, side, position["mark_ticks"]))
        code, lots, reserved = self._judge(
            books, positions, symbol, side, abs(net), limit, operator=True
        )
        if lots > 0:
            return self._order(symbol, ts, OPERATOR, side, lots, limit, None, reserved, action)
        return refusal(symbol, ts, side, abs(net), code, 0, 0)

    def to_close(self, positions: np.ndarray) -> list[str]:
        """The symbols whose position, open orders included, is not zero."""
        return [
            name
            for name, position in zip(self.config.symbols, positions, strict=True)
            if net_lots(position) != 0
        ]

    def _void(self, approval: Approval, net_now: int) -> Code | None:
        """Why the approval is no longer good; None when it is."""
        if approval.account != self.config.account:
            return Code.NO_APPROVAL
        if approval.epoch != approval.epoch_in_force:
            return Code.EPOCH_VOID
        if not approval.fresh:
            return Code.EXPIRED
        # Client order ids derive from the decision: it has one order, whatever became of it.
        if approval.ordered:
            return Code.DUPLICATE
        return Code.STALE_VIEW if net_now != approval.net_lots else None

    def _judge(
        self,
        books: np.void,
        positions: np.ndarray,
        symbol: str,
        side: int,
        lots: int,
        limit: int,
        *,
        operator: bool,
    ) -> tuple[Code, int, int]:
        code, allowed, reserved = judge_order(
            self._limits,
            self._costs,
            books,
            positions,
            np.zeros(1, ORDER)[0],
            self._numbers[symbol],
            side,
            lots,
            limit,
            int(operator),
            self.config.micro_per_tick,
        )
        return Code(code), int(allowed), int(reserved)

    def _order(
        self,
        symbol: str,
        ts: int,
        origin: str,
        side: int,
        lots: int,
        limit: int,
        epoch: int | None,
        reserved: int,
        code: str,
    ) -> OrderEntry:
        return OrderEntry(
            client_order_id=f"{self.config.session_id}/{symbol}/{ts}/{origin[0]}",
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


def refusal(
    symbol: str, ts: int, side: int, lots: int, code: Code, epoch: int, in_force: int
) -> RefusedEntry:
    """The record of an approval, or a closing order, that became no order."""
    return RefusedEntry(
        symbol=symbol,
        ts=ts,
        side=side,
        lots=lots,
        code=code.name,
        epoch=epoch,
        epoch_in_force=in_force,
    )
