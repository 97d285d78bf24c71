"""The rule against the golden vectors of the facts page and independent solvers."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.spatial.distance import jensenshannon

from actors.pool_rule import (
    WEIGHT_FLOOR,
    aa_pool,
    brier,
    dissent,
    entropy,
    fade,
    linear_pool,
    weight_step,
)

P = np.array(
    [
        [0.2, 0.3, 0.5],
        [0.6, 0.3, 0.1],
        [1 / 3, 1 / 3, 1 / 3],
        [0.1, 0.8, 0.1],
        [0.25, 0.25, 0.5],
        [0.4, 0.2, 0.4],
    ]
)
UNIFORM = np.full(6, 1 / 6)
ALL = np.ones(6, np.bool_)


def pooled(weights, forecasts=P, awake=ALL):
    out = np.empty(3)
    aa_pool(weights, forecasts, awake, out)
    return out


def losses_at(outcome, own=None, awake=ALL):
    return np.array([brier(P[i], outcome) if awake[i] else own for i in range(6)])


def test_golden_pool_linear_pool_and_dissent() -> None:
    assert pooled(UNIFORM) == pytest.approx([0.3139015, 0.35654572, 0.32955278], abs=1e-8)
    out = np.empty(3)
    linear_pool(UNIFORM, P, ALL, out)
    assert out == pytest.approx([0.3138888889, 0.3638888889, 0.3222222222], abs=1e-10)
    mixed = dissent(UNIFORM, P, ALL, np.empty(3))
    assert mixed == pytest.approx(0.12425343631440972, abs=1e-14)
    assert mixed * np.log(3) == pytest.approx(0.13650635204425088, abs=1e-14)


def test_golden_step_after_up() -> None:
    weights = UNIFORM.copy()
    weight_step(weights, losses_at(2), UNIFORM, 0.0)
    expected = [0.23012719, 0.09545282, 0.17277073, 0.07815016, 0.23128071, 0.19221838]
    assert weights == pytest.approx(expected, abs=1e-8)
    assert pooled(weights) == pytest.approx([0.30337597, 0.30880825, 0.38781578], abs=1e-8)


def test_golden_sequence_of_ten_outcomes() -> None:
    weights, own, theirs = UNIFORM.copy(), 0.0, np.zeros(6)
    for outcome in (2, 2, 0, 2, 1, 2, 2, 0, 2, 2):
        own += brier(pooled(weights), outcome)
        losses = losses_at(outcome)
        theirs += losses
        weight_step(weights, losses, UNIFORM, 0.0)
    assert own == pytest.approx(5.992205281462814, abs=1e-12)
    assert theirs == pytest.approx([5.4, 10.2, 6.6666667, 13.2, 5.25, 6.0], abs=1e-7)
    assert own - theirs.min() == pytest.approx(0.7422052814628142, abs=1e-12)


def test_golden_sleeper_takes_the_pools_own_loss() -> None:
    awake = ALL.copy()
    awake[3] = False
    forecast = pooled(UNIFORM, awake=awake)
    assert forecast == pytest.approx([0.35894714, 0.26510479, 0.37594807], abs=1e-8)
    own = brier(forecast, 2)
    assert own == pytest.approx(0.588564407370184, abs=1e-14)
    weights = UNIFORM.copy()
    weight_step(weights, losses_at(2, own, awake), UNIFORM, 0.0)
    expected = [0.20757325, 0.08609784, 0.1558381, 0.16849733, 0.20861372, 0.17337976]
    assert weights == pytest.approx(expected, abs=1e-8)


def test_pool_solves_its_defining_equation() -> None:
    # An independent root finder on sum (s - g)+ = 2, over many weights and forecasts.
    rng = np.random.default_rng(7)
    for _ in range(200):
        k = int(rng.integers(1, 9))
        forecasts = rng.dirichlet(rng.choice([0.05, 1.0, 20.0], 3), k)
        weights = rng.dirichlet(np.full(k, 0.3)) + 1e-12
        share = weights / weights.sum()
        g = [-np.log(share @ np.exp(-((forecasts - np.eye(3)[o]) ** 2).sum(1))) for o in range(3)]
        s = brentq(lambda x, g=g: np.maximum(x - np.array(g), 0).sum() - 2, -1, 5, xtol=1e-14)
        expected = np.maximum(s - np.array(g), 0) / 2
        assert pooled(weights, forecasts, np.ones(k, np.bool_)) == pytest.approx(
            expected, abs=1e-10
        )


def test_one_voter_is_followed_and_a_zero_vetoes_nothing() -> None:
    only = np.ones(1, np.bool_)
    assert pooled(np.ones(1), P[:1], only) == pytest.approx(P[0], abs=1e-12)
    certain = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    both = pooled(np.full(2, 0.5), certain, np.ones(2, np.bool_))
    assert both[0] == pytest.approx(both[2])
    assert both[0] > 0.4


def test_nobody_awake_gives_the_marker() -> None:
    nobody = np.zeros(6, np.bool_)
    assert pooled(UNIFORM, awake=nobody).tolist() == [0.0, 0.0, 0.0]
    assert dissent(UNIFORM, P, nobody, np.empty(3)) == 0.0


def test_dissent_against_scipy_and_its_ends() -> None:
    two = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    half, both = np.full(2, 0.5), np.ones(2, np.bool_)
    # scipy gives the square root of the divergence.
    expected = jensenshannon(two[0], two[1]) ** 2 / np.log(3)
    assert dissent(half, two, both, np.empty(3)) == pytest.approx(expected, abs=1e-14)
    assert dissent(np.ones(3), np.eye(3), np.ones(3, np.bool_), np.empty(3)) == pytest.approx(1.0)
    same = np.tile(P[0], (2, 1))
    assert dissent(half, same, both, np.empty(3)) == pytest.approx(0.0, abs=1e-15)
    assert entropy(1.0, 0.0, 0.0) == 0.0


def test_mixing_returns_a_share_of_the_prior() -> None:
    weights, prior = np.array([0.9, 0.1]), np.array([0.5, 0.5])
    weight_step(weights, np.zeros(2), prior, 0.1)
    assert weights == pytest.approx([0.86, 0.14], abs=1e-15)


def test_a_hopeless_weight_stays_positive() -> None:
    weights = np.full(2, 0.5)
    for _ in range(800):
        weight_step(weights, np.array([0.0, 2.0]), np.full(2, 0.5), 0.0)
    assert weights.tolist() == [1.0, WEIGHT_FLOOR]
    lonely = np.array([False, True])
    assert pooled(weights, P[:2], lonely) == pytest.approx(P[1], abs=1e-12)


def test_a_vote_loses_half_its_voice_per_half_life() -> None:
    out, base = np.empty(3), np.array([0.3, 0.4, 0.3])
    p = np.array([0.1, 0.2, 0.7])
    fade(p, base, 0, 2.0, out)
    assert out == pytest.approx(p)
    fade(p, base, 2, 2.0, out)
    assert out == pytest.approx([0.2, 0.3, 0.5])
    fade(p, base, 4, 2.0, out)
    assert out == pytest.approx([0.25, 0.35, 0.4])
