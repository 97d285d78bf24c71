"""Which process takes the machine's time: CPU seconds by part, from /proc."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Mapping
from pathlib import Path

from cluster.processes import Process

TICKS = os.sysconf("SC_CLK_TCK")
CLIENT = "load generator"


def label(process: Process, titles: Mapping[int, str]) -> str:
    """A part's readable name: as ``titles`` has it by pid, Ray's own, or the program's name."""
    if process.pid in titles:
        return titles[process.pid]
    try:
        words = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return process.name
    title = words[0].decode(errors="replace")
    if title.startswith("ray::"):
        name = title.removeprefix("ray::").partition("@")[0]
        return name.removeprefix("ServeReplica:").split(".", maxsplit=1)[0]
    for word in words:
        if word.endswith(b"trader_process"):
            return "cloud trader"
    return process.name


def cpu_seconds(processes: Iterable[Process], titles: Mapping[int, str]) -> dict[str, float]:
    """User and system seconds since each process began, by label; this one's children apart."""
    found: dict[str, float] = {}
    for process in processes:
        try:
            text = Path(f"/proc/{process.pid}/stat").read_text(errors="replace")
        except OSError:
            continue
        fields = text.rpartition(")")[2].split()
        name = label(process, titles)
        found[name] = found.get(name, 0.0) + (int(fields[11]) + int(fields[12])) / TICKS
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    found[CLIENT] = children.ru_utime + children.ru_stime
    return found


def rows(
    before: Mapping[str, float], after: Mapping[str, float], requests: int, least_us: float = 10.0
) -> list[str]:
    """A Markdown table of CPU microseconds a request, the largest first."""
    spent = {name: seconds - before.get(name, 0.0) for name, seconds in after.items()}
    lines = ["| processes | CPU µs a request |", "|---|---|"]
    each = {name: 1e6 * seconds / max(requests, 1) for name, seconds in spent.items()}
    for name, microseconds in sorted(each.items(), key=lambda item: -item[1]):
        if microseconds >= least_us:
            lines.append(f"| {name} | {microseconds:,.0f} |")
    lines.append(f"| all | {sum(each.values()):,.0f} |")
    return lines
