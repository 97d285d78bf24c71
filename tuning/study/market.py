"""What every evaluator of bars stands on: market, rules of the house, test stretches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from actors.costs import CostModel
from actors.limits import RiskLimits
from data.bars import Bars
from data.errors import InputError
from data.money import MICRO
from data.news import News
from tuning.backtesting import moment_starts
from tuning.study.contract import Floats, Fold, Ints

HORIZON = 5
# Half a basis point of notional: a commission per share means nothing on prices that were divided
# by later splits. Spread, slippage and impact are the declared ones.
COSTS = CostModel(commission_per_lot_micro=0, commission_ppm=50)


@dataclass(frozen=True, eq=False)
class Market:
    """Bars (n,) in (ts, symbol) order and all that decides what trading them costs and may do."""

    symbols: tuple[str, ...]
    bars: Bars
    limits: RiskLimits
    costs: CostModel = COSTS
    bars_per_year: float = 252.0
    micro_per_tick: int = 100
    opening_micro: int = 1_000_000 * MICRO
    horizon: int = HORIZON
    latency_bars: int = 1
    latency_ns: int = 0
    bar_ns: int = 0  # length of the bars, 0 when unknown
    locks: tuple[tuple[int, int], ...] = ()  # (ts, symbol) of quarantined bars
    news: tuple[News, ...] = ()

    def writable(self) -> Market:
        """The same over bars of its own: an object store's are read-only, another compiled type."""
        if self.bars.flags.writeable and self.bars.flags.c_contiguous:
            return self
        return replace(self, bars=np.array(self.bars, order="C"))


@dataclass(frozen=True, eq=False)
class Stretches:
    """Where the test stretches lie. One row a fold: ``rows`` (f, 2) first and last bar (exclusive),
    ``ts`` the moments of each.
    """

    rows: Ints
    ts: tuple[Ints, ...]

    @classmethod
    def of(cls, bars: Bars, folds: Sequence[Fold]) -> Stretches:
        """InputError for no folds, and for one whose test stretch holds no bar."""
        if not folds:
            raise InputError("a study needs at least one fold to test in")
        moments = bars["ts"][moment_starts(bars)].astype(np.int64)
        edges = [[fold.test_from, fold.test_until] for fold in folds]
        rows = np.searchsorted(bars["ts"], np.array(edges, np.int64)).astype(np.int64)
        for fold, (first, last) in zip(folds, rows.tolist(), strict=True):
            if first >= last:
                raise InputError(f"fold {fold.number}: its test stretch holds no bar")
        spans = np.searchsorted(moments, np.array(edges, np.int64)).tolist()
        return cls(rows, tuple(moments[first:last] for first, last in spans))

    @property
    def all_ts(self) -> Ints:
        return np.concatenate(self.ts)


def distinct(stretches: Stretches, folds: Sequence[int]) -> list[int]:
    """Of ``folds`` those with different stretches, in order of time; InputError where two overlap.

    In combinatorial cross-validation many folds share one stretch.
    """
    first: dict[int, int] = {}
    for fold in folds:
        first.setdefault(int(stretches.rows[fold, 0]), fold)
    ordered = [first[row] for row in sorted(first)]
    for a, b in pairwise(ordered):
        if stretches.rows[a, 1] > stretches.rows[b, 0]:
            raise InputError(f"the test stretches of folds {a} and {b} overlap: keep them apart")
    return ordered


def returns_from(equity: Ints, opening_micro: int) -> Floats:
    """Simple returns (..., t) of equity (..., t), the first against the opening cash.

    Where equity is not above 0, returns after it mean nothing: the caller asks before.
    """
    values = equity.astype(np.float64)
    before = np.empty_like(values)
    before[..., 0] = opening_micro
    before[..., 1:] = values[..., :-1]
    return np.asarray(values / before - 1.0)
