"""From what a configuration did in folds to a trial: complete, pruned or failed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from actors.space import Config
from tuning.study.contract import (
    COMPLETE,
    FAILED,
    OBJECTIVES,
    PRUNED,
    Evaluator,
    FoldResult,
    StudySpec,
    Trial,
)
from tuning.study.objectives import score


@dataclass(frozen=True)
class Begun:
    """A trial before it is known what became of it."""

    number: int
    generation: int
    config: Config


class Scorer:
    """What a study's objectives say about results; ``results`` are in the order of their folds."""

    def __init__(self, spec: StudySpec, evaluator: Evaluator) -> None:
        self._objectives = tuple(spec.objectives)
        self._periods = evaluator.periods_per_year

    def scores(self, results: Sequence[FoldResult]) -> tuple[float, ...]:
        """Each objective over these folds; nan where it is undefined."""
        return tuple(score(name, results, self._periods) for name in self._objectives)

    def loss(self, results: Sequence[FoldResult]) -> float:
        """The first objective as something to make small; infinite when undefined."""
        value = score(self._objectives[0], results, self._periods)
        if math.isnan(value):
            return math.inf
        return -value if OBJECTIVES[self._objectives[0]] else value

    def complete(self, begun: Begun, results: Sequence[FoldResult], seconds: float) -> Trial:
        """The trial of all folds: complete, or failed when an objective is undefined."""
        values = self.scores(results)
        undefined = [
            name
            for name, value in zip(self._objectives, values, strict=True)
            if not math.isfinite(value)
        ]
        if undefined:
            return self.failed(begun, results, seconds, f"undefined: {', '.join(undefined)}")
        return self._trial(begun, results, seconds, COMPLETE, values)

    def pruned(self, begun: Begun, results: Sequence[FoldResult], seconds: float) -> Trial:
        """The trial that was stopped after the folds that it reached."""
        return self._trial(begun, results, seconds, PRUNED)

    def failed(
        self, begun: Begun, results: Sequence[FoldResult], seconds: float, why: str
    ) -> Trial:
        """The trial that could not be evaluated; ``results`` of the folds before."""
        return self._trial(begun, results, seconds, FAILED, error=why)

    def _trial(
        self,
        begun: Begun,
        results: Sequence[FoldResult],
        seconds: float,
        status: str,
        values: tuple[float, ...] = (),
        error: str = "",
    ) -> Trial:
        parts = [result.returns for result in results] or [np.zeros(0)]
        return Trial(
            number=begun.number,
            generation=begun.generation,
            config=begun.config,
            status=status,
            values=values,
            folds=tuple(self.scores([result]) for result in results),
            returns=np.concatenate(parts).astype(np.float32),
            error=error,
            seconds=seconds,
        )
