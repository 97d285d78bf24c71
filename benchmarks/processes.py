"""One fresh process per repetition, on the one core that the harness is pinned to."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measured import Measured, one_line

ROOT = Path(__file__).resolve().parent.parent
LIMIT_SECONDS = 600
Report = dict[str, Any]


@dataclass(frozen=True)
class Contestant:
    """Something to measure: its command prints one JSON line; ``not_run`` says why it cannot."""

    name: str
    kind: str
    command: Sequence[str] = ()
    not_run: str = ""


class Failed(Exception):
    """A process gave no report; the text is one line that says why."""


def report_of(command: Sequence[str], cache: Path | None) -> Report:
    """Runs a command to its JSON line; ``cache`` is where numba keeps what it compiles.

    None: where the engine keeps it by itself, not where this process was told to.
    """
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    if cache is not None:
        environment["NUMBA_CACHE_DIR"] = str(cache)
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"no result in {LIMIT_SECONDS} s") from None
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise Failed(one_line(done.stderr, str(ROOT)))
    return dict(json.loads(lines[-1]))


def compete(
    contestants: Sequence[Contestant], repetitions: int, caches: Mapping[str, Path]
) -> list[Measured]:
    """All of them in turn, ``repetitions`` times after one warm-up turn that is not counted.

    In turn, so that what the machine does beside this falls on everybody alike.
    """
    reports: dict[str, list[Report]] = {one.name: [] for one in contestants}
    why = {one.name: one.not_run for one in contestants}
    for _ in range(repetitions + 1):
        for one in contestants:
            if not why[one.name]:
                try:
                    reports[one.name].append(report_of(one.command, caches.get(one.name)))
                except Failed as error:
                    why[one.name] = str(error)
    return [
        _measured(one, reports[one.name], why[one.name], one.name in caches) for one in contestants
    ]


def _measured(one: Contestant, reports: list[Report], why: str, fresh_cache: bool) -> Measured:
    if why:
        return Measured(one.name, one.kind, not_run=why)
    first, counted = reports[0], reports[1:]
    return Measured(
        one.name,
        one.kind,
        bars=counted[0]["bars"],
        run=tuple(report["run_s"] for report in counted),
        load=tuple(report["load_s"] for report in counted),
        jit=tuple(report["jit_s"] for report in counted),
        first_jit=first["jit_s"] if fresh_cache else 0.0,
        fills=counted[0]["fills"],
        digest=counted[0].get("digest", ""),
        note="; halted" if counted[0].get("halted") else "",
    )
