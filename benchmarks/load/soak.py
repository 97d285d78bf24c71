"""Memory of every process and the disk's growth while requests come for a long time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from benchmarks.load.cpu import label
from cluster.processes import Process

EVERY_S = 10.0
SETTLE_S = 120.0  # memory may still grow in it
FLAT = 0.05
MEGABYTE = 1e6


@dataclass
class Series:
    """One process: seconds, RSS and PSS in MB."""

    name: str
    seconds: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    pss: list[float] = field(default_factory=list)


def memory_of(process: Process) -> tuple[float, float] | None:
    """RSS and PSS in MB; None when the process is gone."""
    try:
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines()[1:]}
    return kilobytes["Rss"] * 1024 / MEGABYTE, kilobytes["Pss"] * 1024 / MEGABYTE


class Watch:
    """Looks at all processes every EVERY_S on a thread of its own, until it is stopped."""

    def __init__(
        self, processes: Callable[[], Iterable[Process]], titles: Mapping[int, str]
    ) -> None:
        self.series: dict[Process, Series] = {}
        self._titles = titles
        self._processes = processes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._began = time.monotonic()

    def __enter__(self) -> Watch:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._look()
            if self._stop.wait(EVERY_S):
                return

    def _look(self) -> None:
        now = time.monotonic() - self._began
        for process in self._processes():
            memory = memory_of(process)
            if memory is None:
                continue
            key = Process(process.pid, process.started)
            if key not in self.series:
                self.series[key] = Series(label(process, self._titles))
            series = self.series[key]
            series.seconds.append(now)
            series.rss.append(memory[0])
            series.pss.append(memory[1])


def growth(seconds: Sequence[float], values: Sequence[float], settle_s: float = SETTLE_S) -> float:
    """Growth of a straight line (least squares) after ``settle_s``, as a share of its beginning.

    NaN with fewer than three samples there.
    """
    at, of = np.array(seconds), np.array(values)
    kept = at >= settle_s
    if kept.sum() < 3:
        return float("nan")
    slope, start = np.polyfit(at[kept] - at[kept][0], of[kept], 1)
    return float(slope * (at[kept][-1] - at[kept][0]) / start)


def lasting(series: Iterable[Series]) -> list[Series]:
    """Those that were there at every look, the largest first."""
    found = list(series)
    most = max((len(each.seconds) for each in found), default=0)
    return sorted(
        (each for each in found if len(each.seconds) == most), key=lambda each: -each.rss[-1]
    )


def rows(series: Iterable[Series], settle_s: float = SETTLE_S) -> list[str]:
    """A Markdown table of the lasting processes."""
    lines = [
        "| process | RSS MB, end | PSS MB, end | RSS growth | PSS growth |",
        "|---|---|---|---|---|",
    ]
    for each in lasting(series):
        grown = [growth(each.seconds, values, settle_s) for values in (each.rss, each.pss)]
        lines.append(
            f"| {each.name} | {each.rss[-1]:.1f} | {each.pss[-1]:.1f} | {grown[0]:+.1%} |"
            f" {grown[1]:+.1%} |"
        )
    return lines


# PostgreSQL's own processes touch their shared buffers little by little: bounded, not flat.
_SERVERS = ("postgres", "valkey-server")


def steepest(series: Iterable[Series], settle_s: float = SETTLE_S) -> tuple[str, float]:
    """The Python or Ray process whose RSS changed most, and by which share."""
    shares = [
        (each.name, growth(each.seconds, each.rss, settle_s))
        for each in lasting(series)
        if each.name not in _SERVERS
    ]
    return max(shares, key=lambda each: abs(each[1]))


@dataclass(frozen=True)
class Stores:
    """Bytes on disk and in memory."""

    database: int
    wal_written: int  # since the server was made
    wal_kept: int
    wal_bound: int
    valkey_used: int
    valkey_bound: int


def stores(superuser_url: str, redis_url: str) -> Stores:
    """PostgreSQL's and Valkey's sizes now."""
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        row = connection.execute(
            "SELECT pg_database_size(current_database()), pg_current_wal_lsn() - '0/0'::pg_lsn,"
            " (SELECT sum(size) FROM pg_ls_waldir()),"
            " pg_size_bytes(current_setting('max_wal_size'))"
        ).fetchone()
    if row is None:
        raise RuntimeError("PostgreSQL gives no sizes")
    database, written, kept, most = (int(value) for value in row)
    return Stores(database, written, kept, most, *_valkey(redis_url))


def _valkey(redis_url: str) -> tuple[int, int]:
    """Bytes in use, and the bound."""
    import redis

    with redis.Redis.from_url(redis_url, socket_timeout=5.0) as client:
        memory: dict[str, Any] = client.info("memory")
    return int(memory["used_memory"]), int(memory["maxmemory"])


def disk_lines(before: Stores, after: Stores, decisions: int) -> list[str]:
    """Growth for a million decisions, and the bounds."""

    def per_million(count: int) -> str:
        return f"{count / max(decisions, 1) * 1e6 / 1e9:.2f} GB"

    return [
        (
            f"For a million decisions: database {per_million(after.database - before.database)}, "
            f"WAL written {per_million(after.wal_written - before.wal_written)} "
            f"({decisions:,} measured)."
        ),
        (
            f"WAL kept {after.wal_kept / MEGABYTE:.0f} MB of {after.wal_bound / MEGABYTE:.0f} MB "
            f"(max_wal_size); Valkey {after.valkey_used / MEGABYTE:.1f} MB of "
            f"{after.valkey_bound / MEGABYTE:.0f} MB."
        ),
    ]
