"""Has a champion become worse than its predecessor? A judgement that may be asked at any time.

Both forecast the same bars; each outcome gives a difference of Brier losses d, above 0 where the
champion lost. A test at a fixed sample size, asked again every week, would in time reject any
champion. So the evidence is a bet against it (a test martingale: Ville 1939; Shafer 2021; for
forecasters: Choe and Ramdas 2023, Oper. Res. 72:1368): capital that begins at 1, cannot grow on
average while the champion is never expected to lose, whenever one stops, and so exceeds 1/a with
probability at most a in its whole life.

Outcomes overlap, so bets are placed on windows that do not, by the pool's own rule: the first
moment decided while none is open opens one, which closes when all its outcomes are known. In
window i the mean difference d_i is divided by c_i, the most that the champion could have won by,
which the two forecasts tell beforehand; then z_i = d_i / c_i >= -1, and the capital is

    E_n = 1/(n+1) + sum_j 1/(j(j+1)) mean_f prod_{i=j..n} (1 + f z_i),      f in FRACTIONS

where j is the window from which on the champion is doubted: one that was good for years and then
decays is found out in the time that the decay takes, for the price of ln j(j+1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from data.errors import InputError
from tuning.scoring import brier
from tuning.session_result import Floats, Ints
from tuning.statistics import mean_interval

FRACTIONS = (0.05, 0.1, 0.2, 0.4, 0.8)


@dataclass(frozen=True, kw_only=True)
class DecayRules:
    """When a champion is demoted. ``confidence`` holds for its whole life, not for one review."""

    confidence: float = 0.95  # a champion that is never expected to lose is demoted in at most 5 %
    least_windows: int = 20  # that do not overlap
    least_outcomes: int = 100  # scored, all that were forecast

    def __post_init__(self) -> None:
        if not 0.5 <= self.confidence < 1.0:
            raise InputError(f"decay rule confidence={self.confidence}: give 0.5 up to below 1")
        if self.least_windows < 1 or self.least_outcomes < 1:
            raise InputError("decay rules: give 1 or more windows and outcomes")

    @property
    def asked(self) -> float:
        """The evidence from which on a champion is demoted."""
        return 1.0 / (1.0 - self.confidence)


@dataclass(frozen=True, eq=False)
class Compared:
    """D forecasts of both for the same bars, in the order of ``ts``, whose outcomes are known."""

    ts: Ints  # (D,) of the bar, ns UTC
    known: Ints  # (D,) when the outcome was known, after ``ts``
    outcome: Ints  # (D,) in {0, 1, 2}
    champion: Floats  # (D, 3) down, flat, up
    predecessor: Floats  # (D, 3)


@dataclass(frozen=True)
class Decay:
    """The judgement, and what it was made of. Differences are of Brier losses, champion's minus."""

    decayed: bool
    evidence: float  # E_n
    outcomes: int
    windows: int
    difference: float  # mean over all moments since it came in force
    low: float  # 95 % interval, Newey and West (1987) over the moments that an outcome spans
    high: float
    doubted_from: int  # ns UTC: the begin of the stretch that speaks most against it; 0 for none
    difference_since: float  # mean over the moments since then
    text: str  # one line


def judge_decay(compared: Compared, horizon: int, rules: DecayRules) -> Decay:
    """Whether the champion is to be demoted on what it forecast. ``horizon`` is in bars."""
    losses = brier(compared.champion, compared.outcome)
    losses = losses - brier(compared.predecessor, compared.outcome)
    moments, difference = _by_moment(compared.ts, losses)
    lags = _lags(compared, moments, horizon)
    mean, low, high = mean_interval(difference, lags)
    begins = window_begins(compared)
    evidence, place = doubt(_bets(compared, losses, begins))
    since = int(begins[place]) if len(begins) else 0
    recent = difference[moments >= since]
    few = _too_few(len(losses), len(begins), rules)
    decayed = not few and evidence >= rules.asked
    text = few or (
        f"its Brier loss was {mean:+.4f} from its predecessor's (95 % interval {low:+.4f} to"
        f" {high:+.4f}) over {len(losses):,} outcomes in {len(begins):,} windows, and"
        f" {recent.mean():+.4f} since {datetime.fromtimestamp(since / 1e9, UTC):%Y-%m-%d};"
        f" evidence {evidence:,.3g}, {rules.asked:,.3g} demotes"
    )
    return Decay(
        decayed,
        evidence,
        len(losses),
        len(begins),
        mean,
        low,
        high,
        since,
        float(recent.mean()) if len(recent) else math.nan,
        text,
    )


