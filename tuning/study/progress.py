"""How a study is getting on, in numbers; the clock is passed in."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tuning.study.contract import COMPLETE, StudyRun
from tuning.study.searchers import best_of


@dataclass(frozen=True)
class State:
    """One look. ``rate`` and ``left_s`` are nan before anything ended in this run."""

    done: int
    total: int
    rate: float  # trials per second, of this run
    left_s: float
    best: float  # nan before the first complete trial
    best_number: int
    failed: int


class Progress:
    """Follows a study from the trials that it began with."""

    def __init__(self, already: int, now: float) -> None:
        self._already = already
        self._began = now

    def look(self, run: StudyRun, now: float) -> State:
        """The state at ``now`` seconds of the same clock."""
        done = len(run.trials)
        fresh, passed = done - self._already, now - self._began
        rate = fresh / passed if fresh > 0 and passed > 0 else math.nan
        trials = list(run.trials.values())
        best = best_of(trials, run.spec.objectives)
        return State(
            done=done,
            total=run.total,
            rate=rate,
            left_s=(run.total - done) / rate,
            best=math.nan if best is None else best.values[0],
            best_number=-1 if best is None else best.number,
            failed=sum(bool(trial.status != COMPLETE and trial.error) for trial in trials),
        )
