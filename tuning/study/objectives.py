"""What a study makes large or small: one number from a configuration's test returns.

Over several folds the returns are taken one after the other, as one record.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from data.errors import InputError
from tuning.statistics import annualised_sharpe, calmar, max_drawdown, sortino
from tuning.study.contract import OBJECTIVES, Floats, FoldResult

# A year's growth is worth twice the depth of the worst fall on the way.
DRAWDOWN_PENALTY = 2.0


def score(objective: str, results: Sequence[FoldResult], periods_per_year: float) -> float:
    """The objective over these folds; nan where it is undefined.

    ``sharpe``, ``sortino`` and ``calmar`` are annualised (tuning.statistics), ``log_growth`` is the
    annual mean of ln(1 + r), ``drawdown_penalised`` that minus DRAWDOWN_PENALTY times the deepest
    drawdown as a fraction, ``brier`` the mean Brier score of the pool's scored forecasts.
    """
    if objective not in OBJECTIVES:
        raise InputError(f"no objective is called {objective!r}: choose {', '.join(OBJECTIVES)}")
    if objective == "brier":
        count = sum(result.brier_count for result in results)
        total = math.fsum(result.brier_sum for result in results)
        return total / count if count else math.nan
    returns = joined(results)
    if not len(returns) or not np.isfinite(returns).all() or (returns <= -1.0).any():
        return math.nan
    if objective == "sharpe":
        return annualised_sharpe(returns, periods_per_year)
    if objective == "sortino":
        return sortino(returns, periods_per_year)
    if objective == "calmar":
        return calmar(returns, periods_per_year)
    growth = float(np.log1p(returns).mean()) * periods_per_year
    if objective == "log_growth":
        return growth
    return growth + DRAWDOWN_PENALTY * max_drawdown(returns)


def joined(results: Sequence[FoldResult]) -> Floats:
    """The folds' returns one after the other, (t,)."""
    parts = [np.asarray(result.returns, np.float64) for result in results]
    return np.concatenate(parts) if parts else np.zeros(0)
