"""What Ray Tune costs a study, how it scales from one CPU to two, and what many trials weigh.

``python -m benchmarks.tuning_overhead [--quick]``. The same study (the whole committee over the
sample data, hundreds of milliseconds a trial) runs on Ray Tune and in a bare process pool with the
same evaluator and the same engine, in turn. Start-up is apart: what counts is the time from the end
of the first generation to the end. Memory is the largest PSS of the driver and all its descendants.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks.processes import ROOT
from data.jit_cache import activate

activate()

GENERATION = 40
MEASURED = 3  # generations that count
LIMIT_S = 1_800


def steady(executor: str, workers: int, generations: int) -> tuple[float, float, float]:
    """(trials a second after the first generation, seconds before, CPU seconds a trial)."""
    from data.feed import open_feed
    from tuning.study.build import build
    from tuning.study.contract import Trial
    from tuning.study.engine import Engine
    from tuning.study.executors import run_in_pool
    from tuning.study.runner import Place, execute
    from tuning.study.searchers import make_searcher
    from tuning.study.spec import make_spec, with_data

    spec = make_spec(
        "bench",
        "committee",
        searcher="random",
        trials=GENERATION * (generations + 1),
        generation=GENERATION,
    )
    feed = open_feed(None, (), Path("lake"))
    spec = with_data(spec, feed)
    evaluator = build(spec, feed)
    ended: list[float] = []
    seconds: list[float] = []

    def save(trials: Sequence[Trial]) -> None:
        now = time.perf_counter()
        ended.extend([now] * len(trials))
        seconds.extend(trial.seconds for trial in trials)

    engine = Engine(spec, evaluator, make_searcher(spec, evaluator.space), save, (), workers)
    began = time.perf_counter()
    if executor == "pool":
        run_in_pool(engine, evaluator, lambda _: None, workers)
    else:
        execute(engine, evaluator, lambda _: None, Place(executor="ray", workers=workers))
    first = ended[GENERATION - 1]
    rate = (len(ended) - GENERATION) / (ended[-1] - first)
    return rate, first - began, statistics.fmean(seconds[GENERATION:])


def _measure(executor: str, workers: int, generations: int) -> tuple[float, float, float]:
    """The same in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.tuning_overhead", "--one", executor]
    words += [str(workers), str(generations)]
    done = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2_000:])
    rate, start, cost = (float(word) for word in done.stdout.split()[-3:])
    return rate, start, cost


def memory(trials: int) -> tuple[float, float]:
    """(largest PSS in MB of a study of so many EMA crosses on Ray, seconds)."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "cluster.cli", "tune", "run", "many", "--no-report"]
        words += ["--target", "ema_cross", "--searcher", "random", "--trials", str(trials)]
        environment = {**os.environ, "SAPPHIRE_HOME": folder}
        began, largest = time.perf_counter(), 0.0
        with subprocess.Popen(
            words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as child:
            root = psutil.Process(child.pid)
            while child.poll() is None:
                largest = max(largest, _pss(root))
                time.sleep(0.5)
        if child.returncode:
            raise RuntimeError(f"the study ended with {child.returncode}")
        return largest, time.perf_counter() - began


def _pss(root: psutil.Process) -> float:
    total = 0
    try:
        family = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0.0
    for process in family:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 1e6


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f} .. {max(values):.2f}]"


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="one repetition, fewer trials")
    asked = parser.parse_args()
    if asked.one:
        print(*steady(asked.one[0], int(asked.one[1]), int(asked.one[2])))
        return 0
    repetitions, generations = (1, 1) if asked.quick else (3, MEASURED)
    turns = [("ray", 2), ("pool", 2), ("ray", 1)]
    found: dict[tuple[str, int], list[tuple[float, float, float]]] = {turn: [] for turn in turns}
    for _ in range(repetitions):
        for turn in turns:
            found[turn].append(_measure(*turn, generations))
    for (executor, workers), rows in found.items():
        print(
            f"{executor:4} {workers} workers: {_spread([row[0] for row in rows])} trials/s,"
            f" {_spread([1_000 * row[2] for row in rows])} ms a trial,"
            f" start-up and first generation {_spread([row[1] for row in rows])} s"
        )
    two, pool, one = ([row[0] for row in found[turn]] for turn in turns)
    print("pool / Tune at 2 CPUs:", _spread([a / b for a, b in zip(pool, two, strict=True)]))
    print("Tune, 2 CPUs / 1 CPU:", _spread([a / b for a, b in zip(two, one, strict=True)]))
    trials = 1_000 if asked.quick else 10_000
    largest, seconds = memory(trials)
    print(f"{trials:,} trials on Ray: {largest:,.0f} MB PSS at most, {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
