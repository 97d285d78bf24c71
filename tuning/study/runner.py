"""Carries a study to its end on some executor; whatever stops it, what was durable stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tuning.study.contract import Evaluator, StudySpec, Trial
from tuning.study.engine import Engine
from tuning.study.executors import Watch, run_here
from tuning.study.searchers import make_searcher
from tuning.study.store import FINISHED, RESUMED, STOPPED, StudyStore

RAY, HERE = "ray", "here"
EXECUTORS = (RAY, HERE)

Execute = Callable[[Engine, Evaluator, Watch], None]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where trials are evaluated. ``address``: a Ray that runs already; None starts one here."""

    executor: str = RAY
    workers: int = 2
    address: str | None = None


def check_plan(spec: StudySpec, evaluator: Evaluator) -> None:
    """InputError where searcher, scheduler and their options contradict each other or the space.

    To be asked before a study goes on record: one that can never run would only hold its name.
    """
    Engine(spec, evaluator, make_searcher(spec, evaluator.space), lambda _: None)


def run_study(
    store: StudyStore, spec: StudySpec, evaluator: Evaluator, place: Place, watch: Watch
) -> list[Trial]:
    """Evaluates what is missing; all trials in their order. The study must be stored already.

    Any error leaves the study as it was after the last durable trial, to be gone on with.
    """
    history = store.trials(spec.name)
    if history:
        store.note(spec.name, RESUMED, {"trials": len(history)})

    def save(trials: Any) -> None:
        store.save(spec.name, trials)

    engine = Engine(
        spec,
        evaluator,
        make_searcher(spec, evaluator.space),
        save,
        history,
        place.workers if place.executor == RAY else 1,
    )
    try:
        if not engine.finished:
            execute(engine, evaluator, watch, place)
    except KeyboardInterrupt:
        store.note(spec.name, STOPPED, {"trials": len(engine.trials)})
        raise
    if not store.events(spec.name, FINISHED):
        store.note(spec.name, FINISHED, {"trials": len(engine.trials)})
    return engine.history()


def execute(engine: Engine, evaluator: Evaluator, watch: Watch, place: Place) -> None:
    """Runs the engine to its end where ``place`` says."""
    if place.executor == HERE:
        run_here(engine, evaluator, watch)
        return
    from tuning.study.ray_environment import prepare

    prepare(place.address)
    from tuning.study.ray_executor import ray_session, run_on_ray

    with ray_session(place.address, place.workers) as workers:
        run_on_ray(engine, evaluator, watch, workers)
