"""The best bid and offer out of a recorded stream of depth changes.

Each change sets the size of price levels; size 0 removes one. With a snapshot of the whole book the
best is exact from there on; without one it is the best of the levels that changed so far.
"""

from __future__ import annotations

from collections.abc import Sequence

Level = Sequence[str]  # price and size as the venue writes them
Best = tuple[str, str]  # the same; ("0", "0") where the side is not known
NOTHING: Best = ("0", "0")


class _Side:
    """The levels of one side. ``sign``: +1 the highest price is best, -1 the lowest."""

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._levels: dict[float, Best] = {}
        self._best: float | None = None

    def replace(self, levels: Sequence[Level]) -> None:
        self._levels.clear()
        self._best = None
        self.change(levels)

    def change(self, levels: Sequence[Level]) -> None:
        lost = False
        for price, size in levels:
            key = float(price) * self._sign
            if float(size) > 0.0:
                self._levels[key] = (price, size)
                if self._best is None or key > self._best:
                    self._best = key
            elif self._levels.pop(key, None) is not None:
                lost = lost or key == self._best
        if lost:
            self._best = max(self._levels, default=None)

    @property
    def best(self) -> Best:
        return NOTHING if self._best is None else self._levels[self._best]


class DepthBook:
    """One symbol's book."""

    def __init__(self) -> None:
        self._bids, self._asks = _Side(1), _Side(-1)
        self._told: tuple[Best, Best] = (NOTHING, NOTHING)

    def snapshot(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """The whole book as it stands now."""
        self._bids.replace(bids)
        self._asks.replace(asks)

    def change(self, bids: Sequence[Level], asks: Sequence[Level]) -> tuple[Best, Best] | None:
        """Best bid and offer after these changes; None when they are the same as before."""
        self._bids.change(bids)
        self._asks.change(asks)
        now = (self._bids.best, self._asks.best)
        if now == self._told:
            return None
        self._told = now
        return now
