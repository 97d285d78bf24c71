"""All that a study's trials say about its winner, computed once from arrays; see the modules.

Nothing here reads a clock, a file or a database. A figure that is undefined is nan, and nan passes
no rule: what cannot be shown is not proven.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from tuning.bootstrap import RESAMPLES
from tuning.statistics import (
    minimum_track_record,
    probabilistic_sharpe,
    shape,
    sharpe,
    sharpe_interval,
)
from tuning.study.intervals import Lead, lead, own
from tuning.study.moments import BlockMoments, Floats, checked_matrix
from tuning.study.overfitting import (
    BLOCKS,
    Deflated,
    EffectiveTrials,
    Overfitting,
    backtest_overfitting,
    deflated_sharpe,
    effective_trials,
    minimum_backtest_length,
)
from tuning.study.plateau import Plateau, plateau
from tuning.study.rules import FAILED, PASSED, UNKNOWN, LockedResult, PromotionRules, Reason, judge
from tuning.study.selection import PathSelection, WalkedSelection, over_paths, over_time

GROUPS, TESTS = 10, 2  # 45 splits, 9 paths
WALK_FOLDS = 5
EMBARGO_SHARE = 0.01  # of the rows, the book's suggestion


@dataclass(frozen=True, eq=False)
class Evidence:
    """T returns of N trials, and their winner. Ratios are annualised where the name says so."""

    winner: int  # column
    trials: int  # configurations tried, pruned and failed ones too
    shown: int  # candidates that the locked segment was shown before
    columns: int  # N, trials with returns
    observations: int  # T
    periods_per_year: float

    annual_sharpe: float
    annual_sharpe_low: float  # 95 %, asymptotic (Mertens 2002)
    annual_sharpe_high: float
    skew: float
    kurtosis: float  # not in excess
    probabilistic: float  # P(true ratio > 0), one trial supposed
    variance: float  # of the trials' per-period ratios
    deflated: Deflated  # with trials + shown
    deflated_effective: Deflated  # with their effective number, by mean correlation
    effective: EffectiveTrials
    track_record: float  # returns needed for 95 % that the true ratio is above 0
    backtest_years: float  # below which trials + shown without skill look as good
    overfitting: Overfitting | None  # None with fewer than two trials or too few returns
    plateau: Plateau
    own: Lead  # the winner's growth and ratio with block-bootstrap intervals
    leads: Mapping[str, Lead]  # against each benchmark
    paths: PathSelection | None  # None with too few returns
    walked: WalkedSelection | None

    @property
    def pbo(self) -> float:
        """Probability of backtest overfitting, nan where it could not be computed."""
        return math.nan if self.overfitting is None else self.overfitting.pbo

    @property
    def years(self) -> float:
        """Length of the returns in years."""
        return self.observations / self.periods_per_year

    @property
    def median_path(self) -> float:
        """Median annualised Sharpe ratio of the procedure's paths, nan where undefined."""
        if self.paths is None:
            return math.nan
        return self.paths.median * math.sqrt(self.periods_per_year)


def evidence(
    returns: NDArray[np.floating],
    winner: int,
    coordinates: Floats,
    objective: Floats,
    benchmarks: Mapping[str, Floats],
    periods_per_year: float,
    horizon: int,
    trials: int,
    rng: np.random.Generator,
    shown: int = 0,
    blocks: int = BLOCKS,
    resamples: int = RESAMPLES,
    best: int | None = None,
) -> Evidence:
    """Everything of ``Evidence`` from out-of-sample returns (T, N), one column a trial.

    ``coordinates`` (n, d) and ``objective`` (n,), more is better, are of the trials that the
    plateau looks at and ``best`` the winner among them; without ``best`` they are those of the
    columns, in their order. ``benchmarks`` are returns (T,) by name. ``horizon`` rows after a row
    its label is known. ``trials`` counts all configurations tried, ``shown`` the candidates that
    the locked segment was shown before. InputError for arrays that do not fit or are not finite.
    """
    checked_matrix(returns)
    count, columns = returns.shape
    if not 0 <= winner < columns:
        raise InputError(f"winner {winner} is none of {columns} columns of returns")
    if trials < columns or shown < 0:
        raise InputError(f"{trials} trials, {shown} shown: {columns} columns have returns already")
    if not (math.isfinite(periods_per_year) and periods_per_year > 0.0) or horizon < 0:
        raise InputError(f"{periods_per_year} periods a year, horizon {horizon}: give above 0, 0+")
    for name, series in benchmarks.items():
        if series.shape != (count,) or not np.isfinite(series).all():
            raise InputError(f"benchmark {name!r}: give {count} finite returns, one per row")
    ours = np.asarray(returns[:, winner], np.float64)
    ratio, (skew, kurtosis), year = sharpe(ours), shape(ours), math.sqrt(periods_per_year)
    low, high = sharpe_interval(ours, periods_per_year)
    ratios = BlockMoments(returns, np.array([0, count])).sharpes(np.ones((1, 1)))[0]
    known = ratios[np.isfinite(ratios)]
    variance = float(known.var(ddof=1)) if len(known) > 1 else math.nan
    effective, total = effective_trials(returns), trials + shown
    shared = min(max(effective.mean_correlation, 0.0), 1.0)
    independent = shared + (1.0 - shared) * total if not math.isnan(shared) else float(total)
    embargo = math.ceil(EMBARGO_SHARE * count)
    return Evidence(
        winner=winner,
        trials=trials,
        shown=shown,
        columns=columns,
        observations=count,
        periods_per_year=periods_per_year,
        annual_sharpe=ratio * year,
        annual_sharpe_low=low,
        annual_sharpe_high=high,
        skew=skew,
        kurtosis=kurtosis,
        probabilistic=probabilistic_sharpe(ratio, count, skew, kurtosis),
        variance=variance,
        deflated=deflated_sharpe(ratio, count, skew, kurtosis, total, variance),
        deflated_effective=deflated_sharpe(ratio, count, skew, kurtosis, independent, variance),
        effective=effective,
        track_record=minimum_track_record(ratio, skew, kurtosis),
        backtest_years=minimum_backtest_length(total, ratio * year),
        overfitting=backtest_overfitting(returns, blocks)
        if columns > 1 and count >= 2 * blocks
        else None,
        plateau=plateau(coordinates, objective, winner if best is None else best),
        own=own(ours, periods_per_year, rng, resamples),
        leads={
            name: lead(ours, series, periods_per_year, rng, resamples)
            for name, series in benchmarks.items()
        },
        paths=over_paths(returns, GROUPS, TESTS, horizon, embargo)
        if _enough(count, horizon, embargo)
        else None,
        walked=over_time(returns, WALK_FOLDS, gap=horizon)
        if _enough(count, horizon, embargo)
        else None,
    )


