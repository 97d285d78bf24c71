"""``make load``: what ``docs/performance.md`` says of the coordinator under load.

A whole local cluster below ``.bench/load``, a service session of 2,048 symbols, and in one run: one
decision at a time, 1,000 requests a second, saturation, the knee, and batches over Arrow; beside
them the floors of the same minute: a Serve no-op behind the same ingress, and bare actor calls and
commits. Exit code 0 when everything that must be reached is, else 1.

``--short``: phases of a few seconds. ``--soak``: ten minutes at 500/s, watching memory and disk.
``--profile``: where a round's time goes at 1,000/s. Only a full run writes to the page.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.load import cpu, decided, figures, profiling, soak, stages
from benchmarks.load.figures import Figures, Must
from benchmarks.load.floors import BARE, NOOP
from benchmarks.load.house import LoadHouse
from benchmarks.load.market import names
from benchmarks.load.wrk import Outcome, Phase, find_wrk
from benchmarks.measured import replace_marked
from benchmarks.processes import ROOT
from benchmarks.run import PAGE, WORK, machine
from cluster.home import Home
from cluster.processes import ServiceError, terminate_home
from cluster.stopping import Stopped, stoppable
from data.errors import InputError
from data.jit_cache import activate

SYMBOLS = 2_048
WARM_UP = 270  # moments: the slowest agent needs 252 bars
ARROW_CONNECTIONS = 8
PACED_CONNECTIONS = 128
HIGHEST_RATE = 4_000
MARKS = "<!-- load:begin -->", "<!-- load:end -->"
SOAK_MARKS = "<!-- soak:begin -->", "<!-- soak:end -->"
KEPT = ("lock", "models")  # of an earlier run's home


@dataclass(frozen=True)
class Size:
    """Seconds and repetitions."""

    fixed_s: float = 60.0
    phase_s: float = 10.0
    repetitions: int = 3
    bare_turns: int = 300
    saturated: tuple[int, ...] = (64, 128)
    soak_s: float = 600.0


SHORT = Size(10.0, 4.0, 1, 150, (64,), 40.0)


def main() -> int:
    """Entry point of the command."""
    parser = argparse.ArgumentParser(prog="make load", description="Load the coordinator.")
    parser.add_argument("--short", action="store_true", help="phases of a few seconds")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--soak", action="store_true", help="ten minutes at 500/s: memory and disk")
    what.add_argument("--profile", action="store_true", help="where a round's time goes")
    asked = parser.parse_args()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"load [{time.monotonic() - began:4.0f} s] {text}", file=sys.stderr, flush=True)

    try:
        find_wrk()
        with stoppable():
            return _run(asked, say)
    except Stopped as stopped:
        return stopped.exit_code
    except InputError as error:
        print(f"load: {error}", file=sys.stderr)
        return 2
    except ServiceError as error:
        print(f"load: {error}", file=sys.stderr)
        return 1


def _run(asked: argparse.Namespace, say: Callable[[str], None]) -> int:
    activate()
    size = SHORT if asked.short else Size()
    home = Home(WORK / "load").create()
    with home.lock():
        _clear(home)
        house = LoadHouse(home, names(SYMBOLS), say)
        try:
            house.start()
            if asked.profile:
                print("\n".join(_profile(house, size)))
                return 0
            if asked.soak:
                lines, musts = _soak(house, size)
            else:
                lines, musts = _measure(house, size)
        finally:
            house.cluster.stop()
    given = " ".join(sys.argv[1:])
    command = f'make load ARGS="{given}"' if given else "make load"
    lines = [f"Machine: {machine()}, generator included.", f"Command: `{command}`.", "", *lines]
    print("\n".join(lines))
    if not asked.short:
        begin, end = SOAK_MARKS if asked.soak else MARKS
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(replace_marked(text, lines, begin, end), encoding="utf-8")
        say(f"written to {PAGE.relative_to(ROOT)}")
    unmet = [must.what for must in musts if not must.met]
    say(f"not met: {'; '.join(unmet)}" if unmet else "everything that must be reached is")
    return 1 if unmet else 0


def _clear(home: Home) -> None:
    """What an earlier run left: its processes, its journal, its tokens. Fitted models stay."""
    terminate_home(home.hash, grace_seconds=1.0)
    for path in home.path.iterdir():
        if path.name in KEPT:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    home.create()


def _warm_up(house: LoadHouse) -> None:
    report = house.arrow(ARROW_CONNECTIONS, moments=WARM_UP)
    if report.failed or report.wrong:
        raise ServiceError(f"the warm-up failed: {report.said}")
    # The first bars of now: compiled code and connections settle.
    house.wrk(Phase("first bars", 0, 2.0, 64))


def _measure(house: LoadHouse, size: Size) -> tuple[list[str], list[Must]]:
    """Ourselves alone first: a floor's idle processes take time too."""
    _warm_up(house)
    found = _fixed(house, size)
    found.knee = _knee(house, size)
    for _ in range(size.repetitions):
        found.arrow.append(house.arrow(ARROW_CONNECTIONS, seconds=size.phase_s))
    house.cluster.start_floor(BARE)
    for _ in range(size.repetitions):
        found.bare.append(house.bare(size.bare_turns)["thread"])
        found.single.append(house.wrk(Phase("one connection", 0, size.phase_s, 1)))
    house.cluster.start_floor(NOOP)
    for count in size.saturated:
        found.saturated[count], found.noop[count] = [], []
        for _ in range(size.repetitions):
            found.noop[count].append(
                house.wrk(Phase("Serve no-op", 0, size.phase_s, count, "noop"))
            )
            found.saturated[count].append(house.wrk(Phase("saturated", 0, size.phase_s, count)))
    return figures.lines(found), figures.musts(found)


