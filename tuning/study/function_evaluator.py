"""A Python function of one's own as a study's trial.

    def strategy(config):
        return returns  # simple returns after costs, one for each of ``ts``

The function sees no fold: it must not use, for the return of a moment, anything that is later. Its
costs are its own business too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from actors.space import Config, Space
from data.errors import InputError
from tuning.study.contract import Failure, Floats, Fold, FoldResult, Ints

KINDS = ("returns", "equity")


class FunctionEvaluator:
    """``tuning.study.contract.Evaluator`` of ``function(config)``, one value per moment of ``ts``.

    ``ts`` (n,) increasing ns. ``kind``: what the values are; of equity, above 0 throughout, the
    first moment's return is 0. A configuration whose call raises, or whose values are not finite or
    not as many as the moments, fails. The function is called once for each configuration.
    """

    def __init__(
        self,
        space: Space,
        function: Callable[[Config], ArrayLike],
        ts: Ints,
        folds: Sequence[Fold],
        periods_per_year: float = 252.0,
        kind: str = "returns",
    ) -> None:
        if kind not in KINDS:
            raise InputError(f"the function's values are {kind!r}: give one of {', '.join(KINDS)}")
        moments = np.asarray(ts, np.int64)
        if moments.ndim != 1 or (np.diff(moments) <= 0).any():
            raise InputError("the moments of a function must be one series of increasing ns")
        self.space = space
        self.function = function
        self.folds = tuple(folds)
        self.kind = kind
        self.periods_per_year = periods_per_year
        self._length = len(moments)
        self._spans = [
            np.searchsorted(moments, [fold.test_from, fold.test_until]).tolist() for fold in folds
        ]
        for fold, (first, last) in zip(folds, self._spans, strict=True):
            if first >= last:
                raise InputError(f"fold {fold.number}: its test stretch holds no moment")
        if not self._spans:
            raise InputError("a study needs at least one fold to test in")
        self.test_ts: Ints = np.concatenate([moments[a:b] for a, b in self._spans])

    def prepare(self) -> None:
        """Nothing to do: what the function needs is its own."""

    def evaluate(
        self, configs: Sequence[Config], folds: Sequence[int]
    ) -> list[list[FoldResult] | Failure]:
        """For each configuration its results in these folds, in their order."""
        return [self._one(config, folds) for config in configs]

    def _one(self, config: Config, folds: Sequence[int]) -> list[FoldResult] | Failure:
        try:
            values = np.array(self.function(dict(config)), np.float64)
        except Exception as error:  # noqa: BLE001 - the user's code, which may raise anything
            text = str(error).strip().splitlines() or ["no message"]
            return Failure(f"{type(error).__name__}: {text[0]}")
        returns, flaw = self._returns(values)
        if flaw:
            return Failure(flaw)
        spans = self._spans
        return [FoldResult(i, returns[spans[i][0] : spans[i][1]].copy()) for i in folds]

    def _returns(self, values: Floats) -> tuple[Floats, str]:
        """(returns (n,), what is wrong with the values)."""
        if values.shape != (self._length,):
            return values, f"gave values of shape {values.shape}, not one for each moment"
        if not np.isfinite(values).all():
            place = int(np.flatnonzero(~np.isfinite(values))[0])
            kind = "nan" if math.isnan(values[place]) else "an infinite value"
            return values, f"gave {kind} at moment {place}"
        if self.kind == "returns":
            below = values < -1.0
            return values, "lost more than everything" if below.any() else ""
        if (values <= 0.0).any():
            return values, "its equity is not above 0 throughout"
        before = np.concatenate([values[:1], values[:-1]])
        return values / before - 1.0, ""
