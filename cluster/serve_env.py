"""Environment of Ray Serve with HAProxy, set before Ray starts, for one cluster on one machine."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from cluster.ingress import install
from cluster.processes import free_ports

INGRESS_BOUNDS = {
    # A request is idempotent by its id, so one that a dying replica swallowed is sent again; the
    # pauses of a second between tries outlast the replacement of a replica.
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response junk-response",
    "RAY_SERVE_HAPROXY_RETRIES": "8",
    # Only what fits one buffer can be sent again: 256 bars of Arrow do.
    "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": "65536",
    "RAY_SERVE_HAPROXY_TIMEOUT_CONNECT_S": "1",
    "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "30",  # silence of a client in the middle of a request
    "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": "60",  # longer than any deadline of a request
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "10",  # a worker that a reload replaced
    "RAY_SERVE_HAPROXY_OBSERVE_ERROR_LIMIT": "1",  # down at the first broken connection
}


PORTS = (
    "RAY_SERVE_HAPROXY_METRICS_PORT",
    "RAY_SERVE_HAPROXY_STATS_PORT",
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
    "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT",
)


def serve_env(runtime: Path, avoid: Collection[int] = ()) -> dict[str, str]:
    """HAProxy ingress with its files below ``runtime`` and ports of its own, none to ``avoid``.

    Its defaults are fixed places and ports, so that two clusters on a machine would collide.
    """
    folder = runtime / "haproxy"
    folder.mkdir(mode=0o700, exist_ok=True)
    ports = map(str, free_ports(len(PORTS), avoid=avoid))
    return {
        **dict(zip(PORTS, ports, strict=True)),
        **INGRESS_BOUNDS,
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(install(folder)),
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
        "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "5000",
        # A replica that died is found by this loop: a quarter of a second is soon enough.
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.25",
        # Its manager would parse a log line for each request; the coordinator counts by itself.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        # Ray gives its workers nice 15: behind PostgreSQL and the ingress a round waits for a core.
        "RAY_worker_niceness": "0",
    }


def serve_ports(env: Mapping[str, str]) -> set[int]:
    """The ports of ``serve_env``, on which nothing listens before Serve starts."""
    return {int(env[name]) for name in PORTS}
