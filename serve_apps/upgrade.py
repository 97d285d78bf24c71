"""An agent is replaced by a newer version of itself between two rounds, none of them lost.

The new actor reads the log aside until it is near the present round; then the change is journalled,
and from the next round on it is the agent. The round's input names the versions, so that every
replay sees the change at the same place.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

import msgspec
from ray.actor import ActorHandle

from data import round_log
from data.journal import append_operation
from data.store import TRADING_LOCK, connect
from serve_apps.engine import Engine
from serve_apps.rounds import RETRY_AFTER_S
from serve_apps.wire import Refused

CATCH_UP_S = 120.0
NEAR = 16  # rounds behind, at most, when it takes over: it reads them with its first vote


class VersionChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The actor that shall be the agent, and the hashes of its code and of its step function."""

    actor: str
    code: str
    step: str


class VersionChanged(msgspec.Struct, frozen=True, kw_only=True):
    """The first round under the new version, and the step's hash that held before."""

    agent: str
    round: int
    before: str
    newcomer: bool  # its step function changed: it is scored in the shadow first


class Replaceable(Protocol):
    """Agents that can be exchanged; see serve_apps.ray_ports.RayAgents."""

    def versions(self) -> dict[str, str]:
        """Each agent's hash of its step function."""

    def candidate(self, name: str, actor: str) -> tuple[ActorHandle, str]:
        """The actor and its step's hash; LookupError when there is no such actor of the agent."""

    def reached(self, handle: ActorHandle, session_id: str) -> int:
        """The round up to which an actor has read the log, after one more slice of it.

        LookupError when the actor does not answer.
        """

    def switch(self, name: str, handle: ActorHandle, step: str) -> None:
        """From the next round on this actor is the agent."""


class AgentUpgrade:
    """Changes of agents' versions in one cell, one at a time."""

    def __init__(self, cell: int, engine: Engine, agents: Replaceable, database_url: str) -> None:
        self._cell = cell
        self._engine = engine
        self._agents = agents
        self._url = database_url
        self._one = asyncio.Lock()

    async def change(self, name: str, wanted: VersionChange, by: str) -> VersionChanged:
        """Makes the actor the agent ``name``; Refused when it cannot be, and nothing changes then.

        ``by`` is whose token asked.
        """
        if name not in self._agents.versions():
            raise Refused(
                404, "Unknown agent", f"no agent is called {name!r}", code="unknown_agent"
            )
        async with self._one:
            try:
                handle, step = await asyncio.to_thread(self._agents.candidate, name, wanted.actor)
            except LookupError as error:
                raise Refused(409, "No such actor", str(error), code="unknown_actor") from error
            if step != wanted.step:
                detail = f"{wanted.actor} runs step {step[:12]}, not {wanted.step[:12]}"
                raise Refused(409, "Other version", detail, code="other_version")
            await self._catch_up(handle, wanted.actor)
            return await self._engine.between_rounds(lambda: self._switch(name, handle, wanted, by))

    async def _catch_up(self, handle: ActorHandle, actor: str) -> None:
        give_up = time.monotonic() + CATCH_UP_S
        while (state := self._engine.state) is not None:
            session_id = state.config.session_id
            try:
                reached = await asyncio.to_thread(self._agents.reached, handle, session_id)
            except LookupError as error:
                detail = f"{actor}: {error}"
                raise Refused(409, "No such actor", detail, code="unknown_actor") from error
            if state.last_round - reached <= NEAR:
                return
            if time.monotonic() > give_up:
                detail = f"{actor} is {state.last_round - reached} rounds behind"
                raise Refused(503, "Too slow", detail, RETRY_AFTER_S, "behind")

    def _switch(
        self, name: str, handle: ActorHandle, wanted: VersionChange, by: str
    ) -> VersionChanged:
        """On the round's thread. Journalled first, then done."""
        state = self._engine.state
        before = self._agents.versions()[name]
        body = msgspec.structs.asdict(wanted)
        with connect(self._url, name="coordinator-upgrade") as connection, connection.transaction():
            # Rounds are numbered through all sessions of the cell.
            last = round_log.last_round(connection, self._cell)
            first = 1 + (0 if last is None else last[0])
            body |= {"cell": self._cell, "agent": name, "before": before}
            body |= {"from_round": first, "by": by}
            connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", TRADING_LOCK)
            session_id = state.config.session_id if state is not None else ""
            append_operation(connection, "agent_version", body, session_id)
        self._agents.switch(name, handle, wanted.step)
        return VersionChanged(
            agent=name, round=first, before=before, newcomer=before != wanted.step
        )
