"""``make bench``: everything that ``docs/performance.md`` says of speed, on one pinned core.

The same bars for all, a fresh process per repetition, one warm-up turn and then five that count:
median and range, with loading and compiling apart. Fills are compared before speeds are. Peers run
in environments of their own, made on the first run; without a package index their rows say so.

``--quick``: few bars and repetitions, to see that everything runs; ``--no-peers``: ours alone.
Only a full run writes to ``docs/performance.md``.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks import bar_builder, bench_bars, committee
from benchmarks.measured import (
    Measured,
    compared,
    first_difference,
    ratio,
    replace_marked,
    spread,
    table,
)
from benchmarks.peer_environments import PEERS, pinned, python_of, script
from benchmarks.processes import ROOT, Contestant, Failed, Report, compete, report_of
from data.jit_cache import activate

WORK = ROOT / ".bench"
BARS, MODELS = WORK / "bars.parquet", WORK / "models.npz"
PAGE = ROOT / "docs" / "performance.md"
CROSS = "one signal"
OURS = "Sapphire, EMA cross"
# Of the bar builder: the other clocks are as fast, `python -m benchmarks.bar_builder` has them.
SHOWN = ("1s", "1m", "tick:", "NBBO")
CLOSE_FILLS = "market orders fill at the close decided on: with bars alone there is no later price"


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    bars: int = 1_000_000
    slow_bars: int = 50_000  # for NautilusTrader
    parity_bars: int = 20_000
    fit_bars: int = 50_000
    memory_bars: int = 10_000_000
    repetitions: int = 5
    trades: int = 2_000_000  # for the bar builder


QUICK = Size(60_000, 10_000, 5_000, 12_000, 300_000, 2, 200_000)


def machine() -> str:
    """Processor, cores, memory, system and python, without a date or a name."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"model name\s*:\s*(.+)", text)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = model.group(1).strip() if model else platform.machine()
    return (
        f"{name}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}; "
        f"Python {platform.python_version()}, numba {version('numba')}, numpy {version('numpy')}"
    )


def ours(module: str, *more: str) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.{module}", str(BARS), *more]


def pythons(peers: bool) -> dict[str, tuple[Path, str]]:
    """Each peer's python, and why there is none."""
    if not peers:
        return {peer: (Path(), "left out by --no-peers") for peer in PEERS}
    return {peer: python_of(peer) for peer in PEERS}


def cross_contestants(size: Size, found: dict[str, tuple[Path, str]]) -> list[Contestant]:
    """Ours and the peers in the EMA cross, each with the bars that it gets."""

    def peer(name: str, title: str, kind: str, *more: str) -> Contestant:
        python, why = found[name]
        number = pinned(name)[name.replace("_", "-")]
        command = [str(python), str(script(name)), str(BARS), *more]
        return Contestant(f"{title} ({number})", f"{kind}, {CROSS}", command, why)

    slow = ("--bars", str(size.slow_bars))
    return [
        Contestant(OURS, f"event-driven, {CROSS}", ours("ema_cross")),
        peer("vectorbt", "vectorbt", "vectorised"),
        peer("backtesting", "backtesting.py", "event-driven"),
        peer("nautilus_trader", "NautilusTrader", "event-driven", *slow),
        peer(
            "nautilus_trader",
            "NautilusTrader, opens as ticks",
            "event-driven",
            *slow,
            "--open-ticks",
        ),
    ]


def parity(size: Size, contestants: Sequence[Contestant]) -> list[str]:
    """One line each: whether it trades where we do, without costs, on a short stretch."""
    lines: list[str] = []
    fills: list[Sequence[float]] = []
    for one in contestants:
        if one.not_run:
            lines.append(f"- {one.name}: not run: {one.not_run}")
            continue
        command = [*one.command, "--bars", str(size.parity_bars), "--fee", "0", "--trades"]
        try:
            report: Report = report_of(command, None)
        except Failed as error:
            if one.name == OURS:
                raise
            lines.append(f"- {one.name}: not run: {error}")
            continue
        if one.name == OURS:
            fills = report["trades"]
            lines.append(f"- {one.name}: {len(fills):,} fills, each at an open; the reference.")
            continue
        gap = first_difference(fills, report["trades"])
        verdict = "every fill in the same bar, on the same side, at the same price"
        if gap:
            why = f" ({CLOSE_FILLS})" if _fills_at_close(one) else ""
            verdict = f"DIFFERS{why}: {gap}"
        lines.append(f"- {one.name}: {len(report['trades']):,} fills; {verdict}.")
    return lines


def _fills_at_close(one: Contestant) -> bool:
    return one.name.startswith("NautilusTrader") and "--open-ticks" not in one.command


def ratios(rows: Sequence[Measured]) -> list[str]:
    """Ours against each peer; vectorbt, being vectorised, against ours."""
    mine, vector, *others = rows
    lines = [f"- {vector.name} / Sapphire (vectorised / event-driven): {ratio(vector, mine)}"]
    lines += [f"- Sapphire / {row.name}: {ratio(mine, row)}" for row in others]
    return lines


