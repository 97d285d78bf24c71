"""The whole HTTP surface over a cell of ours: every method let through, tokens of one scope."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import uvicorn
from starlette.requests import Request
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope
from support import Cell, House, request_body, surface

from cluster.processes import free_port
from data.bars import Bars
from data.records import SessionConfig
from data.store import connect
from data.tokens import Scope, create_token
from serve_apps.wire import JSON

FAST = 1_000_000  # requests a second that the tests' own tokens have


@dataclass
class Hosted:
    """Where the surface listens, and tokens for it."""

    url: str
    tokens: dict[Scope, str]

    def headers(self, scope: Scope = Scope.READ) -> dict[str, str]:
        """The Authorization header of a token with this one scope."""
        return {"Authorization": f"Bearer {self.tokens[scope]}"}


def make_token(house: House, *scopes: Scope, rate_per_s: int = FAST) -> str:
    """A live token's text."""
    with connect(house.roles.ops, name="test-token") as connection:
        return create_token(connection, "test", scopes, rate_per_s, "test")


def feed(hosted: Hosted, config: SessionConfig, moments: Iterable[Bars]) -> None:
    """Has these moments decided; asks again while the agents are being compiled."""
    headers = hosted.headers(Scope.DECIDE) | {"content-type": JSON}
    give_up = time.monotonic() + 100
    with httpx.Client(base_url=hosted.url, headers=headers, timeout=60) as http:
        for bars in moments:
            body = request_body(config, bars)
            while (answer := http.post("/v1/decide", content=body)).status_code == 503:
                assert time.monotonic() < give_up, answer.text
            assert answer.status_code == 200, answer.text


@contextmanager
def hosted_api(house: House, cell: Cell) -> Iterator[Hosted]:
    """Serves the cell's Api from a thread until the block ends."""
    port = free_port()
    tokens = {scope: make_token(house, scope) for scope in Scope}
    started, stop = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    async def main() -> None:
        async with cell.running():
            api, authenticator = surface(cell)

            async def app(scope: AsgiScope, receive: Receive, send: Send) -> None:
                response = await api.handle(Request(scope, receive))
                await response(scope, receive, send)

            await authenticator.start()
            config = uvicorn.Config(
                app, "127.0.0.1", port, log_level="error", lifespan="off", access_log=False
            )
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server.serve())
            while not server.started:
                await asyncio.sleep(0.01)
            started.set()
            await asyncio.to_thread(stop.wait)
            server.should_exit = True
            await serving
            await authenticator.stop()

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failed.append(error)
            raise
        finally:
            started.set()

    thread = threading.Thread(target=run, name="api")
    thread.start()
    assert started.wait(20)
    try:
        assert not failed, failed
        yield Hosted(f"http://127.0.0.1:{port}", tokens)
    finally:
        stop.set()
        thread.join(100)  # the round's thread may be compiling an agent
        assert not thread.is_alive()
