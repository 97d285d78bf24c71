"""A node that dies in mid-study while it evaluates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.study_faults import Slow
from tests.study_support import ToyEvaluator, content, toy_spec
from tuning.study.contract import Trial
from tuning.study.engine import Engine, WorkItem
from tuning.study.executors import run_here
from tuning.study.ray_environment import prepare
from tuning.study.searchers import make_searcher

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def ray_nodes() -> Iterator[Any]:
    """A Ray cluster of two nodes on this machine, one worker each."""
    prepare(None)
    from ray.cluster_utils import Cluster

    cluster = Cluster(True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes(30.0)
        yield cluster
    finally:
        cluster.shutdown()


class Counting(Engine):
    """Keeps what workers are said to have died of."""

    deaths: ClassVar[list[WorkItem]] = []

    def lost(self, item: WorkItem) -> None:
        self.deaths.append(item)
        super().lost(item)


def test_a_node_killed_while_it_evaluates_costs_nothing_else(
    ray_nodes: Any, tmp_path: Path
) -> None:
    from tuning.study.ray_executor import ray_session, run_on_ray

    spec, evaluator = toy_spec("tpe", trials=48, generation=12), Slow(tmp_path)
    whole: list[Trial] = []
    toy = ToyEvaluator()
    searcher = make_searcher(spec, toy.space)
    run_here(Engine(spec, toy, searcher, whole.extend), toy, lambda _: None)
    found: list[Trial] = []
    (victim,) = ray_nodes.worker_nodes
    (tmp_path / f"slow-{victim.node_id}").touch()
    killed: list[int] = []

    def watch(engine: Engine) -> None:
        busy = (tmp_path / f"busy-{victim.node_id}").exists()
        if not killed and busy and len(engine.trials) >= 12:
            ray_nodes.remove_node(victim, allow_graceful=False)
            killed.append(len(engine.trials))

    with ray_session(ray_nodes.address, 2, {"PYTHONPATH": str(ROOT)}) as workers:
        engine = Counting(
            spec, evaluator, make_searcher(spec, evaluator.space), found.extend, (), workers
        )
        run_on_ray(engine, evaluator, watch, workers)
    assert killed
    assert killed[0] < 48
    assert content(found) == content(whole)
    assert engine.deaths == []
