"""The coordinator's HTTP surface: routing, tokens, media types, and every error as a problem.

Knows neither Ray nor a server: ``handle`` takes and gives Starlette's objects.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec
import psycopg
from starlette.requests import Request
from starlette.responses import Response

from data.errors import InputError
from data.records import SessionConfig
from data.tokens import Scope
from serve_apps.arrow_wire import ArrowRequest, respond_arrow
from serve_apps.decider import Decided, Incoming, JsonRequest
from serve_apps.openapi import document
from serve_apps.reading_records import (
    AgentDetail,
    AgentsReading,
    DecisionReading,
    GateReading,
    LastRound,
    Ready,
    SessionReading,
    WeightsReading,
)
from serve_apps.readings import DEFAULT_ROUNDS, MOST_ROUNDS
from serve_apps.request_parts import Headers, content_type, deadline_s, read_body, wanted
from serve_apps.requests import respond
from serve_apps.routes import ROUTES, TEXT, Route
from serve_apps.session_state import LogMismatch
from serve_apps.story import DecisionId, parse_id
from serve_apps.upgrade import VersionChange, VersionChanged
from serve_apps.wire import ARROW, JSON, PROBLEM, Refused

RETRY_AFTER_S = 1
UNMATCHED = "unmatched"  # the route's name in metrics: paths are a stranger's to choose


class Decides(Protocol):
    """serve_apps.decider.Decider."""

    @property
    def session(self) -> SessionConfig | None:
        """The session that the cell serves now."""

    async def answer(self, incoming: Incoming, deadline_s: float) -> Decided:
        """The recorded decisions for a request."""


class Reads(Protocol):
    """serve_apps.readings.Readings."""

    async def open_session(self) -> SessionConfig | None:
        """The open session of the cell."""

    async def last_ts(self, session_id: str) -> int:
        """The time of the session's latest bar."""

    async def last_round(self) -> LastRound:
        """The last round."""

    async def decision(self, name: DecisionId) -> DecisionReading:
        """One decision's story."""

    async def agents(self) -> AgentsReading:
        """All agents."""

    async def agent(self, name: str) -> AgentDetail:
        """One agent."""

    async def weights(self, rounds: int) -> WeightsReading:
        """The weights' history."""

    async def gate(self) -> GateReading:
        """The gate."""


class Admits(Protocol):
    """serve_apps.auth.Authenticator."""

    async def admit(self, header: str | None, scope: Scope) -> Any:
        """Refused 401, 403, 429 or 503 unless the Authorization header may do this."""


class TakesNews(Protocol):
    """serve_apps.news_desk.NewsDesk."""

    async def post(self, body: bytes, config: SessionConfig, clock_ns: int) -> int:
        """Takes an item in: 202, or 200 when it was known."""


class Meter(Protocol):
    """Counts answers and tells the numbers."""

    def answered(self, route: str, status: int, seconds: float) -> None:
        """One request is answered."""

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""


class Health(Protocol):
    """What the coordinator knows of its own state."""

    def why_not_ready(self) -> str:
        """Why no round could be served now; empty when one could."""

    def status(self) -> dict[str, Any]:
        """How well it does: JSON of GET /v1/status."""


class Upgrades(Protocol):
    """serve_apps.upgrade.AgentUpgrade."""

    async def change(self, name: str, wanted: VersionChange, by: str) -> VersionChanged:
        """Makes an actor the agent ``name`` between two rounds."""


