"""What a study came to: its winner, the evidence, the view that reports are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from tuning.study.contract import (
    COMPLETE,
    OBJECTIVES,
    Evaluator,
    Floats,
    StudySpec,
    Trial,
)
from tuning.study.evidence import Evidence, evidence
from tuning.study.objectives import joined
from tuning.study.rules import PromotionRules
from tuning.study.searchers import best_of
from tuning.study.spec import CUSTOM
from tuning.study.store import FINISHED, RESUMED, StudyStore
from tuning.study.view import LockedView, StudyView

_STREAM = 7301  # of the study's seed: the bootstrap's randomness
DEFAULT_HORIZON = 5
BENCHMARKS = {
    "buy and hold": "buy_and_hold",
    "equal-weight committee": "equal_weight",
    "incumbent": "incumbent",
}


@dataclass(frozen=True)
class Judged:
    """The winner and its evidence; without evidence ``why_none`` says why."""

    winner: Trial | None
    evidence: Evidence | None
    why_none: str
    benchmarks: dict[str, Floats]  # (T,) over all test moments


def judge_study(
    spec: StudySpec,
    evaluator: Evaluator,
    trials: Sequence[Trial],
    shown: int = 0,
    elsewhere: int = 0,
) -> Judged:
    """The evidence about the best complete trial.

    ``shown``: candidates that its locked segment saw; ``elsewhere``: trials of other studies of the
    same target on the same data, which count as tried too.
    """
    winner = best_of(trials, spec.objectives)
    if winner is None:
        return Judged(None, None, "no configuration could be evaluated", {})
    complete = [trial for trial in trials if trial.status == COMPLETE]
    held = benchmarks(evaluator)
    rows = first_tests(evaluator.test_ts)
    returns = np.stack([trial.returns[rows] for trial in complete], axis=1)
    sign = 1.0 if OBJECTIVES[spec.objectives[0]] else -1.0
    try:
        found = evidence(
            returns,
            complete.index(winner),
            np.stack([evaluator.space.unit(trial.config) for trial in complete]),
            np.array([sign * trial.values[0] for trial in complete]),
            {name: series[rows] for name, series in held.items()},
            evaluator.periods_per_year,
            int(spec.evaluation.get("horizon", DEFAULT_HORIZON)),
            len(trials) + elsewhere,
            np.random.default_rng([spec.seed, _STREAM]),
            shown,
        )
    except InputError as error:
        return Judged(winner, None, str(error), held)
    return Judged(winner, found, "", held)


def first_tests(ts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows (u,) of each moment's first test, in the order of time.

    Combinatorial cross-validation tests a moment several times. Counted several times its return
    would pass for as many observations: evidence takes the first path alone.
    """
    return np.unique(ts, return_index=True)[1]


def benchmarks(evaluator: Evaluator) -> dict[str, Floats]:
    """Returns (T,) of all that the evaluator can compare with."""
    return {
        name: joined(getattr(evaluator, method)())
        for name, method in BENCHMARKS.items()
        if hasattr(evaluator, method)
    }


def view_of(
    store: StudyStore,
    spec: StudySpec,
    evaluator: Evaluator,
    *,
    rules: PromotionRules | None = None,
    locked: LockedView | None = None,
    incumbent: str = "",
) -> StudyView:
    """Everything that is shown of a stored study."""
    trials = store.trials(spec.name)
    elsewhere = tried_elsewhere(store, spec)
    judged = judge_study(spec, evaluator, trials, locked.shown if locked else 0, elsewhere)
    events = store.events(spec.name)
    row = next(row for row in store.listing() if row.spec.name == spec.name)
    resumed = sum(event.kind == RESUMED for event in events)
    return StudyView(
        spec=spec,
        trials=trials,
        folds=evaluator.folds,
        test_ts=evaluator.test_ts,
        periods_per_year=evaluator.periods_per_year,
        rules=rules or PromotionRules(),
        space=evaluator.space,
        winner=None if judged.winner is None else judged.winner.number,
        evidence=judged.evidence,
        why_none=judged.why_none or "no configuration could be evaluated",
        benchmarks=judged.benchmarks,
        incumbent=incumbent,
        locked=locked,
        seconds=math.fsum(trial.seconds for trial in trials),
        created_ns=row.created_ns,
        resumed=resumed,
        finished=any(event.kind == FINISHED for event in events),
        notes=_notes(spec, elsewhere),
    )


def tried_elsewhere(store: StudyStore, spec: StudySpec) -> int:
    """Trials of the store's other studies that searched the same target on the same source.

    Many small studies are one large one: whoever begins again until a winner looks good has tried
    all of them.
    """
    source = spec.evaluation.get("data")
    return sum(
        row.trials
        for row in store.listing()
        if row.spec.name != spec.name
        and row.spec.target == spec.target
        and row.spec.evaluation.get("data") == source
        and (spec.target != CUSTOM or row.spec.data_hash == spec.data_hash)
    )


def _notes(spec: StudySpec, elsewhere: int) -> list[str]:
    notes = []
    if not spec.exact:
        notes.append("Trials were scheduled as they came: not exactly repeatable.")
    if elsewhere:
        notes.append(
            f"{elsewhere:,} trials of other studies of this target on this data count as tried too."
        )
    return notes


def figures(judged: Judged) -> dict[str, Any]:
    """The headline figures, for a record or a line of JSON; None where there is no evidence."""
    if judged.winner is None:
        return {"winner": None}
    values: dict[str, Any] = {
        "winner": judged.winner.number,
        "config": judged.winner.config,
        "values": list(judged.winner.values),
    }
    found = judged.evidence
    if found is not None:
        values |= {
            "sharpe": found.annual_sharpe,
            "sharpe_low": found.annual_sharpe_low,
            "sharpe_high": found.annual_sharpe_high,
            "probabilistic_sharpe": found.probabilistic,
            "trials": found.trials,
            "shown": found.shown,
            "track_record": found.track_record,
            "leads": {name: lead.growth.value for name, lead in found.leads.items()},
            "deflated_sharpe": found.deflated.probability,
            "pbo": found.pbo,
            "effective_trials": found.effective.by_mean_correlation,
            "plateau": found.plateau.holds,
        }
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: Any) -> Any:
    """nan has no place in JSON."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return msgspec.to_builtins(value)
