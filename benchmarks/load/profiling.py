"""Where the coordinator's time goes, by py-spy where it is installed; nothing needs it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.load.cpu import label
from cluster.processes import Process

COORDINATOR = "mcp_coordinator"
SHOWN = 25
RATE = 200  # samples a second
MISSING = "py-spy is not installed (uv pip install py-spy): stages and CPU alone"


def py_spy() -> str | None:
    """The program, from this environment or the path; None without it."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else shutil.which("py-spy")


def coordinator(processes: Iterable[Process], titles: Mapping[int, str]) -> Process | None:
    """The coordinator's replica."""
    return next((each for each in processes if COORDINATOR in label(each, titles)), None)


def start(process: Process, seconds: float, into: Path) -> subprocess.Popen[bytes] | None:
    """Begins to sample a process; None without py-spy."""
    program = py_spy()
    if program is None:
        return None
    # Only who holds the interpreter: waiting is in the table of stages.
    command = [program, "record", "--gil", "--format", "raw", "--threads", "--nonblocking"]
    command += ["--rate", str(RATE), "--duration", f"{seconds:.0f}"]
    command += ["--pid", str(process.pid), "--output", str(into)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


_SCAFFOLD = ("thread (", "Thread.", "<module>")  # what every stack of a thread begins with


def tables(raw: str, shown: int = SHOWN) -> list[str]:
    """Two Markdown tables of py-spy's raw stacks: threads, and functions with what they call."""
    threads: Counter[str] = Counter()
    inclusive: Counter[str] = Counter()
    own: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, times = line.rpartition(" ")
        frames = stack.split(";")
        if not times.isdigit() or not frames:
            continue
        count = int(times)
        threads[_thread(frames[0])] += count
        names = [_function(frame) for frame in frames if not frame.startswith(_SCAFFOLD)] or [""]
        own[names[-1]] += count
        for name in set(names):
            inclusive[name] += count
    total = max(sum(threads.values()), 1)
    lines = ["| thread | share of samples |", "|---|---|"]
    lines += [f"| {name} | {count / total:.1%} |" for name, count in threads.most_common(8)]
    lines += ["", "| function | with callees | itself |", "|---|---|---|"]
    for name, count in inclusive.most_common(shown):
        lines.append(f"| {name} | {count / total:.1%} | {own[name] / total:.1%} |")
    return lines


def _thread(frame: str) -> str:
    return frame.partition(": ")[2].strip('"') or frame


def _function(frame: str) -> str:
    """``name (file.py)`` without the line: a function is one thing, wherever it was seen."""
    name, _, where = frame.rpartition(" (")
    if not name:
        return frame
    return f"{name} ({Path(where.partition(':')[0].rstrip(')')).name})"