def _enough(count: int, horizon: int, embargo: int) -> bool:
    """Whether every path and the walk-forward have rows to learn from: two tests, four edges."""
    size = count // GROUPS
    return size >= 2 and (GROUPS - TESTS) * size > 2 * TESTS * horizon + TESTS * embargo


def sentence(evidence: Evidence, rules: PromotionRules, locked: LockedResult | None = None) -> str:
    """One sentence: whether the winner is to be believed, and why.

    A failed figure: "Do not believe it". An undefined one, or too little of trials, returns or
    locked data: "Not proven". All passed but for a locked segment that nobody opened: not proven
    either, but so far it holds.
    """
    reasons = judge(evidence, rules, locked)
    wanting = [reason for reason in reasons if reason.outcome != PASSED]
    refuted = [
        reason for reason in wanting if reason.outcome == FAILED and reason.rule not in _AMOUNTS
    ]
    said = [_plain(reason, evidence) for reason in wanting if not _unopened(reason, locked)]
    if refuted:
        return f"Do not believe it: {'; '.join(said)}."
    if said:
        return f"Not proven: {'; '.join(said)}."
    holds = (
        f"the winner's Sharpe ratio of {evidence.annual_sharpe:.2f} is above what the luckiest of "
        f"{evidence.deflated.trials:,.0f} trials would reach with probability "
        f"{evidence.deflated.probability:.1%}, the probability that the choice is overfitted is "
        f"{evidence.pbo:.0%}"
    )
    if evidence.plateau.holds:
        holds += " and its neighbourhood holds"
    if locked is None:
        return f"Not proven yet: so far {holds}, but the locked segment has not been opened."
    ahead = locked.lead.growth.value
    return (
        f"It may be believed: {holds}; on the locked segment it grew {ahead:.1%} a year (log) "
        "more than the incumbent."
    )


_AMOUNTS = ("trials", "observations", "locked_observations", "locked_openings")


def _unopened(reason: Reason, locked: LockedResult | None) -> bool:
    return locked is None and (
        reason.rule.startswith("locked_") or reason.rule == "beats_incumbent"
    )


def _plain(reason: Reason, evidence: Evidence) -> str:
    """Why a rule is not passed, in words."""
    bound = f"{reason.bound:,.4g}"
    if math.isnan(reason.value) and reason.rule != "plateau":
        return _UNDEFINED.get(reason.rule, reason.text)
    if reason.rule == "deflated_sharpe":
        luck = evidence.deflated.threshold * math.sqrt(evidence.periods_per_year)
        return (
            f"the luckiest of {evidence.deflated.trials:,.0f} trials without skill would reach a "
            f"Sharpe ratio of {luck:.2f} and the winner has {evidence.annual_sharpe:.2f} "
            f"(deflated probability {reason.value:.2f}, at least {bound} asked)"
        )
    if reason.rule == "pbo":
        return (
            f"a choice made like this one lands in the worse half out of sample in "
            f"{reason.value:.0%} of the cases (at most {reason.bound:.0%} asked)"
        )
    if reason.rule == "plateau":
        said = "is not known to hold" if reason.outcome == UNKNOWN else "does not hold"
        return f"its neighbourhood {said} ({evidence.plateau.why})"
    return f"{reason.text} asked"


_UNDEFINED = {
    "deflated_sharpe": "its deflated Sharpe ratio is undefined",
    "pbo": "the probability of overfitting is undefined",
    "locked_sharpe": "it has no Sharpe ratio on the locked segment",
    "beats_incumbent": "its lead over the incumbent on the locked segment is undefined",
}
