"""From what a person asks for to a study's spec: names checked, data and code put on record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from actors.limits import load_limits
from data.code_hash import ROOT, reached_hash
from data.errors import InputError
from data.feed import Feed
from tuning.study.asynchronous import ASHA, ASYNCHRONOUS, tactics
from tuning.study.build import evaluation_of, open_dataset
from tuning.study.contract import OBJECTIVES, StudySpec
from tuning.study.engine import SCHEDULERS, eta_of
from tuning.study.searchers import SEARCHERS, make_searcher
from tuning.study.store import check_name
from tuning.study.targets import SIGNAL, target_of

# With all that they import: what decides a trial. Serving, judging and showing do not.
DECIDING = (
    "tuning.study.build",
    "tuning.study.engine",
    "tuning.study.function_evaluator",
    "tuning.study.optuna_search",
)
MOST_TRIALS = 1_000_000
MOST_GENERATION = 10_000
BRIER = "brier"


def study_code() -> str:
    """Hash of the code that decides what comes out of a study."""
    return reached_hash(ROOT, DECIDING)


def make_spec(
    name: str,
    target: str,
    *,
    objectives: Sequence[str] = (),
    searcher: str = "tpe",
    scheduler: str = "none",
    trials: int = 200,
    generation: int = 0,
    seed: int = 0,
    options: dict[str, Any] | None = None,
    evaluation: dict[str, Any] | None = None,
) -> StudySpec:
    """A checked spec without data; InputError names what is wrong.

    ``objectives``: the target's own when empty. ``generation`` 0: chosen by the searcher, 20 for
    those that learn from a generation, 50 for the others, 1 for asha, which waits for none.
    """
    found = target_of(target) if target != CUSTOM else None
    chosen = list(objectives) or [found.objective if found else "sharpe"]
    for objective in chosen:
        if objective not in OBJECTIVES:
            raise InputError(
                f"no objective is called {objective!r}: choose {', '.join(OBJECTIVES)}"
            )
        if chosen.count(objective) > 1:
            raise InputError(f"objective {objective!r} stands twice: name it once")
    if BRIER in chosen and target in (CUSTOM, SIGNAL):
        others = ", ".join(name for name in OBJECTIVES if name != BRIER)
        who = "a function of one's own" if target == CUSTOM else target
        raise InputError(
            f"objective {BRIER!r} needs a pool of forecasts: {who} has none; choose {others}"
        )
    for word, known, what in (
        (searcher, SEARCHERS, "searcher"),
        (scheduler, SCHEDULERS, "scheduler"),
    ):
        if word not in known:
            raise InputError(f"no {what} is called {word!r}: choose {', '.join(known)}")
    size = generation or _generation(searcher, scheduler)
    for number, most, what in (
        (trials, MOST_TRIALS, "trials"),
        (size, MOST_GENERATION, "generation"),
    ):
        if not 1 <= number <= most:
            raise InputError(f"{what} {number}: give 1 to {most:,}")
    if not 0 <= seed < 2**63:
        raise InputError(f"seed {seed}: give a whole number from 0")
    spec = StudySpec(
        name=check_name(name),
        target=target,
        objectives=chosen,
        searcher=searcher,
        scheduler=scheduler,
        trials=trials,
        generation=size,
        seed=seed,
        options=options or {},
        evaluation=evaluation or {},
        space=found.space.describe() if found else {},
        code=study_code(),
        exact=scheduler not in ASYNCHRONOUS,
    )
    # Contradictions show before the study is on record.
    evaluation_of(spec)
    if found:
        make_searcher(spec, found.space)
    if spec.exact:
        eta_of(spec)
    else:
        tactics(spec)
    return spec


def _generation(searcher: str, scheduler: str) -> int:
    if scheduler == ASHA:
        return 1
    return 20 if searcher in ("tpe", "pbt") or scheduler in ASYNCHRONOUS else 50


CUSTOM = "custom"  # a function of the user's own; see tuning.study.api


def with_data(spec: StudySpec, feed: Feed) -> StudySpec:
    """The spec with its data on record, and their end, so that later bars change nothing.

    The limits in force are recorded too: trials of one study are all judged by the same.
    """
    dataset = open_dataset(spec, feed)
    limits = load_limits().model_dump(mode="json")
    evaluation = {"until": dataset.segment.until, "limits": limits} | {
        key: value for key, value in spec.evaluation.items() if value is not None
    }
    return msgspec.structs.replace(spec, data_hash=dataset.data_hash, evaluation=evaluation)
