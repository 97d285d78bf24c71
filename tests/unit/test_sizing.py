import math

import numpy as np
import pytest
from scipy.stats import norm

from actors.costs import CostModel
from actors.outcome import FLAT_BAND
from actors.sizing import (
    SIZE_NO_EDGE,
    SIZE_OK,
    TAIL_MEAN,
    SizingParams,
    expected_return,
    inside_band,
    pays,
    target_fraction,
    target_lots,
)

SIZING = SizingParams().record()
COSTS = CostModel().record()


def test_tail_mean_against_scipy() -> None:
    expected = norm.expect(lambda z: z, lb=FLAT_BAND, conditional=True)
    assert pytest.approx(expected, abs=1e-9) == TAIL_MEAN


def test_edge_by_hand() -> None:
    # Twenty points of probability, at 1.09 times the volatility of four bars.
    assert expected_return(0.3, 0.5, 0.02, 4) == pytest.approx(0.2 * TAIL_MEAN * 0.04)
    assert expected_return(0.5, 0.3, 0.02, 4) < 0


def test_volatility_target_binds_for_a_strong_view() -> None:
    # 10 % a year over 2 % * sqrt(252) = 31.7 % a year: weight 0.315.
    fraction = target_fraction(SIZING, 0.1, 0.8, 0.02, 0.0, 0.0)
    assert fraction == pytest.approx(0.10 / (0.02 * math.sqrt(252)))
    double = SizingParams(risk_multiplier=2.0).record()
    assert target_fraction(double, 0.1, 0.8, 0.02, 0.0, 0.0) == pytest.approx(2 * fraction)


def test_kelly_binds_for_a_weak_view() -> None:
    # Fraction 0.25 of edge / variance over five bars.
    edge = 0.01 * TAIL_MEAN * 0.02 * math.sqrt(5)
    expected = 0.25 * edge / (0.02**2 * 5)
    assert target_fraction(SIZING, 0.33, 0.34, 0.02, 0.0, 0.0) == pytest.approx(expected)
    assert target_fraction(SIZING, 0.34, 0.33, 0.02, 0.0, 0.0) == pytest.approx(-expected)


def test_kelly_maximises_growth_in_a_simulation_free_check() -> None:
    # For small normal returns growth mu f - sigma^2 f^2 / 2 peaks at mu / sigma^2.
    full = SizingParams(kelly_fraction=1.0, vol_target=1e9, horizon=1).record()
    sigma, p_down, p_up = 0.02, 0.32, 0.35
    mu = expected_return(p_down, p_up, sigma, 1)
    grid = np.linspace(0, 4, 400_001)
    best = grid[np.argmax(mu * grid - sigma**2 * grid**2 / 2)]
    assert target_fraction(full, p_down, p_up, sigma, 0.0, 0.0) == pytest.approx(best, abs=1e-5)


def test_dissent_and_toxicity_only_shrink() -> None:
    whole = target_fraction(SIZING, 0.1, 0.8, 0.02, 0.0, 0.0)
    assert target_fraction(SIZING, 0.1, 0.8, 0.02, 0.25, 0.0) == pytest.approx(0.75 * whole)
    assert target_fraction(SIZING, 0.1, 0.8, 0.02, 0.0, 0.5) == whole
    assert target_fraction(SIZING, 0.1, 0.8, 0.02, 0.0, 0.75) == pytest.approx(0.5 * whole)
    assert target_fraction(SIZING, 0.1, 0.8, 0.02, 0.0, 1.0) == 0.0


def test_unknown_volatility_wants_nothing() -> None:
    assert target_fraction(SIZING, 0.1, 0.8, 0.0, 0.0, 0.0) == 0.0


def test_a_nearly_constant_price_wants_much_and_nothing_absurd() -> None:
    for sigma in (1e-12, 1e-200, 5e-324):
        assert target_fraction(SIZING, 0.1, 0.8, sigma, 0.1, 0.0) == pytest.approx(90.0)
        assert target_fraction(SIZING, 0.1, 0.8, sigma, 0.1, 1.0) == 0.0


def test_constant_volatility_gives_constant_weight() -> None:
    weights = {target_fraction(SIZING, 0.1, 0.8, 0.015, 0.1, 0.2) for _ in range(5)}
    assert len(weights) == 1


def test_lots_are_rounded_towards_zero() -> None:
    # 30 % of 1,000 at 7 each is 42.86 lots.
    assert target_lots(0.3, 1_000_000_000, 7_000_000) == 42
    assert target_lots(-0.3, 1_000_000_000, 7_000_000) == -42
    assert target_lots(0.3, -5, 7) == 0
    with pytest.raises(OverflowError):
        target_lots(1e10, 9 * 10**18, 1)


def test_an_edge_below_the_round_trip_does_not_pay() -> None:
    # Round trip: 2 * (3 bp + 0.5 * 0.02 * sqrt(1/1000) + 1 bp) = 14.32 bp.
    args = (2.0, 0.02, 1_000, 1_000_000, 50_000_000)
    unit = TAIL_MEAN * 0.02 * math.sqrt(5)
    just = 0.00143246 / unit
    assert pays(SIZING, COSTS, 0.3, 0.3 + just * 1.001, *args) == SIZE_OK
    assert pays(SIZING, COSTS, 0.3, 0.3 + just * 0.999, *args) == SIZE_NO_EDGE
    assert pays(SIZING, COSTS, 0.3 + just * 1.001, 0.3, *args) == SIZE_OK


def test_the_no_trade_band() -> None:
    # 2 % of 100,000 is 2,000: 40 lots of 50.
    assert inside_band(SIZING, 39, 10**11, 50_000_000)
    assert not inside_band(SIZING, 40, 10**11, 50_000_000)
    assert not inside_band(SIZING, -(10**18), 10**11, 50_000_000)


@pytest.mark.parametrize(
    "wrong",
    [{"kelly_fraction": 0.0}, {"vol_target": math.nan}, {"band": 1.0}, {"risk_multiplier": 2.5}],
)
def test_wrong_parameters_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match="sizing"):
        SizingParams(**wrong)
