"""What a study needs of Ray Tune, as far as it can be told without Ray."""

from __future__ import annotations

import asyncio
import io
import logging
import pickle
import socket
import threading
from collections.abc import Sequence

import pytest
import ray
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayActorError, RayTaskError
from ray.tune.execution import tune_controller
from ray.tune.experiment import Trial

from actors.space import Config
from tests.study_support import ToyEvaluator
from tuning.study import ray_async, ray_tune
from tuning.study.contract import Failure, FoldResult
from tuning.study.engine import WorkItem


class _Resources:
    """Of Ray, which is not started for this: none to hand out, none to take back."""

    def free_resources(self, acquired_resource: object) -> None:
        pass


@pytest.mark.parametrize("error", [OutOfMemoryError("low on memory\nall of it"), ActorDiedError()])
def test_a_worker_that_was_killed_for_its_memory_is_one_that_died(error: Exception) -> None:
    own = tune_controller.RayActorManager
    heard: list[tuple[str, Exception]] = []
    actor = TrackedActor(1, on_error=lambda _, error: heard.append(("actor", error)))
    task = TrackedActorTask(actor, on_error=lambda _, error: heard.append(("task", error)))
    with ray_tune.deaths_by_memory():
        manager = tune_controller.RayActorManager(_Resources())
        manager._live_actors_to_ray_actors_resources[actor] = (None, None)
        manager._actor_task_failed(task, error)
    assert [who for who, _ in heard] == ["actor", "task"]
    assert all(isinstance(found, RayActorError) for _, found in heard)
    assert tune_controller.RayActorManager is own
    assert not ray.is_initialized()


def test_a_death_is_one_line_and_a_defect_keeps_its_traceback() -> None:
    log = logging.getLogger("of Tune")
    log.addFilter(ray_tune.shortened)
    out = io.StringIO()
    log.addHandler(logging.StreamHandler(out))
    log.error("a page about %s", "a trial", exc_info=ActorDiedError())
    assert out.getvalue() == f"{ray_tune.DEATH}\n"
    cause = RayTaskError("prepare", "ZeroDivisionError: a defect", ZeroDivisionError("a defect"))
    log.error("a page", exc_info=ActorDiedError(cause))
    log.error("a page", exc_info=KeyError("a thing"))
    assert "ZeroDivisionError: a defect" in out.getvalue()
    assert "KeyError: 'a thing'" in out.getvalue()


def test_tune_says_nothing_of_trials_that_were_lost_and_all_else() -> None:
    log = logging.getLogger("of Tune's runs")
    log.addFilter(ray_tune.wanted)
    out = io.StringIO()
    log.addHandler(logging.StreamHandler(out))
    log.error("Trials did not complete: %s", ["a trial"])
    log.error("no disk: %s", "full")
    assert out.getvalue() == "no disk: full\n"


def test_deaths_of_one_add_up_whatever_it_answers_in_between() -> None:
    async def deaths() -> list[int]:
        desk = ray_tune.Desk()
        counts = []
        for step in range(3):
            counts.append(len(await desk.begin("7", "node")))  # dies
            counts.append(len(await desk.begin("7", "node")))
            await desk.put("7", f"7/{step}", b"")
        counts.append(len(await desk.begin("8", "node")))
        return counts

    assert asyncio.run(deaths()) == [0, 1, 1, 2, 2, 3, 0]


def test_a_node_is_there_when_its_raylet_listens_whatever_the_head_has_noticed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as raylet:
        host, port = raylet.getsockname()
        node = {"Alive": True, "NodeManagerAddress": host, "NodeManagerPort": port}
        assert ray_tune._there(node)
        assert not ray_tune._there({**node, "Alive": False})
    assert not ray_tune._there(node)


class _Held(Exception):
    """Cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("held by a thread")
        self.lock = threading.Lock()


class _Pair(Exception):
    """Can be pickled, and not be read again."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} is not {second}")


class _Broken(ToyEvaluator):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def evaluate(
        self, configs: Sequence[Config], folds: Sequence[int]
    ) -> list[list[FoldResult] | Failure]:
        raise self.error


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (KeyError("a thing"), KeyError, "'a thing'"),
        (_Held(), RuntimeError, "_Held: held by a thread"),
        (_Pair(1, 2), RuntimeError, "_Pair: 1 is not 2"),
    ],
)
def test_what_an_evaluator_raises_reaches_the_driver_in_its_words(
    error: Exception, kind: type[Exception], words: str
) -> None:
    item = WorkItem(0, (0,), ({},), (0,))
    blob = pickle.dumps(ray_tune.attempt(_Broken(error), item))
    answer = pickle.loads(blob)  # noqa: S301 - made above
    assert type(answer) is kind
    assert str(answer) == words


def _decisions(lost: bool) -> list[str]:
    """What ASHA decides of three trials at their first fold, the best of which may be lost there,
    and then comes again; at last of a middling one."""
    scheduler = ray_async.make_asha(folds=9, eta=3)
    said = []
    order = [("a", 0.1), ("b", 0.2), ("c", 0.9)]
    order += [("c again", 0.9), ("d", 0.5)] if lost else [("d", 0.5)]
    for name, value in order:
        trial = Trial("study", stub=True, trial_id=name)
        scheduler.on_trial_add(None, trial)
        result = {ray_async.STEP: 1, ray_async.VALUE: value}
        said.append(scheduler.on_trial_result(None, trial, result))
        if lost and name == "c":
            scheduler.on_trial_error(None, trial)
    return said[-2:]


def test_a_trial_that_was_lost_counts_once_when_it_comes_again() -> None:
    assert _decisions(lost=True) == _decisions(lost=False) == ["CONTINUE", "CONTINUE"]
