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

from actors.agent import code_hash
from actors.contract import AgentSpec, Floats
from actors.gate import Gate
from actors.registry import AGENTS
from actors.voter import Voter
from data import round_log
from data.sessions import load_model
from data.store import connect

NAMESPACE = "sapphire"


class DatabaseLog:
    """The voter's Log on PostgreSQL, with a connection only while something is read."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name

    def inputs(self, cell: int, session_id: str, after: int, before: int) -> Iterator[bytes]:
        with connect(self._url, name=self._name) as connection:
            yield from round_log.inputs(connection, cell, session_id, after, before)

    def model(self, model_id: str) -> Floats:
        with connect(self._url, name=self._name) as connection:
            return load_model(connection, model_id)


class AgentActor:
    """One voting agent as a Ray actor; synchronous, one round at a time."""

    def __init__(self, name: str, cell: int, database_url: str) -> None:
        spec = spec_of(name)
        self._label = f"{spec.title} [cell {cell}]"
        self._voter = Voter(spec, DatabaseLog(database_url, f"sapphire-{name}"))

    def vote(self, payload: bytes) -> Floats:
        """See Voter.vote."""
        return self._voter.vote(payload)

    @ray.method(concurrency_group="health")
    def health(self) -> dict[str, object]:
        """Process and last round, answered beside the vote queue."""
        return {"pid": os.getpid(), "round": self._voter.last_round, "step": ""}

    def __repr__(self) -> str:
        return self._label


class GateActor:
    """The risk gate of one cell as a Ray actor. Each start takes a new epoch."""

    def __init__(self, cell: int, database_url: str) -> None:
        holder = f"{socket.gethostname()}/{os.getpid()}"
        self._label = f"Risk gate [cell {cell}]"
        self._gate = Gate(database_url, cell, holder)
        self._gate.take_epoch()

    def judge(self, pooled: bytes, input_seq: int, input_hash: bytes) -> bytes:
        """See Gate.judge."""
        return self._gate.judge(pooled, input_seq, input_hash)

    @ray.method(concurrency_group="health")
    def health(self) -> dict[str, object]:
        """Process and epoch, answered beside the judgements."""
        return {"pid": os.getpid(), "epoch": self._gate.epoch, "closed": self._gate.closed}

    def __repr__(self) -> str:
        return self._label


_AgentRemote = ray.remote(concurrency_groups={"health": 1})(AgentActor)
_GateRemote = ray.remote(concurrency_groups={"health": 1})(GateActor)


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
