"""A made-up market of many symbols: seeded walks with stretches of drift, in ticks.

Stretches of drift, because a committee that sees noise alone has no opinion; moves and volumes as
of days, because the edge of a second would never pay its costs: nothing would be approved, and the
gate's sizes and limits not be measured. ``decide.lua`` goes on with the same walk.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.bars import Bars, empty_bars

FIRST_TICKS = 1_000_000
LEAST_TICKS, MOST_TICKS = 100_000, 100_000_000
DRIFT = 0.005  # of the price, per bar and unit
NOISE = 0.06
TURN = 0.02  # of the bars begin another stretch


def names(count: int) -> tuple[str, ...]:
    """S0000, S0001, …"""
    return tuple(f"S{i:04d}" for i in range(count))


class Market:
    """The walks of all symbols; equal for equal seeds and calls."""

    def __init__(self, symbols: Sequence[str], seed: int) -> None:
        self.symbols = tuple(symbols)
        self._rng = np.random.default_rng(seed)
        self.close = np.full(len(symbols), FIRST_TICKS, np.int64)
        self.drift = self._rng.integers(-3, 4, len(symbols))

    def bars(self, numbers: np.ndarray, ts: int) -> Bars:
        """The next bar of each of these symbols, all at ``ts``."""
        rng, count = self._rng, len(numbers)
        before = self.close[numbers]
        turn = rng.random(count) < TURN
        drift = np.where(turn, rng.integers(-3, 4, count), self.drift[numbers])
        step = before * (drift * DRIFT + (rng.random(count) - 0.5) * NOISE)
        close = before + np.floor(step).astype(np.int64)
        low_end, high_end = close < LEAST_TICKS, close > MOST_TICKS
        close = np.where(low_end, before + 50, np.where(high_end, before - 50, close))
        self.drift[numbers] = np.where(low_end, 3, np.where(high_end, -3, drift))
        self.close[numbers] = close
        bars = empty_bars(count)
        bars["ts"], bars["symbol"] = ts, numbers
        bars["open"], bars["close"] = before, close
        bars["high"] = np.maximum(before, close) + rng.integers(0, 200, count)
        bars["low"] = np.minimum(before, close) - rng.integers(0, 200, count)
        bars["volume"] = rng.integers(1_000_000, 5_000_000, count)
        return bars

    def lines(self) -> list[str]:
        """The state as ``decide.lua`` reads it."""
        rows = zip(self.symbols, self.close.tolist(), self.drift.tolist(), strict=True)
        return [f"symbol {name} {close} {drift}" for name, close, drift in rows]

    def take(self, path: Path) -> None:
        """The state as ``decide.lua`` left it."""
        at = {name: i for i, name in enumerate(self.symbols)}
        for line in path.read_text().splitlines():
            _, name, close, drift = line.split()
            self.close[at[name]], self.drift[at[name]] = int(close), int(drift)
