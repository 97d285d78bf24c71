"""One moment of an account: from the broker's events and the bars to its journal record. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cloud_trader.account_records import BarEntry, ClosedEntry, FillEntry
from cloud_trader.account_step import FILL, settle
from cloud_trader.broker import DoneEvent, Event, FillEvent
from data.bars import Bars
from data.records import SessionConfig, bars_to_rows

Positions = np.ndarray  # POSITION, one row per symbol of the session


def settle_moment(
    config: SessionConfig,
    books: np.void,
    positions: Positions,
    ts: int,
    bars: Bars,
    events: Sequence[Event],
    locked: Sequence[int],
    freed_micro: int,
) -> BarEntry:
    """The moment's record; ``books`` and ``positions`` move on with it.

    ``freed_micro``: what the orders that close now had reserved. ValueError for a fill that is
    none, or when a held symbol has no mark.
    """
    fills = [event for event in events if isinstance(event, FillEvent)]
    done = [event for event in events if isinstance(event, DoneEvent)]
    numbers = {name: index for index, name in enumerate(config.symbols)}
    rows = np.zeros(len(fills), FILL)
    for row, fill in zip(rows, fills, strict=True):
        row["symbol"], row["side"] = numbers[fill.order.symbol], fill.order.side
        row["lots"], row["price_ticks"], row["fee_micro"] = (
            fill.lots,
            fill.price_ticks,
            fill.fee_micro,
        )
    locks = np.array(sorted(locked), np.int64)
    settle(books, positions, rows, freed_micro, bars, locks, ts, config.micro_per_tick)
    named = sorted(zip(config.symbols, positions, strict=True), key=lambda pair: pair[0])
    met = {numbers[event.order.symbol] for event in done}
    return BarEntry(
        ts=ts,
        fills=[_fill_entry(fill) for fill in fills],
        closed=[_closed_entry(event) for event in done],
        marks={name: int(held["mark_ticks"]) for name, held in named if held["mark_ticks"] > 0},
        positions={name: int(held["lots"]) for name, held in named if held["lots"]},
        cash_micro=int(books["cash_micro"]),
        reserved_micro=int(books["reserved_micro"]),
        equity_micro=int(books["equity_micro"]),
        peak_micro=int(books["peak_micro"]),
        day=int(books["day"]),
        day_open_micro=int(books["day_open_micro"]),
        locked=[name for name, held in named if held["locked"]],
        met=bars_to_rows(bars[np.isin(bars["symbol"], sorted(met))]) if met else [],
    )


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
