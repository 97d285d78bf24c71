"""What the coordinator counts, and whether it does badly: a state that is computed, not a log line.

Every number is declared once and told twice: as Prometheus text of this process, and through Ray's
metrics. Stages are recorded as each round ends, counts are handed over once a second.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from actors.checks import Code
from actors.contract import Status
from data.records import RoundOutput
from data.round_output import OutputArrays

WINDOW_S = 60
P95_LIMIT_MS = 2_000.0
SUCCESS_LIMIT = 0.995
FEWEST_ANSWERS = 20  # in the window, before their share says anything
QUORUM_S = 10  # how long a round at the minimum of the quorum is held against the service

SECONDS = (
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1,
    0.15, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
BARS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0)

ROUNDS = ("sapphire_rounds", "Rounds answered", ())
STEPS = ("sapphire_weight_steps", "Rounds in which the weights took a step", ())
VOTES = ("sapphire_votes", "Votes by agent and status", ("agent", "status"))
NO_QUORUM = ("sapphire_quorum_failures", "Decisions without a quorum", ())
ANSWERS = ("sapphire_answers", "Answers by route and status", ("route", "status"))
SHED = ("sapphire_shed", "Requests refused because the queue was full", ())
BATCH = ("sapphire_round_bars", "Bars in a round", ())
STAGE = ("sapphire_stage_seconds", "Seconds of a round's stages", ("stage",))
WAITING = ("sapphire_waiting", "Requests that wait for a round", ())

_NO_QUORUM = int(Code.NO_QUORUM)
_ABSENT = (int(Status.LATE), int(Status.FAILED))
FLUSH_S = 1.0


class Degradation(msgspec.Struct, frozen=True, kw_only=True):
    """How the service did in the window; ``state`` ok, degraded, or idle without enough answers."""

    state: str
    reasons: list[str]
    p95_ms: float | None
    success: float | None
    answers: int
    window_s: int


class _Second:
    """The decide answers of one second."""

    __slots__ = ("counts", "failed", "slowest", "when")

    def __init__(self) -> None:
        self.when = -1
        self.counts = [0] * (len(SECONDS) + 1)
        self.failed = 0
        self.slowest = 0.0

    def enter(self, when: int) -> None:
        if when != self.when:
            self.when, self.failed, self.slowest = when, 0, 0.0
            self.counts = [0] * (len(SECONDS) + 1)


class Meter:
    """Counts on the event loop. ``ray_metrics`` is ray.serve.metrics inside of a replica."""

    def __init__(
        self,
        min_agents: Callable[[], int],
        waiting: Callable[[], int],
        shed: Callable[[], int],
        ray_metrics: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._min_agents = min_agents
        self._waiting = waiting
        self._shed = shed
        self._clock = clock
        self._seconds = [_Second() for _ in range(WINDOW_S)]
        self._low_quorum_until = float("-inf")
        self._tally: Tally[tuple[Any, ...]] = Tally()  # (name, *labels) -> not handed over yet
        self._flushed = float("-inf")
        self._told_shed = 0
        self._registry = CollectorRegistry()
        self._ray = ray_metrics
        self._counters = {
            about[0]: self._counter(*about)
            for about in (ROUNDS, STEPS, VOTES, NO_QUORUM, ANSWERS, SHED)
        }
        self._histograms = {
            about[0]: self._histogram(about, edges)
            for about, edges in ((BATCH, BARS), (STAGE, SECONDS))
        }
        self._gauge = Gauge(WAITING[0], WAITING[1], registry=self._registry)
        self._gauge.set_function(waiting)

    # -- hearing ----------------------------------------------------------------------------

    def answered(self, route: str, status: int, seconds: float) -> None:
        """One request is answered. A few list operations: it runs for every request."""
        self._tally[ANSWERS[0], route, status] += 1
        # What a sender did wrong says nothing of the service, and must not thin out what does.
        if route != "decide" or 400 <= status < 500:
            return
        now = int(self._clock())
        second = self._seconds[now % WINDOW_S]
        second.enter(now)
        second.counts[bisect_left(SECONDS, seconds)] += 1
        second.slowest = max(second.slowest, seconds)
        if status >= 500:
            second.failed += 1

    def round(self, output: RoundOutput, arrays: OutputArrays, stages: dict[str, float]) -> None:
        """A round is answered; see serve_apps.engine.Listener."""
        tally = self._tally
        tally[ROUNDS[0],] += 1
        tally[STEPS[0],] += int(output.stepped)
        tally[NO_QUORUM[0],] += int((arrays.table["code"] == _NO_QUORUM).sum())
        for name, column in zip(output.agents, arrays.status.T.tolist(), strict=True):
            for status, count in Tally(column).items():
                tally[VOTES[0], name, status] += count
        self._see(BATCH, len(arrays.table))
        for stage, seconds in stages.items():
            self._see(STAGE, seconds, stage=stage)
        # The queue was waited in before the round began.
        self._see(STAGE, sum(stages.values()) - stages.get("queue", 0.0), stage="round")
        absent = sum(status in _ABSENT for status in arrays.status[0].tolist())
        if len(output.agents) - absent <= self._min_agents():
            self._low_quorum_until = self._clock() + QUORUM_S
        if self._clock() - self._flushed >= FLUSH_S:
            self._flush()

    def _flush(self) -> None:
        """Hands the counts over: to Ray a counter costs as much as a vote."""
        self._flushed = self._clock()
        counts, self._tally = self._tally, Tally()
        counts[SHED[0],] = self._shed() - self._told_shed
        self._told_shed += counts[SHED[0],]
        for (name, *labels), count in counts.items():
            if count:
                own, rays, names = self._counters[name]
                words = dict(zip(names, map(_word, labels), strict=True))
                (own.labels(**words) if words else own).inc(count)
                if rays:
                    rays.inc(count, words)

    # -- telling ----------------------------------------------------------------------------

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        self._flush()
        return generate_latest(self._registry)

    def degradation(self) -> Degradation:
        """The state of the last WINDOW_S seconds."""
        now = int(self._clock())
        live = [s for s in self._seconds if 0 <= now - s.when < WINDOW_S]
        counts = [sum(column) for column in zip(*(s.counts for s in live), strict=True)]
        total = sum(counts)
        reasons = []
        p95 = success = None
        if total >= FEWEST_ANSWERS:
            p95 = 1e3 * _quantile(counts, 0.95, max(s.slowest for s in live))
            success = 1.0 - sum(s.failed for s in live) / total
            if p95 > P95_LIMIT_MS:
                reasons.append(f"P95 is {p95:,.0f} ms, above {P95_LIMIT_MS:,.0f}")
            if success < SUCCESS_LIMIT:
                reasons.append(f"{success:.2%} of the answers succeed, below {SUCCESS_LIMIT:.1%}")
        if self._clock() < self._low_quorum_until:
            reasons.append(f"no more than {self._min_agents()} agents answer: the quorum's minimum")
        quiet = "ok" if total >= FEWEST_ANSWERS else "idle"
        return Degradation(
            state="degraded" if reasons else quiet,
            reasons=reasons,
            p95_ms=p95,
            success=success,
            answers=total,
            window_s=WINDOW_S,
        )

    # -- one declaration, two places ----------------------------------------------------------

    def _counter(
        self, name: str, about: str, labels: tuple[str, ...]
    ) -> tuple[Any, Any, tuple[str, ...]]:
        own = Counter(name, about, labels, registry=self._registry)
        return own, self._ray and self._ray.Counter(f"{name}_total", about, labels), labels

    def _histogram(
        self, declared: tuple[str, str, tuple[str, ...]], edges: tuple[float, ...]
    ) -> tuple[Any, Any]:
        name, about, labels = declared
        own = Histogram(name, about, labels, buckets=edges, registry=self._registry)
        return own, self._ray and self._ray.Histogram(name, about, list(edges), labels)

    def _see(self, about: tuple[str, str, tuple[str, ...]], value: float, **tags: str) -> None:
        own, rays = self._histograms[about[0]]
        (own.labels(**tags) if tags else own).observe(value)
        if rays:
            rays.observe(value, tags)


def _word(label: str | int) -> str:
    """A label's text: a vote's status by its name, an answer's as its number."""
    if isinstance(label, str):
        return label
    return Status(label).name.lower() if label < len(Status) else str(label)


def _quantile(counts: list[int], share: float, slowest: float) -> float:
    """Upper edge of the bucket that holds the quantile, or the largest value seen, in seconds."""
    wanted, seen = share * sum(counts), 0
    for edge, count in zip(SECONDS, counts, strict=False):
        seen += count
        if seen >= wanted:
            return min(edge, slowest)
    return slowest
