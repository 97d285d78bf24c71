"""Confidence interval of the difference between two accounts, by the stationary block bootstrap.

Blocks of geometrically distributed length, wrapped round the end, keep the serial dependence of
the returns (Politis and Romano 1994, JASA 89:1303). Their expected length follows from the data
by the automatic rule of Politis and White (2004, Econometric Reviews 23:53) as corrected by
Patton, Politis and White (2009, Econometric Reviews 28:372). Both series are resampled by the same
indices, so what they share cancels in the difference. Intervals are percentiles of the resampled
differences.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.clocks import DAY_NS
from tuning.session_result import Floats, Ints
from tuning.statistics import annualised_sharpe, returns_of

RESAMPLES = 2000
CONFIDENCE = 0.95
FEWEST_RETURNS = 30  # below this no interval is given
SHORTEST_NS = 28 * DAY_NS  # nor for a shorter record: nothing of it is per year
MOST_RETURNS = 5_000
_CHUNK = 1 << 18  # resampled returns held at once


@dataclass(frozen=True)
class Difference:
    """Ours minus theirs, one figure. nan where undefined."""

    value: float
    low: float
    high: float
    below_zero: float  # share of resamples in which the difference is 0 or less


@dataclass(frozen=True)
class BenchmarkDifference:
    """The account against buy-and-hold over the same moments."""

    growth: Difference  # of annual log growth
    sharpe: Difference  # of annualised Sharpe ratios
    returns: int  # resampled
    sampling: str  # what one return spans: "daily", "per round", or "n rounds each"
    block: float  # expected length of a block, in those returns


UNDEFINED = Difference(math.nan, math.nan, math.nan, math.nan)


def block_length(series: Floats) -> float:
    """Expected block length for the stationary bootstrap of the mean of ``series`` (n,).

    At least 1, at most ceil(min(3 sqrt n, n / 3)). With m twice the first lag after which
    max(5, log10 n) autocorrelations in a row lie inside 2 sqrt(log10 n / n), and the trapezoid
    h(x) = min(1, 2 (1 - x)) as weights of the autocovariances R:
    b = (2 g^2 n / (2 s^2))^(1/3), g = sum |k| h R_k, s = sum h R_k over -m <= k <= m.
    ValueError for fewer than 8 values.
    """
    n = len(series)
    if n < 8:
        raise ValueError(f"a block length needs at least 8 values, not {n}")
    gaps = series - series.mean()
    if not float(gaps @ gaps) > 0.0:
        return 1.0
    row = max(5, int(math.log10(n)))
    most = min(math.ceil(math.sqrt(n)) + row, n - 2)
    band = 2.0 * math.sqrt(math.log10(n) / n)
    covariance, correlation = np.empty(most + 1), np.empty(most + 1)
    cut = most
    for lag in range(most + 1):
        product = float(gaps[lag:] @ gaps[: n - lag])
        later, earlier = gaps[lag + 1 :], gaps[: n - lag - 1]
        scale = math.sqrt(float(later @ later) * float(earlier @ earlier))
        covariance[lag] = product / n
        correlation[lag] = abs(product) / scale if scale > 0.0 else math.inf
        if lag >= row and (correlation[lag - row : lag] < band).all():
            cut = min(2 * max(lag - row, 1), most)
            break
    for further in range(lag + 1, cut + 1):
        covariance[further] = float(gaps[further:] @ gaps[: n - further]) / n
    lags = np.arange(1, cut + 1)
    weights = np.minimum(1.0, 2.0 * (1.0 - lags / cut)) * covariance[1 : cut + 1]
    slope, spectrum = 2.0 * float(lags @ weights), covariance[0] + 2.0 * float(weights.sum())
    limit = float(math.ceil(min(3.0 * math.sqrt(n), n / 3.0)))
    if spectrum == 0.0:
        return limit
    length = (slope * slope / (spectrum * spectrum) * n) ** (1.0 / 3.0)
    return float(min(max(length, 1.0), limit))


def resampled_indices(
    rng: np.random.Generator, n: int, block: float, resamples: int
) -> Iterator[NDArray[np.int64]]:
    """Chunks (k, n) of indices into a series of n values, ``resamples`` rows in all.

    Each place continues the block of the place before it, or with probability 1 / ``block`` opens
    a new one anywhere. ValueError for a block shorter than one value.
    """
    if not block >= 1.0 or n < 1:
        raise ValueError(f"blocks of {block} in a series of {n}: both must be 1 or more")
    place = np.arange(n)
    chunk = max(1, _CHUNK // n)
    for done in range(0, resamples, chunk):
        size = (min(chunk, resamples - done), n)
        opens = rng.random(size) < 1.0 / block
        opens[:, 0] = True
        starts = rng.integers(0, n, size)
        begin = np.maximum.accumulate(np.where(opens, place, 0), axis=1)
        yield (np.take_along_axis(starts, begin, axis=1) + place - begin) % n


def compare(
    ours: Floats,
    theirs: Floats,
    periods: float,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> tuple[Difference, Difference, float]:
    """(difference of annual log growth, of annualised Sharpe ratios, block length).

    ``ours`` and ``theirs`` are simple returns (n,) above -1 of the same moments, ``periods`` of
    them a year. The block is the longest that either series or their difference asks for. A Sharpe
    ratio that is undefined, in the data or in any resample, has no interval.
    """
    if ours.shape != theirs.shape or ours.ndim != 1:
        raise ValueError("compare needs two series of returns of the same length")
    logs = np.log1p(ours) - np.log1p(theirs)
    block = max(block_length(series) for series in (ours, theirs, logs))
    growth, ratio = np.empty(resamples), np.empty(resamples)
    year, done = math.sqrt(periods), 0
    for rows in resampled_indices(rng, len(ours), block, resamples):
        part = slice(done, done + len(rows))
        growth[part] = logs[rows].mean(axis=1) * periods
        ratio[part] = (_ratio(ours[rows]) - _ratio(theirs[rows])) * year
        done += len(rows)
    observed = annualised_sharpe(ours, periods) - annualised_sharpe(theirs, periods)
    return (
        _difference(float(logs.mean()) * periods, growth),
        _difference(observed, ratio),
        block,
    )


def _ratio(returns: Floats) -> Floats:
    """Mean over standard deviation of each row; nan for a row of equal values."""
    spread = returns.std(axis=1, ddof=1)
    flat = returns.max(axis=1) == returns.min(axis=1)
    spread[flat] = math.nan
    return np.asarray(returns.mean(axis=1) / spread)


def _difference(value: float, resampled: Floats) -> Difference:
    if math.isnan(value) or np.isnan(resampled).any():
        return Difference(value, math.nan, math.nan, math.nan)
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(resampled, (tail, 1.0 - tail))
    return Difference(value, float(low), float(high), float((resampled <= 0.0).mean()))


def sampled_rounds(ts: Ints) -> tuple[NDArray[np.int64], str]:
    """(indices of the rounds to measure equity at, what one return spans).

    ``ts`` (m,) UTC ns, the first being the base. More than one round a day: the last of each UTC
    day. Fewer than ``FEWEST_RETURNS`` days, or too many rounds still: the base and every k-th round
    counted from the end.
    """
    count = len(ts)
    days = ts // DAY_NS
    ends = np.flatnonzero(np.append(np.diff(days) != 0, True))
    daily = ends if ends[0] == 0 else np.concatenate([[0], ends])
    if len(daily) - 1 >= FEWEST_RETURNS and len(daily) < count:
        if len(daily) - 1 <= MOST_RETURNS:
            return daily, "daily"
    elif count - 1 <= MOST_RETURNS:
        return np.arange(count), "per round"
    every = math.ceil((count - 1) / MOST_RETURNS)
    kept = np.arange(count - 1, 0, -every)[::-1]
    return np.concatenate([[0], kept]), f"{every:,} rounds each"


def benchmark_difference(
    ts: Ints,
    ours_micro: Ints,
    theirs_micro: Ints,
    periods_per_year: float,
    rng: np.random.Generator,
) -> BenchmarkDifference:
    """The account against buy-and-hold; undefined for too short a record or equity at or below 0.

    ``ts`` and both equity lines are (m,), the first value being the base; ``periods_per_year``
    counts rounds. Intraday equity is compressed to daily returns first, see ``sampled_rounds``.
    """
    undefined = BenchmarkDifference(UNDEFINED, UNDEFINED, 0, "per round", math.nan)
    short = len(ts) <= FEWEST_RETURNS or ts[-1] - ts[0] < SHORTEST_NS
    if short or (ours_micro <= 0).any() or (theirs_micro <= 0).any():
        return undefined
    kept, sampling = sampled_rounds(ts)
    ours, theirs = returns_of(ours_micro[kept]), returns_of(theirs_micro[kept])
    periods = periods_per_year * len(ours) / (len(ts) - 1)
    growth, sharpe, block = compare(ours, theirs, periods, rng)
    return BenchmarkDifference(growth, sharpe, len(ours), sampling, block)
