"""Ray actors around the plain classes: the six agents and the risk gate, named and detached.

An actor's name carries the hash of its code: ``get_if_exists`` must never hand back an actor that
runs older code.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import ray
from ray.actor import ActorHandle

from actors.agent import Agent, code_hash, step_hash
from actors.contract import AgentSpec, Floats
from actors.gate import Gate, prewarm
from actors.registry import AGENTS
from actors.snapshot import Snapshot
from actors.snapshot_store import newest, save
from actors.voter import Voter
from data import round_log
from data.bars import make_bar
from data.sessions import load_model
from data.store import connect

NAMESPACE = "sapphire"


class DatabaseLog:
    """The voter's Log on PostgreSQL, with a connection only while something is read."""

    def __init__(self, url: str, spec: AgentSpec) -> None:
        self._url = url
        self._name = f"sapphire-{spec.name}"
        self._part = spec.name
        self._code = code_hash(spec)

    def inputs(self, cell: int, session_id: str, after: int, before: int) -> Iterator[bytes]:
        with connect(self._url, name=self._name) as connection:
            yield from round_log.inputs(connection, cell, session_id, after, before)

    def model(self, model_id: str) -> Floats:
        with connect(self._url, name=self._name) as connection:
            return load_model(connection, model_id)

    def snapshot(self, cell: int, session_id: str, at_most: int) -> bytes | None:
        with connect(self._url, name=self._name) as connection:
            kept = newest(connection, cell, session_id, self._part, self._code, at_most)
        return None if kept is None else kept.payload


class AgentActor:
    """One voting agent as a Ray actor; synchronous, one round at a time."""

    def __init__(self, name: str, cell: int, database_url: str) -> None:
        spec = spec_of(name)
        self._label = f"{spec.title} [cell {cell}]"
        self._code, self._step = code_hash(spec), step_hash(spec)
        _require_named(spec, cell, ray.get_runtime_context().get_actor_name())
        # Loads the compiled step, so that the first vote does not wait for it.
        Agent(spec).apply(make_bar(ts=1, open=9, high=9, low=9, close=9, volume=9))
        self._voter = Voter(spec, DatabaseLog(database_url, spec))

    def vote(self, payload: bytes) -> bytes:
        """Voter.vote as the bytes of its float64 rows: Ray takes twice as long over an array."""
        return self._voter.vote(payload).tobytes()

    def catch_up(self, cell: int, session_id: str, limit: int) -> int:
        """See Voter.catch_up."""
        return self._voter.catch_up(cell, session_id, limit)

    def snapshot(self) -> Snapshot | None:
        """The agent's memory after its last round."""
        number, memory = self._voter.last_round, self._voter.memory()
        if memory is None:
            return None
        return Snapshot(self._voter.spec.name, number, self._code, memory)

    @ray.method(concurrency_group="health")
    def health(self) -> dict[str, object]:
        """Process, versions and last round, answered beside the vote queue."""
        return {
            "pid": os.getpid(),
            "round": self._voter.last_round,
            "code": self._code,
            "step": self._step,
        }

    def __repr__(self) -> str:
        return self._label


class GateActor:
    """The risk gate of one cell as a Ray actor. Each start takes a new epoch."""

    def __init__(self, cell: int, database_url: str) -> None:
        holder = f"{socket.gethostname()}/{os.getpid()}"
        self._label = f"Risk gate [cell {cell}]"
        self._cell = cell
        self._url = database_url
        prewarm()
        self._gate = Gate(database_url, cell, holder)
        self._gate.take_epoch()

    def judge(self, pooled: bytes, input_seq: int, input_hash: bytes) -> bytes:
        """See Gate.judge."""
        return self._gate.judge(pooled, input_seq, input_hash)

    @ray.method(concurrency_group="snapshots")
    def snapshot(self, session_id: str, made: Snapshot | None) -> bool:
        """Keeps a part's memory, on a thread and a connection of its own; see snapshot_store."""
        if made is None:
            return False
        with connect(self._url, name=f"sapphire-gate-{self._cell}-snapshots") as connection:
            return save(connection, self._cell, session_id, made)

    @ray.method(concurrency_group="health")
    def health(self) -> dict[str, object]:
        """Process and epoch, answered beside the judgements."""
        return {"pid": os.getpid(), "epoch": self._gate.epoch, "closed": self._gate.closed}

    def __repr__(self) -> str:
        return self._label


def _require_named(spec: AgentSpec, cell: int, name: str | None) -> None:
    """RuntimeError when an actor would run other code than its name says.

    A restart after an edit on disk would load it unseen: no journal would name it.
    """
    wanted = agent_actor_name(spec, cell)
    if name and name != wanted:
        raise RuntimeError(f"{name} would start with other code: 'sapphire agents upgrade' does it")


_AgentRemote = ray.remote(concurrency_groups={"health": 1})(AgentActor)
_GateRemote = ray.remote(concurrency_groups={"health": 1, "snapshots": 1})(GateActor)


def spec_of(name: str) -> AgentSpec:
    """The agent of this name; LookupError when there is none."""
    for spec in AGENTS:
        if spec.name == name:
            return spec
    raise LookupError(f"no agent is called {name!r}")


def agent_actor_name(spec: AgentSpec, cell: int) -> str:
    """The actor's name in the NAMESPACE, readable in the Ray dashboard."""
    return f"{spec.name}.cell{cell}@{code_hash(spec)[:8]}"


def gate_actor_name(cell: int) -> str:
    """The gate's name in the NAMESPACE."""
    return f"risk_gate.cell{cell}"


def find_agent(spec: AgentSpec, cell: int) -> ActorHandle:
    """The running actor of this agent: of this code if there is one, else of another.

    ValueError when none runs.
    """
    wanted = agent_actor_name(spec, cell)
    prefix = wanted.partition("@")[0] + "@"
    known = [
        str(actor["name"])
        for actor in ray.util.list_named_actors(all_namespaces=True)
        if actor["namespace"] == NAMESPACE and str(actor["name"]).startswith(prefix)
    ]
    name = wanted if wanted in known or not known else known[0]
    return ray.get_actor(name, namespace=NAMESPACE)


def start_agent(spec: AgentSpec, cell: int, database_url: str) -> ActorHandle:
    """The detached actor of this agent and code, started when it does not run."""
    return _AgentRemote.options(
        name=agent_actor_name(spec, cell),
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        max_task_retries=0,  # Whoever calls decides whether to wait for a restart.
        num_cpus=0,
        enable_task_events=False,
    ).remote(spec.name, cell, database_url)


def start_gate(cell: int, database_url: str) -> ActorHandle:
    """The detached gate of this cell, started when it does not run."""
    return _GateRemote.options(
        name=gate_actor_name(cell),
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        max_task_retries=0,
        num_cpus=0,
        enable_task_events=False,
    ).remote(cell, database_url)
