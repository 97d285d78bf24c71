"""Everything that is computed about a finished session, once, for every reader of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tuning.bootstrap import BenchmarkDifference, benchmark_difference
from tuning.calibration import Calibration, calibration
from tuning.cost_breakdown import Costs, cost_breakdown
from tuning.performance import Performance, account_performance, benchmark_performance
from tuning.scoring import Scores, score
from tuning.session_result import SessionResult

RESAMPLING_SEED = 1994  # fixed, so that one journal always gives one report


@dataclass(frozen=True, eq=False)
class Analysis:
    """The figures of one session."""

    scores: Scores
    account: Performance
    benchmark: Performance
    difference: BenchmarkDifference
    calibration: Calibration
    costs: Costs


def analyse(result: SessionResult) -> Analysis:
    """All figures of ``result``; undefined ones are nan."""
    rounds = result.traded_rounds
    return Analysis(
        scores=score(result),
        account=account_performance(result),
        benchmark=benchmark_performance(result),
        difference=benchmark_difference(
            result.ts[rounds],
            result.equity_micro[rounds],
            result.buy_and_hold_micro[rounds],
            result.periods_per_year,
            np.random.default_rng(RESAMPLING_SEED),
        ),
        calibration=calibration(result),
        costs=cost_breakdown(result),
    )
