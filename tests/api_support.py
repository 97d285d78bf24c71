"""The whole HTTP surface over a cell of ours: every method let through, tokens of one scope."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from starlette.requests import Request
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope
from support import Cell, House, surface

from cluster.processes import free_port
from data.store import connect
from data.tokens import Scope, create_token

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
        thread.join(20)
        assert not thread.is_alive()
