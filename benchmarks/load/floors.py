"""What the machine can do without us: a bare Serve no-op, and bare calls and commits.

Two applications beside the coordinator, behind the same ingress: ``/noop`` takes a body and answers
two bytes, ``/bare`` measures. ``benchmarks.load.start_floors`` puts one there.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import msgspec

NOOP, BARE = "/noop", "/bare"
VOTE_BYTES = 1_000  # about what a round of one bar sends each agent
ROW_BYTES = 1_500  # about what a round of one bar logs in a record
CALLS_S = 30.0


class Noop:
    """Takes the body and answers."""

    async def __call__(self, request: Any) -> Any:
        """Two bytes."""
        from starlette.responses import Response

        await request.body()
        return Response(b"{}", media_type="application/json")


class BareActor:
    """Gives back what it gets."""

    def call(self, payload: bytes) -> bytes:
        """The payload."""
        return payload


class Bare:
    """Six calls at once, one after them, and two commits: nothing else of a round."""

    def __init__(self, database_url: str) -> None:
        import ray

        kind = ray.remote(num_cpus=0, enable_task_events=False)(BareActor)
        self._actors = [kind.remote() for _ in range(7)]
        self._url = database_url

    async def __call__(self, request: Any) -> Any:
        """Milliseconds of each of ``n`` turns, as JSON: from a thread, and from the event loop."""
        from starlette.responses import Response

        turns = int(request.query_params.get("n", "200"))
        done: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()

        def measure() -> None:
            result = self._on_thread(turns)
            loop.call_soon_threadsafe(done.set_result, result)

        threading.Thread(target=measure, daemon=True).start()
        on_thread = await done
        on_loop = [await self._on_loop() for _ in range(turns)]
        return Response(
            msgspec.json.encode({"thread": on_thread, "loop": on_loop}),
            media_type="application/json",
        )

    def _on_thread(self, turns: int) -> list[float]:
        """As the coordinator does: blocking, on a thread of its own."""
        import psycopg
        import ray

        six, gate = self._actors[:6], self._actors[6]
        payload, row = bytes(VOTE_BYTES), bytes(ROW_BYTES)
        taken = []
        with psycopg.connect(self._url, autocommit=True) as connection:
            for _ in range(turns):
                began = time.perf_counter()
                _commit(connection, row)
                ray.get([actor.call.remote(payload) for actor in six], timeout=CALLS_S)
                ray.get(gate.call.remote(payload), timeout=CALLS_S)
                _commit(connection, row)
                taken.append(1e3 * (time.perf_counter() - began))
        return taken

    async def _on_loop(self) -> float:
        """The calls alone, gathered on the event loop as most Serve applications do."""
        payload = bytes(VOTE_BYTES)
        began = time.perf_counter()
        await asyncio.gather(*[actor.call.remote(payload) for actor in self._actors[:6]])
        await self._actors[6].call.remote(payload)
        return 1e3 * (time.perf_counter() - began)


def _commit(connection: Any, row: bytes) -> None:
    connection.execute("INSERT INTO load_floor (payload) VALUES (%s)", (row,), prepare=True)
