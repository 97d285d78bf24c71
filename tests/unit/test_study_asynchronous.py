"""The asynchronous form without Ray: numbers, configurations and ends of trials."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from data.errors import InputError
from tests.study_support import ToyEvaluator, toy_space, toy_spec
from tuning.study.asynchronous import WORST, AsyncStudy, next_folds, rank, tactics
from tuning.study.contract import COMPLETE, FAILED, PRUNED, Failure, FoldResult, StudySpec, Trial
from tuning.study.runner import HERE, Place, check_place
from tuning.study.searchers import explore, make_searcher
from tuning.study.spec import make_spec
from tuning.study.trials import Begun, Scorer


def async_spec(
    searcher: str = "random", scheduler: str = "asha", generation: int = 1, **fields: Any
) -> StudySpec:
    return toy_spec(searcher, scheduler, generation=generation, exact=False, **fields)


def begin(
    spec: StudySpec, saved: list[Trial], history: list[Trial] | None = None
) -> tuple[AsyncStudy, ToyEvaluator]:
    evaluator = ToyEvaluator()
    searcher = make_searcher(spec, evaluator.space)
    return AsyncStudy(spec, evaluator, searcher, saved.extend, history or []), evaluator


def born(study: AsyncStudy) -> Begun:
    begun = study.newcomer()
    assert begun is not None
    return begun


def step(study: AsyncStudy, evaluator: ToyEvaluator, begun: Begun, folds: list[int]) -> None:
    ((results,)) = evaluator.evaluate([begun.config], folds)
    study.take(begun.number, results, 0.5)


def test_a_trial_is_durable_when_its_last_fold_is_known_and_not_before() -> None:
    saved: list[Trial] = []
    study, evaluator = begin(async_spec(), saved)
    begun = born(study)
    for fold in range(4):
        step(study, evaluator, begun, [fold])
    assert saved == []
    assert study.alive == 1
    step(study, evaluator, begun, [4])
    (trial,) = saved
    assert (trial.status, trial.number, trial.seconds, len(trial.folds)) == (COMPLETE, 0, 2.5, 5)
    (whole,) = evaluator.evaluate([begun.config], range(5))
    assert not isinstance(whole, Failure)
    assert trial.values == Scorer(study.spec, evaluator).scores(whole)
    assert study.alive == 0


def test_a_stopped_trial_keeps_the_folds_that_it_reached() -> None:
    saved: list[Trial] = []
    study, evaluator = begin(async_spec(), saved)
    begun = born(study)
    step(study, evaluator, begun, [0])
    step(study, evaluator, begun, [1])
    study.stop(begun.number)
    study.stop(begun.number)
    step(study, evaluator, begun, [2])  # Late: it has ended.
    (trial,) = saved
    assert (trial.status, len(trial.folds), len(trial.returns)) == (PRUNED, 2, 80)
    assert trial.values == ()


def test_failures_and_undefined_values_are_counted_and_never_complete() -> None:
    saved: list[Trial] = []
    study, _ = begin(async_spec(), saved)
    study.take(born(study).number, Failure("it broke"), 0.1)
    flat = [FoldResult(fold, np.zeros(40)) for fold in range(5)]
    study.take(born(study).number, flat, 0.1)
    assert [(trial.status, trial.error) for trial in saved] == [
        (FAILED, "it broke"),
        (FAILED, "undefined: sharpe"),
    ]


def test_an_evaluation_that_is_repeated_after_a_lost_worker_counts_once() -> None:
    saved: list[Trial] = []
    study, evaluator = begin(async_spec(), saved)
    begun = born(study)
    for folds in ([0], [1], [0], [1], [2], [3], [4]):
        step(study, evaluator, begun, folds)
    assert [len(trial.folds) for trial in saved] == [5]


@pytest.mark.parametrize("searcher", ["random", "grid", "tpe"])
def test_a_resumed_study_gives_missing_numbers_out_and_ends_with_all(searcher: str) -> None:
    saved: list[Trial] = []
    spec = async_spec(searcher, trials=12, options={"searcher": {"points": 3}}
                      if searcher == "grid" else {})  # fmt: skip
    study, evaluator = begin(spec, saved)
    alive = [born(study) for _ in range(8)]
    for begun in (alive[6], alive[1], alive[3]):  # The others are lost.
        step(study, evaluator, begun, list(range(5)))
    before = list(saved)
    again, evaluator = begin(spec, saved, before)
    while (late := again.newcomer()) is not None:
        step(again, evaluator, late, list(range(5)))
    assert again.finished
    assert [trial.number for trial in again.history()] == list(range(12))
    assert saved[:3] == before
    assert sorted(trial.number for trial in saved) == list(range(12))
    if searcher == "grid":
        grid = make_searcher(spec, evaluator.space).suggest(0, 12, [])
        assert [trial.config for trial in again.history()] == grid


def test_random_configurations_go_with_their_numbers() -> None:
    first, _ = begin(async_spec(), [])
    second, _ = begin(async_spec(), [])
    assert [born(first).config for _ in range(5)] == [born(second).config for _ in range(5)]


def test_mutations_take_numbers_too_and_meet_the_constraints() -> None:
    study, _ = begin(async_spec("random", "pbt_async", 4, trials=30), [])
    config = born(study).config
    found = []
    while (begun := study.mutated(config)) is not None:
        assert begun.config == toy_space().check(begun.config)
        found.append(begun)
    assert [begun.number for begun in found] == list(range(1, 30))
    assert len({str(begun.config) for begun in found}) > 25
    assert study.newcomer() is None


def test_exploring_stays_near_unless_it_draws_anew() -> None:
    space = toy_space()
    config = {"x": 0.3, "k": 5, "rule": "a"}
    rng = np.random.default_rng(1)
    near = [explore(space, config, rng, 0.0, 0.1) for _ in range(200)]
    far = [explore(space, config, rng, 1.0, 0.1) for _ in range(200)]
    assert all(abs(float(tried["x"]) - 0.3) <= 0.1 + 1e-9 for tried in near)
    assert max(abs(float(tried["x"]) - 0.3) for tried in far) > 0.3


def test_a_scheduler_ranks_by_finite_numbers_and_undefined_is_worst() -> None:
    evaluator = ToyEvaluator()
    flat = [FoldResult(0, np.zeros(40))]
    assert rank(Scorer(async_spec(), evaluator), flat) == -WORST
    few = [FoldResult(0, np.zeros(40), brier_sum=3.0, brier_count=10)]
    assert rank(Scorer(async_spec(objectives=["brier"]), evaluator), few) == pytest.approx(-0.3)


def test_a_member_evaluates_every_fold_once_also_after_it_took_over() -> None:
    assert next_folds((), 0, 5) == (0,)
    assert next_folds((0, 1), 2, 5) == (2,)
    assert next_folds((), 3, 5) == (0, 1, 2, 3)
    assert next_folds((0, 1, 2, 3), 7, 5) == (4,)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (async_spec(objectives=["sharpe", "calmar"]), "one objective"),
        (async_spec("pbt"), "end of a generation"),
        (async_spec(generation=8), "one configuration at a time"),
        (async_spec("random", "pbt_async", 3), "4 or more"),
        (async_spec(options={"eta": 1}), "eta must be"),
        (async_spec(options={"eta": 2.5}), "eta must be"),
        (async_spec(options={"scale": 0.5}), "knows no option scale"),
        (async_spec("random", "pbt_async", 8, options={"quantile": 0.9}), "quantile in"),
        (toy_spec(scheduler="halving"), "no asynchronous"),
    ],
)
def test_what_this_form_cannot_do_is_refused(spec: StudySpec, why: str) -> None:
    with pytest.raises(InputError, match=why):
        tactics(spec)


def test_a_spec_says_that_it_is_not_exact_and_is_checked_before_it_is_stored() -> None:
    assert make_spec("a", "strategy_optimization").exact
    made = make_spec("a", "strategy_optimization", scheduler="asha")
    assert not made.exact
    assert made.generation == 1
    assert make_spec("a", "strategy_optimization", scheduler="pbt_async").generation == 20
    with pytest.raises(InputError, match="end of a generation"):
        make_spec("a", "strategy_optimization", searcher="pbt", scheduler="asha")
    with pytest.raises(InputError, match="is Ray Tune's"):
        check_place(made, Place(executor=HERE))
