"""EMA cross in NautilusTrader: event by event, through its whole engine and message bus.

With bars alone its market orders fill at once, at the close of the bar that was decided on: the
exchange has no later price yet. With ``--open-ticks`` each bar's open also comes as a trade tick
before the bar, and a latency of 1 ns lets the order wait for it: the fill is then the next open, at
twice the number of events.
"""

from __future__ import annotations

import time

BEGAN = time.perf_counter()

from collections.abc import Callable
from decimal import Decimal

import nautilus_trader
import numpy as np
import pandas as pd
from common import Options, Outcome, measure
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.backtest.models import LatencyModel
from nautilus_trader.config import LoggingConfig, RiskEngineConfig
from nautilus_trader.indicators import ExponentialMovingAverage
from nautilus_trader.model.currencies import BTC, USD
from nautilus_trader.model.data import Bar, BarType, TradeTick
from nautilus_trader.model.enums import (
    AccountType,
    AggressorSide,
    OmsType,
    OrderSide,
)
from nautilus_trader.model.identifiers import InstrumentId, Symbol, TradeId, Venue
from nautilus_trader.model.instruments import CurrencyPair
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.persistence.wranglers import BarDataWrangler
from nautilus_trader.trading.strategy import Strategy

VENUE = Venue("SIM")
ID = InstrumentId(Symbol("BTCUSD"), VENUE)


def instrument(fee: float) -> CurrencyPair:
    """Ticks of a cent, lots of a ten-thousandth, one fee for makers and takers."""
    return CurrencyPair(
        instrument_id=ID,
        raw_symbol=Symbol("BTCUSD"),
        base_currency=BTC,
        quote_currency=USD,
        price_precision=2,
        size_precision=4,
        price_increment=Price.from_str("0.01"),
        size_increment=Quantity.from_str("0.0001"),
        ts_event=0,
        ts_init=0,
        maker_fee=Decimal(str(fee)),
        taker_fee=Decimal(str(fee)),
    )


class Cross(Strategy):
    """Long above, flat otherwise, decided when a bar arrives."""

    def __init__(self, pair: CurrencyPair, bar_type: BarType, asked: Options) -> None:
        super().__init__()
        self.pair, self.bar_type, self.asked = pair, bar_type, asked
        self.fast = ExponentialMovingAverage(asked.fast)
        self.slow = ExponentialMovingAverage(asked.slow)
        self.seen, self.sums, self.held = 0, [0.0, 0.0], None

    def on_start(self) -> None:
        self.subscribe_bars(self.bar_type)

    def average(self, which: int, mean: ExponentialMovingAverage, close: float) -> None:
        """Starts the indicator from the plain mean, as TA-Lib does."""
        if self.seen > mean.period:
            mean.update_raw(close)
            return
        self.sums[which] += close
        if self.seen == mean.period:
            mean.update_raw(self.sums[which] / mean.period)

    def on_bar(self, bar: Bar) -> None:
        close = bar.close.as_double()
        self.seen += 1
        self.average(0, self.fast, close)
        self.average(1, self.slow, close)
        if self.seen < self.asked.slow:
            return
        wanted = self.fast.value > self.slow.value
        if wanted and self.held is None:
            cash = self.portfolio.account(VENUE).balance_total(USD).as_double()
            self.held = self.pair.make_qty(self.asked.fraction * cash / close)
            self.send(OrderSide.BUY)
        elif not wanted and self.held is not None:
            self.send(OrderSide.SELL)
            self.held = None

    def send(self, side: OrderSide) -> None:
        self.submit_order(self.order_factory.market(ID, side, self.held))


def open_ticks(bars: dict[str, np.ndarray]) -> list[TradeTick]:
    """Each bar's open as a trade, 2 ns after the close before it."""
    size = Quantity(10_000, 4)
    at = np.concatenate([[bars["ts"][0] - 60_000_000_000], bars["ts"][:-1]]) + 2
    return [
        TradeTick(ID, Price(price, 2), size, AggressorSide.BUYER, TradeId(str(i)), ts, ts)
        for i, (price, ts) in enumerate(zip(bars["open"].tolist(), at.tolist(), strict=True))
    ]


def fills_of(engine: BacktestEngine, ts: np.ndarray) -> list[tuple[int, int, float]]:
    """A fill at an open stands before the close of its bar, a fill at a close upon it."""
    filled = [order for order in engine.cache.orders() if order.is_closed]
    filled.sort(key=lambda order: order.ts_last)
    rows = np.searchsorted(ts, [order.ts_last for order in filled])
    sides = [1 if order.side == OrderSide.BUY else -1 for order in filled]
    return list(zip(rows.tolist(), sides, [order.avg_px for order in filled], strict=True))


def prepare(bars: dict[str, np.ndarray], asked: Options) -> Callable[[], Outcome]:
    config = BacktestEngineConfig(
        logging=LoggingConfig(bypass_logging=True), risk_engine=RiskEngineConfig(bypass=True)
    )
    engine = BacktestEngine(config=config)
    engine.add_venue(
        VENUE,
        OmsType.NETTING,
        AccountType.CASH,
        [Money(asked.cash, USD), Money(0, BTC)],
        latency_model=LatencyModel(base_latency_nanos=1) if asked.open_ticks else None,
    )
    pair = instrument(asked.fee)
    engine.add_instrument(pair)
    bar_type = BarType.from_str(f"{ID}-1-MINUTE-LAST-EXTERNAL")
    frame = pd.DataFrame(
        {name: bars[name] for name in ("open", "high", "low", "close", "volume")},
        index=pd.to_datetime(bars["ts"], utc=True),
    )
    engine.add_data(BarDataWrangler(bar_type, pair).process(frame))
    if asked.open_ticks:
        engine.add_data(open_ticks(bars))
    engine.add_strategy(Cross(pair, bar_type, asked))

    def work() -> Outcome:
        engine.run()
        account = engine.cache.account_for_venue(VENUE)
        held = account.balance_total(BTC).as_double() * float(bars["close"][-1])
        equity = account.balance_total(USD).as_double() + held
        return Outcome(equity, lambda: fills_of(engine, bars["ts"]))

    return work


if __name__ == "__main__":
    measure("NautilusTrader", nautilus_trader.__version__, prepare, BEGAN)
