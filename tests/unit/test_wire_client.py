"""The coordinator's client against a real HTTP server that fails first."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

from serve_apps import client as client_module
from serve_apps.client import AsyncCoordinatorClient, CoordinatorClient, CoordinatorError
from serve_apps.wire import DecideRequest, DecideResponse, Problem

ANSWER = msgspec.json.encode(
    DecideResponse(session_id="s", request_id="r", round=3, epoch=1, verdicts=[], weights={})
)
REQUEST = DecideRequest(session_id="s", request_id="r", bars=[])
HANG_UP, HANG = 0, 1  # in place of a status: close the connection; never answer


class Coordinator(ThreadingHTTPServer):
    """Answers each request with the next status of its script, then with 200."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[int] = []
        self.bodies: list[bytes] = []
        self.release = threading.Event()
        self.retry_after = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Coordinator
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        status = self.server.script.pop(0) if self.server.script else 200
        if status == HANG:
            self.server.release.wait(10)
            status = HANG_UP
        if status == HANG_UP:
            self.close_connection = True
            return
        problem = Problem(title="Trouble", status=status, detail="as scripted", code="scripted")
        self.reply(status, ANSWER if status == 200 else msgspec.json.encode(problem))

    def do_GET(self) -> None:
        self.reply(self.server.script.pop(0) if self.server.script else 200, b"{}")

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        if self.server.retry_after:
            self.send_header("retry-after", self.server.retry_after)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[Coordinator]:
    made = Coordinator()
    thread = threading.Thread(target=made.serve_forever, args=(0.02,))
    thread.start()
    yield made
    made.release.set()
    made.shutdown()
    thread.join()
    made.server_close()


def test_failures_that_pass_are_retried_with_the_same_request(server: Coordinator) -> None:
    server.script = [500, HANG_UP, 503, 502, 504]
    client = CoordinatorClient(server.url, 30.0, pause=lambda _: None)
    assert client.decide(REQUEST).round == 3
    assert client.retries == 5
    assert len(server.bodies) == 6
    assert set(server.bodies) == {msgspec.json.encode(REQUEST)}
    client.close()


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422])
def test_a_refusal_is_final(server: Coordinator, status: int) -> None:
    server.script = [status]
    client = CoordinatorClient(server.url, 30.0)
    with pytest.raises(CoordinatorError, match=f"HTTP {status} Trouble: as scripted") as caught:
        client.decide(REQUEST)
    assert (caught.value.status, caught.value.code) == (status, "scripted")
    assert len(server.bodies) == 1
    client.close()


def test_it_gives_up_at_the_deadline_with_the_last_reason(server: Coordinator) -> None:
    server.script = [503] * 1000
    client = CoordinatorClient(server.url, 1.0)
    before = time.monotonic()
    with pytest.raises(CoordinatorError, match=r"no answer in 1 s \(HTTP 503") as caught:
        client.decide(REQUEST)
    assert time.monotonic() - before <= 1.5
    assert caught.value.status == 503
    assert 3 <= len(server.bodies) <= 8  # pauses grow: no storm
    client.close()


def test_a_server_that_never_answers_is_left(
    server: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "CALL_TIMEOUT_S", 0.3)
    server.script = [HANG, 200]
    client = CoordinatorClient(server.url, 5.0)
    before = time.monotonic()
    assert client.decide(REQUEST).round == 3
    assert 0.3 <= time.monotonic() - before < 2
    assert server.bodies[0] == server.bodies[1]
    client.close()


def test_nobody_there() -> None:
    client = CoordinatorClient("http://127.0.0.1:9", 0.2)
    assert not client.ready()
    with pytest.raises(CoordinatorError, match="ConnectError") as caught:
        client.decide(REQUEST)
    assert caught.value.status is None
    client.close()


def test_one_call_does_not_outlast_the_deadline(server: Coordinator) -> None:
    server.script = [HANG]
    client = CoordinatorClient(server.url, 0.5)
    before = time.monotonic()
    with pytest.raises(CoordinatorError, match="no answer in"):
        client.decide(REQUEST)
    assert time.monotonic() - before < 2
    client.close()


def test_ready_is_what_the_server_says(server: Coordinator) -> None:
    client = CoordinatorClient(server.url, 1.0)
    assert client.ready()
    server.script = [503]
    assert not client.ready()
    client.close()


def test_it_waits_as_long_as_the_server_asks(server: Coordinator) -> None:
    server.script, server.retry_after = [429, 503], "3"
    pauses: list[float] = []
    client = CoordinatorClient(server.url, 30.0, pause=pauses.append)
    assert client.decide(REQUEST).round == 3
    assert pauses == [3.0, 3.0]
    client.close()


def test_it_does_not_wait_beyond_its_deadline(server: Coordinator) -> None:
    server.script, server.retry_after = [503], "60"
    pauses: list[float] = []
    client = CoordinatorClient(server.url, 30.0, pause=pauses.append)
    with pytest.raises(CoordinatorError, match="no answer in 30 s"):
        client.decide(REQUEST)
    assert pauses == []
    client.close()


@pytest.mark.parametrize("asked", ["soon", "-5", "1e9", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_retry_after_that_is_no_number_is_ignored(server: Coordinator, asked: str) -> None:
    server.script, server.retry_after = [503], asked
    pauses: list[float] = []
    client = CoordinatorClient(server.url, 30.0, pause=pauses.append)
    assert client.decide(REQUEST).round == 3
    assert pauses == [client_module.FIRST_PAUSE_S]
    client.close()


def test_the_asynchronous_client_does_the_same(server: Coordinator) -> None:
    async def story() -> None:
        pauses: list[float] = []

        async def pause(seconds: float) -> None:
            pauses.append(seconds)

        async with AsyncCoordinatorClient(server.url, 30.0, pause=pause) as client:
            server.script = [500, HANG_UP, 503]
            assert (await client.decide(REQUEST)).round == 3
            assert client.retries == len(pauses) == 3
            assert set(server.bodies) == {msgspec.json.encode(REQUEST)}
            server.script = [409]
            with pytest.raises(CoordinatorError) as caught:
                await client.decide(REQUEST)
            assert (caught.value.status, caught.value.code) == (409, "scripted")
        async with AsyncCoordinatorClient("http://127.0.0.1:9", 0.2) as nobody:
            assert not await nobody.ready()

    asyncio.run(story())
