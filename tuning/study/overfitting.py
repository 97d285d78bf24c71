"""How likely a winner is luck: the deflated Sharpe ratio and the probability of overfitting.

Sources: Bailey and Lopez de Prado (2014), The Deflated Sharpe Ratio, Journal of Portfolio
Management 40(5); Bailey, Borwein, Lopez de Prado and Zhu (2014), Pseudo-mathematics and financial
charlatanism, Notices of the AMS 61(5) (minimum backtest length); the same authors (2017), The
probability of backtest overfitting, Journal of Computational Finance 20(4) (CSCV). Sharpe ratios
are per period unless a name says otherwise. An undefined figure is nan.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations, islice
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from data.errors import InputError
from tuning.statistics import probabilistic_sharpe
from tuning.study.moments import (
    COLUMNS,
    NO_VARIATION,
    BlockMoments,
    Floats,
    best_column,
    checked_matrix,
)

BLOCKS = 16
MOST_BLOCKS = 20  # 184,756 combinations
_CELLS = 1 << 21  # ratios held at once
_TIE = 1e-12  # ratios this close are equal: identical columns may differ by rounding


@dataclass(frozen=True)
class Deflated:
    """What the best of ``trials`` without skill is expected to reach, and P(truth is above it)."""

    trials: float
    threshold: float  # SR0, per period
    probability: float


@dataclass(frozen=True)
class EffectiveTrials:
    """How many independent trials the correlated ones are worth; nan below two that vary."""

    varying: int  # columns that vary at all
    mean_correlation: float
    by_mean_correlation: float
    by_eigenvalues: float


@dataclass(frozen=True, eq=False)
class Overfitting:
    """CSCV over C = C(blocks, blocks / 2) splits, in lexicographic order of in-sample blocks."""

    pbo: float  # share of splits whose logit is 0 or less; nan where a split had no best column
    mean_logit: float
    logits: Floats  # (C,)
    in_sample: Floats  # (C,) Sharpe ratio of the column chosen in sample
    out_of_sample: Floats  # (C,) the same column's out of sample, nan where it stood still
    slope: float  # of out_of_sample on in_sample, least squares; below 0 is degradation
    loss: float  # share of splits whose out-of-sample ratio is not above 0
    blocks: int


def expected_maximum(trials: float) -> float:
    """Expected maximum of ``trials`` independent standard normals, 0 for one (False Strategy).

    (1 - g) Phi^-1(1 - 1/N) + g Phi^-1(1 - 1/(N e)), g the Euler-Mascheroni constant, an
    approximation for large N (2014, equation 1); it is negative just above 1, where 0 is returned.
    ValueError below one trial.
    """
    if not trials >= 1.0:
        raise ValueError(f"the expected maximum of {trials} trials: give 1 or more")
    if trials == 1.0:
        return 0.0
    first, second = float(ndtri(1.0 - 1.0 / trials)), float(ndtri(1.0 - 1.0 / (trials * math.e)))
    return max(0.0, (1.0 - np.euler_gamma) * first + np.euler_gamma * second)


def deflated_sharpe(
    ratio: float, n: int, skew: float, kurtosis: float, trials: float, variance: float
) -> Deflated:
    """Probability that the true ratio exceeds SR0 = sqrt(variance) E[max of ``trials``].

    ``variance`` is that of the trials' per-period ratios; the probability is that of 2012/2014,
    ``tuning.statistics.probabilistic_sharpe``. nan where the ratio or the variance is undefined.
    """
    threshold = math.sqrt(variance) * expected_maximum(trials) if variance >= 0.0 else math.nan
    probability = probabilistic_sharpe(ratio, n, skew, kurtosis, threshold)
    return Deflated(trials, threshold, probability)


def minimum_backtest_length(trials: float, annual_sharpe: float = 1.0) -> float:
    """Years of data below which the best of ``trials`` without skill is expected to look as good.

    (E[max of N] / annual ratio)^2 (Notices of the AMS 2014); nan unless the ratio is above 0.
    """
    if not annual_sharpe > 0.0:
        return math.nan
    return (expected_maximum(trials) / annual_sharpe) ** 2


def effective_trials(returns: NDArray[np.floating]) -> EffectiveTrials:
    """Effective number of the N trials whose returns are (T, N), from their correlation matrix R.

    By mean correlation r: r + (1 - r) N (Bailey and Lopez de Prado 2014, appendix A.3), negative r
    counted as 0. By eigenvalues l: the participation ratio (sum l)^2 / sum l^2 = N^2 / ||R||^2,
    its squared correlations adjusted for the 1 / (T - 1) that chance gives each. Columns that do
    not vary are left out. R is never built: one copy of the returns in their own precision, and
    time O(T N min(T, N)).
    """
    unit = _unit_columns(checked_matrix(returns))
    count, total = unit.shape
    if total < 2 or count < 3:
        return EffectiveTrials(total, math.nan, math.nan, math.nan)
    pairs = total * (total - 1.0)
    along = unit.sum(axis=1, dtype=np.float64)
    mean = (float(along @ along) - total) / pairs
    squared = (_squared_norm(unit if count <= total else unit.T) - total) / pairs
    chance = 1.0 / (count - 1.0)
    adjusted = max(0.0, (squared - chance) / (1.0 - chance))
    shared = min(max(mean, 0.0), 1.0)
    return EffectiveTrials(
        total,
        mean,
        shared + (1.0 - shared) * total,
        total * total / (total + pairs * min(adjusted, 1.0)),
    )


def _unit_columns(returns: NDArray[np.floating]) -> NDArray[np.floating]:
    """The columns that vary, about their means and of length 1, in the precision of ``returns``."""
    kind = np.float32 if returns.dtype == np.float32 else np.float64
    kept = []
    for start in range(0, returns.shape[1], COLUMNS):
        values = np.asarray(returns[:, start : start + COLUMNS], np.float64)
        varies = np.ptp(values, axis=0) > NO_VARIATION * np.abs(values).max(axis=0)
        values = values[:, varies] - values[:, varies].mean(axis=0)
        values /= np.abs(values).max(axis=0, initial=0.0)  # no scale, so that no square underflows
        kept.append((values / np.sqrt((values * values).sum(axis=0))).astype(kind))
    return np.concatenate(kept, axis=1)


def _squared_norm(rows: NDArray[np.floating]) -> float:
    """||rows rows'||^2, tile by tile."""
    step = max(1, _CELLS // rows.shape[1])
    total = 0.0
    for start in range(0, len(rows), step):
        for other in range(start, len(rows), step):
            tile = rows[start : start + step] @ rows[other : other + step].T
            weight = 1.0 if other == start else 2.0
            total += weight * float(np.square(tile).sum(dtype=np.float64))
    return total


def backtest_overfitting(returns: NDArray[np.floating], blocks: int = BLOCKS) -> Overfitting:
    """PBO of choosing the best Sharpe ratio among N columns of returns (T, N), by CSCV.

    The T rows are cut into contiguous blocks (equal, or longer by one row at the front). For every
    half of them: the column with the best ratio in that half; w = its rank in the other half /
    (N + 1), rank 1 the worst, equals sharing their mean rank; logit ln(w / (1 - w)). A column that
    does not vary in a half has no ratio there: in sample it is never chosen, out of sample it ranks
    below all that have one. InputError for fewer than two columns, an odd number of blocks, blocks
    of fewer than two rows, or returns that are not finite (named by column).
    """
    if blocks < 2 or blocks % 2 or blocks > MOST_BLOCKS:
        raise InputError(f"{blocks} blocks for PBO: give an even number from 2 to {MOST_BLOCKS}")
    checked_matrix(returns, fewest=2)
    count, columns = returns.shape
    if count < 2 * blocks:
        raise InputError(
            f"too little data for PBO: {count} periods in {blocks} blocks; give at least "
            f"{2 * blocks} periods or fewer blocks"
        )
    sizes = np.full(blocks, count // blocks)
    sizes[: count % blocks] += 1
    moments = BlockMoments(returns, np.concatenate([[0], np.cumsum(sizes)]))
    splits = comb(blocks, blocks // 2)
    logits, inside, outside = (np.full(splits, np.nan) for _ in range(3))
    chunk, done = max(1, _CELLS // columns), 0
    # The other half of split i is split -1 - i: one evaluation serves both.
    halves = combinations(range(blocks), blocks // 2)
    while done < splits // 2:
        part = np.array(list(islice(halves, min(chunk, splits // 2 - done))))
        chosen = np.zeros((len(part), blocks))
        np.put_along_axis(chosen, part, 1.0, axis=1)
        first, second = moments.sharpes(chosen), moments.sharpes(1.0 - chosen)
        here = np.arange(done, done + len(part))
        for learn, judge, at in ((first, second, here), (second, first, splits - 1 - here)):
            inside[at], outside[at], logits[at] = _judged(learn, judge)
        done += len(part)
    return Overfitting(
        pbo=float((logits <= 0.0).mean()) if not np.isnan(logits).any() else math.nan,
        mean_logit=float(logits.mean()),
        logits=logits,
        in_sample=inside,
        out_of_sample=outside,
        slope=_slope(inside, outside),
        loss=float(1.0 - (outside > 0.0).mean()),
        blocks=blocks,
    )


def _judged(learn: Floats, judge: Floats) -> tuple[Floats, Floats, Floats]:
    """For each split (row): (best ratio in sample, the same column's out of sample, its logit)."""
    best, columns = best_column(learn), learn.shape[1]
    row = np.arange(len(best))
    inside, outside = learn[row, best], judge[row, best]
    known = np.where(np.isnan(judge), -np.inf, judge)
    mine = known[row, best]
    with np.errstate(invalid="ignore"):
        near = np.where(np.isneginf(mine), 0.0, _TIE * np.maximum(1.0, np.abs(mine)))
    below = (known < (mine - near)[:, None]).sum(axis=1)
    above = (known > (mine + near)[:, None]).sum(axis=1)
    # Mean rank of the columns tied with it, itself among them.
    share = (below + (columns - below - above + 1) / 2.0) / (columns + 1.0)
    logit = np.log(share / (1.0 - share))
    nothing = best < 0
    inside[nothing] = outside[nothing] = logit[nothing] = np.nan
    return inside, outside, logit


def _slope(inside: Floats, outside: Floats) -> float:
    both = np.isfinite(inside) & np.isfinite(outside)
    gap = inside[both] - inside[both].mean() if both.any() else inside[both]
    spread = float(gap @ gap)
    return float(gap @ outside[both]) / spread if spread > 0.0 else math.nan
