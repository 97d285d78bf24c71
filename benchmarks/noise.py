"""``python -m benchmarks.noise``: does the evidence tell luck from skill? Nothing is asserted.

Returns alone: the probability of backtest overfitting over seeds of pure noise (960 x 10), and with
0.002 a period planted on one column. Whole studies: an EMA cross is searched over random walks,
with costs, through the engine; the best of the trials stands before all promotion rules against the
default as incumbent, the final fifth of the bars locked until then. Nothing can be known about
a random walk, so each promotion is an error of the rules. The same over prices that rise (being
long is paid, no parameter is better than another) and over prices with a trend that comes and goes:
that the rules can promote at all.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from actors.costs import CostModel
from actors.limits import RiskLimits
from data.bars import Bars, empty_bars
from tuning.signal_backtest import EmaCross, ema_cross_backtest
from tuning.statistics import returns_of
from tuning.study.evidence import evidence
from tuning.study.overfitting import backtest_overfitting
from tuning.study.rules import PASSED, PromotionRules, Reason, judge, locked_result, promotes

Floats = NDArray[np.float64]

DAY = 86_400_000_000_000
BARS, TRIALS, LOCKED_SHARE = 1_500, 100, 0.2
PERIODS = 252.0
SIGMA = 0.012  # of a day's log return
INCUMBENT = EmaCross(fast=20, slow=50)
# Fast length, and how much longer the slow one is.
FAST, GAP = (2, 60), (5, 140)
RESAMPLES = 200  # only for intervals, which no rule reads
# 5 bp commission and 3 bp of half spread and slippage a fill; nothing else stops a trade.
COSTS = CostModel(
    commission_per_lot_micro=0,
    commission_ppm=500,
    commission_min_micro=0,
    half_spread_bps=2.0,
    slippage_bps=1.0,
    impact_y=0.0,
    participation_cap=1.0,
)
FREE = CostModel(
    commission_per_lot_micro=0,
    commission_min_micro=0,
    half_spread_bps=0.0,
    slippage_bps=0.0,
    impact_y=0.0,
    participation_cap=1.0,
)
LIMITS = RiskLimits(
    max_drawdown=0.999999,
    max_daily_loss=0.999999,
    max_position_fraction=1.0,
    max_order_notional=Decimal(10**9),
)
Drift = Callable[[np.random.Generator], Floats]  # of each day's log return, (BARS,)


@dataclass(frozen=True)
class Market:
    """What the studies are run on."""

    name: str
    drift: Drift
    costs: CostModel


def no_drift(_: np.random.Generator) -> Floats:
    """A random walk."""
    return np.zeros(BARS)


def rising(_: np.random.Generator) -> Floats:
    """A random walk that rises 10 % a year: being long earns, when to be long cannot be known."""
    return np.full(BARS, 0.10 / PERIODS)


def momentum(rng: np.random.Generator) -> Floats:
    """A drift that wanders: AR(1), half-life of 14 days, standard deviation 0.45 SIGMA."""
    keep, spread = 0.95, 0.45 * SIGMA
    drift = np.zeros(BARS)
    steps = rng.normal(0.0, spread * np.sqrt(1.0 - keep * keep), BARS)
    for i in range(1, BARS):
        drift[i] = keep * drift[i - 1] + steps[i]
    return drift


MARKETS = (
    Market("random walk, with costs", no_drift, COSTS),
    Market("random walk, without costs", no_drift, FREE),
    Market("random walk that rises, with costs", rising, COSTS),
    Market("momentum, with costs", momentum, COSTS),
)


def prices(rng: np.random.Generator, drift: Floats) -> Bars:
    """Daily bars (BARS,) from 50.00 on; opens gap a little away from the closes before them."""
    close = 500_000 * np.exp(np.cumsum(drift + rng.normal(0.0, SIGMA, BARS) - SIGMA**2 / 2))
    bars = empty_bars(BARS)
    bars["ts"] = np.arange(1, BARS + 1) * DAY
    bars["close"] = np.rint(close)
    before = np.concatenate([[500_000.0], close[:-1]])
    bars["open"] = np.rint(before * np.exp(rng.normal(0.0, 0.001, BARS)))
    bars["high"] = np.maximum(bars["open"], bars["close"]) + 5
    bars["low"] = np.minimum(bars["open"], bars["close"]) - 5
    bars["volume"] = 100_000_000
    return bars


def study(
    market: Market,
    seed: int,
    rules: PromotionRules,
    trials: int = TRIALS,
    made: Callable[[np.random.Generator, Floats], Bars] = prices,
) -> list[Reason]:
    """One study and its judgement. The winner is found without the locked fifth of the bars.

    ``made``: the bars (BARS,) of a drift.
    """
    rng = np.random.default_rng(seed)
    bars = made(rng, market.drift(rng))
    fast, gap = (rng.integers(low, high + 1, trials) for low, high in (FAST, GAP))

    def run(params: EmaCross) -> Floats:
        return returns_of(ema_cross_backtest(bars, params, LIMITS, market.costs).equity_micro)

    returns = np.empty((BARS - 1, trials))
    for column, (short, longer) in enumerate(zip(fast.tolist(), gap.tolist(), strict=True)):
        returns[:, column] = run(EmaCross(fast=short, slow=short + longer))
    incumbent, close = run(INCUMBENT), bars["close"].astype(np.float64)
    searched = BARS - round(LOCKED_SHARE * BARS) - 1  # returns that the search may see
    seen = returns[:searched]
    spread = seen.std(axis=0, ddof=1)
    objective = np.full(trials, np.nan)
    np.divide(seen.mean(axis=0), spread, out=objective, where=spread > 0.0)
    winner = int(np.nanargmax(objective))
    found = evidence(
        seen,
        winner,
        np.column_stack(
            [(x - low) / (high - low) for x, (low, high) in ((fast, FAST), (gap, GAP))]
        ),
        objective,
        {"incumbent": incumbent[:searched], "buy and hold": returns_of(close)[:searched]},
        PERIODS,
        horizon=1,
        trials=trials,
        rng=rng,
        resamples=RESAMPLES,
    )
    held, theirs = returns[searched:, winner], incumbent[searched:]
    return judge(found, rules, locked_result(held, theirs, PERIODS, 1, rng, RESAMPLES))


def wilson(hits: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a share (Wilson 1927, Journal of the American Statistical Association 22:209)."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    share, scale = hits / n, 1.0 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z / scale * np.sqrt(share * (1.0 - share) / n + z * z / (4.0 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def noise_pbo(seeds: int, planted: float, blocks: int = 16) -> Floats:
    """(seeds,) PBO of 960 x 10 normal returns of deviation 0.01, ``planted`` added to the first."""
    found = np.empty(seeds)
    for seed in range(seeds):
        returns = np.random.default_rng(seed).normal(0.0, 0.01, (960, 10))
        returns[:, 0] += planted
        found[seed] = backtest_overfitting(returns, blocks).pbo
    return found


def studies(
    market: Market, count: int, rules: PromotionRules, trials: int = TRIALS
) -> tuple[int, Counter[str]]:
    """(promoted of ``count`` studies, how many passed each rule); seeds are 0 to count - 1."""
    promoted, passed = 0, Counter[str]()
    for seed in range(count):
        reasons = study(market, seed, rules, trials)
        promoted += promotes(reasons)
        passed.update(reason.rule for reason in reasons if reason.outcome == PASSED)
    return promoted, passed


def main() -> None:
    """Both experiments, printed."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.noise")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--studies", type=int, default=200)
    asked = parser.parse_args()
    for planted in (0.0, 0.002):
        began = time.perf_counter()
        found = noise_pbo(asked.seeds, planted)
        print(
            f"PBO of noise 960 x 10, {planted} planted, {asked.seeds} seeds:"
            f" mean {found.mean():.4f}, 5 % to 95 % {np.quantile(found, 0.05):.3f}"
            f" to {np.quantile(found, 0.95):.3f}"
            f" ({time.perf_counter() - began:.1f} s)"
        )
    rules = PromotionRules()
    for market in MARKETS:
        began = time.perf_counter()
        promoted, passed = studies(market, asked.studies, rules)
        low, high = wilson(promoted, asked.studies)
        print(
            f"{market.name}: {promoted} of {asked.studies} studies promoted,"
            f" {promoted / asked.studies:.1%} (95 % interval {low:.1%} to {high:.1%},"
            f" {time.perf_counter() - began:.1f} s)"
        )
        print("  passed: " + ", ".join(f"{rule} {passed[rule]}" for rule in sorted(passed)))


if __name__ == "__main__":
    main()
