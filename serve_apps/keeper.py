"""Keeps snapshots coming: one part after the other, between two rounds, one under way at a time."""

from __future__ import annotations

import time

import ray
import structlog
from ray import ObjectRef
from ray.exceptions import RayError

from actors.contract import AgentSpec
from actors.snapshot import SnapshotPlan
from serve_apps.ray_ports import RayAgents, RayGate, first_line
from serve_apps.rounds import Rounds
from serve_apps.session_state import POOL

log = structlog.get_logger("coordinator")

EVERY_ROUNDS = 2_000
EVERY_S = 120.0  # each one costs a round some tens of milliseconds
LONGEST_S = 60.0


class SnapshotKeeper:
    """Called on the round's thread after each round; never waits."""

    def __init__(
        self, rounds: Rounds, agents: RayAgents, gate: RayGate, specs: tuple[AgentSpec, ...]
    ) -> None:
        self._rounds = rounds
        self._agents = agents
        self._gate = gate
        parts = [POOL, *(spec.name for spec in specs)]
        self._plan = SnapshotPlan(parts, EVERY_ROUNDS, EVERY_S)
        self._on_its_way: ObjectRef | None = None
        self._sent = 0.0

    def look(self) -> None:
        """Starts the next snapshot if one is due and none is on its way."""
        state = self._rounds.state
        if state is None or not state.last_round or not self._free():
            return
        self._agents.look_after(state.config.session_id, state.last_round)
        part = self._plan.due(state.last_round, time.monotonic())
        if part is None:
            return
        if part == POOL:
            made = state.memory()
        elif part in (handles := self._agents.handles()):
            # The agent's answer goes from it to the gate: it does not pass through here.
            made = handles[part].snapshot.remote()
        else:
            return
        self._on_its_way = self._gate.handle.snapshot.remote(state.config.session_id, made)
        self._sent = time.monotonic()

    def _free(self) -> bool:
        if self._on_its_way is None:
            return True
        ready, _ = ray.wait([self._on_its_way], timeout=0)
        if ready:
            try:
                ray.get(ready[0], timeout=0)
            except RayError as error:
                log.warning("no snapshot", error=first_line(error))
        elif time.monotonic() - self._sent < LONGEST_S:
            return False
        self._on_its_way = None
        return True
