"""How a study is getting on, in numbers; the clock is passed in."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tuning.study.contract import COMPLETE
from tuning.study.engine import Engine
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
    """Follows an engine from the trials that it began with."""

    def __init__(self, already: int, now: float) -> None:
        self._already = already
        self._began = now

    def look(self, engine: Engine, now: float) -> State:
        """The state at ``now`` seconds of the same clock."""
        done = len(engine.trials)
        fresh, passed = done - self._already, now - self._began
        rate = fresh / passed if fresh > 0 and passed > 0 else math.nan
        trials = list(engine.trials.values())
        best = best_of(trials, engine.spec.objectives)
        return State(
            done=done,
            total=engine.total,
            rate=rate,
            left_s=(engine.total - done) / rate,
            best=math.nan if best is None else best.values[0],
            best_number=-1 if best is None else best.number,
            failed=sum(bool(trial.status != COMPLETE and trial.error) for trial in trials),
        )
