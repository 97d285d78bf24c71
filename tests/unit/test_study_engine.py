from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from data.errors import InputError
from tests.study_support import ToyEvaluator, content, toy_spec
from tuning.study.contract import COMPLETE, FAILED, PRUNED, StudySpec, Trial
from tuning.study.engine import Engine, rungs
from tuning.study.executors import run_here, timed
from tuning.study.searchers import best_of, make_searcher, pareto_front
from tuning.study.spec import make_spec


def _engine(spec: StudySpec, evaluator: ToyEvaluator, saved: list[Trial], **kw: object) -> Engine:
    searcher = make_searcher(spec, evaluator.space)
    return Engine(spec, evaluator, searcher, saved.extend, **kw)  # type: ignore[arg-type]


def _run(spec: StudySpec) -> list[Trial]:
    saved: list[Trial] = []
    evaluator = ToyEvaluator()
    run_here(_engine(spec, evaluator, saved), evaluator, lambda _: None)
    return saved


def test_a_trial_is_durable_before_the_next_generation_is_drawn() -> None:
    saved: list[Trial] = []
    evaluator = ToyEvaluator()
    engine = _engine(toy_spec(generation=8), evaluator, saved, workers=2)
    seen: set[int] = set()
    while not engine.finished:
        item = engine.next()
        assert item is not None
        generation = item.trials[0] // 8
        assert len({trial.number for trial in saved} & set(range(generation * 8))) == generation * 8
        seen.update(item.trials)
        engine.done(item, *timed(evaluator, item))
    assert seen == set(range(40))


def test_results_in_any_order_make_the_same_study() -> None:
    spec = toy_spec("tpe")
    saved: list[Trial] = []
    evaluator = ToyEvaluator()
    engine = _engine(spec, evaluator, saved, workers=3)
    while not engine.finished:
        items = []
        while (item := engine.next()) is not None:
            items.append(item)
        for item in reversed(items):
            engine.done(item, *timed(evaluator, item))
    assert content(saved) == content(_run(spec))


def test_an_item_that_was_given_back_is_given_out_next_and_counted_once() -> None:
    saved: list[Trial] = []
    evaluator = ToyEvaluator()
    engine = _engine(toy_spec(trials=8), evaluator, saved)
    lost = engine.next()
    assert lost is not None
    engine.give_back(lost)
    with pytest.raises(KeyError):
        engine.done(lost, *timed(evaluator, lost))  # Nobody waits for it.
    assert not saved
    given = []
    while not engine.finished:
        item = engine.next()
        assert item is not None
        given.append(item)
        engine.done(item, *timed(evaluator, item))
    assert given[0] == lost
    assert sorted(trial.number for trial in saved) == list(range(8))


def test_failed_and_undefined_trials_are_counted_and_never_best() -> None:
    trials = _run(toy_spec(trials=200, generation=50))
    failed = [trial for trial in trials if trial.status == FAILED]
    whys = Counter(trial.error for trial in failed)
    assert whys["x is too large"] > 0
    assert whys["undefined: sharpe"] > 0
    assert all(trial.values == () for trial in failed)
    best = best_of(trials, ["sharpe"])
    assert best is not None
    assert best.status == COMPLETE
    assert best.values[0] == max(t.values[0] for t in trials if t.status == COMPLETE)
    assert best_of(failed, ["sharpe"]) is None


def test_halving_evaluates_fewer_folds_and_keeps_the_best_of_each_rung() -> None:
    spec = toy_spec(scheduler="halving", trials=27, generation=27)
    trials = _run(spec)
    reached = Counter(len(trial.folds) for trial in trials if trial.status != FAILED)
    alive = sum(reached.values())
    assert reached[1] == alive - -(-alive // 3)
    complete = [trial for trial in trials if trial.status == COMPLETE]
    assert {len(trial.folds) for trial in complete} == {5}
    pruned = [trial.folds[0][0] for trial in trials if trial.status == PRUNED]
    assert min(trial.folds[0][0] for trial in trials if len(trial.folds) > 1) >= max(
        value for trial, value in zip(
            [t for t in trials if t.status == PRUNED], pruned, strict=True
        ) if len(trial.folds) == 1
    )  # fmt: skip


@pytest.mark.parametrize(
    ("folds", "eta", "marks"),
    [(1, 3, [1]), (5, 3, [1, 3, 5]), (9, 3, [1, 3, 9]), (8, 2, [1, 2, 4, 8])],
)
def test_rungs_are_powers_of_eta_up_to_all_folds(folds: int, eta: int, marks: list[int]) -> None:
    assert rungs(folds, eta) == marks


def test_another_history_than_the_study_would_suggest_is_refused() -> None:
    trials = _run(toy_spec())
    trials[3] = replace(trials[3], config={"x": 0.5, "k": 3, "rule": "a"})
    with pytest.raises(InputError, match="trial 3 is stored as"):
        _engine(toy_spec(), ToyEvaluator(), [], history=trials)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (toy_spec("annealing"), "no searcher is called 'annealing'"),
        (toy_spec(scheduler="median"), "no scheduler is called 'median'"),
        (toy_spec("pbt", objectives=["sharpe", "calmar"]), "one objective"),
        (toy_spec(scheduler="halving", objectives=["sharpe", "calmar"]), "one objective"),
        (toy_spec(scheduler="halving", options={"eta": 1}), "eta must be"),
        (toy_spec("grid", options={"searcher": {"points": 0}}), "points must be"),
        (toy_spec("random", options={"searcher": {"points": 5}}), "knows no option points"),
    ],
)
def test_contradictory_specs_are_refused_in_one_line(spec: StudySpec, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        _engine(spec, ToyEvaluator(), [])
    assert "\n" not in str(caught.value)


def test_a_grid_ends_with_its_last_point() -> None:
    spec = toy_spec("grid", trials=1_000, generation=64, options={"searcher": {"points": 3}})
    trials = _run(spec)
    assert len(trials) == len(ToyEvaluator().space.grid(3))
    assert len({tuple(trial.config.items()) for trial in trials}) == len(trials)


def test_several_objectives_give_a_front_that_nothing_beats() -> None:
    trials = _run(toy_spec("tpe", objectives=["sharpe", "calmar"], trials=60, generation=20))
    front = pareto_front(trials, ["sharpe", "calmar"])
    best = best_of(trials, ["sharpe", "calmar"])
    assert best in front
    for a in front:
        for b in trials:
            if b.status == COMPLETE:
                assert not all(y > x for x, y in zip(a.values, b.values, strict=True))


def test_searchers_learn() -> None:
    """On a smooth hill each adaptive searcher's last generation is better than its first."""
    for searcher in ("tpe", "pbt"):
        trials = _run(toy_spec(searcher, trials=160, generation=20, seed=1))
        first = [t.values[0] for t in trials if t.generation == 0 and t.status == COMPLETE]
        last = [t.values[0] for t in trials if t.generation == 7 and t.status == COMPLETE]
        assert sum(last) / len(last) > sum(first) / len(first) + 1.0, searcher


@pytest.mark.parametrize(
    ("options", "words"), [({"eta": 1}, "eta must be"), ({"points": 5}, "knows no option points")]
)
def test_contradictory_options_are_refused_before_there_is_data(
    options: dict[str, int], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        make_spec("a", "strategy_optimization", scheduler="halving", options=options)
