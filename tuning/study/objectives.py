"""What a study makes as good as it can: one number of a configuration's fold results.

Returns of all given folds are joined in their order and judged as one record; where folds share
test stretches (combinatorial cross-validation) a stretch counts as often as it was tested. A figure
that the record does not define (no trade, no loss, no forecast scored) is nan.

    sharpe, sortino, calmar   annualised, as in tuning.statistics
    log_growth                mean log return a year
    drawdown_penalised        log_growth - DRAWDOWN_PENALTY x the deepest fall below the peak
    brier                     mean Brier loss of the scored forecasts: less is better
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from data.errors import InputError
from tuning.statistics import annualised_sharpe, calmar, max_drawdown, sortino
from tuning.study.contract import OBJECTIVES, Floats, FoldResult

# A year's growth that a drawdown of the whole account is worth: with 1, a fall of 20 % must earn
# 0.20 of log growth a year more than staying at its peak would.
DRAWDOWN_PENALTY = 1.0


def score(
    objective: str,
    results: Sequence[FoldResult],
    periods_per_year: float,
    penalty: float = DRAWDOWN_PENALTY,
) -> float:
    """The objective's value, nan where it is undefined; InputError for an unknown objective."""
    if objective not in OBJECTIVES:
        raise InputError(f"objective {objective!r}: give one of {', '.join(OBJECTIVES)}")
    if objective == "brier":
        count = sum(result.brier_count for result in results)
        total = math.fsum(result.brier_sum for result in results)
        return total / count if count else math.nan
    returns = _joined(results)
    if objective == "sharpe":
        return annualised_sharpe(returns, periods_per_year)
    if objective == "sortino":
        return sortino(returns, periods_per_year)
    if objective == "calmar":
        return calmar(returns, periods_per_year)
    growth = log_growth(returns, periods_per_year)
    if objective == "log_growth":
        return growth
    return growth + penalty * max_drawdown(returns)


def log_growth(returns: Floats, periods_per_year: float) -> float:
    """Mean of ln(1 + r) times the periods in a year; -inf after a total loss, nan without any."""
    if not len(returns):
        return math.nan
    if float(returns.min()) <= -1.0:
        return -math.inf
    return float(np.log1p(returns).mean()) * periods_per_year


def _joined(results: Sequence[FoldResult]) -> Floats:
    if not results:
        return np.zeros(0)
    return np.concatenate([result.returns for result in results])
