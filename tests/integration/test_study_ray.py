"""Studies on a real Ray Tune: the trials of a quiet process, whatever happens to the workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from cluster.processes import wait_until
from tests.study_faults import DiesAlways, KilledOnce, LoggedEvaluator, Raises
from tests.study_support import ToyEvaluator, content, toy_spec
from tuning.study.contract import Evaluator, StudySpec, Trial
from tuning.study.engine import Engine
from tuning.study.executors import run_here
from tuning.study.failures import ClusterLost
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


def _here(spec: StudySpec, history: Sequence[Trial] = ()) -> list[Trial]:
    durable, evaluator = list(history), ToyEvaluator()
    run_here(_engine(spec, evaluator, durable), evaluator, lambda _: None)
    return durable


def _on_ray(spec: StudySpec, evaluator: Evaluator, durable: list[Trial]) -> None:
    from tuning.study.ray_executor import run_on_ray

    run_on_ray(_engine(spec, evaluator, durable), evaluator, lambda _: None, 2)


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


def test_workers_that_always_die_end_the_run_and_the_study_goes_on_from_there(
    tmp_path: Path,
) -> None:
    spec = toy_spec(trials=32, generation=8)
    durable: list[Trial] = []
    with pytest.raises(ClusterLost, match=r"lost \d+ times") as caught:
        _on_ray(spec, DiesAlways(tmp_path), durable)
    assert "\n" not in str(caught.value)
    assert len(durable) >= 16  # what was durable stays
    assert content(_here(spec, durable)) == content(_here(spec))


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


def test_a_defect_of_the_evaluator_ends_the_run_as_it_does_in_one_process(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError, match="a defect of the evaluator"):
        _on_ray(toy_spec(), Raises(tmp_path), [])


def test_workers_of_an_ended_run_are_gone(tmp_path: Path) -> None:
    _on_ray(toy_spec(trials=8), LoggedEvaluator(tmp_path), [])
    pids = [int(path.name.removeprefix("pid-")) for path in tmp_path.glob("pid-*")]
    assert pids
    wait_until(lambda: not any(map(psutil.pid_exists, pids)), 20.0, "the end of the workers")
