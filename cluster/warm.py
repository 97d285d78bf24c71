"""Fills numba's cache: one small session in memory through every compiled function of the hot path.

``python -m cluster.warm`` runs at set-up, so that no process compiles while a session waits.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import numpy as np

from actors.account_checks import ORDER, check_order, reserve_micro
from actors.agent import Agent
from actors.contract import STATUS
from actors.costs import CostModel
from actors.judge import INTENT, judge_intent
from actors.limits import RiskLimits
from actors.pool import pool_round
from actors.pool_state import PoolParams, PoolState
from actors.registry import AGENTS
from actors.sizing import SizingParams
from cloud_trader.books import apply_fill, drawdown
from cloud_trader.fills import next_bar_fill
from data.bars import Bars, empty_bars
from data.jit_cache import activate
from tuning.benchmark import buy_and_hold
from tuning.cost_breakdown import volatility_before
from tuning.fit_models import fit_models

SYMBOLS, DATES = 3, 420


def generated_bars(symbols: int, dates: int, seed: int) -> Bars:
    """A geometric random walk in (ts, symbol) order, shape (symbols * dates,)."""
    rng = np.random.default_rng(seed)
    closes = 500_000 * np.exp(np.cumsum(rng.normal(0.0, 0.02, (dates, symbols)), axis=0))
    bars = empty_bars(symbols * dates)
    close = np.maximum(closes.ravel(), 10.0)
    bars["ts"] = np.repeat(np.arange(1, dates + 1) * 86_400_000_000_000, symbols)
    bars["symbol"] = np.tile(np.arange(symbols), dates)
    bars["close"] = close
    bars["open"] = close * np.exp(rng.normal(0.0, 0.01, len(bars)))
    bars["high"] = np.maximum(bars["open"], bars["close"]) * 1.005
    bars["low"] = np.minimum(bars["open"], bars["close"]) * 0.995
    bars["volume"] = rng.integers(1_000_000, 5_000_000, len(bars))
    return bars


def warm() -> None:
    """Fits, votes, pools, judges, checks, fills and books once."""
    bars = generated_bars(SYMBOLS, DATES, 1)
    models = fit_models(bars, 5, 0)
    outs = []
    for spec in AGENTS:
        agent = Agent(spec)
        if spec.name in models:
            agent.set_model(models[spec.name])
        outs.append(agent.apply(bars))
    votes = np.stack([out[:, :3] for out in outs], axis=1)
    status = np.stack([out[:, STATUS] for out in outs], axis=1).astype(np.int64)
    pool, params = PoolState.fresh(len(AGENTS), SYMBOLS), PoolParams()
    for i in range(0, len(bars), SYMBOLS):
        rows = slice(i, i + SYMBOLS)
        pool_round(params, pool, bars[rows], votes[rows], status[rows])
    _judge_and_book()
    buy_and_hold(bars, int(bars["ts"][0]), 10**12, 100, CostModel())
    volatility_before(bars, SYMBOLS)


def _judge_and_book() -> None:
    limits, costs = RiskLimits().record(), CostModel().record()
    intent, order = np.zeros(1, INTENT), np.ones(1, ORDER)
    for name, value in {
        "p_down": 0.2, "p_flat": 0.3, "p_up": 0.5, "agents_awake": 5, "awake_weight": 0.9,
        "sigma": 0.02, "trading_allowed": 1, "equity_micro": 10**12, "close": 500_000,
        "micro_per_tick": 100, "volume": 10**6,
    }.items():  # fmt: skip
        intent[name] = value
    judge_intent(limits, costs, SizingParams().record(), intent[0])
    check_order(limits, costs, order[0])
    reserve_micro(costs, 1, 10, 500_000, 100)
    lots, price, fee = next_bar_fill(costs, 1, 10, 600_000, 500_000, 10**6, 2.0, 0.02, 100)
    apply_fill(10**12, 0, 0, 1, lots, price, fee, 100)
    drawdown(10**12, 10**12)


def _forget_older(directory: Path) -> None:
    """Removes the caches of sources that are no more; only below the environment itself."""
    if directory.parent == Path(sys.prefix) / "var" / "sapphire-numba":
        for other in directory.parent.iterdir():
            if other != directory:
                shutil.rmtree(other, ignore_errors=True)


def main() -> int:
    """Entry point; prints how long it took."""
    began = time.monotonic()
    directory = activate()
    warm()
    files = sum(1 for _ in directory.rglob("*.nbc"))
    _forget_older(directory)
    print(f"compiled functions ready: {files} in {time.monotonic() - began:.0f} s")
    return 0 if files else 1


if __name__ == "__main__":
    sys.exit(main())
