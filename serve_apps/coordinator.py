"""The MCP coordinator: a Ray Serve deployment over the round engine.

POST /v1/decide   bars of one moment in, recorded decisions out
GET  /healthz     the process answers
GET  /readyz      a round could be served
GET  /v1/rounds/last   number and session of the last round, from the journal
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Iterator

import msgspec
import psycopg
from pydantic import BaseModel
from ray import serve
from ray.serve import Application
from ray.serve.schema import LoggingConfig
from starlette.requests import Request
from starlette.responses import Response

from actors.registry import AGENTS
from data import round_log
from data.round_log import LoggedRound
from data.store import connect
from serve_apps.decider import Decider
from serve_apps.decision_log import DecisionLog
from serve_apps.engine import Engine
from serve_apps.ray_ports import RayAgents, RayGate
from serve_apps.round_store import RoundStore
from serve_apps.rounds import RETRY_AFTER_S, Rounds
from serve_apps.session_state import LogMismatch
from serve_apps.wire import MAX_BODY_BYTES, Problem, Refused


class CoordinatorArgs(BaseModel):
    """What the application needs from whoever deploys it."""

    cell: int = 0
    database_url: str


class Coordinator:
    """One replica of one cell: serial by design."""

    # Serve awaits an asynchronous constructor; type checkers know only the plain kind.
    async def __init__(self, args: CoordinatorArgs) -> None:  # type: ignore[misc]
        # The round's thread waits for the interpreter while the event loop works: not 5 ms.
        sys.setswitchinterval(0.0005)
        self._args = args
        stopping = threading.Event()
        rounds = Rounds(
            args.cell,
            AGENTS,
            RoundStore(args.database_url, args.cell),
            RayAgents(AGENTS, args.cell),
            RayGate(args.cell),
            self._history,
            self._last_round,
            time.time_ns,
            stopping,
        )
        self._engine = Engine(rounds, stopping)
        self._decider = Decider(self._engine, DecisionLog(args.database_url, args.cell))
        await self._engine.start()

    def _history(self, session_id: str) -> Iterator[LoggedRound]:
        with connect(self._args.database_url, name="coordinator-history") as connection:
            yield from round_log.rounds(connection, self._args.cell, session_id)

    def _last_round(self) -> tuple[int, str] | None:
        with connect(self._args.database_url, name="coordinator-last") as connection:
            return round_log.last_round(connection, self._args.cell)

    async def check_health(self) -> None:
        """A replica that lost the log's thread is replaced; the next one reads the log."""
        if self._engine.fault is not None:
            raise RuntimeError(self._engine.fault)

    async def __call__(self, request: Request) -> Response:
        """Routes by path; every error is a Problem."""
        try:
            return await self._route(request)
        except Refused as refused:
            retry = {"Retry-After": str(refused.retry_after)} if refused.retry_after else {}
            return _problem(refused.problem, refused.headers | retry)
        except (psycopg.Error, LogMismatch) as error:
            detail = f"{type(error).__name__}: the journal cannot be read"
            problem = Problem(title="No journal", status=503, detail=detail)
            return _problem(problem, {"Retry-After": str(RETRY_AFTER_S)})

    async def _route(self, request: Request) -> Response:
        match request.method, request.url.path:
            case "POST", "/v1/decide":
                body = await request.body()
                if len(body) > MAX_BODY_BYTES:
                    raise Refused(413, "Too large", f"a body holds at most {MAX_BODY_BYTES} bytes")
                return _json(await self._decider.decide(body))
            case "GET", "/healthz":
                return _json({"status": "ok"})
            case "GET", "/readyz":
                why = self._engine.why_not_ready
                return _json({"ready": not why, "why": why}, 503 if why else 200)
            case "GET", "/v1/rounds/last":
                last = await asyncio.to_thread(self._last_round)
                found = {"round": last[0], "session_id": last[1]} if last else {"round": 0}
                return _json(found)
        raise Refused(404, "Not found", f"{request.method} {request.url.path} does not exist")


def _json(body: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def _problem(problem: Problem, headers: dict[str, str]) -> Response:
    return Response(
        msgspec.json.encode(problem),
        problem.status,
        headers,
        media_type="application/problem+json",
    )


def build(args: CoordinatorArgs) -> Application:
    """The coordinator as a Serve application (import path ``serve_apps.coordinator:build``)."""
    deployment = serve.deployment(Coordinator).options(
        name="mcp_coordinator",
        num_replicas=1,
        max_ongoing_requests=500,
        max_queued_requests=1000,
        health_check_period_s=1,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=2,
        ray_actor_options={"num_cpus": 0},
        logging_config=LoggingConfig(enable_access_log=False, log_level=logging.WARNING),
    )
    return deployment.bind(args)
