"""The parts of the running system, each asked in its own way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import redis

from actors.contract import Status
from actors.ray_actors import NAMESPACE, gate_actor_name
from actors.registry import AGENTS
from cloud_trader.control import EVERYWHERE, states
from cluster.coordinator_call import get
from cluster.home import Home, Instance
from cluster.processes import ServiceError, find_processes, pss_mb
from data.journal import cell_chain
from data.records import RoundOutput, output_decoder
from data.store import connect

TIMEOUT_S = 3.0
CELL = 0
LOOK_BACK = 50  # rounds in which an agent's last answer is looked for
MB = 1e6

_LAST_OUTPUTS = """
SELECT j.payload, j.committed_at FROM round_output o
JOIN journal j ON j.chain = %s AND j.seq = o.seq
WHERE o.cell = %s AND o.kind = 'output' ORDER BY o.round DESC LIMIT %s
"""
_LAST_INPUT = "SELECT coalesce(max(round), 0) FROM round_input WHERE cell = %s"
_GATE = "SELECT epoch, holder FROM gate_lease WHERE cell = %s"


@dataclass(frozen=True)
class Part:
    """One part of the system: what it says, and whether that is healthy. ``facts``: for JSON."""

    name: str
    healthy: bool
    detail: str
    facts: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Journal:
    """What the cell's log says now: outputs latest first, each with its time of commit."""

    outputs: list[RoundOutput]
    committed_at: datetime | None
    last_input: int
    epoch: int | None
    holder: str


def look(home: Home, instance: Instance) -> list[Part]:
    """Every part in the order of the bring-up."""
    addresses = instance.addresses
    parts = [_ask("postgresql", lambda: _database(home, addresses["database"]))]
    parts.append(_ask("valkey", lambda: _cache(addresses["redis"])))
    journal: Journal | None = None
    if parts[0].healthy:
        try:
            journal = read_journal(addresses["database"])
        except psycopg.Error as error:
            parts.append(Part("journal", False, _first_line(error)))
    parts += _ray(addresses.get("dashboard", ""), journal)
    parts.append(_ask("mcp coordinator", lambda: _ready(addresses["coordinator"])))
    if parts[-1].healthy:
        parts.append(_service(home, addresses["coordinator"]))
    if "trader" in addresses:
        parts.append(_ask("cloud trader", lambda: _ready(addresses["trader"])))
    if journal is not None:
        parts.append(_last_round(journal))
        parts.append(_trading(addresses["database"]))
    parts.append(_supervisor(instance))
    processes = find_processes(home.hash)
    text = f"{len(processes)}, {pss_mb(processes):,.0f} MB PSS"
    parts.append(Part("processes", bool(processes), text, {"count": len(processes)}))
    return parts


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__


def _ask(name: str, question: Callable[[], tuple[str, dict[str, object]]]) -> Part:
    """The part's own answer, or why there is none: an error is never healthy."""
    try:
        detail, facts = question()
    except (
        psycopg.Error,
        redis.RedisError,
        httpx.HTTPError,
        ServiceError,
        KeyError,
        ValueError,
        OSError,
    ) as error:
        return Part(name, False, _first_line(error))
    return Part(name, True, detail, facts)


def _database(home: Home, url: str) -> tuple[str, dict[str, object]]:
    with connect(url, name="sapphire-status") as connection:
        row = connection.execute(
            "SELECT version(), pg_database_size(current_database())"
        ).fetchone()
    if row is None:
        raise ValueError("no answer")
    size, directory = int(row[1]), home.path / "postgres"
    text = f"{str(row[0]).split(' on ')[0]}, {size / MB:,.0f} MB"
    facts: dict[str, object] = {"database_bytes": size}
    if directory.is_dir():
        facts["disk_bytes"] = used = disk_used(directory)
        text += f", {used / MB:,.0f} MB on disk with its log"
    return text, facts


