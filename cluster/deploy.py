"""Puts a cell on a running Ray cluster: six agents, the gate, the coordinator. Then ends.

Runs as a process of its own (``python -m cluster.deploy``), so that the command's process holds no
Ray driver. Everything it starts is detached and lives until the cluster stops. Its one argument
is a private file with a DeployRequest: other users can read a command line, and the addresses
hold passwords.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

KEEP_ALIVE_S = 30  # an idle connection of a client


class DeployRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to deploy, and where the database is for each kind of actor."""

    ray_address: str
    cell: int
    port: int
    agents_database_url: str
    gate_database_url: str
    coordinator_database_url: str
    redis_url: str
    start_timeout_s: float = 60.0


def deploy(request: DeployRequest) -> None:
    """Starts what does not run yet and waits until all of it answers."""
    import ray
    from ray import serve

    from actors.ray_actors import NAMESPACE, start_agent, start_gate
    from actors.registry import AGENTS

    ray.init(
        address=request.ray_address,
        namespace=NAMESPACE,
        log_to_driver=False,
        configure_logging=False,
    )
    gate = start_gate(request.cell, request.gate_database_url)
    agents = [start_agent(spec, request.cell, request.agents_database_url) for spec in AGENTS]
    serve.start(
        http_options={
            "host": "127.0.0.1",
            "port": request.port,
            "keep_alive_timeout_s": KEEP_ALIVE_S,
        }
    )
    ray.get([actor.health.remote() for actor in (gate, *agents)], timeout=request.start_timeout_s)
    run_coordinator(request)
    ray.shutdown()


def run_coordinator(request: DeployRequest) -> None:
    """Deploys the coordinator with the code as it is now; returns when it is ready.

    A replica that runs already is replaced: Serve gives each deployment a version of its own.
    """
    from ray import serve

    from serve_apps.coordinator import CoordinatorArgs, build

    serve.run(
        build(
            CoordinatorArgs(
                cell=request.cell,
                database_url=request.coordinator_database_url,
                redis_url=request.redis_url,
            )
        ),
        name=f"cell{request.cell}",
        route_prefix="/",
    )


def main() -> int:
    """Entry point of the process."""
    deploy(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=DeployRequest))
    return 0


if __name__ == "__main__":
    sys.exit(main())
