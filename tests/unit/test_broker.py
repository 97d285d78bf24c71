"""The paper broker: one fill at the next bar of the order's symbol, by the fill function."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support import by_moment, plain_config, random_bars

from actors.costs import CostModel
from cloud_trader.broker import DoneEvent, FillEvent, Order, PaperBroker
from cloud_trader.fills import next_bar_fill
from data.bars import Bars, make_bar

CONFIG = plain_config(("AAA", "BBB"))
FREE = CostModel(
    commission_per_lot_micro=0,
    commission_min_micro=0,
    half_spread_bps=0,
    slippage_bps=0,
    impact_y=0,
)


def broker(costs: CostModel = FREE) -> PaperBroker:
    return PaperBroker(CONFIG, costs.record())


def order(name: str, symbol: str = "AAA", side: int = 1, lots: int = 10, limit: int = 110) -> Order:
    return Order(name, symbol, side, lots, limit, from_decision=True)


def bar(symbol: int = 0, open_: int = 100, volume: int = 10**6, close: int = 100) -> Bars:
    return make_bar(
        ts=1, symbol=symbol, open=open_, high=max(open_, close), low=min(open_, close),
        close=close, volume=volume,
    )  # fmt: skip


def test_an_order_waits_for_its_own_symbol_and_fills_once() -> None:
    paper = broker()
    buy, sell = order("buy"), order("sell", "BBB", -1, limit=90)
    paper.submit(buy)
    paper.submit(sell)
    assert paper.open_orders() == [buy, sell]
    assert paper.on_bars(bar(symbol=1)) == [
        FillEvent("paper/sell/1", sell, 10, 100, 0),
        DoneEvent(sell, "filled", 10),
    ]
    assert paper.query("buy") == buy
    assert paper.query("sell") is None
    assert paper.on_bars(bar(open_=105))[0] == FillEvent("paper/buy/1", buy, 10, 105, 0)
    assert paper.on_bars(bar()) == []


def test_events_come_in_the_order_of_submission() -> None:
    paper = broker()
    names = ["c", "a", "b"]
    for name in names:
        paper.submit(order(name))
    done = [e.order.client_order_id for e in paper.on_bars(bar()) if isinstance(e, DoneEvent)]
    assert done == names


@pytest.mark.parametrize(("side", "limit", "fills"), [(1, 99, 0), (1, 100, 10), (-1, 101, 0)])
def test_a_price_beyond_the_limit_is_no_fill(side: int, limit: int, fills: int) -> None:
    paper = broker()
    made = order("x", side=side, limit=limit)
    paper.submit(made)
    events = paper.on_bars(bar())
    assert events[-1] == DoneEvent(made, "filled" if fills else "expired", fills)
    assert len(events) == (2 if fills else 1)
    assert paper.open_orders() == []


def test_what_the_market_cannot_take_expires() -> None:
    paper = broker(CostModel())
    made = order("x", lots=10**6, limit=10**9)
    paper.submit(made)
    fill, done = paper.on_bars(bar(volume=1000, open_=10**6))
    assert isinstance(fill, FillEvent)
    assert fill.lots == int(CostModel().participation_cap * 1000)
    assert done == DoneEvent(made, "expired", fill.lots)


def test_impact_uses_the_volatility_known_before_the_filling_bar() -> None:
    """Against the fill function with a volatility computed here; the filling bar has no part."""
    costs = CostModel()
    moments = by_moment(random_bars(61))
    prices = []
    for scale in (1.0, 3.0):
        paper = broker(costs)
        for bars in moments[:60]:
            paper.on_bars(bars)
        paper.submit(order("x", lots=50_000, limit=10**9))
        last = moments[60].copy()
        last["close"] = np.rint(last["close"] * scale)  # after the open: not known yet
        prices.append(paper.on_bars(last)[0].price_ticks)  # type: ignore[union-attr]
    assert prices[0] == prices[1]
    closes = np.array([bars["close"][0] for bars in moments[:60]], float)
    variance = weight = 0.0
    for move in np.diff(np.log(closes)):
        decay = 0.94
        variance, weight = decay * variance + (1 - decay) * move**2, decay * weight + (1 - decay)
    first = moments[60][0]
    expected = next_bar_fill(
        costs.record(), 1, 50_000, 10**9, int(first["open"]), int(first["volume"]),
        costs.half_spread_bps, math.sqrt(variance / weight), CONFIG.micro_per_tick,
    )  # fmt: skip
    assert prices[0] == expected[1]
    assert prices[0] > int(first["open"])


def test_cancel_and_resubmission() -> None:
    paper = broker()
    paper.submit(order("x"))
    with pytest.raises(ValueError, match="submitted before"):
        paper.submit(order("x"))
    assert paper.cancel("x")
    assert not paper.cancel("x")
    assert paper.on_bars(bar()) == []
