"""``python -m benchmarks.agents``: nanoseconds a bar of every compiled step, and of the pool.

The steps are called as the compiled loop calls them: one after the other from compiled code, one
state row a symbol. Everybody votes: models are fitted, and one item of news never fades. Two
streams: one-minute bars (real ones where the shared data are at hand) and generated daily bars.
Median of five repetitions after a warm-up; nothing is asserted.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from actors import financial_sentiment
from actors.contract import STATUS, AgentSpec, Floats, Status, no_params
from actors.pool import PooledRound, empty_round, pool_step
from actors.pool_state import PoolArrays, PoolParams, PoolState
from actors.registry import AGENTS
from cluster.warm import generated_bars
from data.bars import Bars, empty_bars
from data.compiled import lean_njit
from data.jit_cache import activate
from tuning.fit_models import fit_models

REPETITIONS = 5
MINUTES = (
    Path(__file__).resolve().parents[2] / "shared/data/crypto_bars/bitfinex_minute_2019.parquet"
)
BARS, WARM_UP_BARS, HORIZON = 200_000, 6_000, 5
# Half-life in ns, prior mass, live mass, link: news that stays.
LASTING_NEWS = np.array([1e30, 1.0, 0.05, 0.0, -0.35, 0.0, 0.0, 0.0, 0.35])


@lean_njit
def run_steps(step, params, state, bars, out):
    """Steps over all bars; ``out`` (n, width) keeps the votes."""
    for i in range(len(bars)):
        step(params, state[bars[i].symbol], bars[i], out[i])


@lean_njit
def run_pool(params, arrays, bars, votes, status, result, round_size):
    """Rounds of ``round_size`` bars."""
    for i in range(0, len(bars), round_size):
        j = i + round_size
        pool_step(params, arrays, bars[i:j], votes[i:j], status[i:j], result)


def minute_bars(symbols: int) -> Bars | None:
    """The first minutes at which all of the symbols have a bar; None without the shared data."""
    if not MINUTES.is_file():
        return None
    rows = pl.read_parquet(MINUTES)
    traded = rows["symbol"].value_counts().sort("count", "symbol", descending=True)
    rows = rows.filter(pl.col("symbol").is_in(traded["symbol"][:symbols].to_list()))
    rows = rows.filter(pl.col("volume") > 0)
    rows = rows.filter(pl.len().over("ts") == symbols).sort("ts", "symbol")
    rows = rows.head(BARS // symbols * symbols)
    bars = empty_bars(len(rows))
    bars["ts"] = rows["ts"].dt.timestamp("ns")
    bars["symbol"] = np.tile(np.arange(symbols), len(rows) // symbols)
    for field in ("open", "high", "low", "close"):
        bars[field] = np.rint(rows[field].to_numpy() * 1e5).astype(np.int64)
    bars["volume"] = np.rint(rows["volume"].to_numpy() * 1e6).astype(np.int64)
    return bars


def nanoseconds(work: Callable[[], object], count: int, fresh: Callable[[], object]) -> str:
    """Median and range per bar; ``fresh`` resets what ``work`` changes and is not timed."""
    times = []
    for _ in range(REPETITIONS + 1):
        fresh()
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) / count * 1e9)
    times = times[1:]
    return f"{statistics.median(times):9.1f}  [{min(times):.1f} .. {max(times):.1f}]"


def reset_state(spec: AgentSpec, state: Floats, first_ts: int) -> None:
    """All zeros as before the first bar; one item of news for the agent that reads news."""
    state[:] = 0.0
    if spec.absorb is not None:
        for row in state:
            spec.absorb(LASTING_NEWS, row, first_ts, 1.0, 0.5)


def measure(name: str, bars: Bars, symbols: int) -> None:
    """Prints the table of one stream."""
    models = fit_models(bars[:WARM_UP_BARS], HORIZON, 0)
    models[financial_sentiment.SPEC.name] = LASTING_NEWS
    print(f"{name}: {len(bars):,} bars, {symbols} symbols")
    votes = np.zeros((len(bars), len(AGENTS), 3))
    status = np.zeros((len(bars), len(AGENTS)), np.int64)
    for place, spec in enumerate(AGENTS):
        state, out = np.zeros((symbols, spec.state_width)), np.zeros((len(bars), spec.out_width))
        params = models.get(spec.name, no_params())

        def fresh(spec: AgentSpec = spec, state: Floats = state, out: Floats = out) -> None:
            reset_state(spec, state, int(bars["ts"][0]))
            out[:] = 0.0

        work = partial(run_steps, spec.step, params, state, bars, out)
        line = nanoseconds(work, len(bars), fresh)
        votes[:, place], status[:, place] = out[:, :3], out[:, STATUS]
        voted = (status[:, place] == Status.VOTED).mean()
        print(f"  {spec.name:<24}{line}  voted {voted:.1%}")
    pool = PoolState.fresh(len(AGENTS), symbols)
    arrays, result = pool.copy().arrays, empty_round(symbols, len(AGENTS))
    start = pool.arrays

    def fresh_pool() -> None:
        for target, source in zip(arrays, start, strict=True):
            target[:] = source

    work = partial(_pool, arrays, bars, votes, status, result, symbols)
    line = nanoseconds(work, len(bars), fresh_pool)
    print(f"  {'pool, rounds of ' + str(symbols):<24}{line}")


def _pool(
    arrays: PoolArrays,
    bars: Bars,
    votes: Floats,
    status: np.ndarray,
    result: PooledRound,
    symbols: int,
) -> None:
    run_pool(PoolParams(horizon=HORIZON).record(), arrays, bars, votes, status, result, symbols)


def main() -> int:
    """Prints the tables."""
    activate()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for symbols in (1, 3):
        minutes = minute_bars(symbols)
        if minutes is not None:
            measure("one-minute bars", minutes, symbols)
    for symbols in (1, 5):
        measure("daily bars", generated_bars(symbols, 20_000 // symbols, 7), symbols)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
