"""A Ray cluster that goes away altogether in mid-study: one line, and the study intact."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.processes import wait_until
from tests.study_kill import NAME, begun, durable, finish, run_words, start, trials_of, undisturbed
from tests.study_support import content
from tuning.study.ray_environment import prepare

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]
ROOT = Path(__file__).resolve().parents[2]
TRIALS = 400  # of the study whose cluster goes away: some seconds of work


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


def test_a_cluster_that_goes_away_is_one_line_and_resume_gives_the_same(
    ray_nodes: Any, tmp_path: Path
) -> None:
    whole = undisturbed(tmp_path / "whole", "tpe", TRIALS)
    home = tmp_path / "lost"
    words = run_words("tpe", "ray", TRIALS)
    process = start(home, *words, "--address", ray_nodes.address)
    try:
        wait_until(lambda: durable(home) >= 40, 60.0, "some trials")
        ray_nodes.remove_node(ray_nodes.head_node, allow_graceful=False)
        assert process.wait(60.0) == 1
    finally:
        process.kill()
    log = (home / "errors.log").read_text()
    assert begun(home)
    assert 40 <= durable(home) < TRIALS
    assert log.count("\n") == 1, log
    assert log.startswith("sapphire: Ray at "), log
    assert "the study is intact: resume it" in log
    finish(home, "resume", NAME, "--executor", "here", "--no-report")
    assert content(trials_of(home)) == content(whole)
