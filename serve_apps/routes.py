"""The routes of the coordinator's HTTP surface: the one table that routing and OpenAPI read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from data.tokens import Scope
from serve_apps.news_desk import NewsPost
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
from serve_apps.upgrade import VersionChange, VersionChanged
from serve_apps.wire import ARROW, JSON, DecideRequest, DecideResponse

TEXT = "text/plain; version=0.0.4; charset=utf-8"

_GUARDED = (401, 403, 429, 503)
_BODY_ERRORS = (408, 413, 415, 422)
_SESSION_TEXT = {"type": "string", "minLength": 1, "maxLength": 128}
_SYMBOL_TEXT = {"type": "string", "minLength": 1, "maxLength": 64}
_TS = {"type": "integer", "format": "int64", "minimum": 0, "maximum": 2**63 - 1}


@dataclass(frozen=True)
class Parameter:
    """A part of the path or of the query, with its JSON schema."""

    name: str
    where: str  # path, query, header
    schema: dict[str, Any]
    about: str
    required: bool = True


@dataclass(frozen=True)
class Route:
    """One operation. ``name`` is also the method of ``serve_apps.api.Api`` that answers it."""

    name: str
    method: str
    path: str  # a last part in braces stands for one path parameter
    about: str
    scope: Scope | None = Scope.READ
    answer: Any = None  # the struct of a 200; None: any JSON object
    media: tuple[str, ...] = (JSON,)
    takes: Any = None  # the struct of the body
    takes_media: tuple[str, ...] = ()
    statuses: tuple[int, ...] = ()  # beside 200
    parameters: tuple[Parameter, ...] = field(default=())

    @property
    def errors(self) -> tuple[int, ...]:
        """Every status that is answered with a problem."""
        own = tuple(s for s in self.statuses if s >= 400)
        return tuple(sorted({*own, *(_GUARDED if self.scope else ())}))


ROUTES: tuple[Route, ...] = (
    Route(
        "decide",
        "POST",
        "/v1/decide",
        "Decide the bars of one moment. The same request id gets the same answer; an answer "
        "that stood in the log before carries Idempotency-Replayed: true.",
        Scope.DECIDE,
        DecideResponse,
        (JSON, ARROW),
        DecideRequest,
        (JSON, ARROW),
        (404, 409, *_BODY_ERRORS),
        (
            Parameter(
                "Sapphire-Deadline-Ms",
                "header",
                {"type": "integer", "minimum": 1, "maximum": 60_000, "default": 10_000},
                "how long the sender waits; then 503, and the same id finds the answer later",
                required=False,
            ),
        ),
    ),
    Route(
        "news",
        "POST",
        "/v1/news",
        "Hand in a text about a symbol; it travels as an input of the next round. "
        "202 the first time, 200 the same again.",
        Scope.DECIDE,
        takes=NewsPost,
        takes_media=(JSON,),
        statuses=(202, 409, *_BODY_ERRORS),
    ),
    Route(
        "decision",
        "GET",
        "/v1/decisions/{id}",
        "One decision's story: bar, votes with evidence, weights, verdict, approval, orders.",
        answer=DecisionReading,
        statuses=(404, 422),
        parameters=(
            Parameter(
                "id",
                "path",
                {"type": "string", "minLength": 1, "maxLength": 256},
                "SESSION:SYMBOL:TS, ts in UTC ns",
            ),
        ),
    ),
    Route(
        "find_decision",
        "GET",
        "/v1/decisions",
        "The same, by its parts.",
        answer=DecisionReading,
        statuses=(404, 422),
        parameters=(
            Parameter("session_id", "query", _SESSION_TEXT, "session"),
            Parameter("symbol", "query", _SYMBOL_TEXT, "symbol"),
            Parameter("ts", "query", _TS, "the bar's close, UTC ns"),
        ),
    ),
    Route(
        "agents",
        "GET",
        "/v1/agents",
        "The agents: weight, last votes, version of their code.",
        answer=AgentsReading,
    ),
    Route(
        "agent",
        "GET",
        "/v1/agents/{name}",
        "One agent.",
        answer=AgentDetail,
        statuses=(404,),
        parameters=(
            Parameter("name", "path", {"type": "string", "minLength": 1}, "the agent's name"),
        ),
    ),
    Route(
        "agent_version",
        "POST",
        "/v1/agents/{name}/version",
        "Put a newer actor in an agent's place, between two rounds: 'sapphire agents upgrade'.",
        Scope.OPERATE,
        VersionChanged,
        takes=VersionChange,
        takes_media=(JSON,),
        statuses=(404, 409, *_BODY_ERRORS),
        parameters=(
            Parameter("name", "path", {"type": "string", "minLength": 1}, "the agent's name"),
        ),
    ),
    Route(
        "weights",
        "GET",
        "/v1/weights",
        "The weights of the last rounds, newest first.",
        answer=WeightsReading,
        statuses=(422,),
        parameters=(
            Parameter(
                "rounds",
                "query",
                {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": MOST_ROUNDS,
                    "default": DEFAULT_ROUNDS,
                },
                "how many",
                required=False,
            ),
        ),
    ),
    Route(
        "gate",
        "GET",
        "/v1/gate",
        "The gate: epoch, holder, trading state, the trader's lease, open approvals.",
        answer=GateReading,
    ),
    Route(
        "session",
        "GET",
        "/v1/session",
        "The open session: id, symbols, tick, mode, clock.",
        answer=SessionReading,
        statuses=(404,),
    ),
    Route(
        "last_round",
        "GET",
        "/v1/rounds/last",
        "Number and session of the last round.",
        answer=LastRound,
    ),
    Route("status", "GET", "/v1/status", "How well the service does, and what is degraded."),
    Route("openapi", "GET", "/openapi.json", "This document."),
    Route("healthz", "GET", "/healthz", "The process answers.", None),
    Route(
        "readyz",
        "GET",
        "/readyz",
        "A round could be served now.",
        None,
        Ready,
        statuses=(503,),
    ),
    Route("metrics", "GET", "/metrics", "Prometheus text format.", None, media=(TEXT,)),
)
