"""A study without a market: trials that are a function of their configuration, and cheap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from actors.space import Choice, Config, Constraint, Integer, Real, Space, When
from tuning.study.contract import Failure, Fold, FoldResult, StudySpec, Trial


def _ordered(config: Config) -> bool:
    return float(config["x"]) <= float(config["y"])


def toy_space() -> Space:
    return Space(
        {
            "x": Real(0.0, 1.0, 0.5),
            "k": Integer(1, 9, 3),
            "rule": Choice(("a", "b"), "a"),
            "y": Real(0.0, 1.0, 0.5, when=When(parameter="rule", equals="b")),
        },
        [Constraint("x <= y", _ordered)],
    )


class ToyEvaluator:
    """Fails above ``x`` = 0.95, and has no variation (no Sharpe ratio) below 0.02."""

    periods_per_year = 252.0

    def __init__(self, folds: int = 5, moments: int = 40) -> None:
        self.space = toy_space()
        self.folds = [Fold(i, ((0, i),), i * moments, (i + 1) * moments) for i in range(folds)]
        self.test_ts = np.arange(folds * moments)
        self.moments = moments
        self.evaluated = 0

    def prepare(self) -> None:
        """Nothing to do."""

    def evaluate(
        self, configs: Sequence[Config], folds: Sequence[int]
    ) -> list[list[FoldResult] | Failure]:
        self.evaluated += len(configs)
        return [self._one(config, folds) for config in configs]

    def _one(self, config: Config, folds: Sequence[int]) -> list[FoldResult] | Failure:
        x, k = float(config["x"]), int(config["k"])
        if x > 0.95:
            return Failure("x is too large")
        if x < 0.02:
            return [FoldResult(fold, np.zeros(self.moments)) for fold in folds]
        drift = 0.001 * k - 0.02 * abs(x - 0.3)
        return [
            FoldResult(
                fold,
                np.random.default_rng([fold, int(x * 1e6), k]).normal(drift, 0.01, self.moments),
            )
            for fold in folds
        ]


def toy_spec(searcher: str = "random", scheduler: str = "none", **fields: object) -> StudySpec:
    given: dict[str, object] = {
        "name": "toy",
        "target": "custom",
        "objectives": ["sharpe"],
        "searcher": searcher,
        "scheduler": scheduler,
        "trials": 40,
        "generation": 8,
        "seed": 3,
    }
    return StudySpec(**(given | fields))  # type: ignore[arg-type]


def content(trials: Sequence[Trial]) -> list[tuple[object, ...]]:
    """All of the trials that must be the same again: everything but the seconds."""
    return [
        (
            trial.number,
            trial.generation,
            tuple(trial.config.items()),
            trial.status,
            trial.values,
            repr(trial.folds),  # nan is nan here
            trial.error,
            trial.returns.tobytes(),
        )
        for trial in sorted(trials, key=lambda trial: trial.number)
    ]
