"""The evidence of planted skill and of noise, and the sentence that it comes to."""

from __future__ import annotations

import math

import numpy as np
import pytest

from data.errors import InputError
from tuning.statistics import annualised_sharpe, probabilistic_sharpe, shape, sharpe
from tuning.study.evidence import Evidence, evidence, sentence
from tuning.study.overfitting import backtest_overfitting, deflated_sharpe, expected_maximum
from tuning.study.rules import PromotionRules, judge, locked_result, promotes
from tuning.study.selection import over_paths, over_time

PERIODS, ROWS, TRIALS = 252.0, 1000, 60
RULES = PromotionRules()


def planted(skill: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(returns, coordinates): skill is a hill over the first coordinate, the rest is noise."""
    rng = np.random.default_rng(seed)
    at = rng.random((TRIALS, 2))
    returns = 0.3 * rng.normal(0, 0.01, (ROWS, 1)) + rng.normal(0, 0.01, (ROWS, TRIALS))
    return returns + skill * np.exp(-(((at[:, 0] - 0.5) / 0.3) ** 2)), at


def found(returns: np.ndarray, at: np.ndarray, **changed) -> Evidence:
    ratios = np.array([sharpe(column) for column in returns.T])
    winner = int(np.nanargmax(ratios)) if np.isfinite(ratios).any() else 0
    asked = {
        "winner": winner,
        "coordinates": at,
        "objective": ratios,
        "benchmarks": {"buy and hold": returns[:, 0], "incumbent": returns[:, -1] * 0.5},
        "periods_per_year": PERIODS,
        "horizon": 2,
        "trials": TRIALS + 15,
        "rng": np.random.default_rng(1),
        "blocks": 8,
        "resamples": 100,
    }
    return evidence(returns, **(asked | changed))


def test_every_figure_equals_its_own_function():
    returns, at = planted(0.001)
    held = found(returns, at, shown=5)
    ours = returns[:, held.winner]
    ratio = sharpe(ours)
    variance = np.var([sharpe(column) for column in returns.T], ddof=1)
    assert held.annual_sharpe == annualised_sharpe(ours)
    assert held.annual_sharpe_low < held.annual_sharpe < held.annual_sharpe_high
    assert held.probabilistic == probabilistic_sharpe(ratio, ROWS, *shape(ours))
    assert held.variance == pytest.approx(variance)
    assert held.deflated.trials == TRIALS + 15 + 5  # tried, and shown before
    assert held.deflated.probability == pytest.approx(
        deflated_sharpe(ratio, ROWS, *shape(ours), TRIALS + 20, variance).probability
    )
    shared = held.effective.mean_correlation
    assert 0.05 < shared < 0.12
    assert held.deflated_effective.trials == pytest.approx(shared + (1 - shared) * (TRIALS + 20))
    assert held.deflated_effective.probability > held.deflated.probability
    assert held.backtest_years == pytest.approx(
        (expected_maximum(TRIALS + 20) / held.annual_sharpe) ** 2
    )
    assert held.pbo == backtest_overfitting(returns, 8).pbo
    np.testing.assert_array_equal(held.paths.paths, over_paths(returns, 10, 2, 2, 10).paths)
    assert held.median_path == held.paths.median * math.sqrt(PERIODS)
    np.testing.assert_array_equal(held.walked.returns, over_time(returns, 5, gap=2).returns)
    assert held.leads["incumbent"].sharpe.value == pytest.approx(
        held.annual_sharpe - annualised_sharpe(returns[:, -1])
    )
    assert held.own.growth.value == pytest.approx(np.log1p(ours).mean() * PERIODS)
    assert held.years == ROWS / PERIODS


def test_the_same_seed_gives_the_same_evidence_and_resampling_nothing_else():
    returns, at = planted(0.001)
    first, second = (found(returns, at) for _ in range(2))
    assert first.leads == second.leads
    assert first.own == second.own
    other = found(returns, at, rng=np.random.default_rng(2))
    assert other.deflated == first.deflated
    assert other.own != first.own


def test_skill_is_believed_once_the_locked_segment_agrees():
    returns, at = planted(0.003)
    held = found(returns, at)
    so_far = sentence(held, RULES)
    assert so_far.startswith("Not proven yet: so far the winner's Sharpe ratio of")
    assert so_far.endswith("the locked segment has not been opened.")
    rng = np.random.default_rng(3)
    winner, incumbent = rng.normal(0.003, 0.01, 200), rng.normal(0.0, 0.01, 200)
    locked = locked_result(winner, incumbent, PERIODS, 1, rng, 100)
    assert promotes(judge(held, RULES, locked))
    said = sentence(held, RULES, locked)
    assert said.startswith("It may be believed: ")
    assert "its neighbourhood holds" in said
    # Shown a fourth time the same segment proves nothing any more.
    spent = locked_result(winner, incumbent, PERIODS, 4, rng, 100)
    assert sentence(held, RULES, spent).startswith("Not proven: openings of this segment: 4")
    # And an incumbent that did better refutes it.
    behind = locked_result(incumbent, winner, PERIODS, 1, rng, 100)
    assert sentence(held, RULES, behind).startswith("Do not believe it: ")


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_not_believed_whatever_the_locked_segment_says(seed):
    returns, at = planted(0.0, seed)
    held = found(returns, at)
    rng = np.random.default_rng(seed)
    lucky = locked_result(
        rng.normal(0.003, 0.01, 200), rng.normal(0.0, 0.01, 200), PERIODS, 1, rng, 100
    )
    assert not promotes(judge(held, RULES, lucky))
    said = sentence(held, RULES, lucky)
    assert said.startswith("Do not believe it: the luckiest of 75 trials without skill would reach")
    assert "deflated probability" in said


def test_candidates_shown_before_raise_the_bar():
    returns, at = planted(0.001)
    fresh, seen = found(returns, at), found(returns, at, shown=500)
    assert seen.deflated.threshold > fresh.deflated.threshold
    assert seen.deflated.probability < fresh.deflated.probability


def test_undefined_is_not_proven():
    returns, at = planted(0.003)
    still = np.zeros_like(returns)
    held = found(still, at)
    assert math.isnan(held.annual_sharpe)
    assert math.isnan(held.pbo)
    assert math.isnan(held.deflated.probability)
    assert not promotes(judge(held, RULES, None))
    said = sentence(held, RULES)
    assert said.startswith("Not proven: its deflated Sharpe ratio is undefined; the probability")
    assert "nan" not in said


def test_one_trial_or_few_returns_leave_figures_undefined():
    returns, at = planted(0.003)
    alone = found(returns[:, :1], at[:1], trials=1, winner=0, benchmarks={})
    assert alone.overfitting is None
    assert math.isnan(alone.pbo)
    assert math.isnan(alone.deflated.probability)
    assert alone.plateau.holds is None
    assert sentence(alone, RULES).startswith("Not proven: trials with returns: 1, at least 20")
    short = found(returns[:15], at, benchmarks={})
    assert short.overfitting is None
    assert short.paths is None
    assert short.walked is None
    assert math.isnan(short.median_path)
    assert "returns of each trial: 15, at least 250 asked" in sentence(short, RULES)
    # A label that takes all training data leaves no path either.
    assert found(returns[:100], at, horizon=60, benchmarks={}).paths is None


@pytest.mark.parametrize("horizon", [0, 3, 9, 17, 18, 19, 20, 21, 25])
@pytest.mark.parametrize("rows", [20, 47, 100])
def test_short_data_and_long_labels_never_break_the_paths(rows, horizon):
    returns, at = planted(0.001)
    found(returns[:rows], at, horizon=horizon, benchmarks={}, blocks=4)


def test_float32_returns_as_they_are_stored():
    returns, at = planted(0.001)
    wide, narrow = found(returns, at), found(returns.astype(np.float32), at)
    assert narrow.winner == wide.winner
    assert narrow.pbo == wide.pbo
    assert narrow.deflated.probability == pytest.approx(wide.deflated.probability, rel=1e-4)


def test_the_plateau_may_look_at_other_trials_than_those_with_returns():
    returns, at = planted(0.003)
    held = found(returns, at)
    more = np.concatenate([at, at[:20] * 0.5])
    objective = np.concatenate([[sharpe(c) for c in returns.T], np.full(20, math.nan)])
    again = found(returns, at, coordinates=more, objective=objective, best=held.winner)
    assert again.plateau.neighbours >= held.plateau.neighbours


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"winner": TRIALS}, "winner 60 is none of 60 columns"),
        ({"trials": TRIALS - 1}, "60 columns have returns already"),
        ({"shown": -1}, "-1 shown"),
        ({"periods_per_year": math.nan}, "periods a year"),
        ({"horizon": -1}, "horizon -1"),
        ({"benchmarks": {"incumbent": np.zeros(3)}}, "'incumbent': give 1000 finite"),
        ({"benchmarks": {"committee": np.full(ROWS, math.nan)}}, "'committee'"),
    ],
)
def test_what_does_not_fit_is_refused(changed, says):
    returns, at = planted(0.001)
    with pytest.raises(InputError, match=says):
        found(returns, at, **changed)


def test_columns_that_are_not_finite_are_refused_by_name():
    returns, at = planted(0.001)
    broken = returns.copy()
    broken[5, 7] = math.nan
    objective = np.array([sharpe(column) for column in returns.T])
    with pytest.raises(InputError, match="columns 7"):
        evidence(broken, 3, at, objective, {}, PERIODS, 1, TRIALS, np.random.default_rng(0))
