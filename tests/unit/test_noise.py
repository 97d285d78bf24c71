"""The noise experiments in short: luck is not promoted, skill can be."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import noise
from tuning.study.rules import PromotionRules

RULES = PromotionRules()
TRIALS = 40


def test_pbo_of_noise_is_one_half_and_of_skill_next_to_none():
    assert abs(noise.noise_pbo(25, 0.0, blocks=8).mean() - 0.5) <= 0.1
    assert noise.noise_pbo(25, 0.002, blocks=8).mean() < 0.05


def test_studies_of_random_walks_promote_nothing():
    for market in noise.MARKETS[:2]:
        promoted, passed = noise.studies(market, 6, RULES, TRIALS)
        assert promoted == 0
        assert passed["observations"] == 6  # they were judged


def test_a_study_is_a_function_of_its_seed_and_no_rule_is_out_of_reach():
    market = noise.MARKETS[-1]
    outcomes = [noise.study(market, seed, RULES, TRIALS) for seed in range(6)]
    passed = {
        rule: sum(r.outcome == "passed" for one in outcomes for r in one if r.rule == rule)
        for rule in ("deflated_sharpe", "pbo", "plateau", "beats_incumbent")
    }
    assert min(passed.values()) > 0
    assert repr(noise.study(market, 1, RULES, TRIALS)) == repr(outcomes[1])


def test_the_locked_bars_do_not_reach_the_search():
    """Another end of the prices changes what is judged on it and nothing else."""
    before = {r.rule: r for r in noise.study(noise.MARKETS[0], 3, RULES, TRIALS)}

    def other_end(rng, drift):
        bars = noise.prices(rng, drift)
        for name in ("open", "high", "low", "close"):
            bars[name][1200:] = bars[name][1200:] * np.linspace(1.0, 2.0, 300)
        return bars

    after = {r.rule: r for r in noise.study(noise.MARKETS[0], 3, RULES, TRIALS, other_end)}
    for rule in ("deflated_sharpe", "pbo", "plateau", "observations"):
        assert repr(after[rule]) == repr(before[rule])
    assert after["beats_incumbent"] != before["beats_incumbent"]


def test_wilson_interval_of_the_textbook():
    # Newcombe 1998: 81 of 263 gives 0.2553 to 0.3662; 0 of 20 gives 0 to 0.1611.
    assert noise.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert noise.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
