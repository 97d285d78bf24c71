"""Each rule by itself, and that nothing undefined ever promotes."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest

from data.errors import InputError
from tuning.bootstrap import Difference, compare
from tuning.study.intervals import NO_LEAD, Lead, lead, own
from tuning.study.overfitting import Deflated
from tuning.study.plateau import Plateau
from tuning.study.rules import (
    FAILED,
    PASSED,
    UNKNOWN,
    LockedResult,
    PromotionRules,
    judge,
    locked_result,
    promotes,
)

PERIODS = 252.0
RULES = PromotionRules()
SURE = Difference(0.1, 0.02, 0.2, 0.01)
SURELY = Deflated(100.0, 0.05, 0.97)
HILL = Plateau(True, "hill", 10, 0.1, 0.9, 0.8, 0.9)


@dataclass(frozen=True)
class Figures:
    """The part of an Evidence that the rules read."""

    columns: int = 100
    observations: int = 1000
    deflated: Deflated = SURELY
    pbo: float = 0.1
    plateau: Plateau = HILL


GOOD = Figures()
LOCKED = LockedResult(1, 250, 1.2, 0.4, Lead(SURE, SURE))


def outcome(rule: str, figures: Figures = GOOD, locked=LOCKED, rules=RULES) -> str:
    return {reason.rule: reason.outcome for reason in judge(figures, rules, locked)}[rule]


def test_all_passed_promotes():
    reasons = judge(GOOD, RULES, LOCKED)
    assert [reason.rule for reason in reasons] == [
        "trials",
        "observations",
        "deflated_sharpe",
        "pbo",
        "plateau",
        "locked_openings",
        "locked_observations",
        "locked_sharpe",
        "beats_incumbent",
    ]
    assert promotes(reasons)
    assert not promotes([])


@pytest.mark.parametrize(
    ("rule", "on_the_bound", "beyond"),
    [
        ("trials", replace(GOOD, columns=20), replace(GOOD, columns=19)),
        ("observations", replace(GOOD, observations=250), replace(GOOD, observations=249)),
        (
            "deflated_sharpe",
            replace(GOOD, deflated=Deflated(9.0, 0.1, 0.95)),
            replace(GOOD, deflated=Deflated(9.0, 0.1, 0.9499)),
        ),
        ("pbo", replace(GOOD, pbo=0.3), replace(GOOD, pbo=0.3001)),
    ],
)
def test_bounds_of_the_evidence(rule, on_the_bound, beyond):
    assert outcome(rule, on_the_bound) == PASSED
    assert outcome(rule, beyond) == FAILED
    assert not promotes(judge(beyond, RULES, LOCKED))


@pytest.mark.parametrize(
    ("rule", "on_the_bound", "beyond"),
    [
        ("locked_openings", replace(LOCKED, openings=3), replace(LOCKED, openings=4)),
        ("locked_observations", replace(LOCKED, observations=40), replace(LOCKED, observations=39)),
        ("locked_sharpe", replace(LOCKED, winner_sharpe=1e-9), replace(LOCKED, winner_sharpe=0.0)),
        (
            "beats_incumbent",
            replace(LOCKED, lead=Lead(replace(SURE, value=1e-9), SURE)),
            replace(LOCKED, lead=Lead(replace(SURE, value=0.0), SURE)),
        ),
    ],
)
def test_bounds_of_the_locked_segment(rule, on_the_bound, beyond):
    assert outcome(rule, locked=on_the_bound) == PASSED
    assert outcome(rule, locked=beyond) == FAILED
    assert not promotes(judge(GOOD, RULES, beyond))


@pytest.mark.parametrize(
    ("figures", "locked"),
    [
        (replace(GOOD, pbo=math.nan), LOCKED),
        (replace(GOOD, deflated=Deflated(100.0, math.nan, math.nan)), LOCKED),
        (GOOD, replace(LOCKED, winner_sharpe=math.nan)),
        (GOOD, replace(LOCKED, lead=NO_LEAD)),
    ],
)
def test_an_undefined_figure_is_not_known_and_says_so(figures, locked):
    reasons = judge(figures, RULES, locked)
    assert not promotes(reasons)
    assert not [reason for reason in reasons if reason.outcome == FAILED]
    unknown = [reason for reason in reasons if reason.outcome == UNKNOWN]
    assert len(unknown) == 1
    assert "undefined" in unknown[0].text


def test_plateau_unknown_failed_or_not_asked():
    unknown = replace(GOOD, plateau=Plateau(None, "12 trials", 0, *[math.nan] * 4))
    fails = replace(GOOD, plateau=Plateau(False, "spike", 10, 0.1, 0.1, 0.1, 0.5))
    assert outcome("plateau", unknown) == UNKNOWN
    assert outcome("plateau", fails) == FAILED
    for figures in (unknown, fails):
        assert not promotes(judge(figures, RULES, LOCKED))
        assert promotes(judge(figures, PromotionRules(plateau=False), LOCKED))


def test_a_segment_that_nobody_opened_leaves_its_rules_unknown():
    reasons = judge(GOOD, RULES, None)
    assert not promotes(reasons)
    assert [reason.outcome for reason in reasons].count(UNKNOWN) == 4


def test_locked_result_compares_over_the_segment():
    rng = np.random.default_rng(0)
    winner, incumbent = rng.normal(0.001, 0.01, (2, 200))
    found = locked_result(winner, incumbent, PERIODS, 2, np.random.default_rng(1), 100)
    growth, ratio, _ = compare(winner, incumbent, PERIODS, np.random.default_rng(1), 100)
    assert found.lead == Lead(growth, ratio)
    assert (found.openings, found.observations) == (2, 200)
    assert found.lead.sharpe.value == pytest.approx(found.winner_sharpe - found.incumbent_sharpe)


def test_an_incumbent_that_never_trades_is_beaten_by_growth_alone():
    winner = np.random.default_rng(0).normal(0.001, 0.01, 200)
    found = locked_result(winner, np.zeros(200), PERIODS, 1, np.random.default_rng(1), 100)
    assert math.isnan(found.incumbent_sharpe)
    assert found.lead.growth.low < found.lead.growth.value < found.lead.growth.high
    assert outcome("beats_incumbent", locked=found) == (
        PASSED if found.lead.growth.value > 0 else FAILED
    )


def test_own_interval_equals_the_lead_over_nothing():
    returns = np.random.default_rng(2).normal(0.0005, 0.01, 300)
    alone = own(returns, PERIODS, np.random.default_rng(3), 400)
    ahead = lead(returns, np.zeros(300), PERIODS, np.random.default_rng(3), 400)
    assert alone.growth.value == pytest.approx(ahead.growth.value)
    assert alone.growth.low == pytest.approx(ahead.growth.low)
    assert alone.growth.below_zero == ahead.growth.below_zero
    assert alone.sharpe.low < alone.sharpe.value < alone.sharpe.high
    assert math.isnan(ahead.sharpe.value)


@pytest.mark.parametrize("count", [1, 29])
def test_short_accounts_have_values_without_intervals(count):
    returns = np.random.default_rng(4).normal(0.0, 0.01, count)
    for found in (
        own(returns, PERIODS, np.random.default_rng(0)),
        lead(returns, returns * 0.5, PERIODS, np.random.default_rng(0)),
    ):
        assert math.isfinite(found.growth.value)
        assert math.isnan(found.growth.low)
        assert math.isnan(found.sharpe.low)


def test_ruin_has_no_growth():
    returns = np.random.default_rng(5).normal(0.0, 0.01, 100)
    ruined = np.append(returns, -1.0)
    assert math.isnan(own(ruined, PERIODS, np.random.default_rng(0)).growth.value)
    assert lead(ruined, ruined, PERIODS, np.random.default_rng(0)) == NO_LEAD
    assert lead(returns[:0], returns[:0], PERIODS, np.random.default_rng(0)) == NO_LEAD
    with pytest.raises(ValueError, match="same length"):
        lead(returns, ruined, PERIODS, np.random.default_rng(0))


@pytest.mark.parametrize(
    "bad",
    [
        {"deflated_sharpe": 1.5},
        {"deflated_sharpe": math.nan},
        {"pbo": -0.1},
        {"locked_growth_lead": math.nan},
        {"locked_sharpe": math.inf},
        {"trials": 1},
        {"observations": 1},
        {"locked_observations": 0},
        {"most_openings": 0},
    ],
)
def test_rules_that_make_no_sense_are_refused(bad):
    with pytest.raises(InputError, match=f"promotion rule {next(iter(bad))}"):
        PromotionRules(**bad)


def test_the_defaults_are_those_of_the_promotion_policy():
    assert (RULES.deflated_sharpe, RULES.pbo, RULES.plateau) == (0.95, 0.30, True)
    assert len(fields(RULES)) == 9
