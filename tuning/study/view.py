"""Everything that is shown of one study, as plain data; built from a store, a run or a test.

The report (``tuning.study.report``), its JSON and the TensorBoard files read only this.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from actors.space import Choice, Integer, Parameter, Real, Space
from tuning.study.contract import (
    COMPLETE,
    FAILED,
    OBJECTIVES,
    PRUNED,
    Floats,
    Fold,
    Ints,
    Segment,
    StudySpec,
    Trial,
)
from tuning.study.evidence import Evidence
from tuning.study.rules import LockedResult, PromotionRules

NO_TIMES: Ints = np.zeros(0, np.int64)
NO_RETURNS: Floats = np.zeros(0)


@dataclass(frozen=True, eq=False, kw_only=True)
class LockedView:
    """The locked segment and, once this study opened it, what winner and incumbent did there."""

    segment: Segment
    openings: int = 0  # on record, across all studies
    shown: int = 0  # candidates that it was shown
    result: LockedResult | None = None
    ts: Ints = field(default_factory=lambda: NO_TIMES)  # (t,)
    winner: Floats = field(default_factory=lambda: NO_RETURNS)  # (t,) simple returns
    incumbent: Floats = field(default_factory=lambda: NO_RETURNS)  # (t,)


@dataclass(frozen=True, eq=False, kw_only=True)
class StudyView:
    """One study. ValueError where its parts do not fit each other.

    ``evidence`` is None where there is none, and ``why_none`` says why. ``benchmarks`` are simple
    returns (T,) over ``test_ts`` by name. ``space`` may be missing for a study whose code is gone.
    """

    spec: StudySpec
    trials: Sequence[Trial]  # in the order of their numbers
    folds: Sequence[Fold]
    test_ts: Ints  # (T,) fold after fold
    periods_per_year: float
    rules: PromotionRules = field(default_factory=PromotionRules)
    space: Space | None = None
    winner: int | None = None  # number of a complete trial
    evidence: Evidence | None = None
    why_none: str = "no configuration could be evaluated"
    benchmarks: Mapping[str, Floats] = field(default_factory=dict)
    incumbent: str = ""  # its champion id or description
    locked: LockedView | None = None
    seconds: float = math.nan  # spent, over all runs
    created_ns: int = 0
    resumed: int = 0  # times
    finished: bool = True
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        count = len(self.test_ts)
        for name, returns in self.benchmarks.items():
            if returns.shape != (count,):
                raise ValueError(f"benchmark {name}: {returns.shape} returns, {count} test moments")
        if self.winner is not None and self.winning is None:
            raise ValueError(f"the winner, trial {self.winner}, is no complete trial")
        locked = self.locked
        if locked and not len(locked.ts) == len(locked.winner) == len(locked.incumbent):
            raise ValueError("the locked segment's returns do not fit its times")

    @property
    def winning(self) -> Trial | None:
        """The winner's trial."""
        for trial in self.trials:
            if trial.number == self.winner and trial.status == COMPLETE:
                return trial
        return None

    @property
    def locked_result(self) -> LockedResult | None:
        """What the locked segment showed, once it was opened."""
        return self.locked.result if self.locked is not None else None

    @property
    def complete(self) -> list[Trial]:
        """The trials with a value for each objective."""
        return [trial for trial in self.trials if trial.status == COMPLETE]

    @property
    def counts(self) -> dict[str, int]:
        """Trials by status: complete, pruned, failed."""
        found = Counter(trial.status for trial in self.trials)
        return {status: found[status] for status in (COMPLETE, PRUNED, FAILED)}

    def values(self, objective: int = 0) -> Floats:
        """(n,) values of the complete trials."""
        return np.array([trial.values[objective] for trial in self.complete], np.float64)

    def is_up(self, objective: int = 0) -> bool:
        """Whether more of the objective is better."""
        return OBJECTIVES.get(self.spec.objectives[objective], True)

    def parameters(self) -> list[str]:
        """Their names in the declared order, else in the order in which trials name them."""
        if self.space is not None:
            return list(self.space.parameters)
        return list(dict.fromkeys(name for trial in self.trials for name in trial.config))

    def stretches(self) -> list[slice]:
        """Where each fold's returns stand among all T; several folds may test the same moments."""
        found, begin, ts = [], 0, self.test_ts
        for fold in self.folds:
            rest = ts[begin:]
            inside = (rest >= fold.test_from) & (rest < fold.test_until)
            inside[1:] &= np.diff(rest) > 0
            length = len(rest) if inside.all() else int(np.argmin(inside))
            found.append(slice(begin, begin + length))
            begin += length
        return found

    def first_tests(self) -> NDArray[np.int64]:
        """(u,) rows of each moment's first test, in the order of time."""
        return np.unique(self.test_ts, return_index=True)[1].astype(np.int64)


