"""The engine's agents and gate as Ray actors."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import ray
import structlog
from ray.actor import ActorHandle
from ray.exceptions import RayError

from actors.contract import AgentSpec, Floats, Status
from actors.ray_actors import NAMESPACE, agent_actor_name, gate_actor_name
from serve_apps.engine import GateLost

log = structlog.get_logger("coordinator")

GATE_CALL_S = 10.0


class RayAgents:
    """Calls all agents at once; what has not come by the deadline is late, what broke failed."""

    def __init__(self, specs: Sequence[AgentSpec], cell: int) -> None:
        self._handles: dict[str, ActorHandle] = {
            spec.name: ray.get_actor(agent_actor_name(spec, cell), namespace=NAMESPACE)
            for spec in specs
        }

    async def votes(self, payload: bytes, deadline_s: float) -> Mapping[str, Floats | Status]:
        """See serve_apps.engine.Agents."""
        tasks = {
            name: asyncio.ensure_future(_result(handle.vote.remote(payload)))
            for name, handle in self._handles.items()
        }
        await asyncio.wait(tasks.values(), timeout=deadline_s)
        return {name: _vote(name, task) for name, task in tasks.items()}


async def _result(reference: ray.ObjectRef) -> Floats:
    return await reference


def _vote(name: str, task: asyncio.Task[Floats]) -> Floats | Status:
    if not task.done():
        task.cancel()
        log.warning("agent is late", agent=name)
        return Status.LATE
    error = task.exception()
    if error is None:
        return task.result()
    if not isinstance(error, RayError):
        raise error
    log.error("agent failed", agent=name, error=str(error).splitlines()[0])
    return Status.FAILED


class RayGate:
    """Calls the gate once; a lost call is never sent again by Ray."""

    def __init__(self, cell: int) -> None:
        self._handle = ray.get_actor(gate_actor_name(cell), namespace=NAMESPACE)

    async def judge(self, pooled: bytes, input_seq: int, input_hash: bytes) -> bytes:
        """See serve_apps.engine.GatePort."""
        reference = self._handle.judge.remote(pooled, input_seq, input_hash)
        try:
            return await asyncio.wait_for(_bytes(reference), GATE_CALL_S)
        except (RayError, TimeoutError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise GateLost(reason) from error


async def _bytes(reference: ray.ObjectRef) -> bytes:
    return await reference
