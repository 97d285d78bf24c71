"""What the parts of a study agree on: folds, results, trials, the spec.

    spec ─▶ searcher ─▶ configurations ─▶ evaluator (workers) ─▶ fold results ─▶ trial ─▶ store

Times are UTC ns. Returns are simple returns per period of the evaluator's equity line, after costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from actors.space import Config, Space

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COMPLETE, PRUNED, FAILED = "complete", "pruned", "failed"
# Objectives by name, and whether more of it is better.
OBJECTIVES: dict[str, bool] = {
    "sharpe": True,
    "sortino": True,
    "calmar": True,
    "log_growth": True,
    "drawdown_penalised": True,
    "brier": False,  # of the pool's forecasts
}


@dataclass(frozen=True)
class Fold:
    """One out-of-sample stretch; what is fitted for it knows only its training intervals.

    ``train`` are half-open intervals [from, until) of label ends and beginnings, already purged
    and embargoed; ``test_from`` <= ts < ``test_until``.
    """

    number: int
    train: tuple[tuple[int, int], ...]
    test_from: int
    test_until: int


@dataclass(frozen=True, eq=False)
class FoldResult:
    """What one configuration did in one fold.

    ``returns`` has one entry per test moment; equal for all configurations in length and meaning.
    """

    fold: int
    returns: Floats  # (t,)
    brier_sum: float = 0.0  # of the pool's scored forecasts in the test stretch
    brier_count: int = 0
    orders: int = 0


@dataclass(frozen=True)
class Failure:
    """A configuration that could not be evaluated: counted, never best."""

    why: str


class Evaluator(Protocol):
    """Runs configurations; pickled once into the object store, then called in many workers.

    Pure: the same configuration and fold give the same bits, in whatever company and order.
    """

    @property
    def space(self) -> Space:
        """What may be searched."""

    @property
    def folds(self) -> Sequence[Fold]:
        """The out-of-sample stretches."""

    @property
    def test_ts(self) -> Ints:
        """(T,) moments of all test returns, fold after fold."""

    @property
    def periods_per_year(self) -> float:
        """Returns in a year."""

    def prepare(self) -> None:
        """What a worker does once: writable copies of shared arrays, compiled functions loaded."""

    def evaluate(
        self, configs: Sequence[Config], folds: Sequence[int]
    ) -> list[list[FoldResult] | Failure]:
        """For each configuration its results in these folds, in their order."""


class StudySpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides which trials a study has and what comes out of them."""

    name: str
    target: str  # what is searched: an agent, pool, sizing, committee, ema_cross, or custom
    objectives: list[str]
    searcher: str  # random, grid, tpe, pbt
    scheduler: str  # none or halving; asha or pbt_async decide as trials come
    trials: int
    generation: int  # suggestions that are drawn together
    seed: int
    options: dict[str, Any] = {}  # of searcher and scheduler
    evaluation: dict[str, Any] = {}  # of the evaluator: data, symbols, dates, folds, scheme, ...
    space: dict[str, Any] = {}  # Space.describe()
    data_hash: str = ""
    code: str = ""  # hash of the sources that decide results
    exact: bool = True  # False for the asynchronous form


@dataclass(frozen=True, eq=False)
class Trial:
    """One configuration and what became of it. ``number`` counts from 0 in the order suggested."""

    number: int
    generation: int
    config: Config
    status: str  # COMPLETE, PRUNED or FAILED
    values: tuple[float, ...] = ()  # per objective; empty unless complete
    folds: tuple[tuple[float, ...], ...] = ()  # per fold evaluated, per objective
    returns: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))  # (T,)
    error: str = ""
    seconds: float = 0.0


class StudyRun(Protocol):
    """A study that is being run, for those who watch it."""

    @property
    def spec(self) -> StudySpec:
        """What is being run."""

    @property
    def total(self) -> int:
        """How many trials there will be."""

    @property
    def trials(self) -> Mapping[int, Trial]:
        """What is durable so far, by number."""

    @property
    def finished(self) -> bool:
        """Whether every trial is known and durable."""


@dataclass(frozen=True)
class Segment:
    """A locked final stretch of data: opened only to judge finalists, each opening on record."""

    symbols: tuple[str, ...]
    since: int  # ns UTC, inclusive
    until: int  # exclusive
    content: str  # sha256 over its bars


def is_better(objective: str, a: float, b: float) -> bool:
    """Whether value ``a`` beats ``b``; nan beats nothing."""
    return a > b if OBJECTIVES[objective] else a < b