def window_begins(compared: Compared) -> Ints:
    """The moments (n,) that open a window: each is the first at or after the last one's end."""
    if not len(compared.ts):
        return np.empty(0, np.int64)
    moments, first = np.unique(compared.ts, return_index=True)
    ends = np.maximum.reduceat(compared.known, first)
    begins, free_from = [], moments[0]
    for moment, end in zip(moments.tolist(), ends.tolist(), strict=True):
        if moment >= free_from:
            begins.append(moment)
            free_from = end
    return np.array(begins, np.int64)


def doubt(bets: Floats) -> tuple[float, int]:
    """(E_n, the window from which on the doubt is largest) of the windows' z (n,), each >= -1."""
    n = len(bets)
    if n == 0:
        return 1.0, 0
    place = np.arange(1, n + 1)
    grown = np.zeros((len(FRACTIONS), n + 1))
    for row, fraction in zip(grown, FRACTIONS, strict=True):
        np.cumsum(np.log1p(fraction * bets), out=row[1:])
    # Logarithms of what each start and fraction holds now; capital may grow beyond any float.
    held = grown[:, -1:] - grown[:, :-1] - np.log(place * (place + 1.0)) - math.log(len(FRACTIONS))
    total = np.logaddexp.reduce(held.ravel())
    capital = float(np.logaddexp(total, -math.log(n + 1.0)))
    largest = int(np.logaddexp.reduce(held, axis=0).argmax())
    return math.exp(min(capital, 700.0)), largest


def _bets(compared: Compared, losses: Floats, begins: Ints) -> Floats:
    """z (n,) of the windows that begin at ``begins``."""
    p, q = compared.champion, compared.predecessor
    by_outcome = ((p**2).sum(axis=1) - (q**2).sum(axis=1))[:, None] - 2.0 * (p - q)
    could_win = np.maximum(-by_outcome.min(axis=1), 0.0)
    moments, lost = _by_moment(compared.ts, losses)
    _, bound = _by_moment(compared.ts, could_win)
    opened = np.isin(moments, begins)
    lost, bound = lost[opened], bound[opened]
    # Equal forecasts are no contest. Rounding must not let a bet lose more than its stake.
    ratio = np.divide(lost, bound, out=np.zeros_like(lost), where=bound > 0.0)
    return np.maximum(ratio, -1.0)


def _by_moment(ts: Ints, values: Floats) -> tuple[Ints, Floats]:
    """Each moment once, and the mean of its values."""
    moments, inverse = np.unique(ts, return_inverse=True)
    count = np.bincount(inverse, minlength=len(moments))
    return moments, np.bincount(inverse, values, minlength=len(moments)) / np.maximum(count, 1)


def _lags(compared: Compared, moments: Ints, horizon: int) -> int:
    """Moments that nearly every outcome spans, less one; the horizon less one at least."""
    if not len(moments):
        return horizon - 1
    span = np.searchsorted(moments, compared.known) - np.searchsorted(moments, compared.ts)
    return max(horizon, int(np.quantile(span, 0.95))) - 1


def _too_few(outcomes: int, windows: int, rules: DecayRules) -> str:
    if outcomes >= rules.least_outcomes and windows >= rules.least_windows:
        return ""
    return (
        f"{outcomes:,} outcomes in {windows:,} windows are too few to judge:"
        f" {rules.least_outcomes:,} in {rules.least_windows:,} are needed"
    )
