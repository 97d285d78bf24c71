"""``sapphire down``: stops what runs in this home, in order, and says what that was."""

from __future__ import annotations

import signal
import time

from rich.console import Console

from cluster.home import Home
from cluster.processes import Process, ServiceError, find_processes, terminate_all, terminate_home
from cluster.settings import load_cluster

# The holder's own stop is bounded below 10 s.
STOP_S = 11.0
LOOK_S = 0.05
# What a killed holder left behind ends in this order: who writes before what is written to.
ORDER = ("", "ray", "valkey", "postgres")
NAMES = {"ray": "Ray", "valkey": "Valkey", "postgres": "PostgreSQL", "": "the cloud trader"}


def down() -> int:
    """0 when nothing runs any more; ServiceError when something does not end."""
    home = Home(load_cluster().home)
    console = Console(highlight=False, soft_wrap=True)
    began = time.monotonic()
    pid = home.holder()
    found = find_processes(home.hash)
    if pid is None and not found:
        console.print(f"nothing runs in {home.path}")
        return 0
    holder = Process.of(pid) if pid is not None else None
    if holder is not None:
        holder.send(signal.SIGTERM)
        if not _ended(holder, STOP_S):
            console.print(f"the command (pid {pid}) does not end: killing it")
            terminate_all([holder], 0.0)
    for part in ORDER:
        # A signal to the holder ended these already; those of a killed one end here.
        terminate_home(home.hash, 1.0, 1.0, part)
    left = find_processes(home.hash)
    if left or home.is_locked():
        raise ServiceError(f"still running in {home.path}: {left or 'the holder of its lock'}")
    home.remove_instance()
    parts = [NAMES[part] for part in ORDER if any(each.part == part for each in found)]
    what = f"{', '.join(parts)} ({len(found)} processes)" if parts else "the command"
    whose = "" if holder is not None else ", left behind by a killed command"
    console.print(f"stopped {what}{whose} in {time.monotonic() - began:.1f} s")
    return 0


def _ended(process: Process, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while process.alive():
        if time.monotonic() >= deadline:
            return False
        time.sleep(LOOK_S)
    return True