def _fixed(house: LoadHouse, size: Size) -> Figures:
    """The run at the promised rate, with what the journal, /metrics and /proc say of it."""
    titles = house.titles()
    with house.reader() as connection:
        first = decided.last_round(connection, house.config.cell)
        before, spent = house.metrics(), cpu.cpu_seconds(house.processes(), titles)
        phase = Phase("fixed rate", figures.RATE, size.fixed_s, PACED_CONNECTIONS)
        outcome = house.wrk(phase)
        after, spent_then = house.metrics(), cpu.cpu_seconds(house.processes(), titles)
        last = decided.last_round(connection, house.config.cell)
        house.say("reading the journal")
        outputs = decided.outputs(
            connection, house.config.cell, house.config.session_id, first, last
        )
        counts = decided.count(outputs)
    return Figures(
        outcome,
        counts,
        stages.between(before, after),
        cpu.rows(spent, spent_then, sum(outcome.statuses.values())),
    )


def _knee(house: LoadHouse, size: Size) -> list[Outcome]:
    """Rising rates until one is not kept."""
    found: list[Outcome] = []
    for rate in range(figures.RATE + 250, HIGHEST_RATE + 1, 250):
        found.append(house.wrk(Phase(f"{rate:,}/s", rate, size.phase_s, PACED_CONNECTIONS)))
        if not figures.kept_pace(found[-1]):
            break
    return found


def _soak(house: LoadHouse, size: Size) -> tuple[list[str], list[Must]]:
    _warm_up(house)
    settle = min(soak.SETTLE_S, size.soak_s / 4)
    urls = house.cluster.superuser_url, house.cluster.redis_url
    before = soak.stores(*urls)
    with soak.Watch(house.processes, house.titles()) as watch:
        outcome = house.wrk(Phase("soak", 500, size.soak_s, PACED_CONNECTIONS))
    after = soak.stores(*urls)
    series = list(watch.series.values())
    name, share = soak.steepest(series, settle)
    musts = [
        Must("500/s, sent and answered", f"{outcome.achieved:.2%}", outcome.achieved >= 0.99),
        Must("no wrong answer", f"{outcome.wrong}", figures.right(outcome)),
        Must(
            f"memory of every Python and Ray process flat within {soak.FLAT:.0%}",
            f"{name} {share:+.1%}",
            abs(share) <= soak.FLAT,
        ),
        Must(
            "Valkey within its bound",
            f"{after.valkey_used / 1e6:.1f} MB",
            after.valkey_used <= after.valkey_bound,
        ),
        Must(
            "PostgreSQL's log within its bound",
            f"{after.wal_kept / 1e6:.0f} MB",
            after.wal_kept <= after.wal_bound,
        ),
    ]
    lines = [
        (
            f"{size.soak_s / 60:.0f} minutes at 500/s: P95 {outcome.quantile_ms(0.95):.1f} ms, "
            f"success {outcome.success:.3%}."
        ),
        *soak.disk_lines(before, after, sum(outcome.statuses.values())),
        f"Growth of memory (straight line through the time after {settle:.0f} s):",
        "",
        *soak.rows(series, settle),
        "",
        *(must.line() for must in musts),
    ]
    return lines, musts


def _profile(house: LoadHouse, size: Size) -> Sequence[str]:
    _warm_up(house)
    titles = house.titles()
    replica = profiling.coordinator(house.processes(), titles)
    if replica is None:
        raise ServiceError("the coordinator's process is not found")
    raw = house.home.path / "profile.txt"
    seconds = min(size.fixed_s, 30.0)
    before, spent = house.metrics(), cpu.cpu_seconds(house.processes(), titles)
    sampler = profiling.start(replica, seconds, raw)
    outcome = house.wrk(Phase("profile", figures.RATE, seconds, PACED_CONNECTIONS))
    found = stages.between(before, house.metrics())
    lines = [
        f"{outcome.per_second:,.0f}/s, {found['bars'].mean:.1f} bars a round",
        "",
        *stages.rows(found),
        "",
        *cpu.rows(
            spent, cpu.cpu_seconds(house.processes(), titles), sum(outcome.statuses.values())
        ),
        "",
    ]
    if sampler is None:
        return [*lines, profiling.MISSING]
    sampler.wait(timeout=60.0)
    if sampler.returncode or not raw.exists():
        return [*lines, f"py-spy ended with code {sampler.returncode}: stages and CPU alone"]
    return [*lines, *profiling.tables(raw.read_text())]


if __name__ == "__main__":
    sys.exit(main())
