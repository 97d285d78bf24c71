"""What the scripts beside this one share: the same bars in, the same JSON out.

These scripts run in the peers' own environments, so nothing of Sapphire is imported here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

COLUMNS = ("ts", "open", "high", "low", "close", "volume")
WARM_UP_BARS = 2_000  # enough to go through every code path once before the clock starts


class Options(NamedTuple):
    """One EMA cross: fractions of equity and of notional, amounts in the account's currency."""

    path: str
    bars: int
    fast: int
    slow: int
    fraction: float
    fee: float
    cash: float
    trades: bool
    open_ticks: bool


class Outcome(NamedTuple):
    """Equity at the end, and what lists the fills afterwards: (row of the bar, +1 or -1, price)."""

    equity: float
    fills: Callable[[], Sequence[tuple[int, int, float]]]


def options() -> Options:
    """From the command line."""
    parser = argparse.ArgumentParser(description="EMA cross over the bars of a Parquet file")
    parser.add_argument("path")
    parser.add_argument("--bars", type=int, default=10**9)
    parser.add_argument("--fast", type=int, default=20)
    parser.add_argument("--slow", type=int, default=50)
    parser.add_argument("--fraction", type=float, default=0.1)
    parser.add_argument("--fee", type=float, default=0.001)
    parser.add_argument("--cash", type=float, default=1e8)
    parser.add_argument("--trades", action="store_true", help="print every fill, not only a digest")
    parser.add_argument("--open-ticks", action="store_true", help="NautilusTrader only")
    return Options(**vars(parser.parse_args()))


def read(path: str, count: int) -> dict[str, np.ndarray]:
    """The first ``count`` bars as columns; ``ts`` in ns UTC at the bar's close."""
    table = pq.read_table(path, columns=list(COLUMNS)).slice(0, count)
    return {name: table[name].to_numpy() for name in COLUMNS}


def seeded(close: np.ndarray, period: int) -> np.ndarray:
    """``close`` such that an unadjusted exponential mean of it is TA-Lib's EMA.

    TA-Lib starts from the plain mean of the first ``period`` values; there is none before.
    """
    values = close.astype(np.float64)
    values[: period - 1] = np.nan
    values[period - 1] = close[:period].mean()
    return values


def measure(
    engine: str,
    version: str,
    run: Callable[[dict[str, np.ndarray], Options], Callable[[], Outcome]],
    began: float,
) -> None:
    """Prints one JSON line. ``run`` prepares on some bars and returns what is to be timed.

    Preparing (the engine's own data objects) counts as loading.
    """
    asked = options()
    imported = time.perf_counter() - began
    began = time.perf_counter()
    bars = read(asked.path, asked.bars)
    loaded = time.perf_counter() - began
    few = {name: values[:WARM_UP_BARS].copy() for name, values in bars.items()}
    began = time.perf_counter()
    run(few, asked)()
    compiled = time.perf_counter() - began
    began = time.perf_counter()
    work = run(bars, asked)
    loaded += time.perf_counter() - began
    began = time.perf_counter()
    outcome = work()
    ran = time.perf_counter() - began
    fills = [(int(row), int(side), round(float(price), 2)) for row, side, price in outcome.fills()]
    report = {
        "engine": engine,
        "version": version,
        "bars": len(bars["ts"]),
        "import_s": imported,
        "load_s": loaded,
        "jit_s": compiled,
        "run_s": ran,
        "fills": len(fills),
        "digest": hashlib.sha256(json.dumps(fills).encode()).hexdigest()[:16],
        "equity": float(outcome.equity),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    if asked.trades:
        report["trades"] = fills
    print(json.dumps(report))
