"""Studies on a real Ray Tune: the trials of a quiet process, whatever happens to the workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace

from cluster.processes import wait_until
from tests.study_faults import (
    Deadly,
    DeadlyFolds,
    KilledOnce,
    LoggedEvaluator,
    Raises,
    Refuses,
    Stillborn,
    Unfit,
)
from tests.study_support import ToyEvaluator, content, toy_spec
from tuning.study.asynchronous import AsyncStudy
from tuning.study.contract import FAILED, Evaluator, StudyRun, StudySpec, Trial
from tuning.study.engine import Engine, rungs
from tuning.study.executors import Watch, run_here
from tuning.study.failures import RETRIES, WORKER_DIED, ClusterLost
from tuning.study.ray_environment import prepare
from tuning.study.searchers import make_searcher

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def workers() -> Iterator[int]:
    """A Ray of this machine with two workers; nothing of it is left afterwards."""
    before = set(psutil.Process().children(recursive=True))
    prepare(None)
    from tuning.study.ray_executor import ray_session

    with ray_session(None, 2, {"PYTHONPATH": str(ROOT)}) as count:
        ours = set(psutil.Process().children(recursive=True)) - before
        assert ours
        yield count
        ours |= set(psutil.Process().children(recursive=True)) - before
    _, alive = psutil.wait_procs(list(ours), timeout=20.0)
    assert alive == []


def _engine(spec: StudySpec, evaluator: Evaluator, durable: list[Trial]) -> Engine:
    searcher = make_searcher(spec, evaluator.space)
    return Engine(spec, evaluator, searcher, durable.extend, list(durable), 2)


def _here(
    spec: StudySpec, history: Sequence[Trial] = (), evaluator: Evaluator | None = None
) -> list[Trial]:
    durable, evaluator = list(history), evaluator or ToyEvaluator()
    run_here(_engine(spec, evaluator, durable), evaluator, lambda _: None)
    return durable


def _on_ray(
    spec: StudySpec,
    evaluator: Evaluator,
    durable: list[Trial],
    workers: int = 2,
    watch: Watch = lambda _: None,
) -> None:
    from tuning.study.ray_async import run_async
    from tuning.study.ray_executor import run_on_ray

    if spec.exact:
        run_on_ray(_engine(spec, evaluator, durable), evaluator, watch, workers)
        return
    searcher = make_searcher(spec, evaluator.space)
    study = AsyncStudy(spec, evaluator, searcher, durable.extend)
    run_async(study, evaluator, watch, workers)


def _line(trial: Trial) -> str:
    """What LoggedEvaluator writes of its configuration."""
    return str(sorted(trial.config.items()))


@pytest.mark.parametrize(
    ("searcher", "scheduler"), [("tpe", "none"), ("random", "halving"), ("pbt", "none")]
)
def test_ray_gives_the_trials_of_one_quiet_process(searcher: str, scheduler: str) -> None:
    spec = toy_spec(searcher, scheduler, trials=36, generation=12)
    durable: list[Trial] = []
    _on_ray(spec, ToyEvaluator(), durable)
    assert content(durable) == content(_here(spec))


def test_a_worker_killed_in_mid_item_costs_only_its_item(tmp_path: Path) -> None:
    spec = toy_spec(trials=24, generation=12)
    durable: list[Trial] = []
    _on_ray(spec, KilledOnce(tmp_path), durable)
    assert content(durable) == content(_here(spec))
    lost = int((tmp_path / "killed").read_text())
    begun = (tmp_path / "begun").read_text().splitlines()
    assert len(begun) == 24 + lost
    assert len(set(begun)) == 24


def test_a_configuration_that_no_worker_survives_has_failed_and_the_study_goes_on(
    tmp_path: Path,
) -> None:
    spec = toy_spec("tpe", "halving", trials=32, generation=24)
    (deadly,) = [trial for trial in _here(spec) if trial.number == 3]
    x = float(deadly.config["x"])
    durable: list[Trial] = []
    _on_ray(spec, Deadly(tmp_path, x, x + 1e-12), durable)
    assert content(durable) == content(_here(spec, (), Refuses(x, x + 1e-12)))
    (lost,) = [trial for trial in durable if trial.error == WORKER_DIED]
    assert (lost.number, lost.status, lost.values) == (3, FAILED, ())
    # It took its item along, died by itself and twice alone.
    assert (tmp_path / "died").read_text().split() == ["3", "1", "1", "1"]
    # Nothing but its item was begun more than once for each rung that it reached.
    climbed = [rungs(5, 3).index(max(1, len(trial.folds))) + 1 for trial in durable]
    again = {3: 3, 4: 1, 5: 1}
    expected = {
        _line(trial): count + again.get(trial.number, 0)
        for trial, count in zip(durable, climbed, strict=True)
    }
    assert Counter((tmp_path / "begun").read_text().splitlines()) == expected


def test_a_study_that_no_worker_survives_ends_with_its_trial_failed(tmp_path: Path) -> None:
    durable: list[Trial] = []
    _on_ray(toy_spec(trials=1), Deadly(tmp_path), durable, 1)
    assert [(trial.number, trial.status, trial.error) for trial in durable] == [
        (0, FAILED, WORKER_DIED)
    ]


def test_workers_that_die_before_they_begin_end_the_run_and_no_trial_has_failed(
    tmp_path: Path,
) -> None:
    spec = toy_spec(trials=1)
    durable: list[Trial] = []
    with pytest.raises(ClusterLost, match=r"lost \d+ times") as caught:
        _on_ray(spec, Stillborn(tmp_path), durable, 1)
    assert "\n" not in str(caught.value)
    assert durable == []
    assert len(list(tmp_path.glob("pid-*"))) == RETRIES + 1


@pytest.mark.parametrize("scheduler", ["none", "asha"])
def test_a_worker_that_is_killed_between_two_trials_costs_nothing(
    tmp_path: Path, scheduler: str
) -> None:
    asha = {"generation": 1, "exact": False} if scheduler == "asha" else {"generation": 4}
    spec = toy_spec("random", scheduler, trials=8, **asha)
    durable: list[Trial] = []

    def kill(_: StudyRun) -> None:
        """What has just handed something in, and waits for what is next: once."""
        pids = [int(path.name.removeprefix("pid-")) for path in tmp_path.glob("pid-*")]
        if len(pids) == 1:
            worker = psutil.Process(pids[0])
            worker.kill()
            worker.wait(10.0)

    _on_ray(spec, LoggedEvaluator(tmp_path), durable, 1, kill)
    assert len(list(tmp_path.glob("pid-*"))) == 2
    assert sorted(trial.number for trial in durable) == list(range(8))
    assert not any(trial.error == WORKER_DIED for trial in durable)
    if scheduler == "none":
        assert content(durable) == content(_here(spec))
        assert len((tmp_path / "begun").read_text().splitlines()) == 8


def test_deaths_count_on_nodes_that_live_and_not_what_was_answered() -> None:
    import ray

    from tuning.study.ray_tune import begin, beside_driver

    desk = beside_driver()
    died = ray.remote(begin)
    ray.get(desk.begin.remote("item", "f" * 56))  # on a node that is gone
    counts = [ray.get(died.remote(desk, "item")) for _ in range(3)]
    assert counts == [0, 1, 2]
    assert ray.get(died.remote(desk, "another")) == 0
    ray.get(desk.put.remote("item", "item", b""))
    assert ray.get(died.remote(desk, "item")) == 2


def test_as_trials_come_one_that_no_worker_survives_has_failed_too(tmp_path: Path) -> None:
    from tuning.study.ray_async import DEATHS

    spec = toy_spec("random", "pbt_async", trials=12, generation=4, exact=False)
    (deadly,) = make_searcher(spec, ToyEvaluator().space).suggest(2, 1, [])
    x = float(deadly["x"])
    durable: list[Trial] = []
    _on_ray(spec, Deadly(tmp_path, x, x + 1e-12), durable)
    assert sorted(trial.number for trial in durable) == list(range(12))
    (lost,) = [trial for trial in durable if trial.error == WORKER_DIED]
    assert (lost.number, lost.status, lost.config) == (2, FAILED, deadly)
    begun = Counter((tmp_path / "begun").read_text().splitlines())
    assert begun[_line(lost)] == DEATHS


def test_as_trials_come_deaths_in_different_folds_add_up(tmp_path: Path) -> None:
    from tuning.study.ray_async import DEATHS

    spec = toy_spec("random", "asha", trials=6, generation=1, exact=False)
    # The best in the first fold, which is never stopped after it.
    whole = {trial.number: trial for trial in _here(replace(spec, scheduler="none"))}
    number = max(whole, key=lambda number: whole[number].folds[0][0] if whole[number].folds else -1)
    durable: list[Trial] = []
    _on_ray(spec, DeadlyFolds(tmp_path, float(whole[number].config["x"])), durable)
    assert sorted(trial.number for trial in durable) == list(range(6))
    (lost,) = [trial for trial in durable if trial.error == WORKER_DIED]
    assert (lost.number, lost.status) == (number, FAILED)
    assert len(list(tmp_path.glob("died-*"))) == DEATHS


class _Full(Exception):
    pass


def test_an_error_of_the_store_ends_the_run_with_that_error() -> None:
    spec, evaluator = toy_spec(trials=32, generation=8), ToyEvaluator()
    durable: list[Trial] = []

    def save(trials: Sequence[Trial]) -> None:
        if len(durable) >= 10:
            raise _Full("no space left")
        durable.extend(trials)

    from tuning.study.ray_executor import run_on_ray

    engine = Engine(spec, evaluator, make_searcher(spec, evaluator.space), save, (), 2)
    with pytest.raises(_Full, match="no space left"):
        run_on_ray(engine, evaluator, lambda _: None, 2)
    assert content(_here(spec, durable)) == content(_here(spec))


@pytest.mark.parametrize(
    ("fault", "scheduler"), [(Raises, "none"), (Raises, "asha"), (Unfit, "none")]
)
def test_a_defect_of_the_evaluator_ends_the_run_as_it_does_in_one_process(
    tmp_path: Path, fault: type[LoggedEvaluator], scheduler: str
) -> None:
    spec = toy_spec("random", scheduler, generation=1, exact=scheduler == "none")
    durable: list[Trial] = []
    with pytest.raises(ZeroDivisionError, match="a defect of the evaluator"):
        _on_ray(spec, fault(tmp_path), durable)
    assert durable == []


def test_workers_of_an_ended_run_are_gone(tmp_path: Path) -> None:
    _on_ray(toy_spec(trials=8), LoggedEvaluator(tmp_path), [])
    pids = [int(path.name.removeprefix("pid-")) for path in tmp_path.glob("pid-*")]
    assert pids
    wait_until(lambda: not any(map(psutil.pid_exists, pids)), 20.0, "the end of the workers")