def disk_used(directory: Path) -> int:
    """Bytes of all files below ``directory``, those that vanish meanwhile left out."""
    total = 0
    for path in directory.rglob("*"):
        try:
            about = path.lstat()
        except FileNotFoundError:
            continue
        total += about.st_blocks * 512
    return total


def _cache(url: str) -> tuple[str, dict[str, object]]:
    client = redis.Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
    with client:
        server, memory = client.info("server"), client.info("memory")
    used = int(memory["used_memory"])
    version = server.get("valkey_version", server["redis_version"])
    return f"Valkey {version}, {used / MB:,.1f} MB", {"memory_bytes": used}


def _ready(url: str) -> tuple[str, dict[str, object]]:
    answer = httpx.get(f"{url}/readyz", timeout=TIMEOUT_S)
    if answer.status_code != httpx.codes.OK:
        raise ValueError(f"{url} is not ready: {answer.text}")
    return f"{url} is ready", {}


def _service(home: Home, url: str) -> Part:
    """The coordinator's own judgement of how well it serves."""
    try:
        said = get(home, url, "/v1/status", TIMEOUT_S)
    except ServiceError as error:
        return Part("  service", False, str(error))
    state = str(said.get("state", "unknown"))
    reasons = [str(reason) for reason in said.get("reasons", [])]
    out = [f"{name} is {why}" for name, why in said.get("agents_out", {}).items()]
    text = "; ".join([state, *reasons, *out])
    # Idle: too few answers to judge by.
    return Part("  service", state in {"ok", "idle"} and not out, text, said)


# -- the log -----------------------------------------------------------------------------------


def read_journal(url: str) -> Journal:
    """The cell's last rounds, and who holds its gate."""
    with connect(url, name="sapphire-status") as connection:
        rows = connection.execute(_LAST_OUTPUTS, (cell_chain(CELL), CELL, LOOK_BACK)).fetchall()
        newest = connection.execute(_LAST_INPUT, (CELL,)).fetchone()
        gate = connection.execute(_GATE, (CELL,)).fetchone()
    return Journal(
        outputs=[output_decoder.decode(payload) for payload, _ in rows],
        committed_at=rows[0][1] if rows else None,
        last_input=int(newest[0]) if newest else 0,
        epoch=int(gate[0]) if gate else None,
        holder=str(gate[1]) if gate else "",
    )


def last_answers(outputs: Sequence[RoundOutput]) -> dict[str, int]:
    """Agent -> the last of these rounds (latest first) that it answered, voting or abstaining.

    An agent without an answer in all of them is absent.
    """
    found: dict[str, int] = {}
    for output in outputs:
        status = output.arrays().status
        answered = (status != Status.LATE) & (status != Status.FAILED)
        for k, name in enumerate(output.agents):
            if name not in found and answered[:, k].any():
                found[name] = output.round
    return found


def _last_round(journal: Journal) -> Part:
    if not journal.outputs or journal.committed_at is None:
        return Part("last round", True, "none yet", {"round": 0})
    last = journal.outputs[0]
    age = (datetime.now(UTC) - journal.committed_at).total_seconds()
    open_rounds = journal.last_input > last.round
    text = f"{last.round} of {last.session_id}, epoch {last.epoch}, {age:.0f} s ago"
    if open_rounds:
        text += f"; round {journal.last_input} is open"
    facts: dict[str, object] = {"round": last.round, "seconds_ago": round(age, 1)}
    return Part("last round", True, text, facts)


def _trading(url: str) -> Part:
    try:
        with connect(url, name="sapphire-status") as connection:
            found = states(connection)
    except psycopg.Error as error:
        return Part("trading", False, _first_line(error))
    everywhere = next((s for s in found if s.scope == EVERYWHERE), None)
    state = everywhere.state if everywhere else "ACTIVE"
    reason = f" since {everywhere.since}: {everywhere.reason}" if everywhere else ""
    return Part("trading", state == "ACTIVE", f"{state}{reason}", {"state": state})


def _supervisor(instance: Instance) -> Part:
    counts = ", ".join(f"{name} {count}x" for name, count in instance.restarts.items())
    return Part("restarts", True, counts or "none", {"restarts": dict(instance.restarts)})


