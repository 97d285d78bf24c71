"""The MCP coordinator as a Ray Serve deployment: composes rounds, engine and HTTP surface.

The routes stand in ``serve_apps.routes``; this module only puts the parts together.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time
from typing import Any, Protocol

import msgspec
from pydantic import BaseModel
from ray import serve
from ray.serve import Application, metrics
from ray.serve.schema import LoggingConfig
from starlette.requests import Request
from starlette.responses import Response

from actors.registry import AGENTS
from serve_apps.api import Api
from serve_apps.auth import Authenticator
from serve_apps.decider import Decider
from serve_apps.decision_log import DecisionLog
from serve_apps.engine import Engine
from serve_apps.keeper import SnapshotKeeper
from serve_apps.link import Link
from serve_apps.log_reader import DatabaseLog
from serve_apps.lookout import Lookout
from serve_apps.meter import Meter
from serve_apps.news_desk import NewsDesk
from serve_apps.rate_limit import RateLimiter
from serve_apps.ray_ports import RayAgents, RayGate
from serve_apps.readings import Readings
from serve_apps.round_store import RoundStore
from serve_apps.rounds import Rounds
from serve_apps.session_state import prewarm
from serve_apps.upgrade import AgentUpgrade


class CoordinatorArgs(BaseModel):
    """What the application needs from whoever deploys it."""

    cell: int = 0
    database_url: str
    redis_url: str


class Leaves(Protocol):
    """Agents that may be left out; see serve_apps.ray_ports.RayAgents."""

    def out(self) -> dict[str, str]:
        """Who is left out now, and why."""


class Health:
    """See serve_apps.api.Health."""

    def __init__(
        self,
        engine: Engine,
        authenticator: Authenticator,
        agents: Leaves,
        meter: Meter,
        lookout: Lookout,
    ) -> None:
        self._lookout = lookout
        self._engine = engine
        self._authenticator = authenticator
        self._agents = agents
        self._meter = meter

    def why_not_ready(self) -> str:
        """Why no round could be served now; empty when one could."""
        return (
            self._engine.why_not_ready
            or self._authenticator.fault
            or self._engine.why_no_quorum(len(self._agents.out()))
            or self._lookout.why
        )

    def status(self) -> dict[str, Any]:
        """How well it does, and which agents are left out now."""
        state: dict[str, Any] = msgspec.to_builtins(self._meter.degradation())
        return state | {
            "agents_out": self._agents.out(),
            "waiting": self._engine.waiting,
            "shed": self._engine.shed,
            "not_ready": self.why_not_ready(),
        }


class Coordinator:
    """One replica of one cell: serial by design."""

    # Serve awaits an asynchronous constructor; type checkers know only the plain kind.
    async def __init__(self, args: CoordinatorArgs) -> None:  # type: ignore[misc]
        # The round's thread waits for the interpreter while the event loop works: not 5 ms.
        sys.setswitchinterval(0.001)
        prewarm(AGENTS)
        # What stands now stays: the collector need not look at it again with every few requests.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        url, cell, stopping = args.database_url, args.cell, threading.Event()
        link = Link(url, f"coordinator-{cell}-tokens")
        authenticator = Authenticator(link.tokens, RateLimiter(args.redis_url))
        desk = NewsDesk(Link(url, f"coordinator-{cell}-news"))
        agents, gate = RayAgents(AGENTS, cell), RayGate(cell)
        rounds = Rounds(
            cell,
            AGENTS,
            RoundStore(url, cell),
            agents,
            gate,
            DatabaseLog(url, cell),
            time.time_ns,
            stopping,
            desk,
        )
        keeper = SnapshotKeeper(rounds, agents, gate, AGENTS)
        self._engine = engine = Engine(rounds, stopping, between=keeper.look)
        meter = Meter(
            lambda: engine.min_agents, lambda: engine.waiting, lambda: engine.shed, metrics
        )
        engine.listener, engine.entered = meter, desk.load
        await authenticator.start()
        await engine.start()
        lookout = Lookout(
            Link(url, f"coordinator-{cell}-lookout"),
            cell,
            lambda: engine.account,
            gate=gate.why_not_judging,
        )
        await lookout.start()
        self._api = Api(
            Decider(engine, DecisionLog(url, cell)),
            Readings(url, cell),
            authenticator,
            desk,
            meter,
            Health(engine, authenticator, agents, meter, lookout),
            AgentUpgrade(cell, engine, agents, url),
        )

    async def check_health(self) -> None:
        """A replica that lost the log's thread is replaced; the next one reads the log."""
        if self._engine.fault is not None:
            raise RuntimeError(self._engine.fault)

    async def __call__(self, request: Request) -> Response:
        """See serve_apps.api.Api."""
        return await self._api.handle(request)


def build(args: CoordinatorArgs) -> Application:
    """The coordinator as a Serve application (import path ``serve_apps.coordinator:build``)."""
    deployment = serve.deployment(Coordinator).options(
        name="mcp_coordinator",
        num_replicas=1,
        # Above the queue's own bound, which answers with a reason.
        max_ongoing_requests=1500,
        max_queued_requests=1000,
        health_check_period_s=1,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=2,
        ray_actor_options={"num_cpus": 0},
        logging_config=LoggingConfig(enable_access_log=False, log_level=logging.WARNING),
    )
    return deployment.bind(args)
