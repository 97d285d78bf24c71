"""The MCP coordinator: a Ray Serve deployment over the round engine.

POST /v1/decide   bars of one moment in, recorded decisions out
GET  /healthz     the process answers
GET  /readyz      a round could be served
GET  /v1/rounds/last   number and session of the last round, from the journal
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

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
from data.records import RoundOutput, SessionConfig
from data.round_log import LoggedRound
from data.sessions import UnknownSession
from data.store import connect
from serve_apps.engine import RETRY_AFTER_S, Engine
from serve_apps.ray_ports import RayAgents, RayGate
from serve_apps.requests import Asked, parse, respond
from serve_apps.round_store import RoundStore
from serve_apps.session_state import LogMismatch
from serve_apps.wire import DecideResponse, Problem, Refused, request_decoder

MAX_BODY_BYTES = 8 << 20


class CoordinatorArgs(BaseModel):
    """What the application needs from whoever deploys it."""

    cell: int = 0
    database_url: str


class Decider:
    """Answers requests: from the engine when they are new, from the log when they are not."""

    def __init__(self, engine: Engine, store: RoundStore) -> None:
        self.engine = engine
        self._store = store

    async def decide(self, body: bytes) -> DecideResponse:
        """The answer to a request body; Refused says what is wrong with it."""
        try:
            request = request_decoder.decode(body)
        except msgspec.DecodeError as error:
            raise Refused(422, "Bad request", str(error)) from error
        try:
            state = await self.engine.session_state(request.session_id)
        except UnknownSession as error:
            detail = f"session {request.session_id!r} is not recorded"
            raise Refused(404, "Unknown session", detail) from error
        config = state.config
        asked = parse(request, body, config)
        keys = [(int(bar["symbol"]), int(bar["ts"])) for bar in asked.bars]
        outputs: list[RoundOutput] = []
        rest: Asked | None = asked
        if (asked.bars["ts"] <= state.last_ts[asked.bars["symbol"]]).any():
            outputs, rest = await self._known(config, asked)
        if rest is not None:
            outputs = [*outputs, await self.engine.submit(rest)]
        return respond(config, asked.request_id, keys, outputs)

    async def _known(
        self, config: SessionConfig, asked: Asked
    ) -> tuple[list[RoundOutput], Asked | None]:
        """Recorded outputs for what was decided before, and the part that was not."""
        known = await self._store.request(asked.request_id)
        if known is not None and known[0] != asked.body_hash:
            detail = f"request id {asked.request_id} was answered for another body"
            raise Refused(409, "Another body", detail)
        keys = [(int(bar["symbol"]), int(bar["ts"])) for bar in asked.bars]
        decided = await self._store.decisions(config, keys)
        for key, digest in zip(keys, asked.bar_hashes, strict=True):
            if key in decided and decided[key].bar_hash != digest:
                detail = f"{config.symbols[key[0]]} {key[1]}: another bar was decided already"
                raise Refused(409, "Changed bar", detail)
        numbers = sorted({decision.round for decision in decided.values()})
        outputs = await self._store.outputs(numbers)
        if len(outputs) != len(numbers):
            detail = "its round is still open, or was closed as aborted: no trade"
            raise Refused(503, "Open round", detail, RETRY_AFTER_S)
        new = [i for i, key in enumerate(keys) if key not in decided]
        if not new:
            return outputs, None
        return outputs, replace(
            asked, bars=asked.bars[new], bar_hashes=tuple(asked.bar_hashes[i] for i in new)
        )


class Coordinator:
    """One replica of one cell: serial by design."""

    # Serve awaits an asynchronous constructor; type checkers know only the plain kind.
    async def __init__(self, args: CoordinatorArgs) -> None:  # type: ignore[misc]
        self._args = args
        self._store = RoundStore(args.database_url, args.cell)
        self._engine = Engine(
            args.cell,
            AGENTS,
            self._store,
            RayAgents(AGENTS, args.cell),
            RayGate(args.cell),
            self._history,
            self._last_round,
        )
        self._decider = Decider(self._engine, self._store)
        await self._engine.start()
        self._loop = asyncio.create_task(self._engine.run())

    async def _history(self, session_id: str) -> list[LoggedRound]:
        return await asyncio.to_thread(self._read_history, session_id)

    def _read_history(self, session_id: str) -> list[LoggedRound]:
        with connect(self._args.database_url, name="coordinator-history") as connection:
            return list(round_log.rounds(connection, self._args.cell, session_id))

    async def _last_round(self) -> tuple[int, str] | None:
        return await asyncio.to_thread(self._read_last_round)

    def _read_last_round(self) -> tuple[int, str] | None:
        with connect(self._args.database_url, name="coordinator-last") as connection:
            return round_log.last_round(connection, self._args.cell)

    async def check_health(self) -> None:
        """A replica that lost the log's thread is replaced; the next one reads the log."""
        if self._loop.done():
            raise RuntimeError("the round loop ended")
        if self._engine.fault is not None:
            raise RuntimeError(self._engine.fault)

    async def __call__(self, request: Request) -> Response:
        """Routes by path; every error is a Problem."""
        try:
            return await self._route(request)
        except Refused as refused:
            headers = {"Retry-After": str(refused.retry_after)} if refused.retry_after else {}
            return _problem(refused.problem, headers)
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
                fault = self._engine.fault
                status = 200 if fault is None else 503
                return _json({"ready": fault is None, "why": fault or ""}, status)
            case "GET", "/v1/rounds/last":
                last = await self._last_round()
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
