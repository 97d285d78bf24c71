"""EMA cross in vectorbt: vectorised, all signals first, then one compiled pass over orders.

A signal of bar t is shifted by one and priced at the open: it fills at the open of t + 1.
"""

from __future__ import annotations

import time

BEGAN = time.perf_counter()

from collections.abc import Callable

import numpy as np
import vectorbt as vbt
from common import Options, Outcome, measure, seeded


def fills_of(rows: np.ndarray) -> list[tuple[int, int, float]]:
    """From vectorbt's order records."""
    sides = np.where(rows["side"] == 0, 1, -1)
    return list(zip(rows["idx"].tolist(), sides.tolist(), rows["price"].tolist(), strict=True))


def prepare(bars: dict[str, np.ndarray], asked: Options) -> Callable[[], Outcome]:
    close, opened = bars["close"], bars["open"]

    def work() -> Outcome:
        mean = vbt.generic.nb.ewm_mean_nb
        fast = mean(seeded(close, asked.fast)[:, None], asked.fast)[:, 0]
        slow = mean(seeded(close, asked.slow)[:, None], asked.slow)[:, 0]
        wanted = fast > slow  # False before both are known
        entries, exits = np.zeros(len(close), bool), np.zeros(len(close), bool)
        entries[1:] = wanted[:-1]
        entries[2:] &= ~wanted[:-2]
        exits[2:] = wanted[:-2] & ~wanted[1:-1]
        portfolio = vbt.Portfolio.from_signals(
            close,
            entries,
            exits,
            price=opened,
            size=asked.fraction,
            size_type="percent",
            fees=asked.fee,
            init_cash=asked.cash,
            freq="1min",
        )
        return Outcome(float(portfolio.final_value()), lambda: fills_of(portfolio.orders.values))

    return work


if __name__ == "__main__":
    measure("vectorbt", vbt.__version__, prepare, BEGAN)