class Api:
    """All routes of ``serve_apps.routes`` over their collaborators."""

    def __init__(
        self,
        decider: Decides,
        readings: Reads,
        authenticator: Admits,
        desk: TakesNews,
        meter: Meter,
        health: Health,
        upgrade: Upgrades,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._decider = decider
        self._readings = readings
        self._authenticator = authenticator
        self._desk = desk
        self._meter = meter
        self._health = health
        self._upgrade = upgrade
        self._clock_ns = clock_ns
        self._document = msgspec.json.encode(document(ROUTES))
        self._exact: dict[str, dict[str, Route]] = {}
        # By what stands before and after the path's parameter, the longer ends first.
        self._around: dict[tuple[str, str], dict[str, Route]] = {}
        for route in sorted(ROUTES, key=lambda route: -len(route.path.partition("}")[2])):
            stem, brace, rest = route.path.partition("{")
            if brace:
                key = stem, rest.partition("}")[2]
                self._around.setdefault(key, {})[route.method] = route
            else:
                self._exact.setdefault(stem, {})[route.method] = route
        self._answers: dict[str, Callable[[Request, Headers], Awaitable[Response]]] = {
            route.name: getattr(self, f"_{route.name}") for route in ROUTES
        }

    async def handle(self, request: Request) -> Response:
        """The answer to any request; every error is a problem (RFC 9457)."""
        started = time.perf_counter()
        name = UNMATCHED
        try:
            route = self._match(request.scope["method"], request.scope["path"])
            name = route.name
            headers: Headers = dict(request.scope["headers"])
            if route.scope is not None:
                token = headers.get(b"authorization")
                text = None if token is None else token.decode("latin-1")
                request.scope["caller"] = await self._authenticator.admit(text, route.scope)
            response = await self._answers[name](request, headers)
        except Refused as refused:
            response = _problem(refused)
        except (psycopg.Error, LogMismatch, TimeoutError, OSError) as error:
            detail = f"{type(error).__name__}: the journal cannot be read"
            response = _problem(Refused(503, "No journal", detail, RETRY_AFTER_S, "no_journal"))
        except Exception:
            self._meter.answered(name, 500, time.perf_counter() - started)
            raise
        self._meter.answered(name, response.status_code, time.perf_counter() - started)
        return response

    def _match(self, method: str, path: str) -> Route:
        found = self._exact.get(path)
        if found is None:
            fitting = (known for ends, known in self._around.items() if _inside(path, *ends))
            found = next(fitting, None)
        if found is None:
            raise Refused(404, "Not found", "no such path: see /openapi.json", code="not_found")
        route = found.get(method)
        if route is None:
            allowed = ", ".join(sorted(found))
            raise Refused(
                405,
                "Method not allowed",
                f"this path knows {allowed}",
                code="method_not_allowed",
                headers={"Allow": allowed},
            )
        return route

    # -- POST -------------------------------------------------------------------------------

    async def _decide(self, request: Request, headers: Headers) -> Response:
        kind = content_type(headers, (JSON, ARROW))
        body = await read_body(request, headers)
        incoming = ArrowRequest(body) if kind == ARROW else JsonRequest(body)
        decided = await self._decider.answer(incoming, deadline_s(headers))
        replayed = {"Idempotency-Replayed": "true"} if decided.replayed else None
        media = wanted(headers, kind)
        write = respond_arrow if media == ARROW else respond
        content = write(decided.table, decided.request_id, decided.answers)
        return Response(content, 200, replayed, media)

    async def _news(self, request: Request, headers: Headers) -> Response:
        content_type(headers, (JSON,))
        body = await read_body(request, headers)
        status = await self._desk.post(body, await self._session_now(409), self._clock_ns())
        return _json({"status": "accepted" if status == 202 else "known"}, status)

    async def _agent_version(self, request: Request, headers: Headers) -> Response:
        content_type(headers, (JSON,))
        body = await read_body(request, headers)
        try:
            wanted = msgspec.json.decode(body, type=VersionChange)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Refused(422, "Bad request", str(error), code="bad_request") from error
        name = _inside(request.scope["path"], "/v1/agents/", "/version")
        caller = request.scope["caller"]
        return _json(await self._upgrade.change(name, wanted, f"{caller.name} {caller.token_id}"))

    # -- GET --------------------------------------------------------------------------------

    async def _decision(self, request: Request, _: Headers) -> Response:
        return await self._story(_inside(request.scope["path"], "/v1/decisions/"))

    async def _find_decision(self, request: Request, _: Headers) -> Response:
        query = request.query_params
        missing = [name for name in ("session_id", "symbol", "ts") if not query.get(name)]
        if missing:
            detail = f"give {', '.join(missing)}"
            raise Refused(422, "Bad query", detail, code="bad_query")
        return await self._story(":".join(query[name] for name in ("session_id", "symbol", "ts")))

    async def _story(self, name: str) -> Response:
        try:
            wanted = parse_id(name)
        except InputError as error:
            raise Refused(422, "Bad decision id", str(error), code="bad_decision_id") from error
        return _json(await self._readings.decision(wanted))

    async def _agents(self, _: Request, __: Headers) -> Response:
        return _json(await self._readings.agents())

    async def _agent(self, request: Request, _: Headers) -> Response:
        return _json(await self._readings.agent(_inside(request.scope["path"], "/v1/agents/")))

    async def _weights(self, request: Request, _: Headers) -> Response:
        text = request.query_params.get("rounds", str(DEFAULT_ROUNDS))
        plain = text.isascii() and text.isdigit() and len(text) <= 3
        if not plain or not 1 <= int(text) <= MOST_ROUNDS:
            detail = f"rounds: give a number from 1 to {MOST_ROUNDS}"
            raise Refused(422, "Bad query", detail, code="bad_query")
        return _json(await self._readings.weights(int(text)))

    async def _gate(self, _: Request, __: Headers) -> Response:
        return _json(await self._readings.gate())

    async def _session(self, _: Request, __: Headers) -> Response:
        config = await self._session_now(404)
        clock_ns = self._clock_ns()
        if config.mode == "historical":
            clock_ns = await self._readings.last_ts(config.session_id)
        reading = SessionReading(
            session_id=config.session_id,
            mode=config.mode,
            account=config.account,
            cell=config.cell,
            symbols=config.symbols,
            currency=config.currency,
            tick=config.tick,
            horizon=config.horizon,
            first_traded=config.first_traded,
            clock_ns=clock_ns,
        )
        return _json(reading)

    async def _session_now(self, status: int) -> SessionConfig:
        config = await self._readings.open_session()
        if config is None:
            raise Refused(status, "No session", "no session is open", code="no_session")
        return config

    async def _last_round(self, _: Request, __: Headers) -> Response:
        return _json(await self._readings.last_round())

    async def _status(self, _: Request, __: Headers) -> Response:
        return _json(self._health.status())

    async def _openapi(self, _: Request, __: Headers) -> Response:
        return Response(self._document, media_type=JSON)

    async def _healthz(self, _: Request, __: Headers) -> Response:
        return _json({"status": "ok"})

    async def _readyz(self, _: Request, __: Headers) -> Response:
        why = self._health.why_not_ready()
        return _json(Ready(ready=not why, why=why), 503 if why else 200)

    async def _metrics(self, _: Request, __: Headers) -> Response:
        return Response(self._meter.exposition(), headers={"Content-Type": TEXT})


def _inside(path: str, stem: str, end: str = "") -> str:
    """The path's parameter, which may hold slashes; empty when the path is another one."""
    fits = path.startswith(stem) and path.endswith(end)
    return path[len(stem) : len(path) - len(end)] if fits else ""


def _json(body: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type=JSON)


def _problem(refused: Refused) -> Response:
    headers = dict(refused.headers)
    if refused.retry_after:
        headers["Retry-After"] = str(refused.retry_after)
    problem = refused.problem
    return Response(msgspec.json.encode(problem), problem.status, headers, media_type=PROBLEM)
