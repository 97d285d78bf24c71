"""Published models of size and impact against their published figures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tuning.execution_models import almgren_2005, bet_growth, kelly_fraction


def test_kelly_of_a_coin_that_falls_right_six_times_in_ten() -> None:
    assert kelly_fraction(0.6) == pytest.approx(0.2, rel=1e-15)
    assert bet_growth(0.2, 0.6) == pytest.approx(0.020135513550688863, rel=1e-14)


@pytest.mark.parametrize(("p", "odds"), [(0.6, 1.0), (0.3, 4.0), (0.95, 0.2), (0.4, 1.0)])
def test_no_other_stake_grows_faster(p: float, odds: float) -> None:
    grid = np.linspace(0.0, 0.999, 20_001)
    best = grid[np.argmax([bet_growth(f, p, odds) for f in grid])]
    assert kelly_fraction(p, odds) == pytest.approx(best, abs=6e-5)


def test_staking_everything_on_anything_unsure_is_ruin() -> None:
    assert bet_growth(1.0, 0.99) == -math.inf
    assert bet_growth(1.0, 1.0) == pytest.approx(math.log(2.0))
    assert kelly_fraction(0.1) == 0.0


@pytest.mark.parametrize(("days", "cost_bp"), [(0.1, 32.22), (0.2, 24.63), (0.5, 18.41)])
def test_almgren_2005_of_ibm(days: float, cost_bp: float) -> None:
    """A tenth of a day's volume of IBM, by the paper's own parameters (its table 3)."""
    found = almgren_2005(656_100, days, 0.0157, 6_561_000, 1_728_000_000)
    assert found.cost * 1e4 == pytest.approx(cost_bp, abs=0.011)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="probability"):
        kelly_fraction(1.2)
    with pytest.raises(ValueError, match="odds"):
        bet_growth(0.1, 0.5, 0.0)
    with pytest.raises(ValueError, match="above 0"):
        almgren_2005(100, 0.0, 0.02, 1e6, 1e9)