# -- Ray's actors --------------------------------------------------------------------------------


def cell_actors(dashboard: str) -> list[dict[str, Any]]:
    """The cell's named actors as Ray's dashboard lists them, dead ones left out, by name.

    ServiceError when it does not answer.
    """
    try:
        answer = httpx.get(
            f"{dashboard}/api/v0/actors",
            params={"limit": 1000, "detail": "true"},
            timeout=TIMEOUT_S,
        )
        answer.raise_for_status()
        actors = answer.json()["data"]["result"]["result"]
    except (httpx.HTTPError, KeyError, TypeError, ValueError) as error:
        raise ServiceError(f"{dashboard}: {_first_line(error)}") from error
    ours = [
        actor
        for actor in actors
        if actor.get("ray_namespace") == NAMESPACE and actor["name"] and actor["state"] != "DEAD"
    ]
    return sorted(ours, key=lambda actor: str(actor["name"]))


def _ray(dashboard: str, journal: Journal | None) -> list[Part]:
    try:
        actors = cell_actors(dashboard)
    except ServiceError as error:
        return [Part("ray", False, str(error))]
    parts = [Part("ray", True, f"dashboard {dashboard}")]
    answers = last_answers(journal.outputs) if journal else {}
    newest = journal.outputs[0].round if journal and journal.outputs else 0
    for spec in AGENTS:
        mine = [a for a in actors if str(a["name"]).startswith(f"{spec.name}.cell{CELL}@")]
        if not mine:
            parts.append(Part(f"  {spec.name}", False, "no actor runs"))
        parts += [_agent(spec.name, actor, answers, newest) for actor in mine]
    gates = [actor for actor in actors if actor["name"] == gate_actor_name(CELL)]
    parts += [_gate(actor, journal) for actor in gates]
    if not gates:
        parts.append(Part("  risk gate", False, "no actor runs"))
    return parts


def _lives(actor: dict[str, Any]) -> tuple[str, dict[str, object]]:
    restarts = int(actor.get("num_restarts") or 0)
    text = f"pid {actor['pid']}, {str(actor['state']).lower()}"
    if restarts:
        text += f", restarted {restarts}x"
    return text, {"pid": actor["pid"], "state": actor["state"], "restarts": restarts}


def _agent(name: str, actor: dict[str, Any], answers: dict[str, int], newest: int) -> Part:
    text, facts = _lives(actor)
    facts["actor"] = actor["name"]
    healthy = actor["state"] == "ALIVE"
    text += f", code {str(actor['name']).partition('@')[2]}"
    if newest:
        last = answers.get(name)
        facts |= {"last_round": last, "behind": None if last is None else newest - last}
        if last is None:
            text += f", no answer in the last {LOOK_BACK} rounds"
        elif last < newest:
            text += f", last answered round {last}, {newest - last} behind"
        else:
            text += f", answered round {last}"
        healthy = healthy and last == newest
    return Part(f"  {name}", healthy, text, facts)


def _gate(actor: dict[str, Any], journal: Journal | None) -> Part:
    """Closed is a gate whose cell's epoch another process has taken."""
    text, facts = _lives(actor)
    healthy = actor["state"] == "ALIVE"
    if journal is None:
        return Part("  risk gate", False, f"{text}; its epoch cannot be read", facts)
    closed = not journal.holder.endswith(f"/{actor['pid']}")
    facts |= {"epoch": journal.epoch, "closed": closed}
    text += f", epoch {journal.epoch}"
    if closed:
        text += f", closed: the epoch is held by {journal.holder or 'nobody'}"
    if journal.outputs and journal.committed_at:
        age = (datetime.now(UTC) - journal.committed_at).total_seconds()
        text += f", last judged round {journal.outputs[0].round}, {age:.0f} s ago"
        facts["last_round"] = journal.outputs[0].round
    return Part("  risk gate", healthy and not closed, text, facts)
