"""Block-bootstrap intervals of one account's growth and Sharpe ratio, and of its leads.

The resampling is that of ``tuning.bootstrap``: stationary blocks of automatic length.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tuning.bootstrap import (
    CONFIDENCE,
    FEWEST_RETURNS,
    RESAMPLES,
    UNDEFINED,
    Difference,
    block_length,
    compare,
    resampled_indices,
)
from tuning.statistics import annualised_sharpe
from tuning.study.moments import Floats


@dataclass(frozen=True)
class Lead:
    """One account, or one account against another, per year; nan where undefined."""

    growth: Difference  # of annual log growth
    sharpe: Difference  # of annualised Sharpe ratios


NO_LEAD = Lead(UNDEFINED, UNDEFINED)


def own(
    returns: Floats, periods: float, rng: np.random.Generator, resamples: int = RESAMPLES
) -> Lead:
    """Growth and Sharpe ratio of returns (n,), against nothing.

    Values without an interval below 30 returns; a ratio that is undefined, in the data or in any
    resample, has no interval; growth is undefined where a return is -1.
    """
    ratio = annualised_sharpe(returns, periods)
    if not len(returns) or (returns <= -1.0).any():
        return Lead(UNDEFINED, _between(ratio, np.full(1, math.nan)))
    logs = np.log1p(returns)
    grown = float(logs.mean()) * periods
    if len(returns) < FEWEST_RETURNS:
        nothing = np.full(1, math.nan)
        return Lead(_between(grown, nothing), _between(ratio, nothing))
    growths, ratios, done = np.empty(resamples), np.empty(resamples), 0
    block = max(block_length(returns), block_length(logs))
    for rows in resampled_indices(rng, len(returns), block, resamples):
        part, drawn = slice(done, done + len(rows)), returns[rows]
        spread = drawn.std(axis=1, ddof=1)
        spread[drawn.max(axis=1) == drawn.min(axis=1)] = math.nan
        growths[part] = logs[rows].mean(axis=1) * periods
        ratios[part] = drawn.mean(axis=1) / spread * math.sqrt(periods)
        done += len(rows)
    return Lead(_between(grown, growths), _between(ratio, ratios))


def lead(
    ours: Floats,
    theirs: Floats,
    periods: float,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Lead:
    """Ours minus theirs, both (n,) over the same moments; undefined as in ``own``."""
    if ours.shape != theirs.shape or ours.ndim != 1:
        raise ValueError("a lead needs two series of returns of the same length")
    if not len(ours) or (ours <= -1.0).any() or (theirs <= -1.0).any():
        return NO_LEAD
    if len(ours) < FEWEST_RETURNS:
        grown = float((np.log1p(ours) - np.log1p(theirs)).mean()) * periods
        ratio = annualised_sharpe(ours, periods) - annualised_sharpe(theirs, periods)
        nothing = np.full(1, math.nan)
        return Lead(_between(grown, nothing), _between(ratio, nothing))
    growth, ratios, _ = compare(ours, theirs, periods, rng, resamples)
    return Lead(growth, ratios)


def _between(value: float, resampled: Floats) -> Difference:
    if math.isnan(value) or np.isnan(resampled).any():
        return Difference(value, math.nan, math.nan, math.nan)
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(resampled, (tail, 1.0 - tail))
    return Difference(value, float(low), float(high), float((resampled <= 0.0).mean()))
