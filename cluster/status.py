"""``sapphire status``: what the running system says of itself, part by part.

Nothing is answered from this process's memory: PostgreSQL, Valkey, Ray's dashboard, the
coordinator and the trader are asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import psycopg
import redis
from rich.console import Console
from rich.table import Table

from cloud_trader.control import EVERYWHERE, states
from cluster.home import Home, Instance
from cluster.processes import find_processes, pss_mb
from cluster.settings import load_cluster
from data.store import connect

TIMEOUT_S = 3.0


@dataclass(frozen=True)
class Part:
    """One part of the system: what it says, and whether that is healthy."""

    name: str
    healthy: bool
    detail: str


def status() -> int:
    """Prints the parts; 0 when all are healthy, 1 otherwise or when nothing runs."""
    settings = load_cluster()
    home = Home(settings.home)
    console = Console()
    instance = home.read_instance() if home.is_locked() else None
    if instance is None:
        console.print(f"no sapphire runs in {home.path}: start one with 'sapphire run' or 'up'")
        return 1
    parts = look(home, instance)
    table = Table(box=None, pad_edge=False)
    for column in ("part", "health", "detail"):
        table.add_column(column)
    for part in parts:
        health = "[green]healthy[/green]" if part.healthy else "[red]NOT HEALTHY[/red]"
        table.add_row(part.name, health, part.detail)
    console.print(table)
    return 0 if all(part.healthy for part in parts) else 1


def look(home: Home, instance: Instance) -> list[Part]:
    """Every part in the order of the bring-up."""
    addresses = instance.addresses
    parts = [
        _ask("postgresql", lambda: _database(addresses["database"])),
        _ask("valkey", lambda: _cache(addresses["redis"])),
    ]
    parts += _ray(addresses["dashboard"])
    parts.append(_ask("mcp coordinator", lambda: _ready(addresses["coordinator"])))
    parts.append(_ask("cloud trader", lambda: _ready(addresses["trader"])))
    if parts[0].healthy:
        parts += _rounds(addresses["database"])
    processes = find_processes(home.hash)
    parts.append(
        Part("processes", bool(processes), f"{len(processes)}, {pss_mb(processes):,.0f} MB PSS")
    )
    return parts


def _ask(name: str, question: Callable[[], str]) -> Part:
    """The part's own answer, or why there is none: an error is never healthy."""
    try:
        return Part(name, True, question())
    except (psycopg.Error, redis.RedisError, httpx.HTTPError, KeyError, ValueError) as error:
        text = str(error).strip().splitlines()
        return Part(name, False, text[0] if text else type(error).__name__)


def _database(url: str) -> str:
    with connect(url, name="sapphire-status") as connection:
        row = connection.execute(
            "SELECT version(), pg_size_pretty(pg_database_size(current_database()))"
        ).fetchone()
    if row is None:
        raise ValueError("no answer")
    return f"{str(row[0]).split(' on ')[0]}, {row[1]}"


def _cache(url: str) -> str:
    client = redis.Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
    with client:
        info = client.info("server")
    return f"Valkey {info.get('valkey_version', info['redis_version'])}"


def _ready(url: str) -> str:
    answer = httpx.get(f"{url}/readyz", timeout=TIMEOUT_S)
    if answer.status_code != httpx.codes.OK:
        raise ValueError(f"{url} is not ready: {answer.text}")
    return f"{url} is ready"


def _ray(dashboard: str) -> list[Part]:
    """The named actors of the cell, as Ray knows them."""
    try:
        answer = httpx.get(
            f"{dashboard}/api/v0/actors",
            params={"limit": 200, "detail": "true"},
            timeout=TIMEOUT_S,
        )
        answer.raise_for_status()
        actors = answer.json()["data"]["result"]["result"]
    except (httpx.HTTPError, KeyError, ValueError) as error:
        return [Part("ray", False, f"{dashboard}: {type(error).__name__}")]
    ours = sorted(
        (actor for actor in actors if actor.get("ray_namespace") == "sapphire" and actor["name"]),
        key=lambda actor: str(actor["name"]),
    )
    parts = [Part("ray", True, f"dashboard {dashboard}")]
    for actor in ours:
        detail = f"pid {actor['pid']}, {actor['state'].lower()}"
        restarts = int(actor.get("num_restarts") or 0)
        if restarts:
            detail += f", restarted {restarts}x"
        parts.append(Part(f"  {actor['name']}", actor["state"] == "ALIVE", detail))
    if len(ours) < 7:
        parts.append(Part("  actors", False, f"{len(ours)} of 7 are there"))
    return parts


def _rounds(url: str) -> list[Part]:
    with connect(url, name="sapphire-status") as connection:
        last = connection.execute(
            "SELECT o.round, o.session_id, o.epoch, j.ts, j.committed_at FROM round_output o"
            " JOIN journal j ON j.chain = 'cell/' || o.cell AND j.seq = o.seq"
            " ORDER BY o.round DESC LIMIT 1"
        ).fetchone()
        found = states(connection)
    parts = []
    if last is None:
        parts.append(Part("last round", True, "none yet"))
    else:
        day = datetime.fromtimestamp(last[3] / 1e9, UTC).date()
        age = (datetime.now(UTC) - last[4]).total_seconds()
        text = f"{last[0]} of {last[1]}: {day}, epoch {last[2]}, {age:.0f} s ago"
        parts.append(Part("last round", True, text))
    everywhere = next((s for s in found if s.scope == EVERYWHERE), None)
    state = everywhere.state if everywhere else "ACTIVE"
    reason = f" since {everywhere.since}: {everywhere.reason}" if everywhere else ""
    parts.append(Part("trading", state == "ACTIVE", f"{state}{reason}"))
    return parts
