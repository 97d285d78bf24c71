"""What a run of the load gave, what it must reach, and the page's lines. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.load.arrow_client import Report
from benchmarks.load.decided import ENOUGH_VOTERS, Decided
from benchmarks.load.stages import Histogram
from benchmarks.load.stages import rows as stage_rows
from benchmarks.load.wrk import Outcome
from benchmarks.measured import spread

RATE = 1_000
P95_MS, P99_MS = 60.0, 100.0
SUCCESS, ACHIEVED, FULL = 0.999, 0.99, 0.99
SATURATION_RATIO, IDLE_RATIO = 0.35, 1.5
ARROW_BARS = 20_000


@dataclass(frozen=True)
class Must:
    """One thing that must be reached."""

    what: str
    measured: str
    met: bool

    def line(self) -> str:
        """For the page."""
        return f"- {'met' if self.met else 'NOT MET'}: {self.what}: {self.measured}"


@dataclass
class Figures:
    """All of one run. Lists hold repetitions."""

    fixed: Outcome
    decided: Decided
    stages: Mapping[str, Histogram]
    cpu: Sequence[str]
    single: list[Outcome] = field(default_factory=list)
    bare: list[list[float]] = field(default_factory=list)  # ms of each turn
    saturated: dict[int, list[Outcome]] = field(default_factory=dict)  # by connections
    noop: dict[int, list[Outcome]] = field(default_factory=dict)
    knee: list[Outcome] = field(default_factory=list)
    arrow: list[Report] = field(default_factory=list)


def kept_pace(outcome: Outcome) -> bool:
    """Whether a paced run is before the knee."""
    return (
        outcome.achieved >= ACHIEVED
        and outcome.quantile_ms(0.99) <= P99_MS
        and outcome.success >= SUCCESS
    )


def right(outcome: Outcome) -> bool:
    """No wrong answer, and none from the idempotency cache."""
    return outcome.wrong == 0 and outcome.replayed == 0


def bars_per_second(report: Report) -> float:
    """Bars decided a second."""
    return report.bars / report.seconds


def ratios(above: Sequence[Outcome], below: Sequence[Outcome]) -> list[float]:
    """Ratio of rates, of runs that stood beside each other."""
    return [a.per_second / b.per_second for a, b in zip(above, below, strict=True)]


def idle_ratios(figures: Figures) -> list[float]:
    """p50 of one connection over p50 of the bare calls and commits beside it."""
    return [
        one.quantile_ms(0.5) / statistics.median(bare)
        for one, bare in zip(figures.single, figures.bare, strict=True)
    ]


def musts(figures: Figures) -> list[Must]:
    """What must be reached, each met or not."""
    fixed, decided = figures.fixed, figures.decided
    p95, p99 = fixed.quantile_ms(0.95), fixed.quantile_ms(0.99)
    full, approved = decided.share(decided.full), decided.share(decided.approved)
    everything = [
        fixed,
        *figures.single,
        *figures.knee,
        *(run for runs in figures.saturated.values() for run in runs),
    ]
    wrong = sum(run.wrong for run in everything) + sum(r.wrong for r in figures.arrow)
    replayed = sum(run.replayed for run in everything) + sum(r.replayed for r in figures.arrow)
    rate = f"{fixed.phase.rate:,}/s for {fixed.phase.seconds:.0f} s"
    found = [
        Must(f"{rate}, sent and answered", f"{fixed.achieved:.2%}", fixed.achieved >= ACHIEVED),
        Must(f"{rate}, P95 ≤ {P95_MS:.0f} ms", f"{p95:.1f} ms", p95 <= P95_MS),
        Must(f"{rate}, P99 ≤ {P99_MS:.0f} ms", f"{p99:.1f} ms", p99 <= P99_MS),
        Must(f"{rate}, success ≥ {SUCCESS:.1%}", f"{fixed.success:.3%}", fixed.success >= SUCCESS),
        Must("no wrong answer in any run", f"{wrong}", wrong == 0),
        Must("no answer from the idempotency cache", f"{replayed}", replayed == 0),
        Must(
            f"≥ {FULL:.0%} with {ENOUGH_VOTERS} voters, a pooled forecast, the account's view",
            f"{full:.2%}",
            full >= FULL,
        ),
        Must("share approved > 0", f"{approved:.1%}", approved > 0),
    ]
    for count, runs in figures.saturated.items():
        each = ratios(runs, figures.noop[count])
        found.append(
            Must(
                f"saturation, {count} connections ≥ {SATURATION_RATIO} of the no-op",
                spread(each, ".2f"),
                statistics.median(each) >= SATURATION_RATIO,
            )
        )
    idle = idle_ratios(figures)
    if idle:
        found.append(
            Must(
                f"one decision, idle: p50 ≤ {IDLE_RATIO} of the bare calls and commits",
                spread(idle, ".2f"),
                statistics.median(idle) <= IDLE_RATIO,
            )
        )
    if figures.arrow:
        bars = [bars_per_second(report) for report in figures.arrow]
        failed = sum(report.failed for report in figures.arrow)
        found.append(
            Must(
                f"Arrow, 8 connections, 256 symbols a batch ≥ {ARROW_BARS:,} bars/s",
                f"{spread(bars)}, {failed} failed",
                statistics.median(bars) >= ARROW_BARS and not failed,
            )
        )
    return found


def knee_rate(knee: Sequence[Outcome]) -> int:
    """The highest rate that kept its pace, all below it having done so; 0 when none did."""
    best = 0
    for outcome in sorted(knee, key=lambda one: one.phase.rate):
        if not kept_pace(outcome):
            break
        best = outcome.phase.rate
    return best


def _row(name: str, runs: Sequence[Outcome]) -> str:
    cells = [
        name,
        spread([run.per_second for run in runs]),
        *(f"{statistics.median([r.quantile_ms(q) for r in runs]):.1f}" for q in (0.5, 0.95, 0.99)),
        f"{statistics.median([run.quantile_ms(1.0) for run in runs]):.0f}",
        f"{min(run.success for run in runs):.3%}",
    ]
    return "| " + " | ".join(cells) + " |"


def lines(figures: Figures) -> list[str]:
    """The tables and the verdicts."""
    fixed, decided = figures.fixed, figures.decided
    rounds = figures.stages["bars"]
    codes = ", ".join(f"{name} {decided.share(n):.1%}" for name, n in decided.codes.most_common(6))
    slices = spread(fixed.slice_quantiles_ms(0.95), ".1f")
    pace = f"{fixed.phase.seconds:.0f} s at {fixed.phase.rate:,}/s"
    table = [
        "| run | right answers/s, median [min .. max] | p50 ms | P95 | P99 | max | success |",
        "|---|---|---|---|---|---|---|",
        _row(f"{fixed.phase.rate:,}/s, {fixed.phase.connections} connections", [fixed]),
        *(
            _row(f"{run.phase.rate:,}/s, {run.phase.connections} connections", [run])
            for run in figures.knee
        ),
    ]
    if figures.single:
        table.append(_row("one connection, idle", figures.single))
    for count, runs in figures.saturated.items():
        table.append(_row(f"saturated, {count} connections", runs))
    for count, runs in figures.noop.items():
        rates = spread([run.per_second for run in runs])
        p50 = statistics.median([run.wrk_p50_ms for run in runs])
        table.append(f"| Serve no-op, {count} connections | {rates} | {p50:.1f} | | | | |")
    told = [*table, ""]
    if figures.bare:
        bare = spread([statistics.median(turns) for turns in figures.bare], ".1f")
        told.append(f"Bare fan-out of 6 + 1 actor calls and two commits, p50: {bare} ms.")
    if figures.knee:
        rate = knee_rate(figures.knee)
        knee = f"{rate:,}/s" if rate else f"below {figures.knee[0].phase.rate:,}/s"
        told.append(
            f"The knee (the last rate with P99 ≤ {P99_MS:.0f} ms and nothing lost): {knee}."
        )
    if figures.arrow:
        bars = spread([bars_per_second(report) for report in figures.arrow])
        p95 = _p95([ms for report in figures.arrow for ms in report.latencies_ms])
        told.append(f"Arrow, 8 connections, batches of 256: {bars} bars/s, P95 {p95:.0f} ms.")
    return [
        *told,
        "",
        (
            f"The {pace}: P95 of ten seconds {slices} "
            f"ms; {decided.rounds:,} rounds of {rounds.mean:.1f} bars; of {decided.decisions:,} "
            f"decisions {decided.share(decided.full):.2%} with {ENOUGH_VOTERS} voters, a pooled "
            f"forecast and the account's view; {decided.share(decided.approved):.1%} approved; "
            f"codes: {codes}."
        ),
        "",
        *stage_rows(figures.stages),
        "",
        *figures.cpu,
        "",
        "What it must reach:",
        "",
        *(must.line() for must in musts(figures)),
    ]


def _p95(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[int(0.95 * (len(ordered) - 1))] if ordered else float("nan")
