"""The ingress: Ray's own configuration, mended by our script, run by the real HAProxy."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cluster.ingress import install
from cluster.processes import free_ports, wait_for_port
from cluster.serve_env import INGRESS_BOUNDS

pytestmark = pytest.mark.integration


class Replica:
    """A server that closes its first ``broken`` requests without an answer, then says 200."""

    def __init__(self, broken: int) -> None:
        self.requests: list[bytes] = []
        self._broken = broken
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                request = connection.recv(65536)
                if request.startswith(b"GET /-/healthz"):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    continue
                self.requests.append(request)
                if len(self.requests) > self._broken:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5.0)


class Ingress:
    """HAProxy as Ray runs it, in front of one server."""

    def __init__(self, folder: Path, server_port: int) -> None:
        from ray.serve._private.haproxy import (
            BackendConfig,
            HAProxyApi,
            HAProxyConfig,
            ServerConfig,
        )
        from ray.serve.config import HTTPOptions

        self.port, metrics, stats = free_ports(3)
        cfg = HAProxyConfig(
            socket_path=str(folder / "admin.sock"),
            server_state_base=str(folder),
            server_state_file=str(folder / "state"),
            metrics_socket_path=str(folder / "metrics.sock"),
            metrics_port=metrics,
            stats_port=stats,
            nbthread=1,
            retry_on=INGRESS_BOUNDS["RAY_SERVE_HAPROXY_RETRY_ON"],
            retries=int(INGRESS_BOUNDS["RAY_SERVE_HAPROXY_RETRIES"]),
            http_options=HTTPOptions(host="127.0.0.1", port=self.port),
        )
        backend = BackendConfig(
            name="cell0",
            path_prefix="/",
            app_name="cell0",
            servers=[ServerConfig(name="replica", host="127.0.0.1", port=server_port)],
        )
        self.configuration = folder / "haproxy.cfg"
        api = HAProxyApi(cfg, {"cell0": backend}, str(self.configuration))
        api._generate_config_file_internal()
        self.before = self.configuration.read_text()
        script = install(folder, request_s=1)
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [script, "-db", "-f", self.configuration], stdout=self._log, stderr=self._log
        )
        wait_for_port(self.port, 10.0, "HAProxy", self._process, folder / "log")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/decide"

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(5.0)
        self._log.close()


@pytest.fixture
def replica() -> Iterator[Replica]:
    server = Replica(broken=1)
    yield server
    server.close()


@pytest.fixture
def ingress(tmp_path: Path, replica: Replica) -> Iterator[Ingress]:
    proxy = Ingress(tmp_path, replica.port)
    yield proxy
    proxy.close()


def test_a_request_that_a_dying_replica_swallowed_is_sent_again(
    ingress: Ingress, replica: Replica
) -> None:
    answer = httpx.post(ingress.url, content=b'{"request_id": "a"}', timeout=10.0)
    assert answer.status_code == 200
    assert len(replica.requests) == 2
    bodies = {request.partition(b"\r\n\r\n")[2] for request in replica.requests}
    assert bodies == {b'{"request_id": "a"}'}


def test_without_a_replica_the_answer_is_a_problem_that_says_retry(tmp_path: Path) -> None:
    (closed,) = free_ports(1)
    proxy = Ingress(tmp_path, closed)
    try:
        answer = httpx.post(proxy.url, content=b"{}", timeout=20.0)
    finally:
        proxy.close()
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "no_replica"
    assert answer.json()["status"] == 503


@pytest.mark.parametrize(
    "start",
    [
        b"POST /v1/decide HTTP/1.1\r\nHost: x\r\n",
        b"POST /v1/decide HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
    ],
    ids=["headers", "body"],
)
def test_a_request_that_never_ends_is_ended_and_meets_no_replica(
    ingress: Ingress, replica: Replica, start: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", ingress.port)) as slow:
        slow.settimeout(10.0)
        slow.sendall(start)
        assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")
    assert replica.requests == []


def test_nothing_listens_beyond_loopback(ingress: Ingress) -> None:
    binds = [line.split()[1] for line in _lines(ingress) if line.startswith("bind ")]
    assert len(binds) == 3
    assert all(bind.startswith("127.0.0.1:") for bind in binds)
    # The test sees a change: as Ray wrote it, two of them were open to every network.
    assert ingress.before.count("bind 127.0.0.1:") == 1


def _lines(ingress: Ingress) -> list[str]:
    return [line.strip() for line in ingress.configuration.read_text().splitlines()]
