"""``sapphire status``: what the running system says of itself, part by part.

Nothing is answered from this process's memory: PostgreSQL, Valkey, Ray's dashboard, the
coordinator and the trader are asked. A question that fails is a part that is not healthy.
"""

from __future__ import annotations

import json
import sys

from rich.console import Console
from rich.table import Table

from cluster.home import Home
from cluster.settings import load_cluster
from cluster.status_parts import look


def status(*, as_json: bool = False) -> int:
    """Prints the parts; 0 when all are healthy, 1 otherwise or when nothing runs."""
    home = Home(load_cluster().home)
    console = Console(stderr=as_json)
    instance = home.read_instance() if home.is_locked() else None
    if instance is None:
        console.print(f"no sapphire runs in {home.path}: start one with 'sapphire run' or 'up'")
        if as_json:
            _write({"running": False, "healthy": False, "home": str(home.path), "parts": []})
        return 1
    parts = look(home, instance)
    healthy = all(part.healthy for part in parts)
    if as_json:
        body = {
            "running": True,
            "healthy": healthy,
            "home": str(home.path),
            "pid": instance.pid,
            "session_id": instance.session_id,
            "parts": [
                {"name": part.name, "healthy": part.healthy, "detail": part.detail, **part.facts}
                for part in parts
            ],
        }
        _write(body)
        return 0 if healthy else 1
    table = Table(box=None, pad_edge=False)
    for column in ("part", "health", "detail"):
        table.add_column(column, overflow="fold")
    for part in parts:
        health = "[green]healthy[/green]" if part.healthy else "[red]NOT HEALTHY[/red]"
        table.add_row(part.name, health, part.detail)
    console.print(table)
    return 0 if healthy else 1


def _write(body: object) -> None:
    sys.stdout.write(json.dumps(body) + "\n")
    sys.stdout.flush()
