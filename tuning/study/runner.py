"""Carries a study to its end on some executor; whatever stops it, what was durable stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data.errors import InputError
from tuning.study.asynchronous import ASYNCHRONOUS, AsyncStudy
from tuning.study.contract import Evaluator, StudySpec, Trial
from tuning.study.engine import Engine, Save
from tuning.study.executors import Watch, run_here
from tuning.study.searchers import make_searcher
from tuning.study.store import FINISHED, RESUMED, STOPPED, StudyStore

RAY, HERE = "ray", "here"
EXECUTORS = (RAY, HERE)


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
    _begin(spec, evaluator, lambda _: None, (), 1)


def _begin(
    spec: StudySpec, evaluator: Evaluator, save: Save, history: Sequence[Trial], workers: int
) -> Engine | AsyncStudy:
    searcher = make_searcher(spec, evaluator.space)
    if spec.scheduler in ASYNCHRONOUS:
        return AsyncStudy(spec, evaluator, searcher, save, history)
    return Engine(spec, evaluator, searcher, save, history, workers)


def run_study(
    store: StudyStore, spec: StudySpec, evaluator: Evaluator, place: Place, watch: Watch
) -> list[Trial]:
    """Evaluates what is missing; all trials in their order. The study must be stored already.

    Any error leaves the study as it was after the last durable trial, to be gone on with.
    """
    check_place(spec, place)
    history = store.trials(spec.name)
    if history:
        store.note(spec.name, RESUMED, {"trials": len(history)})

    def save(trials: Sequence[Trial]) -> None:
        store.save(spec.name, trials)

    workers = place.workers if place.executor == RAY else 1
    engine = _begin(spec, evaluator, save, history, workers)
    try:
        if not engine.finished:
            execute(engine, evaluator, watch, place)
    except KeyboardInterrupt:
        store.note(spec.name, STOPPED, {"trials": len(engine.trials)})
        raise
    if not store.events(spec.name, FINISHED):
        store.note(spec.name, FINISHED, {"trials": len(engine.trials)})
    return engine.history()


def check_place(spec: StudySpec, place: Place) -> None:
    """InputError when the study cannot be run there."""
    if spec.scheduler in ASYNCHRONOUS and place.executor != RAY:
        raise InputError(
            f"scheduler {spec.scheduler} is Ray Tune's: run it with the executor {RAY!r}, or choose"
            " halving, which runs anywhere"
        )


def execute(engine: Engine | AsyncStudy, evaluator: Evaluator, watch: Watch, place: Place) -> None:
    """Runs the study to its end where ``place`` says."""
    if place.executor == HERE and isinstance(engine, Engine):
        run_here(engine, evaluator, watch)
        return
    from tuning.study.ray_environment import prepare

    prepare(place.address)
    from tuning.study.ray_executor import ray_session, run_on_ray

    with ray_session(place.address, place.workers) as workers:
        if isinstance(engine, Engine):
            run_on_ray(engine, evaluator, watch, workers)
            return
        from tuning.study.ray_async import run_async

        run_async(engine, evaluator, watch, workers)
