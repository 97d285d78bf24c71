"""The predictor's walk-forward: it is trained again at declared moments, each time on all the past.

The window is anchored: it grows from the first bar on. A training knows the bars strictly before
its moment, and an outcome only when its last bar lies before it too; the features of a bar are a
function of what came before, so they are computed once, and each training takes the rows that were
complete by then. The rest of the committee keeps its warm-up models: priors, declared rules and
few numbers, in which a year more changes little.
"""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from actors.contract import Floats
from data.bars import Bars
from tuning import fit_predictor
from tuning.samples import Samples

PREDICTOR = "market_prediction"
YEARLY, MONTHLY = 12, 1
INTRADAY = 1_000  # bars a year from which data counts as intraday
# Rows of a training. Trees of depth 2 gain nothing from more, and outcomes of neighbouring bars
# overlap: of a longer past every second, fourth, ... moment is taken.
MOST_ROWS = 20_000


def months_between(bars_per_year: float) -> int:
    """Months from one training to the next: a year of daily bars, a month of shorter ones."""
    return YEARLY if bars_per_year < INTRADAY else MONTHLY


def retraining_moments(models_from: int, until: int, months: int) -> list[int]:
    """Every ``months`` months after ``models_from`` up to ``until`` (ns UTC), at its day of the
    month and time of day; the month's last day where it has no such day. None for 0 months.
    """
    if months <= 0:
        return []
    seconds, rest = divmod(models_from, 1_000_000_000)
    first = datetime.fromtimestamp(seconds, UTC)
    moments: list[int] = []
    while True:
        years, month = divmod(first.month - 1 + months * (len(moments) + 1), 12)
        year = first.year + years
        day = min(first.day, calendar.monthrange(year, month + 1)[1])
        moment = int(first.replace(year=year, month=month + 1, day=day).timestamp())
        if moment * 1_000_000_000 + rest > until:
            return moments
        moments.append(moment * 1_000_000_000 + rest)


def retrained(
    bars: Bars, moments: Sequence[int], horizon: int, seed: int, workers: int = 1
) -> list[tuple[int, dict[str, Floats]]]:
    """(moment, the models that come in force then) of each training that had rows enough.

    bars     of any symbols, in (ts, symbol) order; those at or after the last moment do not matter
    moments  ns UTC, ascending
    workers  trainings at a time; they change nothing in the results

    Each is, to the bit, what ``fit_predictor.fit`` gives for the bars before its moment, while
    these are no more than MOST_ROWS.
    """
    if not moments:
        return []
    past = bars[bars["ts"] < moments[-1]]
    strides = [stride_of(int(np.searchsorted(past["ts"], moment))) for moment in moments]
    number = _moment_numbers(past)
    samples = fit_predictor.training_samples(past, horizon, _kept(past, number, moments, strides))
    place = np.searchsorted(np.unique(past["ts"]), samples.begin)

    def train(moment: int, stride: int) -> Floats:
        chosen = (samples.end < moment) & (place % stride == 0)
        return fit_predictor.fit_samples(samples.only(chosen), horizon, seed)

    with ThreadPoolExecutor(workers, "retrain") as pool:
        fitted = list(pool.map(train, moments, strides))
    return [
        (moment, {PREDICTOR: params})
        for moment, params in zip(moments, fitted, strict=True)
        if len(params)
    ]


def stride_of(bars: int) -> int:
    """Of so many bars, every how many-th moment is taken; a power of two."""
    stride = 1
    while bars > stride * MOST_ROWS:
        stride *= 2
    return stride


def thinned_samples(bars: Bars, horizon: int) -> Samples:
    """The rows of a training on all of ``bars``."""
    stride = stride_of(len(bars))
    return fit_predictor.training_samples(bars, horizon, _moment_numbers(bars) % stride == 0)


def _moment_numbers(bars: Bars) -> NDArray[np.int64]:
    """Which moment of the data each bar (n,) belongs to, from 0."""
    return np.concatenate(
        [np.zeros(min(len(bars), 1), np.int64), np.cumsum(np.diff(bars["ts"]) > 0)]
    )


def _kept(
    bars: Bars, number: NDArray[np.int64], moments: Sequence[int], strides: Sequence[int]
) -> NDArray[np.bool_]:
    """The bars that any training needs: strides only grow, so the next one's tells."""
    following = np.searchsorted(np.asarray(moments), bars["ts"], side="right")
    return np.asarray(number % np.asarray(strides)[following] == 0)
