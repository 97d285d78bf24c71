"""What Tune makes of a worker that Ray's memory monitor killed."""

from __future__ import annotations

import io
import logging

import pytest
import ray
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayActorError, RayTaskError
from ray.tune.execution import tune_controller

from tuning.study import ray_tune


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
