"""A planted spike and a planted hill, and what is said when too little is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from data.errors import InputError
from tuning.study.plateau import plateau


def points(n: int = 120, d: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, d))


def hill(at: np.ndarray, width: float = 0.3) -> np.ndarray:
    """Sharpe ratios of a hill in the middle of the cube, 0 far from it."""
    return np.exp(-(((at - 0.5) / width) ** 2).sum(axis=1))


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_hill_holds(seed):
    at = points(seed=seed)
    objective = hill(at) + np.random.default_rng(seed).normal(0, 0.03, len(at))
    found = plateau(at, objective, int(objective.argmax()))
    assert found.holds is True
    assert found.neighbours == 12
    assert found.kept > 0.5
    assert found.quantile > 0.8


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_spike_does_not_hold(seed):
    at = points(seed=seed)
    objective = np.random.default_rng(seed).normal(0, 0.1, len(at))
    winner = int(np.abs(at - 0.5).sum(axis=1).argmin())
    objective[winner] = 1.0
    found = plateau(at, objective, winner)
    assert found.holds is False
    assert found.kept < 0.3
    assert "neighbours keeps" in found.why


def test_by_hand_on_a_line():
    at = np.linspace(0, 1, 31)[:, None]
    objective = np.zeros(31)
    objective[15] = 1.0
    objective[[13, 14, 16]] = 0.6
    found = plateau(at, objective, 15, neighbours=5)
    assert found.neighbours == 5
    assert found.distance == pytest.approx(0.1)  # 12 or 18, three steps away
    assert found.median == 0.6
    assert found.kept == pytest.approx(0.6)
    assert found.quantile == 1.0
    assert found.holds is True
    objective[[13, 14, 16]] = 0.4
    assert plateau(at, objective, 15, neighbours=5).holds is False
    # Two of four in the middle: the lower one counts.
    assert plateau(at, objective, 15, neighbours=6).median == 0.0


def test_a_search_that_stayed_near_its_hill_still_holds():
    rng = np.random.default_rng(3)
    near = np.clip(0.5 + rng.normal(0, 0.05, (90, 2)), 0, 1)
    at = np.concatenate([rng.random((40, 2)), near])
    objective = hill(at, 0.2)
    found = plateau(at, objective, int(objective.argmax()))
    assert found.holds is True


def test_a_lead_that_is_none_is_held_by_everybody():
    at = points()
    found = plateau(at, np.full(len(at), 0.4), 7)
    assert found.holds is True
    assert found.kept == 1.0


def test_copies_of_the_winner_and_of_a_neighbour_do_not_vouch_for_it():
    at = points()
    objective = np.zeros(len(at))
    objective[3] = 1.0
    copies = np.repeat(at[3:4], 50, axis=0)
    found = plateau(np.concatenate([at, copies]), np.append(objective, np.ones(50)), 3)
    assert found.holds is False
    assert found.neighbours == 12
    twice = np.concatenate([at, at])
    again = plateau(twice, np.concatenate([objective, objective]), 3)
    assert again == plateau(at, objective, 3)


def test_neighbours_that_failed_rank_below_all():
    at = points()
    objective = hill(at)
    winner = int(objective.argmax())
    near = np.argsort(((at - at[winner]) ** 2).sum(axis=1))[1:13]
    objective[near] = math.nan
    found = plateau(at, objective, winner)
    assert found.holds is False
    assert found.median == -math.inf
    assert "has no objective" in found.why


@pytest.mark.parametrize(
    ("at", "objective", "why"),
    [
        (points(29), np.arange(29.0), "29 distinct trials, 30 needed"),
        (np.repeat(points(20), 5, axis=0), np.arange(100.0), "20 distinct trials"),
        (points(100, 30), np.arange(100.0), "0 trials near the winner, 5 needed"),
        (points(100), np.full(100, math.nan), "no objective"),
        (points(100), np.where(np.arange(100) == 99, 1.0, math.nan), "no objective"),
    ],
)
def test_too_little_is_unknown(at, objective, why):
    found = plateau(at, objective, len(at) - 1)
    assert found.holds is None
    assert why in found.why
    assert math.isnan(found.kept)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: plateau(points(40), np.zeros(39), 0), "give"),
        (lambda: plateau(points(40), np.zeros(40), 40), "winner 40 is none of 40"),
        (lambda: plateau(points(40) * 2, np.zeros(40), 0), "unit cube"),
        (lambda: plateau(points(40) * math.nan, np.zeros(40), 0), "unit cube"),
        (lambda: plateau(points(40), np.zeros(40), 0, neighbours=0), "1 or more"),
    ],
)
def test_what_is_refused(call, says):
    with pytest.raises(InputError, match=says):
        call()
