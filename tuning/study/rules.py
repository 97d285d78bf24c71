"""What a candidate must show before it may trade: one frozen config, one pure judgement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data.errors import InputError
from tuning.bootstrap import RESAMPLES
from tuning.statistics import annualised_sharpe
from tuning.study.intervals import Lead, lead
from tuning.study.moments import Floats
from tuning.study.plateau import LEAST_KEPT

if TYPE_CHECKING:
    from tuning.study.evidence import Evidence

PASSED, FAILED, UNKNOWN = "passed", "failed", "unknown"


@dataclass(frozen=True, kw_only=True)
class PromotionRules:
    """Every bound of a promotion. ``pbo`` and ``most_openings`` are upper, the others lower."""

    deflated_sharpe: float = 0.95  # with the true number of trials, and those shown before
    pbo: float = 0.30
    plateau: bool = True  # must hold; False does not ask
    trials: int = 20  # with returns: fewer have no variance and no ranks to speak of
    observations: int = 250  # returns that each trial was judged by
    locked_observations: int = 40
    locked_growth_lead: float = 0.0  # annual log growth above the incumbent's must exceed this
    locked_sharpe: float = 0.0  # the winner's own, annualised, must exceed this
    most_openings: int = 3  # of one segment, this one among them; beyond, it is spent

    def __post_init__(self) -> None:
        for name in ("deflated_sharpe", "pbo"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError(f"promotion rule {name}={getattr(self, name)}: give 0 to 1")
        for name in ("locked_growth_lead", "locked_sharpe"):
            if not math.isfinite(getattr(self, name)):
                raise InputError(f"promotion rule {name}: give a finite number")
        for name, least in (
            ("trials", 2),
            ("observations", 2),
            ("locked_observations", 2),
            ("most_openings", 1),
        ):
            if getattr(self, name) < least:
                raise InputError(
                    f"promotion rule {name}={getattr(self, name)}: give {least} or more"
                )


@dataclass(frozen=True)
class LockedResult:
    """The winner and the incumbent over the locked segment, after costs."""

    openings: int  # of this segment, this one among them
    observations: int
    winner_sharpe: float  # annualised
    incumbent_sharpe: float
    lead: Lead  # winner minus incumbent


@dataclass(frozen=True)
class Reason:
    """One rule, what was found and what was asked. A value that is nan never passes."""

    rule: str
    outcome: str  # PASSED, FAILED or UNKNOWN
    value: float
    bound: float
    text: str


def locked_result(
    winner: Floats,
    incumbent: Floats,
    periods: float,
    openings: int,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> LockedResult:
    """Compares simple returns (t,) of both over the segment, ``periods`` of them a year."""
    return LockedResult(
        openings,
        len(winner),
        annualised_sharpe(winner, periods),
        annualised_sharpe(incumbent, periods),
        lead(winner, incumbent, periods, rng, resamples),
    )


def judge(evidence: Evidence, rules: PromotionRules, locked: LockedResult | None) -> list[Reason]:
    """Each rule in a fixed order. Without ``locked`` what it would show is unknown."""
    found = [
        _least("trials", evidence.columns, rules.trials, "trials with returns"),
        _least("observations", evidence.observations, rules.observations, "returns of each trial"),
        _least(
            "deflated_sharpe",
            evidence.deflated.probability,
            rules.deflated_sharpe,
            f"deflated Sharpe probability over {evidence.deflated.trials:,.0f} trials",
        ),
        _most("pbo", evidence.pbo, rules.pbo, "probability of backtest overfitting"),
    ]
    if rules.plateau:
        found.append(_plateau(evidence))
    if locked is None:
        names = ("locked_openings", "locked_observations", "locked_sharpe", "beats_incumbent")
        text = "the locked segment has not been opened"
        return found + [Reason(name, UNKNOWN, math.nan, math.nan, text) for name in names]
    return [
        *found,
        _most("locked_openings", locked.openings, rules.most_openings, "openings of this segment"),
        _least(
            "locked_observations",
            locked.observations,
            rules.locked_observations,
            "returns in the locked segment",
        ),
        _above(
            "locked_sharpe",
            locked.winner_sharpe,
            rules.locked_sharpe,
            "its Sharpe ratio on the locked segment",
        ),
        _above(
            "beats_incumbent",
            locked.lead.growth.value,
            rules.locked_growth_lead,
            "its annual log growth above the incumbent's on the locked segment",
        ),
    ]


def promotes(reasons: Sequence[Reason]) -> bool:
    """Whether there are rules and every one is passed."""
    return bool(reasons) and all(reason.outcome == PASSED for reason in reasons)


def _plateau(evidence: Evidence) -> Reason:
    found = evidence.plateau
    outcome = UNKNOWN if found.holds is None else PASSED if found.holds else FAILED
    text = f"plateau {outcome if found.holds is None else 'holds' if found.holds else 'fails'}"
    return Reason("plateau", outcome, found.kept, LEAST_KEPT, f"{text}: {found.why}")


def _least(rule: str, value: float, bound: float, what: str) -> Reason:
    return _reason(rule, value >= bound, value, bound, what, "at least")


def _most(rule: str, value: float, bound: float, what: str) -> Reason:
    return _reason(rule, value <= bound, value, bound, what, "at most")


def _above(rule: str, value: float, bound: float, what: str) -> Reason:
    return _reason(rule, value > bound, value, bound, what, "above")


def _reason(rule: str, holds: bool, value: float, bound: float, what: str, asks: str) -> Reason:
    """An undefined figure (nan) is not known, which passes no more than a failed one does."""
    outcome = UNKNOWN if math.isnan(value) else PASSED if holds else FAILED
    shown = "undefined" if math.isnan(value) else f"{value:,.4g}"
    return Reason(
        rule, outcome, float(value), float(bound), f"{what}: {shown}, {asks} {bound:,.4g}"
    )