def committee_contestants() -> list[Contestant]:
    kind = "event-driven, the committee"
    return [
        Contestant("six agents, pool, gate, account, fills", kind, ours("committee", str(MODELS))),
        Contestant(
            "the same without the tree predictor",
            f"{kind} of five",
            ours("committee", str(MODELS), "--without-trees"),
        ),
    ]


def memory_line(size: Size) -> str:
    """Peak memory of one long backtest that keeps nothing."""
    try:
        report = report_of(
            ours("committee", str(MODELS), "--to-and-fro", str(size.memory_bars)), None
        )
    except Failed as error:
        return f"Memory: not run: {error}"
    return (
        f"Memory: {report['bars']:,} bars (the same, to and fro) through the committee, nothing "
        f"kept, in {report['run_s']:.0f} s: at most {report['peak_mb']:,.0f} MB resident, of which "
        f"{report['loaded_mb']:,.0f} MB before the run (a bar is 104 bytes)."
    )


def builder_rows(size: Size) -> list[str]:
    """The bar builder's table: one process, five repetitions after a warm-up."""
    lines = ["| bar builder, bulk, one process | M rows/s, median [min .. max] |", "|---|---|"]
    measured = bar_builder.measure(size.trades).items()
    shown = [(name, rates) for name, rates in measured if any(word in name for word in SHOWN)]
    return [*lines, *(f"| {name} | {spread(rates, '.1f')} |" for name, rates in shown)]


def agent_lines() -> list[str]:
    """What ``python -m benchmarks.agents`` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.agents"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return ["Compiled steps: not run, see `python -m benchmarks.agents`."]
    return [
        (
            "Nanoseconds a bar of each compiled step, called from compiled code as the loop does "
            "(`python -m benchmarks.agents`):"
        ),
        "",
        "```",
        *done.stdout.rstrip().splitlines(),
        "```",
    ]


def report(size: Size, peers: bool, asked: str, tell: Callable[[str], None]) -> list[str]:
    """Measures everything; the lines of the page."""
    what = bench_bars.write(BARS, size.bars)
    contestants = cross_contestants(size, pythons(peers))
    tell("comparing fills")
    same = parity(size, contestants)
    with tempfile.TemporaryDirectory(dir=WORK) as empty:
        caches = {one.name: Path(empty) / str(i) for i, one in enumerate(contestants[:2])}
        tell("EMA cross")
        cross = compete(contestants, size.repetitions, caches)
        tell("fitting models")
        trees = committee.fit(BARS, size.fit_bars, MODELS)
        tell("the committee")
        voters = committee_contestants()
        caches = {one.name: Path(empty) / "ours" for one in voters[:1]}
        voted = compete(voters, size.repetitions, caches)
    tell("memory")
    memory = memory_line(size)
    tell("bar builder and agents")
    return [
        f"Machine: {machine()}; one pinned core.",
        f"Command: `{asked}`. Bars: {what}.",
        (
            f"A fresh process per repetition, one warm-up turn, then {size.repetitions} in turn. "
            "Load: reading the file and making the engine's own data objects, imports left out. "
            "Compile: a first run over few bars."
        ),
        "",
        f"**Fill parity**, without costs, {size.parity_bars:,} bars, EMA 20/50:",
        "",
        *same,
        "",
        (
            "**EMA cross** 20/50, 10 % of equity per entry, 0.1 % commission. Ours keeps equity, "
            "orders and fills; vectorbt its order records."
        ),
        "",
        *table(compared(cross)),
        "",
        "Ratios of medians [of the ranges' ends]:",
        "",
        *ratios(cross),
        "",
        (
            "**The committee** through `tuning.backtest`, nothing kept, no costs so that it trades "
            f"all the time; models fitted on the first {size.fit_bars:,} bars; predictor: {trees}."
        ),
        "",
        *table(voted),
        "",
        memory,
        "",
        *builder_rows(size),
        "",
        *agent_lines(),
    ]


def main() -> int:
    """Prints the tables; a full run also writes them into the page."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measure speed and memory.")
    parser.add_argument("--quick", action="store_true", help="few bars, two repetitions")
    parser.add_argument("--no-peers", action="store_true", help="leave the other engines out")
    asked = parser.parse_args()
    activate()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"bench [{time.monotonic() - began:4.0f} s] {text}", file=sys.stderr, flush=True)

    given = " ".join(sys.argv[1:])
    command = f'make bench ARGS="{given}"' if given else "make bench"
    lines = report(QUICK if asked.quick else Size(), not asked.no_peers, command, tell)
    print("\n".join(lines))
    if not given:
        PAGE.write_text(replace_marked(PAGE.read_text(encoding="utf-8"), lines), encoding="utf-8")
        tell(f"written to {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
