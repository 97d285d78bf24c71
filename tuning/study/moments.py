"""Sharpe ratios of every column over many sets of rows, from the sums of contiguous blocks.

Choosing the best of N columns in thousands of row sets costs one matrix product with the blocks'
sums and one with their sums of squares, instead of thousands of passes over (T, N) returns.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError

Floats = NDArray[np.float64]

# As in tuning.statistics: a spread below this multiple of the largest value is rounding noise.
NO_VARIATION = 1e-13
COLUMNS = 512  # taken in float64 at once


def checked_matrix(returns: NDArray[np.floating], fewest: int = 1) -> NDArray[np.floating]:
    """``returns`` (T, N) as given; InputError naming columns unless all are finite, -1 or more."""
    if returns.ndim != 2 or returns.shape[0] < 2 or returns.shape[1] < fewest:
        raise InputError(
            f"returns of shape {returns.shape}: give periods x trials, at least 2 x {fewest}"
        )
    bad = []
    for start in range(0, returns.shape[1], COLUMNS):
        part = returns[:, start : start + COLUMNS]
        sound = (np.isfinite(part) & (part >= -1.0)).all(axis=0)
        bad += [start + int(column) for column in np.flatnonzero(~sound)]
    if bad:
        named = ", ".join(map(str, bad[:8])) + (", ..." if len(bad) > 8 else "")
        raise InputError(
            f"{len(bad)} of {returns.shape[1]} trials have returns that are not finite numbers of "
            f"-1 or more (columns {named}): leave them out of the matrix and count them as failed"
        )
    return returns


class BlockMoments:
    """Sums over contiguous row blocks of returns (T, N); ``edges`` (B + 1,) from 0 to T.

    Sums are taken about each column's mean, so that the variance of a set of rows does not cancel.
    """

    def __init__(self, returns: NDArray[np.floating], edges: NDArray[np.integer]) -> None:
        count, columns = len(edges) - 1, returns.shape[1]
        self.sizes = np.diff(edges).astype(np.float64)
        self.centre = np.empty(columns)
        self.sums, self.squares = np.empty((count, columns)), np.empty((count, columns))
        self.low, self.high = np.empty((count, columns)), np.empty((count, columns))
        for start in range(0, columns, COLUMNS):
            part = slice(start, min(start + COLUMNS, columns))
            values = np.asarray(returns[:, part], np.float64)
            self.centre[part] = values.mean(axis=0)
            for block, (first, last) in enumerate(pairwise(np.asarray(edges).tolist())):
                rows = values[first:last]
                self.low[block, part], self.high[block, part] = rows.min(axis=0), rows.max(axis=0)
                gaps = rows - self.centre[part]
                self.sums[block, part] = gaps.sum(axis=0)
                self.squares[block, part] = np.einsum("ij,ij->j", gaps, gaps)
        # Only a column that stands still in some block can stand still in a set of them.
        spread = self.high - self.low
        still = spread <= NO_VARIATION * np.maximum(np.abs(self.high), np.abs(self.low))
        self._still = np.flatnonzero(still.any(axis=0))

    def sharpes(self, chosen: Floats) -> Floats:
        """(C, N) Sharpe ratios per period over the blocks that each row of 0 or 1 (C, B) takes.

        nan where a column does not vary over them, or where they hold fewer than two rows.
        """
        rows = (chosen @ self.sizes)[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = chosen @ self.sums
            mean /= rows
            spread = chosen @ self.squares
            spread -= rows * mean * mean
            spread /= rows - 1.0
            np.sqrt(spread, out=spread)
            mean += self.centre
            mean /= spread
        mean[~np.isfinite(mean)] = np.nan
        for part in _parts(self._still):
            low = np.full((len(chosen), len(part)), np.inf)
            high = np.full((len(chosen), len(part)), -np.inf)
            for block, taken in enumerate(chosen.T > 0.0):
                low[taken] = np.minimum(low[taken], self.low[block, part])
                high[taken] = np.maximum(high[taken], self.high[block, part])
            flat = high - low <= NO_VARIATION * np.maximum(np.abs(high), np.abs(low))
            held = mean[:, part]
            held[flat] = np.nan
            mean[:, part] = held
        return mean


def _parts(columns: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    for start in range(0, len(columns), COLUMNS):
        yield columns[start : start + COLUMNS]


def best_column(ratios: Floats) -> NDArray[np.int64]:
    """(C,) the column of the highest ratio in each row, the first of equals; -1 where all are nan.

    A column without a ratio is never best.
    """
    best = np.where(np.isnan(ratios), -np.inf, ratios).argmax(axis=1)
    best[np.isnan(ratios).all(axis=1)] = -1
    return best
