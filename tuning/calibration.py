"""Do the forecasts mean what they say? Reliability by bins, and what a Brier score is made of.

Murphy (1973, J. Appl. Meteorol. 12:595) splits the Brier score of one outcome into

    reliability - resolution + uncertainty

over forecasts that are equal within a bin. Binned forecasts are not, so the two terms of
Stephenson, Coelho and Jolliffe (2008, Weather and Forecasting 23:752) stand beside them:

    Brier = reliability - resolution + uncertainty + within-bin variance - within-bin covariance

exactly, whatever the bins. Sums over the three outcomes give the Brier score of ``tuning.scoring``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from actors.contract import Status
from tuning.labels import NO_LABEL
from tuning.scoring import decision_outcomes
from tuning.session_result import Floats, Ints, SessionResult

BINS = 10
CONFIDENCE = 0.95
OUTCOMES = ("down", "flat", "up")


@dataclass(frozen=True)
class Bin:
    """Forecasts of one outcome that lie next to each other."""

    forecast: float  # mean
    observed: float  # how often the outcome came
    low: float  # Wilson interval of ``observed``
    high: float
    count: int


@dataclass(frozen=True)
class Parts:
    """What a Brier score is made of; ``brier`` is the sum with signs."""

    reliability: float  # distance of forecasts from frequencies: 0 is best
    resolution: float  # how far frequencies differ between forecasts: more is better
    uncertainty: float  # of the outcomes themselves: nobody's merit or fault
    within_variance: float
    within_covariance: float

    @property
    def brier(self) -> float:
        """The score that the parts add up to."""
        return (
            self.reliability
            - self.resolution
            + self.uncertainty
            + self.within_variance
            - self.within_covariance
        )


@dataclass(frozen=True)
class Calibration:
    """Of the pooled forecast over the scored decisions; no bins when there were none."""

    scored: int
    bins: tuple[tuple[Bin, ...], ...]  # per outcome, in the order of OUTCOMES
    parts: Parts  # summed over the outcomes


def wilson(hits: int, count: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Interval of a frequency of independent trials (Wilson 1927); (0, 1) without any."""
    if count == 0:
        return 0.0, 1.0
    z = float(ndtri(0.5 + confidence / 2.0))
    share, room = hits / count, z * z / count
    middle = (share + room / 2.0) / (1.0 + room)
    half = math.sqrt(share * (1.0 - share) * room + room * room / 4.0) / (1.0 + room)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def bin_numbers(forecasts: Floats, bins: int = BINS) -> Ints:
    """Bin (n,) of each forecast (n,), numbered from 0 without gaps: bins with about equal counts.

    Equal forecasts always share a bin, so counts are equal only as far as the forecasts allow.
    """
    levels, index, counts = np.unique(forecasts, return_inverse=True, return_counts=True)
    # The middle of its run of ranks decides where a whole level goes.
    middle = np.cumsum(counts) - counts / 2.0
    place = np.minimum((middle * bins / len(forecasts)).astype(np.int64), bins - 1)
    _, dense = np.unique(place, return_inverse=True)
    return np.asarray(dense[index], np.int64) if len(levels) else np.empty(0, np.int64)


def reliability(forecasts: Floats, hits: Floats, number: Ints) -> tuple[tuple[Bin, ...], Parts]:
    """Bins and parts of one outcome: forecasts (n,), hits (n,) 0 or 1, bin numbers (n,), n > 0."""
    total = len(forecasts)
    count = np.bincount(number)
    mean = np.bincount(number, weights=forecasts) / count
    came = np.bincount(number, weights=hits)
    observed, base = came / count, came.sum() / total
    gap, surprise = forecasts - mean[number], hits - observed[number]
    parts = Parts(
        reliability=float(count @ (mean - observed) ** 2) / total,
        resolution=float(count @ (observed - base) ** 2) / total,
        uncertainty=float(base * (1.0 - base)),
        within_variance=float(gap @ gap) / total,
        within_covariance=2.0 * float(gap @ surprise) / total,
    )
    bins = tuple(
        Bin(float(f), float(o), *wilson(int(h), int(n)), int(n))
        for f, o, h, n in zip(mean, observed, came, count, strict=True)
    )
    return bins, parts


def calibrate(p: Floats, outcomes: Ints, bins: int = BINS) -> Calibration:
    """Calibration of forecasts (n, 3) for outcomes (n,) in {0, 1, 2}."""
    if not len(outcomes):
        return Calibration(0, ((), (), ()), Parts(*[math.nan] * 5))
    found = [
        reliability(p[:, k], (outcomes == k).astype(np.float64), bin_numbers(p[:, k], bins))
        for k in range(len(OUTCOMES))
    ]
    names = Parts.__dataclass_fields__
    summed = {name: sum(getattr(parts, name) for _, parts in found) for name in names}
    return Calibration(len(outcomes), tuple(rows for rows, _ in found), Parts(**summed))


def calibration(result: SessionResult, outcomes: Ints | None = None) -> Calibration:
    """Calibration of a session's pool over the decisions that ``tuning.scoring`` scores."""
    if outcomes is None:
        outcomes = decision_outcomes(result)
    awake = (result.d_status == Status.VOTED).any(axis=1)
    rows = np.flatnonzero(result.in_traded_period() & awake & (outcomes != NO_LABEL))
    return calibrate(result.d_p[rows], outcomes[rows])
