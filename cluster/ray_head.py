"""Ray for one home: a head node that only this machine can reach, found and stopped for certain.

``ray start`` is run without ``--block``: the blocking process would cost 140 MB and watch what the
marks in the environment (see :mod:`cluster.processes`) already let us find and stop.
"""

from __future__ import annotations

import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Collection, Mapping

from cluster.home import Home
from cluster.processes import (
    PART,
    WALL,
    Clock,
    Process,
    ServiceError,
    find_processes,
    free_ports,
    last_lines,
    port_open,
    spawn,
    terminate_home,
    wait_until,
)

LOOPBACK = "127.0.0.1"
# Read by Ray at import, so every process that connects needs them before it imports ray.
RAY_ENVIRONMENT = {
    # The switch Ray uses where it supports one machine only: without it Ray replaces 127.0.0.1
    # by the machine's outer address and listens on all interfaces.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Said aloud, because Ray asks or guesses otherwise. Nothing listens beyond loopback.
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Where these are fixed ports, a second Ray on the machine would clash: 0 is "any".
    "DASHBOARD_METRIC_PORT": "0",
    "AUTOSCALER_METRIC_PORT": "0",
}
# Without a head process nobody else names these; a whole Ray has all of them.
ESSENTIAL = ("gcs_server", "raylet")


class RayHead:
    """One Ray head below ``home``.

    ``base_env``: what Ray and all its workers inherit besides the mark (PATH, HOME, NUMBA_…);
    they never see the caller's environment. ``dashboard_port``: 0 takes a free one.
    """

    def __init__(
        self,
        home: Home,
        marker_env: Mapping[str, str],
        base_env: Mapping[str, str],
        *,
        cpus: int = 2,
        object_store_bytes: int = 100_000_000,
        dashboard_port: int = 0,
        reserved: Collection[int] = (),
        clock: Clock = WALL,
    ) -> None:
        self.log_path = home.logs / "ray_start.log"
        self._home = home
        self._clock = clock
        self._cpus = cpus
        self._object_store_bytes = object_store_bytes
        self._dashboard_port = dashboard_port
        # Ports that somebody listens on later.
        self._reserved = {*reserved, dashboard_port}
        self._gcs_port = 0
        self.metrics_port = 0  # Prometheus text of all workers, once started
        self._env = {**base_env, **RAY_ENVIRONMENT, **marker_env, PART: "ray"}

    @property
    def address(self) -> str:
        """Address for ``ray.init(address=…)`` and RAY_ADDRESS; ServiceError before the start."""
        if not self._gcs_port:
            raise ServiceError("Ray is not started")
        return f"{LOOPBACK}:{self._gcs_port}"

    @property
    def dashboard_url(self) -> str:
        """Address of the dashboard in a browser."""
        return f"http://{LOOPBACK}:{self._dashboard_port}"

    @property
    def client_env(self) -> dict[str, str]:
        """What a process that connects must have in its environment before it imports ray."""
        return {**RAY_ENVIRONMENT, "RAY_ADDRESS": self.address}

    def processes(self) -> list[Process]:
        """All live processes of this Ray, workers and drivers in them included."""
        return find_processes(self._home.hash, "ray")

    def missing(self) -> list[str]:
        """The essential processes that do not live: empty when Ray is whole."""
        names = {process.name for process in self.processes()}
        return [name for name in ESSENTIAL if name not in names]

    def start(self, timeout: float = 60.0) -> str:
        """Start and wait until the dashboard answers; returns :attr:`address`.

        A Ray that an earlier run left behind is stopped first. Raises ServiceError with the end
        of the log when it is not ready in ``timeout`` seconds.
        """
        self.stop()
        temporary = self._home.runtime_dir() / "ray"
        # Sessions of killed runs pile up here: logs and sockets of nobody.
        shutil.rmtree(temporary, ignore_errors=True)
        deadline = self._clock.now() + timeout
        starter = spawn(self._command(str(temporary)), self._env, self.log_path)
        try:
            wait_until(
                lambda: starter.poll() is not None,
                timeout,
                "ray start",
                log_path=self.log_path,
                clock=self._clock,
            )
            if starter.returncode:
                raise ServiceError(
                    f"ray start: code {starter.returncode}: "
                    f"{last_lines(self.log_path)} (see {self.log_path})"
                )
            left = max(1.0, deadline - self._clock.now())
            wait_until(self._ready, left, "Ray", log_path=self.log_path, clock=self._clock)
        except BaseException:
            if starter.poll() is None:
                starter.kill()
                starter.wait(5.0)
            self.stop()
            raise
        return self.address

    def stop(self, grace: float = 1.5) -> None:
        """SIGTERM to every process of this Ray, SIGKILL after ``grace`` seconds; none is left.

        Drivers and workers go too. Raises ServiceError if a process does not die.
        """
        survivors = terminate_home(self._home.hash, grace, 2.0, "ray", self._clock)
        if survivors:
            raise ServiceError(f"Ray does not die: {survivors}")

    def _ready(self) -> bool:
        if missing := self.missing():
            raise ServiceError(f"Ray died while starting, without {missing} (see {self.log_path})")
        if not port_open(self._gcs_port):
            return False
        url = f"{self.dashboard_url}/api/version"
        try:
            with urllib.request.urlopen(url, timeout=2.0) as answer:  # noqa: S310 - our own
                return bool(answer.status == 200)
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False

    def _command(self, temporary: str) -> list[str]:
        found = free_ports(9, avoid=self._reserved)
        gcs, objects, node, client, http, grpc, runtime, metrics, dashboard = found
        self._gcs_port = gcs
        self.metrics_port = metrics
        self._dashboard_port = self._dashboard_port or dashboard
        return [
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            "--head",
            f"--node-ip-address={LOOPBACK}",
            f"--port={gcs}",
            f"--object-manager-port={objects}",
            f"--node-manager-port={node}",
            f"--ray-client-server-port={client}",
            f"--dashboard-agent-listen-port={http}",
            f"--dashboard-agent-grpc-port={grpc}",
            f"--runtime-env-agent-port={runtime}",
            f"--metrics-export-port={metrics}",
            "--include-dashboard=true",
            f"--dashboard-host={LOOPBACK}",
            f"--dashboard-port={self._dashboard_port}",
            # 0: each worker takes any free port.
            "--min-worker-port=0",
            "--max-worker-port=0",
            f"--num-cpus={self._cpus}",
            "--num-gpus=0",
            f"--object-store-memory={self._object_store_bytes}",
            f"--temp-dir={temporary}",
            "--disable-usage-stats",
            # One node never scales, and workers' logs are read in the dashboard.
            "--no-monitor",
            "--include-log-monitor=false",
        ]
