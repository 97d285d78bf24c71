"""The whole HTTP surface over a cell of ours, with real tokens, on a loopback port."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope
from support import CELL, Cell, House

from cluster.processes import free_port
from data.store import connect
from data.tokens import Scope, create_token
from serve_apps.api import Api
from serve_apps.auth import Authenticator
from serve_apps.link import Link
from serve_apps.news_desk import NewsDesk
from serve_apps.rate_limit import RateLimiter
from serve_apps.readings import Readings

FAST = 1_000_000  # requests a second that the tests' own tokens have


@dataclass
class Tally:
    """The Api's Meter and Health, as small as they can be."""

    cell: Cell
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """See serve_apps.api.Meter."""
        assert seconds >= 0
        self.answers[route, status] += 1

    def exposition(self) -> bytes:
        """See serve_apps.api.Meter."""
        lines = [
            f'answers_total{{route="{route}",status="{status}"}} {count}\n'
            for (route, status), count in sorted(self.answers.items())
        ]
        return "".join(lines).encode()

    def why_not_ready(self) -> str:
        """See serve_apps.api.Health."""
        return self.cell.engine.why_not_ready

    def status(self) -> dict[str, Any]:
        """See serve_apps.api.Health."""
        return {"state": "ok", "waiting": self.cell.engine.waiting}


@dataclass
class Hosted:
    """Where the surface listens, and tokens for it."""

    url: str
    tally: Tally
    readings: Readings
    decide: str
    read: str

    def headers(self, scope: Scope = Scope.READ) -> dict[str, str]:
        """The Authorization header of a token with this one scope."""
        token = self.decide if scope is Scope.DECIDE else self.read
        return {"Authorization": f"Bearer {token}"}


def make_token(house: House, *scopes: Scope, rate_per_s: int = FAST) -> str:
    """A live token's text."""
    with connect(house.roles.ops, name="test-token") as connection:
        return create_token(connection, "test", scopes, rate_per_s, "test")


@contextmanager
def hosted_api(house: House, cell: Cell, clock_ns: Any = None) -> Iterator[Hosted]:
    """Serves the cell's Api from a thread until the block ends."""
    port = free_port()
    decide, read = make_token(house, Scope.DECIDE), make_token(house, Scope.READ)
    started, stop = threading.Event(), threading.Event()
    tally, failed = Tally(cell), []
    readings = Readings(house.roles.coordinator, CELL)

    async def main() -> None:
        link = Link(house.roles.coordinator, "test-link")
        limiter = RateLimiter("redis://127.0.0.1:9/0")
        authenticator = Authenticator(link.tokens, limiter)
        desk = NewsDesk(link)
        cell.rounds._news = desk
        clock = {} if clock_ns is None else {"clock_ns": clock_ns}
        api = Api(cell.decider, readings, authenticator, desk, tally, tally, **clock)

        async def app(scope: AsgiScope, receive: Receive, send: Send) -> None:
            response = await api.handle(Request(scope, receive))
            await response(scope, receive, send)

        async with cell.running():
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
            await limiter.close()
            await readings.close()
            await link.close()

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
        yield Hosted(f"http://127.0.0.1:{port}", tally, readings, decide, read)
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()
