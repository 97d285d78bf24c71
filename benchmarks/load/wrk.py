"""One run of wrk with ``decide.lua``, and what its line says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.market import Market
from data.errors import InputError

SCRIPT = Path(__file__).with_name("decide.lua")
BUCKETS = 200_000  # of the script: 0.1 ms each, by slices
BUCKET_MS = 0.1
WARM_S = 1.0  # sent and answered, but not counted: connections open in it
GRACE_S = 3.0  # for the last answers


@dataclass(frozen=True)
class Target:
    """Where requests go. ``decimals`` of a price: the tick must be a power of ten."""

    url: str
    token: str
    session_id: str
    decimals: int


@dataclass(frozen=True)
class Phase:
    """One run. ``rate`` requests a second, 0: as fast as the connections go."""

    name: str
    rate: int
    seconds: float
    connections: int
    mode: str = "decide"
    threads: int = 1


@dataclass(frozen=True)
class Outcome:
    """What a run gave. Latencies: counts by bucket of 0.1 ms, a mapping each ten seconds."""

    phase: Phase
    sent: int
    answered: int  # right answers to what was due in the counted seconds
    arrived: int  # right answers that came in the counted seconds
    failed: int
    wrong: int
    replayed: int
    lost: int  # never answered
    socket_errors: int
    statuses: Mapping[int, int]
    slices: tuple[Mapping[int, int], ...]
    wrk_p50_ms: float  # from sending to the answer, as wrk itself measures it
    said: str  # the first failure or wrong answer

    @property
    def per_second(self) -> float:
        """Right answers a second."""
        return self.arrived / self.phase.seconds

    @property
    def achieved(self) -> float:
        """Right answers that came in the counted seconds, as a share of the requests due then."""
        return self.per_second / self.phase.rate if self.phase.rate else 1.0

    @property
    def unanswered(self) -> int:
        """Requests without an answer. A run that is not paced stops with some in flight."""
        if self.phase.rate:
            return self.sent - sum(self.statuses.values())
        return self.lost + self.socket_errors

    @property
    def success(self) -> float:
        """Share of the requests that were answered right; 0 without any."""
        asked = sum(self.statuses.values()) + self.unanswered
        return 1.0 - (self.failed + self.wrong + self.unanswered) / asked if asked else 0.0

    def quantile_ms(self, share: float) -> float:
        """Upper edge of the bucket that holds the quantile of all latencies."""
        return quantile_ms(self.slices, share)

    def slice_quantiles_ms(self, share: float) -> list[float]:
        """The same of each slice."""
        return [quantile_ms([part], share) for part in self.slices]


def quantile_ms(
    slices: tuple[Mapping[int, int], ...] | list[Mapping[int, int]], share: float
) -> float:
    """The quantile over slices; NaN without a latency."""
    counts: dict[int, int] = {}
    for part in slices:
        for bucket, count in part.items():
            counts[bucket] = counts.get(bucket, 0) + count
    wanted, seen = share * sum(counts.values()), 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= wanted:
            return (bucket + 1) * BUCKET_MS
    return float("nan")


def parse(phase: Phase, output: str) -> Outcome:
    """The outcome in what wrk printed; ValueError when the script's line is missing."""
    lines = [line for line in output.splitlines() if line.startswith("LOAD ")]
    if len(lines) != 1:
        raise ValueError(f"wrk printed no LOAD line:\n{output[-2000:]}")
    said = json.loads(lines[0].removeprefix("LOAD "))
    slices: dict[int, dict[int, int]] = {}
    for key, count in said["latencies"].items():
        part, bucket = divmod(int(key), BUCKETS)
        slices.setdefault(part, {})[bucket] = count
    return Outcome(
        phase,
        said["sent"],
        said["answered"],
        said["arrived"],
        said["failed"],
        said["wrong"],
        said["replayed"],
        said["lost"],
        said["socket_errors"],
        {int(status): count for status, count in said["statuses"].items()},
        tuple(slices[part] for part in sorted(slices)),
        said["wrk_p50_ms"],
        said["first_wrong"],
    )


def find_wrk() -> str:
    """The program; InputError says how to install it."""
    path = shutil.which("wrk")
    if path is None:
        raise InputError("make load needs wrk: install it (Debian, Ubuntu: apt-get install wrk)")
    return path


def run(phase: Phase, target: Target, market: Market, folder: Path, number: int) -> Outcome:
    """Runs wrk once; the market goes on where it stops. ``number`` tells runs' ids apart."""
    state, after = folder / "wrk_state", folder / "wrk_after"
    about = {
        "token": target.token,
        "session": target.session_id,
        "threads": phase.threads,
        "decimals": target.decimals,
        "seed": number,
    }
    state.touch(mode=0o600)
    state.write_text(
        "\n".join([*(f"{key} {value}" for key, value in about.items()), *market.lines()]) + "\n"
    )
    after.unlink(missing_ok=True)
    # A paced run sends nothing after its last due moment and waits for the answers.
    seconds = WARM_S + phase.seconds + (GRACE_S if phase.rate else 1.0)
    command = [
        find_wrk(),
        f"-t{phase.threads}",
        f"-c{phase.connections}",
        f"-d{seconds:.0f}s",
        "--timeout=30s",
        f"--script={SCRIPT}",
        target.url,
        "--",
        phase.mode,
        str(phase.rate),
        str(phase.seconds),
        str(WARM_S),
        str(state),
        f"{target.session_id}-{number}",
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        env={**os.environ, "LOAD_STATE_OUT": str(after)},
        check=False,
    )
    state.unlink()
    outcome = parse(phase, done.stdout + done.stderr)
    market.take(after)
    return outcome
