"""Brokers: what takes orders and gives fills. Paper trading fills at the next bar.

The protocol is no larger than what every venue has: submit, cancel and query by our own order id,
and a stream of events. A time-out of a real venue is UNKNOWN: query, never resend blindly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cloud_trader.account_records import DECISION, OrderEntry
from cloud_trader.venue import ONE_BAR, RESTING, TAPE, meet_bar, read_bar
from data.bars import Bars
from data.records import SessionConfig


@dataclass(frozen=True)
class Order:
    """An order as it stands on disk. ``side`` +1 buy, -1 sell; limit in ticks."""

    client_order_id: str
    symbol: str
    side: int
    lots: int
    limit_ticks: int
    from_decision: bool


def broker_order(entry: OrderEntry) -> Order:
    """The order that a record stands for."""
    return Order(
        entry.client_order_id,
        entry.symbol,
        entry.side,
        entry.lots,
        entry.limit_ticks,
        entry.origin == DECISION,
    )


@dataclass(frozen=True)
class FillEvent:
    """Some lots of an order traded."""

    fill_id: str
    order: Order
    lots: int
    price_ticks: int
    fee_micro: int


@dataclass(frozen=True)
class DoneEvent:
    """An order came to its end with ``filled_lots`` of its lots: 'filled' or 'expired'."""

    order: Order
    status: str
    filled_lots: int


Event = FillEvent | DoneEvent


class Broker(Protocol):
    """What the session loop needs of a venue."""

    def submit(self, order: Order) -> None:
        """Sends an order that is on disk."""

    def cancel(self, client_order_id: str) -> bool:
        """Takes an order back; False when it is not open any more."""

    def query(self, client_order_id: str) -> Order | None:
        """The order if it is open at the venue."""


class PaperBroker:
    """Fills each order once, at its symbol's next bar (``cloud_trader.venue``)."""

    def __init__(self, config: SessionConfig, costs: np.void) -> None:
        self._symbols = config.symbols
        self._costs = costs
        self._micro_per_tick = config.micro_per_tick
        self._open: dict[str, tuple[Order, np.void]] = {}
        self._tape = np.zeros(len(config.symbols), TAPE)

    def submit(self, order: Order) -> None:
        """See Broker."""
        if order.client_order_id in self._open:
            raise ValueError(f"order {order.client_order_id} was submitted before")
        resting = np.zeros(1, RESTING)[0]
        resting["side"], resting["lots"] = order.side, order.lots
        resting["limit_ticks"] = order.limit_ticks
        self._open[order.client_order_id] = (order, resting)

    def cancel(self, client_order_id: str) -> bool:
        """See Broker."""
        return self._open.pop(client_order_id, None) is not None

    def query(self, client_order_id: str) -> Order | None:
        """See Broker."""
        found = self._open.get(client_order_id)
        return found[0] if found else None

    def open_orders(self) -> list[Order]:
        """The orders that wait for their bar, in the order of submission."""
        return [order for order, _ in self._open.values()]

    def on_bars(self, bars: Bars) -> list[Event]:
        """The events of one moment's bars, in the order of submission."""
        events: list[Event] = []
        by_symbol = {self._symbols[int(bar["symbol"])]: bar for bar in bars}
        for order, resting in [*self._open.values()]:
            bar = by_symbol.get(order.symbol)
            if bar is not None:
                events.extend(self._meet(order, resting, bar))
        for bar in bars:
            read_bar(self._tape[int(bar["symbol"])], bar)
        return events

    def _meet(self, order: Order, resting: np.void, bar: np.void) -> list[Event]:
        tape = self._tape[int(bar["symbol"])]
        met, lots, price, fee = meet_bar(
            self._costs, tape, resting, bar, ONE_BAR, 0, 0, self._micro_per_tick
        )
        if not met:
            return []
        del self._open[order.client_order_id]
        status = "filled" if lots == order.lots else "expired"
        done = DoneEvent(order, status, int(lots))
        if lots == 0:
            return [done]
        fill_id = f"paper/{order.client_order_id}/1"
        return [FillEvent(fill_id, order, int(lots), int(price), int(fee)), done]
