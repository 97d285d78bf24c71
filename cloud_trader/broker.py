"""Brokers: what takes orders and gives fills. Paper trading fills at the next bar.

The protocol is no larger than what every venue has: submit, cancel and query by our own order id,
and a stream of events. A time-out of a real venue is UNKNOWN: query, never resend blindly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from actors.outcome import VOLATILITY_WARM_UP, update_variance
from cloud_trader.fills import next_bar_fill
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
    """Fills each order once, at its symbol's next bar, by ``cloud_trader.fills``; the rest expires.

    Impact needs a volatility: it is the one of the bars before the filling bar.
    """

    def __init__(self, config: SessionConfig, costs: np.void) -> None:
        self._symbols = config.symbols
        self._costs = costs
        self._micro_per_tick = config.micro_per_tick
        self._open: dict[str, Order] = {}
        count = len(config.symbols)
        self._close = np.zeros(count, np.int64)
        self._bars = np.zeros(count, np.int64)
        self._variance = np.zeros(count)
        self._weight = np.zeros(count)

    def submit(self, order: Order) -> None:
        """See Broker."""
        if order.client_order_id in self._open:
            raise ValueError(f"order {order.client_order_id} was submitted before")
        self._open[order.client_order_id] = order

    def cancel(self, client_order_id: str) -> bool:
        """See Broker."""
        return self._open.pop(client_order_id, None) is not None

    def query(self, client_order_id: str) -> Order | None:
        """See Broker."""
        return self._open.get(client_order_id)

    def open_orders(self) -> list[Order]:
        """The orders that wait for their bar, in the order of submission."""
        return [*self._open.values()]

    def on_bars(self, bars: Bars) -> list[Event]:
        """The events of one moment's bars, in the order of submission."""
        events: list[Event] = []
        by_symbol = {self._symbols[int(bar["symbol"])]: bar for bar in bars}
        for order in [*self._open.values()]:
            bar = by_symbol.get(order.symbol)
            if bar is not None:
                del self._open[order.client_order_id]
                events.extend(self._fill(order, bar))
        for bar in bars:
            self._learn(int(bar["symbol"]), int(bar["close"]))
        return events

    def _fill(self, order: Order, bar: np.void) -> list[Event]:
        lots, price, fee = next_bar_fill(
            self._costs,
            order.side,
            order.lots,
            order.limit_ticks,
            int(bar["open"]),
            int(bar["volume"]),
            self._sigma(int(bar["symbol"])),
            self._micro_per_tick,
        )
        status = "filled" if lots == order.lots else "expired"
        done = DoneEvent(order, status, int(lots))
        if lots == 0:
            return [done]
        fill_id = f"paper/{order.client_order_id}/1"
        return [FillEvent(fill_id, order, int(lots), int(price), int(fee)), done]

    def _sigma(self, symbol: int) -> float:
        if self._bars[symbol] <= VOLATILITY_WARM_UP:
            return 0.0
        return math.sqrt(self._variance[symbol] / self._weight[symbol])

    def _learn(self, symbol: int, close: int) -> None:
        if self._bars[symbol] > 0:
            self._variance[symbol], self._weight[symbol] = update_variance(
                self._variance[symbol],
                self._weight[symbol],
                math.log(close / self._close[symbol]),
            )
        self._bars[symbol] += 1
        self._close[symbol] = close
