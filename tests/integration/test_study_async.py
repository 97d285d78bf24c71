"""Asynchronous studies on a real Ray: Tune's ASHA and population based training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.study_support import ToyEvaluator, content, toy_spec
from tuning.study.contract import COMPLETE, FAILED, PRUNED, StudyRun, StudySpec, Trial
from tuning.study.database import Sqlite
from tuning.study.outcome import view_of
from tuning.study.ray_environment import prepare
from tuning.study.report import write_study_report
from tuning.study.runner import Place, run_study
from tuning.study.searchers import best_of
from tuning.study.store import FINISHED, RESUMED, StudyStore
from tuning.study.trials import Scorer

pytestmark = pytest.mark.integration
PLACE = Place(workers=2)


class Interrupted(Exception):
    """Something that broke in the driver."""


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    """One Ray for all: ``ray_session`` uses what is connected."""
    prepare(None)
    from tuning.study.ray_executor import ray_session

    with ray_session(None, 2):
        yield


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StudyStore]:
    database = Sqlite(tmp_path / "studies.db")
    yield StudyStore(database)
    database.close()


def begun(store: StudyStore, searcher: str, scheduler: str, generation: int) -> StudySpec:
    spec = toy_spec(searcher, scheduler, generation=generation, exact=False)
    store.create(spec)
    return spec


def nobody(_: StudyRun) -> None:
    """Nobody watches."""


def assert_sound(spec: StudySpec, trials: Sequence[Trial]) -> None:
    """Every number once, and each trial what its own configuration does in the folds it reached."""
    evaluator = ToyEvaluator()
    scorer = Scorer(spec, evaluator)
    assert [trial.number for trial in trials] == list(range(spec.trials))
    for trial in trials:
        assert trial.config == evaluator.space.check(trial.config)
        (whole,) = evaluator.evaluate([trial.config], range(5))
        if trial.status == FAILED:
            assert isinstance(whole, list) is trial.error.startswith("undefined")
            continue
        assert isinstance(whole, list)
        reached = whole[: len(trial.folds)]
        assert len(trial.folds) == 5 if trial.status == COMPLETE else 1 <= len(trial.folds) < 5
        # As text: nan is nan here.
        assert repr(trial.folds) == repr(tuple(scorer.scores([result]) for result in reached))
        if trial.status == COMPLETE:
            assert trial.values == scorer.scores(whole)


@pytest.mark.usefixtures("_ray")
def test_asha_prunes_the_weak_counts_the_broken_and_keeps_the_best(
    store: StudyStore, tmp_path: Path
) -> None:
    spec = begun(store, "random", "asha", 1)
    seen: list[int] = []
    trials = run_study(store, spec, ToyEvaluator(), PLACE, lambda run: seen.append(len(run.trials)))
    assert_sound(spec, trials)
    assert seen == list(range(1, 41))
    assert [trial.number for trial in store.trials(spec.name)] == list(range(40))
    # Which are pruned depends on the workers; that most are does not.
    statuses = Counter(trial.status for trial in trials)
    assert statuses[PRUNED] >= 10
    assert statuses[COMPLETE] >= 3
    best, pruned = best_of(trials, spec.objectives), [t for t in trials if t.status == PRUNED]
    assert best is not None
    assert abs(float(best.config["x"]) - 0.3) < 0.2
    assert int(best.config["k"]) >= 7
    assert sum(t.folds[0][0] > best.folds[0][0] for t in pruned) < len(pruned) / 4
    assert store.events(spec.name, FINISHED)

    view = view_of(store, spec, ToyEvaluator())
    assert view.winner == best.number
    assert any("not exactly repeatable" in note for note in view.notes)
    write_study_report(view, tmp_path / "report.html")
    assert "not exactly repeatable" in (tmp_path / "report.html").read_text()


@pytest.mark.usefixtures("_ray")
def test_a_population_moves_towards_the_best_and_every_trial_has_one_configuration(
    store: StudyStore,
) -> None:
    spec = begun(store, "random", "pbt_async", 8)
    trials = run_study(store, spec, ToyEvaluator(), PLACE, nobody)
    assert_sound(spec, trials)
    statuses = Counter(trial.status for trial in trials)
    assert statuses[PRUNED] >= 3  # gave way
    best = best_of(trials, spec.objectives)
    assert best is not None
    assert abs(float(best.config["x"]) - 0.3) < 0.2


@pytest.mark.usefixtures("_ray")
@pytest.mark.parametrize(
    ("searcher", "scheduler", "size"), [("tpe", "asha", 1), ("random", "pbt_async", 8)]
)
def test_an_interrupted_study_goes_on_and_ends_with_all_its_trials(
    store: StudyStore, searcher: str, scheduler: str, size: int
) -> None:
    spec = begun(store, searcher, scheduler, size)

    def interrupt(run: StudyRun) -> None:
        if len(run.trials) == 15:
            raise Interrupted

    with pytest.raises(Interrupted):
        run_study(store, spec, ToyEvaluator(), PLACE, interrupt)
    before = store.trials(spec.name)
    assert len(before) == 15
    assert not store.events(spec.name, FINISHED)
    trials = run_study(store, spec, ToyEvaluator(), PLACE, nobody)
    assert_sound(spec, trials)
    kept = {trial.number for trial in before}
    for old, new in zip(before, [t for t in trials if t.number in kept], strict=True):
        assert content([old]) == content([new])
    assert len(store.events(spec.name, RESUMED)) == 1
