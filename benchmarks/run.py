"""``make bench``: speed of the compiled hot path on one core, as median and range of repetitions.

Nothing is asserted. The first repetition warms up and is left out. Bars are generated (a geometric
random walk), so that the figures need no data files.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from actors.agent import Agent
from actors.contract import STATUS, AgentSpec, Floats
from actors.pool import pool_round
from actors.pool_state import PoolParams, PoolState
from actors.registry import AGENTS
from cluster.warm import generated_bars
from data.bars import Bars
from tuning.fit_models import fit_models

REPETITIONS = 5
SYMBOLS, DATES = 5, 4_000


def measure(work: Callable[[], object]) -> list[float]:
    """Seconds of each repetition after one warm-up."""
    work()
    times = []
    for _ in range(REPETITIONS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return times


def row(name: str, count: int, times: list[float]) -> str:
    """One line: bars a second and microseconds a bar, median and range."""
    rates = sorted(count / t for t in times)
    each = [t / count * 1e6 for t in times]
    low, high = rates[0], rates[-1]
    return (
        f"{name:<28}{statistics.median(rates):>12,.0f}  [{low:,.0f} .. {high:,.0f}]"
        f"  {statistics.median(each):8.2f} us a bar"
    )


def votes_of(spec: AgentSpec, bars: Bars, models: dict[str, Floats]) -> Floats:
    """One agent's votes over ``bars``, by its plain class."""
    agent = Agent(spec)
    if spec.name in models:
        agent.set_model(models[spec.name])
    return agent.apply(bars)


def main() -> int:
    """Prints the table."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    bars = generated_bars(SYMBOLS, DATES, 7)
    models = fit_models(bars[: SYMBOLS * 500], 5, 0)
    print(f"{len(bars):,} bars of {SYMBOLS} symbols, one core, {REPETITIONS} repetitions")
    print(f"{'what':<28}{'bars/s':>12}  [range]")
    for spec in AGENTS:
        times = measure(partial(votes_of, spec, bars, models))
        print(row(f"agent {spec.name}", len(bars), times))
    outs = [votes_of(spec, bars, models) for spec in AGENTS]
    votes = np.stack([out[:, :3] for out in outs], axis=1)
    status = np.stack([out[:, STATUS] for out in outs], axis=1).astype(np.int64)

    def pool() -> None:
        state, params = PoolState.fresh(len(AGENTS), SYMBOLS), PoolParams()
        for i in range(0, len(bars), SYMBOLS):
            rows = slice(i, i + SYMBOLS)
            pool_round(params, state, bars[rows], votes[rows], status[rows])

    print(row(f"pool, rounds of {SYMBOLS}", len(bars), measure(pool)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
