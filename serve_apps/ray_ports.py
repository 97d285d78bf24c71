"""The rounds' agents and gate as Ray actors, called from the round's thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import psycopg
import ray
import structlog
from ray import ObjectRef
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from actors.contract import AgentSpec, Floats, Status
from actors.gate import GateClosed
from actors.ray_actors import NAMESPACE, find_agent, gate_actor_name
from data.records import RoundInput, SessionConfig
from serve_apps.round_ports import GateFailed, GateLost

log = structlog.get_logger("coordinator")

GATE_CALL_S = 5.0
GATE_LOOK_S = 2.0
HEALTH_S = 30.0
AGAIN_S = 0.1  # between two calls of an agent that failed, where a session waits for it
INLINE_BYTES = 90_000  # Ray sends smaller arguments with the call
HUNG_S = 30.0
SLICE = 500  # rounds that an agent reads at a time while it comes back
NEAR = 64  # rounds behind, at most, of an agent that votes again: it reads them with its vote


@dataclass
class _Member:
    """One agent as the rounds see it."""

    spec: AgentSpec
    handle: ActorHandle
    step: str  # hash of its step function
    missed: Status | None = None  # why it is left out; None while it is called
    probe: ObjectRef | None = None
    next_probe: float = 0.0  # monotonic seconds
    probed: float = 0.0


class RayAgents:
    """Calls all agents at once. What has not come by the deadline is late, what broke failed.

    An agent that missed is left out and reads the log aside, so that it does not cost every round
    its deadline; when it is near the present round it is called again. A historical session waits
    for everybody: an agent that failed is called again until the deadline.
    """

    def __init__(self, specs: Sequence[AgentSpec], cell: int) -> None:
        self.cell = cell
        handles = {spec.name: find_agent(spec, cell) for spec in specs}
        health = ray.get([h.health.remote() for h in handles.values()], timeout=HEALTH_S)
        self._members = {
            spec.name: _Member(spec, handles[spec.name], str(said["step"]))
            for spec, said in zip(specs, health, strict=True)
        }
        self._versions = {name: member.step for name, member in self._members.items()}

    def versions(self) -> dict[str, str]:
        """See serve_apps.round_ports.Agents."""
        return self._versions

    def out(self) -> dict[str, str]:
        """The agents that are left out now, and why."""
        return {
            name: member.missed.name.lower()
            for name, member in self._members.items()
            if member.missed is not None
        }

    def switch(self, name: str, actor: ActorHandle, step: str) -> None:
        """From the next round on ``actor`` is the agent ``name``."""
        member = self._members[name]
        self._members[name] = _Member(member.spec, actor, step)
        self._versions = {**self._versions, name: step}

    def candidate(self, name: str, actor: str) -> tuple[ActorHandle, str]:
        """See serve_apps.upgrade.Replaceable."""
        if not actor.startswith(f"{name}.cell{self.cell}@"):
            raise LookupError(f"{actor!r} is no actor of {name} in cell {self.cell}")
        try:
            handle = ray.get_actor(actor, namespace=NAMESPACE)
            said = ray.get(handle.health.remote(), timeout=HEALTH_S)
        except (ValueError, RayError) as error:
            raise LookupError(f"{actor}: {first_line(error)}") from error
        return handle, str(said["step"])

    def reached(self, handle: ActorHandle, session_id: str) -> int:
        """See serve_apps.upgrade.Replaceable."""
        call = handle.catch_up.remote(self.cell, session_id, SLICE)
        try:
            return int(ray.get(call, timeout=HEALTH_S))
        except RayError as error:
            raise LookupError(f"it does not read the log: {first_line(error)}") from error

    def handles(self) -> dict[str, ActorHandle]:
        """The actors that are called now."""
        return {n: m.handle for n, m in self._members.items() if m.missed is None}

    def votes(
        self, given: RoundInput, payload: bytes, config: SessionConfig
    ) -> Mapping[str, Floats | Status]:
        """See serve_apps.round_ports.Agents."""
        patient = config.mode == "historical"
        deadline = time.monotonic() + config.vote_deadline_s
        if not patient:
            self.look_after(given.session_id, given.round)
        argument = payload if len(payload) < INLINE_BYTES else ray.put(payload)
        outs: dict[str, Floats | Status] = {}
        calls: dict[str, ObjectRef] = {}
        for name, member in self._members.items():
            if member.missed is not None and not patient:
                outs[name] = member.missed
            else:
                calls[name] = member.handle.vote.remote(argument)
        outs.update(self._gather(calls, deadline))
        while patient and time.monotonic() + AGAIN_S < deadline:
            failed = [name for name, out in outs.items() if out is Status.FAILED]
            if not failed:
                break
            time.sleep(AGAIN_S)
            again = {name: self._members[name].handle.vote.remote(argument) for name in failed}
            outs.update(self._gather(again, deadline))
        for name in calls:
            out = outs[name]
            if isinstance(out, Status) and not patient:
                self._members[name].missed = out
        return outs

    def _gather(
        self, calls: Mapping[str, ObjectRef], deadline: float
    ) -> dict[str, Floats | Status]:
        def width(name: str) -> int:
            return self._members[name].spec.out_width

        left = max(0.0, deadline - time.monotonic())
        try:
            answers = ray.get(list(calls.values()), timeout=left)
            return {
                name: _rows(answer, width(name))
                for name, answer in zip(calls, answers, strict=True)
            }
        except RayError:
            pass  # Somebody is late or broke: looked at one by one. What did arrive counts.
        left = max(0.0, deadline - time.monotonic())
        ready, _ = ray.wait(list(calls.values()), num_returns=len(calls), timeout=left)
        arrived = set(ready)
        return {
            name: _answer(name, reference, width(name)) if reference in arrived else _late(name)
            for name, reference in calls.items()
        }

    def look_after(self, session_id: str, number: int) -> None:
        """One look at each agent that is left out; never waits."""
        for name, member in self._members.items():
            if member.missed is None:
                continue
            if member.probe is None:
                if time.monotonic() >= member.next_probe:
                    member.probed = time.monotonic()
                    member.probe = member.handle.catch_up.remote(self.cell, session_id, SLICE)
                continue
            ready, _ = ray.wait([member.probe], timeout=0)
            if not ready:
                self._end_if_hung(name, member)
                continue
            reached = _round_of(name, member.probe)
            member.probe = None
            if reached is None:
                member.next_probe = time.monotonic() + AGAIN_S
            if reached is not None and number - reached <= NEAR:
                member.missed = None
                log.warning("agent is back", agent=name, round=number, reached=reached)

    def _end_if_hung(self, name: str, member: _Member) -> None:
        """Kills an actor that does not answer its probe: Ray starts it again."""
        if time.monotonic() - member.probed > HUNG_S:
            log.error("agent hangs: killed", agent=name)
            ray.kill(member.handle, no_restart=False)
            member.probe = None
            member.next_probe = time.monotonic() + AGAIN_S


def _round_of(name: str, probe: ObjectRef) -> int | None:
    try:
        return int(ray.get(probe, timeout=0))
    except RayError as error:
        log.info("agent does not come back yet", agent=name, error=first_line(error))
        return None


def _late(name: str) -> Status:
    log.warning("agent is late", agent=name)
    return Status.LATE


def _rows(answer: bytes, width: int) -> Floats | Status:
    """The answer as rows; FAILED when it is no whole number of them."""
    if len(answer) % (8 * width):
        return Status.FAILED
    return np.frombuffer(answer, np.float64).reshape(-1, width)


def _answer(name: str, reference: ObjectRef, width: int) -> Floats | Status:
    try:
        answer: bytes = ray.get(reference, timeout=0)
    except GetTimeoutError:
        return _late(name)
    except RayError as error:
        log.error("agent failed", agent=name, error=first_line(error))
        return Status.FAILED
    return _rows(answer, width)


class RayGate:
    """Calls the gate once; a lost call is never sent again by Ray."""

    def __init__(self, cell: int) -> None:
        self.handle = ray.get_actor(gate_actor_name(cell), namespace=NAMESPACE)

    async def why_not_judging(self) -> str:
        """Why the gate judges nothing, asked beside its judgements; empty when it does."""
        try:
            async with asyncio.timeout(GATE_LOOK_S):
                said = await self.handle.health.remote()
        except (RayError, TimeoutError) as error:
            return f"the risk gate does not answer: {type(error).__name__}"
        return "the risk gate is closed: a newer epoch is in force" if said["closed"] else ""

    def judge(self, pooled: bytes, input_seq: int, input_hash: bytes) -> bytes:
        """See serve_apps.round_ports.GatePort."""
        try:
            answer: bytes = ray.get(
                self.handle.judge.remote(pooled, input_seq, input_hash), timeout=GATE_CALL_S
            )
        except (psycopg.Error, GateClosed) as error:
            raise GateLost(first_line(error)) from error
        except RayTaskError as error:
            raise GateFailed(first_line(error)) from error
        except RayError as error:
            raise GateLost(first_line(error)) from error
        return answer


def first_line(error: BaseException) -> str:
    """The error's first line, its type's name when it says nothing."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
