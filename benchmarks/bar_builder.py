"""``python -m benchmarks.bar_builder``: trades a second of the bulk bar builder on one core.

On generated trades, and on the recorded days in ``../shared/data`` where they are present. One
warm-up, then the median and range of five repetitions; nothing is asserted.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.recordings import equity_quotes, equity_trades
from data.bar_builder import build_bars
from data.clocks import Clock
from data.nbbo import Feed, consolidate
from data.ticks import NBBO, TRADE, Quotes, Trades

REPETITIONS = 5
CLOCKS = ("1s", "1m", "tick:1000", "volume:50000", "dollar:1000000")
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
DAYS = ("20131007", "20131008", "20131009", "20131010")


def generated(count: int, seed: int) -> tuple[Trades, Quotes]:
    """``count`` trades of a random walk at 20 a second, and a quote before each."""
    rng = np.random.default_rng(seed)
    trades, quotes = np.zeros(count, TRADE), np.zeros(count, NBBO)
    trades["ts"] = np.cumsum(rng.integers(0, 100_000_000, count)) + 10**18
    middle = 1_000_000 + 100 * np.cumsum(rng.integers(-1, 2, count))
    trades["price"] = middle + 50 * rng.integers(-1, 2, count)
    trades["size"] = rng.integers(1, 1000, count)
    quotes["ts"] = trades["ts"] - 1
    quotes["bid"], quotes["ask"] = middle - 50, middle + 50
    quotes["bid_size"] = quotes["ask_size"] = trades["size"]
    return trades, quotes


def rates(count: int, work: Callable[[], object]) -> list[float]:
    """Millions of rows a second of each repetition, after one warm-up."""
    work()
    found = []
    for _ in range(REPETITIONS):
        began = time.perf_counter()
        work()
        found.append(count / (time.perf_counter() - began) / 1e6)
    return sorted(found)


def measure(count: int = 2_000_000) -> dict[str, list[float]]:
    """Millions of trades (or quotes) a second, sorted, by what was measured."""
    trades, quotes = generated(count, 7)
    found = {}
    for name in CLOCKS:
        clock = Clock.parse(name)
        found[f"generated {name}"] = rates(count, partial(build_bars, trades, clock, 0, 100))
        with_quotes = partial(build_bars, trades, clock, 0, 100, quotes)
        found[f"generated {name}, a quote each"] = rates(count, with_quotes)
    for symbol in ("AIG", "BAC"):
        paths = [SHARED / "us_equity_ticks" / symbol / f"{day}_trades.parquet" for day in DAYS]
        if all(path.is_file() for path in paths):
            real = np.concatenate([equity_trades(path) for path in paths])
            for name in CLOCKS:
                work = partial(build_bars, real, Clock.parse(name), 0, 100)
                found[f"{symbol} {len(real):,} trades {name}"] = rates(len(real), work)
    path = SHARED / "us_equity_ticks" / "BAC" / "20131008_quotes.parquet"
    if path.is_file():
        quotes, exchanges = equity_quotes(path)
        for feed in Feed:
            name = f"BAC {len(quotes):,} quotes to NBBO, {feed.name}"
            found[name] = rates(len(quotes), partial(consolidate, quotes, exchanges, feed))
    return found


def main() -> int:
    """Prints the table."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(f"{'what':<44}{'M rows/s':>9}  [range], {REPETITIONS} repetitions, one core")
    for name, found in measure().items():
        print(f"{name:<44}{statistics.median(found):>9.1f}  [{found[0]:.1f} .. {found[-1]:.1f}]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
