"""Puts the floors on a running cluster, and ends.

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
    """``database_url``: of a role that may write ``load_floor``."""

    ray_address: str
    database_url: str


def deploy(request: FloorsRequest) -> None:
    """Puts both applications on the running cluster; returns when they answer."""
    import ray
    from ray import serve
    from ray.serve.schema import LoggingConfig

    ray.init(address=request.ray_address, log_to_driver=False, configure_logging=False)
    options: dict[str, Any] = {
        "num_replicas": 1,
        "max_ongoing_requests": 1500,
        "ray_actor_options": {"num_cpus": 0},
        "logging_config": LoggingConfig(enable_access_log=False, log_level=logging.WARNING),
    }
    noop = serve.deployment(Noop).options(name="noop", **options)
    bare = serve.deployment(Bare).options(name="bare", **options)
    serve.run(noop.bind(), name="floor_noop", route_prefix=NOOP)
    serve.run(bare.bind(request.database_url), name="floor_bare", route_prefix=BARE)
    ray.shutdown()


def main() -> int:
    """Entry point of the process."""
    deploy(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=FloorsRequest))
    return 0


if __name__ == "__main__":
    sys.exit(main())
