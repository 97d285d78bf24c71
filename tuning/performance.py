"""The headline figures of a finished session: the account and buy-and-hold over the same rounds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tuning.bootstrap import SHORTEST_NS
from tuning.session_result import Floats, Ints, SessionResult
from tuning.statistics import (
    annualised_sharpe,
    cagr,
    calmar,
    max_drawdown,
    minimum_track_record,
    probabilistic_sharpe,
    returns_of,
    shape,
    sharpe,
    sharpe_interval,
    sortino,
    volatility,
)

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Performance:
    """Figures of one equity line; nan where undefined. Drawdowns are negative fractions."""

    start_micro: int
    final_micro: int
    periods: int
    cagr: float
    volatility: float
    sharpe: float  # annualised, as its interval
    sharpe_ci: tuple[float, float]
    sortino: float
    calmar: float
    max_drawdown: float
    psr: float  # probability that the true Sharpe ratio is above 0
    record_needed: float  # years until 95 % certain of that, at this ratio

    @property
    def gain(self) -> float:
        """Total return over the traded period."""
        return self.final_micro / self.start_micro - 1.0 if self.start_micro > 0 else math.nan


def performance(equity_micro: Ints, periods_per_year: float, ts: Ints) -> Performance:
    """Figures of an equity line (m,) in micro-units, its first value being the base.

    An account that was ever worth nothing or less has no returns: every ratio is nan then. Growth
    per year, and Calmar's ratio with it, needs a record of SHORTEST_NS by the calendar, as the
    comparison with the benchmark does. ``ts`` (m,): the moments of the line, UTC ns.
    """
    start, final = int(equity_micro[0]), int(equity_micro[-1])
    if (equity_micro <= 0).any():
        nan = math.nan
        return Performance(
            start, final, len(equity_micro) - 1, nan, nan, nan, (nan, nan), nan, nan, nan, nan, nan
        )
    returns = returns_of(equity_micro)
    ratio, n, (skew, kurtosis) = sharpe(returns), len(returns), shape(returns)
    lasting = int(ts[-1] - ts[0]) >= SHORTEST_NS
    return Performance(
        start_micro=start,
        final_micro=final,
        periods=n,
        cagr=cagr(returns, periods_per_year) if lasting else math.nan,
        volatility=volatility(returns, periods_per_year),
        sharpe=annualised_sharpe(returns, periods_per_year),
        sharpe_ci=sharpe_interval(returns, periods_per_year, CONFIDENCE),
        sortino=sortino(returns, periods_per_year),
        calmar=calmar(returns, periods_per_year) if lasting else math.nan,
        max_drawdown=max_drawdown(returns),
        psr=probabilistic_sharpe(ratio, n, skew, kurtosis),
        record_needed=minimum_track_record(ratio, skew, kurtosis) / periods_per_year,
    )


def account_performance(result: SessionResult) -> Performance:
    """The account over the traded rounds, after all costs."""
    return _traded(result, result.equity_micro)


def benchmark_performance(result: SessionResult) -> Performance:
    """Buy-and-hold over the same rounds."""
    return _traded(result, result.buy_and_hold_micro)


def _traded(result: SessionResult, equity_micro: Ints) -> Performance:
    rounds = result.traded_rounds
    return performance(equity_micro[rounds], result.periods_per_year, result.ts[rounds])


def drawdown_line(equity_micro: Ints) -> Floats:
    """Fall below the running peak, (m,), in fractions; nan where the peak is not above 0."""
    peak = np.maximum.accumulate(equity_micro).astype(np.float64)
    return np.divide(equity_micro, peak, out=np.full(len(peak), math.nan), where=peak > 0) - 1.0
