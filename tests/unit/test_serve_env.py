"""The environment of Ray Serve: ports of its own, different from all others of a cluster."""

from __future__ import annotations

from pathlib import Path

from cluster.processes import free_ports
from cluster.serve_env import PORTS, serve_env, serve_ports


def test_ports_are_all_different_and_none_that_is_spoken_for(tmp_path: Path) -> None:
    left = set(free_ports(len(PORTS)))
    others = set(range(20_000, 30_000)) - left
    assert serve_ports(serve_env(tmp_path, others)) == left
