"""Environment of Ray Serve with HAProxy, set before Ray starts, for one cluster on one machine."""

from __future__ import annotations

from pathlib import Path

from cluster.processes import free_port


def serve_env(runtime: Path) -> dict[str, str]:
    """HAProxy ingress with its files below ``runtime`` and ports of its own.

    Its defaults are fixed places and ports, so that two clusters on a machine would collide.
    """
    folder = runtime / "haproxy"
    folder.mkdir(mode=0o700, exist_ok=True)
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(free_port()),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
        "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "1000",
        # Ray gives its workers nice 15: behind PostgreSQL and the ingress a round waits for a core.
        "RAY_worker_niceness": "0",
    }