def parameter_of(view: StudyView, name: str) -> Parameter:
    """As declared, else one that spans what the trials took."""
    if view.space is not None:
        return view.space.parameters[name]
    taken = list(dict.fromkeys(t.config[name] for t in view.trials if name in t.config))
    numbers = [value for value in taken if isinstance(value, int | float)]
    if len(numbers) < len(taken):
        return Choice(tuple(taken), taken[0])
    low, high = min(numbers), max(numbers)
    if isinstance(low, int) and isinstance(high, int):
        return Integer(low, high, low)
    return Real(float(low), float(high), float(low))


def best_so_far(view: StudyView, objective: int = 0) -> Floats:
    """(n,) the best value among the complete trials up to each of them; nan before the first."""
    values = view.values(objective)
    sign = 1.0 if view.is_up(objective) else -1.0
    return sign * np.fmax.accumulate(sign * values) if len(values) else values


def pareto(view: StudyView) -> list[Trial]:
    """The complete trials that no other beats in one objective without losing in another.

    Ordered by the first objective, the best first. nan is never in front.
    """
    signs = np.array([1.0 if view.is_up(i) else -1.0 for i in range(len(view.spec.objectives))])
    trials = [trial for trial in view.complete if np.isfinite(trial.values).all()]
    points = np.array([trial.values for trial in trials], np.float64).reshape(-1, len(signs))
    points = points * signs
    front = [
        i
        for i, point in enumerate(points)
        if not ((points >= point).all(axis=1) & (points > point).any(axis=1)).any()
    ]
    front.sort(key=lambda i: (tuple(-points[i]), trials[i].number))
    return [trials[i] for i in front]


@dataclass(frozen=True)
class FoldRow:
    """One fold of the winner; ratios are annualised, returns are totals over the fold."""

    number: int
    test_from: int
    test_until: int
    observations: int
    value: float  # of the first objective
    median: float  # of all complete trials' values in this fold
    rank: int  # of the winner among them, 1 is best; 0 where it has no value
    of: int
    total: float
    benchmarks: Mapping[str, float]


def fold_rows(view: StudyView) -> list[FoldRow]:
    """The winner fold by fold; empty without one."""
    trial = view.winning
    if trial is None:
        return []
    rows = []
    for place, (fold, stretch) in enumerate(zip(view.folds, view.stretches(), strict=True)):
        others = np.array(
            [t.folds[place][0] for t in view.complete if len(t.folds) > place], np.float64
        )
        others = others[np.isfinite(others)]
        value = float(trial.folds[place][0]) if len(trial.folds) > place else math.nan
        better = (others > value) if view.is_up() else (others < value)
        rows.append(
            FoldRow(
                number=fold.number,
                test_from=fold.test_from,
                test_until=fold.test_until,
                observations=stretch.stop - stretch.start,
                value=value,
                median=float(np.median(others)) if len(others) else math.nan,
                rank=0 if math.isnan(value) else int(better.sum()) + 1,
                of=len(others),
                total=_total(trial.returns, stretch),
                benchmarks={k: _total(r, stretch) for k, r in view.benchmarks.items()},
            )
        )
    return rows


def _total(returns: NDArray[np.floating], stretch: slice) -> float:
    if len(returns) < stretch.stop:
        return math.nan
    return float(np.prod(1.0 + np.asarray(returns[stretch], np.float64)) - 1.0)


def growth(returns: NDArray[np.floating]) -> Floats:
    """(t,) what one unit has become after each return."""
    return np.asarray(np.cumprod(1.0 + np.asarray(returns, np.float64)))


def failure_reasons(view: StudyView) -> list[tuple[str, list[int]]]:
    """Why trials failed, each reason's first line with its trials, the most frequent first."""
    pool: dict[str, list[int]] = {}
    for trial in view.trials:
        if trial.status == FAILED:
            why = trial.error.strip().partition("\n")[0] or "no reason was recorded"
            pool.setdefault(why, []).append(trial.number)
    return sorted(pool.items(), key=lambda item: (-len(item[1]), item[0]))
