"""Our committee over the same bars: six agents, pool, gate, account and fills, nothing kept.

``python -m benchmarks.committee FILE MODELS [--without-trees] [--to-and-fro N]`` prints one JSON
line like the scripts in ``benchmarks/peers``. Costs are zero so that it trades all the time: with
real ones the gate lets hardly an order through, and the order path would not be measured.
"""

from __future__ import annotations

import time

BEGAN = time.perf_counter()

import argparse
import json
import resource
from pathlib import Path

import numpy as np

from data.jit_cache import activate

activate()

from actors.limits import RiskLimits
from actors.market_prediction import CALIBRATION
from actors.sizing import SizingParams
from benchmarks.bench_bars import MICRO_PER_TICK, as_bars, to_and_fro
from benchmarks.ema_cross import commission
from benchmarks.peers.common import read
from data.bars import Bars
from data.money import MICRO
from tuning.backtest_result import Result
from tuning.backtesting import BacktestParams, backtest
from tuning.fit_models import fit_models

TREES = "market_prediction"
HORIZON = 5
MINUTES_PER_YEAR = 365.0 * 24 * 60
WARM_UP_BARS = 5_000
# A halt would end the work early: the drawdown limit is out of the way, all others are in force.
LIMITS = RiskLimits(max_drawdown=0.99)

Models = dict[str, np.ndarray]


def fit(path: Path, count: int, target: Path) -> str:
    """Fits the models on the first ``count`` bars and writes them; returns the trees' shape."""
    models = fit_models(as_bars(read(str(path), count)), HORIZON, 0)
    np.savez(target, **models)
    rounds, depth = models[TREES][CALIBRATION : CALIBRATION + 2].astype(int)
    return f"{rounds} rounds of 3 trees of depth {depth}"


def run(bars: Bars, models: Models, first_traded: int, without: tuple[str, ...]) -> Result:
    """One backtest that keeps nothing."""
    params = BacktestParams(
        symbols=("BTCUSD",),
        models=models,
        first_traded=first_traded,
        sizing=SizingParams(horizon=HORIZON, bars_per_year=MINUTES_PER_YEAR),
        opening_micro=1_000_000 * MICRO,
        micro_per_tick=MICRO_PER_TICK,
        without=without,
        keep=(),
        keep_equity=False,
    )
    return backtest(bars, params, LIMITS, commission(0.0))


def main() -> int:
    """Prints the JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("path")
    parser.add_argument("models")
    parser.add_argument("--bars", type=int, default=10**9)
    parser.add_argument("--without-trees", action="store_true")
    parser.add_argument("--to-and-fro", type=int, default=0)
    asked = parser.parse_args()
    imported = time.perf_counter() - BEGAN
    began = time.perf_counter()
    bars = as_bars(read(asked.path, asked.bars))
    if asked.to_and_fro:
        bars = to_and_fro(bars, asked.to_and_fro)
    with np.load(asked.models) as stored:
        models = dict(stored)
    without = (TREES,) if asked.without_trees else ()
    loaded = time.perf_counter() - began
    began = time.perf_counter()
    run(bars[:WARM_UP_BARS], models, 0, without)
    compiled = time.perf_counter() - began
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    result = run(bars, models, 0, without)
    ran = time.perf_counter() - began
    print(
        json.dumps(
            {
                "engine": "Sapphire",
                "bars": len(bars),
                "import_s": imported,
                "load_s": loaded,
                "jit_s": compiled,
                "run_s": ran,
                "fills": result.counts["fills"],
                "orders": result.counts["orders"],
                "halted": result.halted_at is not None,
                "equity": result.final_equity_micro / MICRO,
                "loaded_mb": before / 1024,
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
