"""Configurations that no worker survives: who is lost with them, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.study_faults import Refuses
from tests.study_support import ToyEvaluator, content, toy_spec
from tuning.study.contract import FAILED, StudySpec, Trial
from tuning.study.engine import Engine, WorkItem
from tuning.study.executors import run_here, timed
from tuning.study.failures import MOST_DEATHS, RETRIES, WORKER_DIED, ClusterLost, Losses, Streak
from tuning.study.searchers import make_searcher


@dataclass
class Cluster:
    """Workers that die of configurations with ``x`` in [low, high), and now and then without cause.

    ``stop``: after so many items the driver dies too.
    """

    low: float
    high: float
    rng: np.random.Generator
    workers: int = 3
    stop: int = 10_000
    deaths: dict[int, list[WorkItem]] = field(default_factory=dict)  # by trial
    evaluator: ToyEvaluator = field(default_factory=ToyEvaluator)

    def run(self, spec: StudySpec, durable: list[Trial]) -> None:
        searcher = make_searcher(spec, self.evaluator.space)
        engine = Engine(spec, self.evaluator, searcher, durable.extend, list(durable), self.workers)
        flying: list[WorkItem] = []
        while not engine.finished and self.stop:
            self.stop -= 1
            while len(flying) < self.workers and engine.has_work:
                item = engine.next()
                assert item is not None
                flying.append(item)
            assert flying, "neither work nor an end"
            assert len(flying) == 1 or not any(item.alone for item in flying)
            self._end(engine, flying.pop(self.rng.integers(len(flying))))

    def _end(self, engine: Engine, item: WorkItem) -> None:
        chance = self.rng.random()
        deadly = any(self.low <= config["x"] < self.high for config in item.configs)
        if chance < 0.1:
            engine.give_back(item)
        elif deadly or (chance < 0.3 and not item.alone):  # a neighbour's hunger for memory
            for number in item.trials:
                self.deaths.setdefault(number, []).append(item)
            engine.lost(item)
        else:
            engine.done(item, *timed(self.evaluator, item))


def quiet(spec: StudySpec, low: float, high: float) -> list[Trial]:
    """The study in one process, in which these configurations just fail."""
    trials: list[Trial] = []
    evaluator = Refuses(low, high)
    searcher = make_searcher(spec, evaluator.space)
    run_here(Engine(spec, evaluator, searcher, trials.extend), evaluator, lambda _: None)
    return trials


@pytest.mark.parametrize(
    ("searcher", "scheduler"), [("random", "none"), ("random", "halving"), ("pbt", "none")]
)
@given(
    seed=st.integers(0, 2**32),
    low=st.floats(0.0, 1.0),
    width=st.sampled_from([0.0, 0.05, 0.3, 1.1]),
    stop=st.integers(0, 60),
)
@settings(max_examples=25, deadline=None)
def test_what_no_worker_survives_has_failed_and_the_rest_is_as_if_it_had_been_refused(
    searcher: str, scheduler: str, seed: int, low: float, width: float, stop: int
) -> None:
    spec = toy_spec(searcher, scheduler, trials=30, generation=15, seed=seed % 7)
    rng = np.random.default_rng(seed)
    durable: list[Trial] = []
    Cluster(low, low + width, rng, stop=stop).run(spec, durable)
    died = {trial.number for trial in durable if trial.error == WORKER_DIED}
    cluster = Cluster(low, low + width, rng)
    cluster.run(spec, durable)
    assert not died & set(cluster.deaths)  # what is on record is not tried again
    assert content(durable) == content(quiet(spec, low, low + width))
    for trial in durable:
        if trial.error == WORKER_DIED:
            assert trial.status == FAILED
            assert low <= trial.config["x"] < low + width


@pytest.mark.parametrize("scheduler", ["none", "halving"])
def test_a_deadly_configuration_takes_its_item_along_once(scheduler: str) -> None:
    class Sure(np.random.Generator):
        def random(self, *_: object, **__: object) -> float:  # type: ignore[override]
            return 1.0

    spec = toy_spec("random", scheduler, trials=40, generation=40)
    (x,) = [t.config["x"] for t in quiet(spec, 2.0, 2.0) if t.number == 5]
    cluster = Cluster(float(x), float(x) + 1e-12, Sure(np.random.PCG64(1)))
    cluster.run(spec, [])
    mine = cluster.deaths.pop(5)
    assert [(len(item.trials), item.alone) for item in mine] == [(4, False), (1, False), (1, True)]
    assert len(cluster.deaths) == 3
    assert all(items == mine[:1] for items in cluster.deaths.values())


def test_deaths_in_a_row_end_the_run_and_a_result_in_between_forgets_them() -> None:
    streak = Streak(8)
    for _ in range(3):
        for _ in range(8 + MOST_DEATHS):
            streak.note(died=True)
        streak.note(died=False)
    for _ in range(8 + MOST_DEATHS):
        streak.note(died=True)
    with pytest.raises(ClusterLost, match="29 configurations in a row") as caught:
        streak.note(died=True)
    assert "\n" not in str(caught.value)


def test_what_is_lost_with_one_worker_after_the_other_ends_the_run() -> None:
    losses = Losses("an item")
    for number in range(3):
        for _ in range(RETRIES):
            losses.note(number)
    with pytest.raises(ClusterLost, match="an item was lost 6 times") as caught:
        losses.note(1)
    assert "\n" not in str(caught.value)
