"""Puts a floor on a running cluster in the place of the one before, and ends.

    python -m benchmarks.load.start_floors FILE

FILE is private and holds a FloorsRequest.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.load.floors import BARE, NOOP, Bare, Noop


class FloorsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """``path``: NOOP or BARE. ``database_url``: of a role that may write ``load_floor``."""

    ray_address: str
    database_url: str
    path: str


def deploy(request: FloorsRequest) -> None:
    """One floor at a time, so that neither takes the other's time; returns when it answers."""
    import ray
    from ray import serve
    from ray.serve.schema import LoggingConfig

    ray.init(address=request.ray_address, log_to_driver=False, configure_logging=False)
    options: dict[str, Any] = {
        "num_replicas": 1,
        "max_ongoing_requests": 1500,
        "graceful_shutdown_timeout_s": 2,
        "ray_actor_options": {"num_cpus": 0},
        "logging_config": LoggingConfig(enable_access_log=False, log_level=logging.WARNING),
    }
    for name in set(serve.status().applications) & {NOOP, BARE}:
        serve.delete(name)
    if request.path == NOOP:
        floor = serve.deployment(Noop).options(name="noop", **options).bind()
    else:
        floor = serve.deployment(Bare).options(name="bare", **options).bind(request.database_url)
    serve.run(floor, name=request.path, route_prefix=request.path)
    ray.shutdown()


def main() -> int:
    """Entry point of the process."""
    deploy(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=FloorsRequest))
    return 0


if __name__ == "__main__":
    sys.exit(main())
