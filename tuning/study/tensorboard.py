"""A study as TensorBoard event files: one run per trial, and one for the study as a whole.

    tensorboard --logdir DIRECTORY

A run holds the fold values step by step, the final objectives and, for the page of hyperparameters,
the configuration. The files depend on the study alone: no clock and no machine's name is in them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event  # type: ignore[import-untyped]
from tensorboardX.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from tensorboardX.record_writer import RecordWriter  # type: ignore[import-untyped]
from tensorboardX.summary import hparams, scalar  # type: ignore[import-untyped]

from tuning.study.contract import COMPLETE, Trial
from tuning.study.view import StudyView, best_so_far

MOST_RUNS = 1_000  # TensorBoard reads each run's file again and again
_FILE = "events.out.tfevents.0000000000.sapphire"  # by its middle part TensorBoard knows it
_TAG = re.compile(r"[^-/\w.]")
Step = tuple[int, Summary]


def write_tensorboard(view: StudyView, directory: Path) -> int:
    """Writes the files below ``directory``, over those of the same study; the number of runs.

    The run ``study`` shows the best so far over all trials. Of more than MOST_RUNS trials those
    with the best first objective get a run. OSError when it cannot write.
    """
    _write(view, directory / "study", _study_steps(view))
    trials = _chosen(view)
    for trial in trials:
        _write(view, directory / f"trial-{trial.number:06d}", _trial_steps(view, trial))
    return len(trials) + 1


def _chosen(view: StudyView) -> list[Trial]:
    if len(view.trials) <= MOST_RUNS:
        return list(view.trials)
    sign = -1.0 if view.is_up() else 1.0

    def order(trial: Trial) -> tuple[float, int]:
        known = trial.status == COMPLETE and math.isfinite(trial.values[0])
        return (sign * trial.values[0] if known else math.inf, trial.number)

    chosen = sorted(view.trials, key=order)[:MOST_RUNS]
    return sorted(chosen, key=lambda trial: trial.number)


def _study_steps(view: StudyView) -> Iterable[Step]:
    for place, name in enumerate(view.spec.objectives):
        best = best_so_far(view, place)
        for trial, value in zip(view.complete, best, strict=True):
            yield trial.number, scalar(f"best/{_tag(name)}", float(value))
            yield trial.number, scalar(f"trial/{_tag(name)}", trial.values[place])


def _trial_steps(view: StudyView, trial: Trial) -> Iterable[Step]:
    names = [_tag(name) for name in view.spec.objectives]
    metrics = {f"objective/{name}": None for name in names}
    for summary in hparams({**trial.config, "status": trial.status}, metrics):
        yield 0, summary
    for fold, values in enumerate(trial.folds):
        for name, value in zip(names, values, strict=True):
            yield fold, scalar(f"fold/{name}", value)
    for name, value in zip(names, trial.values, strict=False):
        yield len(trial.folds), scalar(f"objective/{name}", value)


def _write(view: StudyView, run: Path, steps: Iterable[Step]) -> None:
    run.mkdir(parents=True, exist_ok=True)
    writer = RecordWriter(str(run / _FILE))
    try:
        begun = view.created_ns / 1e9
        writer.write(Event(wall_time=begun, file_version="brain.Event:2").SerializeToString())
        for step, summary in steps:
            event = Event(wall_time=begun, step=step, summary=summary)
            writer.write(event.SerializeToString())
        writer.flush()
    finally:
        writer.close()


def _tag(name: str) -> str:
    return _TAG.sub("_", name)
