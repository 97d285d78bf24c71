"""Fills numba's cache: one small session in memory through every compiled function of the hot path.

``python -m cluster.warm`` runs at set-up, so that no process compiles while a session waits.
"""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from actors.agent import Agent
from actors.contract import Floats, Status, no_params
from actors.costs import CostModel
from actors.gate import Rules, judge_round
from actors.gate_store import AccountView, Holding
from actors.limits import RiskLimits
from actors.registry import AGENTS
from cloud_trader.account_records import OrderEntry
from cloud_trader.account_step import POSITION, drawdown_reached, opened_books
from cloud_trader.books import drawdown
from cloud_trader.broker import Order, PaperBroker, broker_order
from cloud_trader.moment import settle_moment
from cloud_trader.order_rules import Approval, OrderRules
from cluster.plan import HORIZON, session_config
from data.bar_builder import warm_builder
from data.bars import Bars, empty_bars
from data.door import Door, admit_rows, no_past
from data.feed import Feed
from data.jit_cache import activate
from data.records import RoundInput
from serve_apps.session_state import SessionState
from tuning.backtesting import KEEPABLE, BacktestParams, backtest
from tuning.benchmark import buy_and_hold
from tuning.cost_breakdown import volatility_before
from tuning.fit_models import fit_models
from tuning.study.committee_evaluator import CommitteeEvaluator
from tuning.study.folds import make_folds
from tuning.study.market import Market
from tuning.study.signal_evaluator import SignalEvaluator
from tuning.study.targets import target_of

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
    """Everything that a session, a backtest and an import call, once, on a little data."""
    bars = generated_bars(SYMBOLS, DATES, 1)
    models = fit_models(bars, HORIZON, 0)
    _one_round(bars, models)
    params = BacktestParams(
        symbols=tuple("ABC"), models=models, first_traded=int(bars["ts"][-9]), keep=KEEPABLE
    )
    backtest(bars, params, RiskLimits(), CostModel())
    buy_and_hold(bars, int(bars["ts"][0]), 10**12, 100, CostModel())
    volatility_before(bars, SYMBOLS)
    warm_builder()
    _at_the_door(bars)
    _in_a_study(bars)


def _in_a_study(bars: Bars) -> None:
    """What a worker of a study does before its first trial."""
    market = Market(symbols=tuple("ABC"), bars=bars, limits=RiskLimits())
    folds = make_folds(bars["ts"][::SYMBOLS].astype(np.int64), "anchored", 2)
    SignalEvaluator(market, folds).prepare()
    CommitteeEvaluator(market, folds, target_of("trend_momentum")).prepare()


def _at_the_door(bars: Bars) -> None:
    prices = np.stack([bars[name].astype(float) for name in ("open", "high", "low", "close")], 1)
    volume = bars["volume"].astype(float)
    admit_rows(bars["symbol"], bars["ts"], prices, volume, no_past(SYMBOLS))
    Door().admit("A", 1, (1.0, 1.0, 1.0, 1.0), 1.0)


def _one_round(bars: Bars, models: dict[str, Floats]) -> None:
    """The live path without Ray and PostgreSQL: votes, pool, gate, order rules, broker, books."""
    last = bars[-SYMBOLS:]
    feed = Feed(("A", "B", "C"), bars, (), (), "warm", "")
    config = session_config(feed, {}, RiskLimits(), datetime.now(UTC), "historical")
    state = SessionState(config, AGENTS)
    answers: dict[str, Floats | Status] = {}
    for spec in AGENTS:
        agent = Agent(spec)
        agent.set_model(models.get(spec.name, no_params()))
        agent.apply(bars[:-SYMBOLS])
        answers[spec.name] = agent.apply(last)
    given = RoundInput(
        session_id=config.session_id,
        cell=0,
        round=1,
        ts=int(last["ts"][0]),
        clock_ns=int(last["ts"][0]),
        requests=[],
        bars=last.tobytes(),
        news=[],
        models={},
        locked=[],
    )
    pooled = state.pool_votes(given, answers)
    held = {"A": Holding(10, 0, locked=False)}
    view = AccountView(1, 10**12, 0, True, 0, 0, 0, None, held)
    judge_round(Rules(config), pooled, view)
    limits, costs = RiskLimits().record(), CostModel().record()
    books, positions = opened_books(10**12), np.zeros(SYMBOLS, POSITION)
    broker = PaperBroker(config, costs)
    settle_moment(config, books, positions, given.ts, last, broker.on_bars(last), [0], 0)
    approval = Approval("", "A", given.ts, 1, 10, 10**9, 0, 1, 1, fresh=True, ordered=False)
    approval = replace(approval, account=config.account)
    entry = OrderRules(config, limits, costs).decide(approval, books, positions)
    order = Order("a", "A", 1, 10, 10**9, from_decision=True)
    broker.submit(broker_order(entry) if isinstance(entry, OrderEntry) else order)
    settle_moment(config, books, positions, given.ts, last, broker.on_bars(last), [], 0)
    OrderRules(config, limits, costs).close("A", given.ts, "warm", books, positions)
    drawdown_reached(books, 250_000)
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
