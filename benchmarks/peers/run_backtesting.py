"""EMA cross in backtesting.py: event by event, indicators computed at once beforehand.

Orders given in ``next`` fill at the next bar's open (its default, trade_on_close=False).
"""

from __future__ import annotations

import time

BEGAN = time.perf_counter()

import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
from backtesting import Backtest, Strategy, __version__, backtesting
from common import Options, Outcome, measure, seeded

# No progress bar: it costs time and says nothing here.
backtesting._tqdm = lambda rows, **_: rows  # noqa: SLF001


def average(close: np.ndarray, period: int) -> np.ndarray:
    """TA-Lib's EMA."""
    return pd.Series(seeded(close, period)).ewm(span=period, adjust=False).mean().to_numpy()


def known_early(values: np.ndarray, period: int) -> np.ndarray:
    """Infinite, which asks for nothing, one bar before the first value.

    ``next`` is first called a bar after all indicators are known: this lets it see the first bar on
    which everybody else decides.
    """
    values = values.copy()
    values[period - 2] = np.inf
    return values


def strategy(asked: Options) -> type[Strategy]:
    class Cross(Strategy):
        def init(self) -> None:
            close = np.asarray(self.data.Close)
            self.fast = self.I(average, close, asked.fast)
            self.slow = self.I(known_early, average(close, asked.slow), asked.slow)

        def next(self) -> None:
            wanted = self.fast[-1] > self.slow[-1]
            if wanted and not self.position:
                self.buy(size=asked.fraction)
            elif self.position and not wanted:
                self.position.close()

    return Cross


def fills_of(stats: pd.Series) -> list[tuple[int, int, float]]:
    """Entries and exits of closed trades, and the entry of one that is still open."""
    closed = stats["_trades"]
    return sorted(
        [
            *zip(closed["EntryBar"], [1] * len(closed), closed["EntryPrice"], strict=True),
            *zip(closed["ExitBar"], [-1] * len(closed), closed["ExitPrice"], strict=True),
            *((trade.entry_bar, 1, trade.entry_price) for trade in stats["_strategy"].trades),
        ]
    )


def prepare(bars: dict[str, np.ndarray], asked: Options) -> Callable[[], Outcome]:
    frame = pd.DataFrame(
        {name.capitalize(): bars[name] for name in ("open", "high", "low", "close", "volume")},
        index=pd.to_datetime(bars["ts"]),
    )
    warnings.filterwarnings("ignore", message="Some trades remain open")
    test = Backtest(frame, strategy(asked), cash=asked.cash, commission=asked.fee)

    def work() -> Outcome:
        stats = test.run()
        return Outcome(float(stats["Equity Final [$]"]), lambda: fills_of(stats))

    return work


if __name__ == "__main__":
    measure("backtesting.py", __version__, prepare, BEGAN)
