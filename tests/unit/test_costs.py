import math

import pytest

from actors.costs import (
    CostModel,
    commission_micro,
    cost_fraction,
    participation_lots,
    price_cost_fraction,
)

COSTS = CostModel().record()


def test_square_root_impact_of_the_facts_page() -> None:
    # 1 % of volume at sigma 2 % and Y = 1 costs 20 basis points.
    pure = CostModel(half_spread_bps=0.0, slippage_bps=0.0, impact_y=1.0).record()
    assert price_cost_fraction(pure, 0.0, 0.02, 100, 10_000) == pytest.approx(0.0020, abs=1e-15)


def test_parts_add_up() -> None:
    # 2 + 1 bp, 0.5 * 0.02 * sqrt(1/100) = 10 bp, 1000 shares at 0.005 on 50,000: 1 bp.
    total = cost_fraction(COSTS, 2.0, 0.02, 1_000, 100_000, 50_000_000)
    assert total == pytest.approx(0.0003 + 0.0010 + 0.0001, abs=1e-15)


def test_commission_has_a_minimum() -> None:
    assert commission_micro(COSTS, 0, 10_000_000) == 0
    assert commission_micro(COSTS, 1, 10_000_000) == 1_000_000
    assert commission_micro(COSTS, 200, 10_000_000) == 1_000_000
    assert commission_micro(COSTS, 201, 10_000_000) == 1_005_000


def test_commission_on_notional_is_rounded_half_to_even() -> None:
    costs = CostModel(
        commission_per_lot_micro=0, commission_ppm=50, commission_min_micro=0
    ).record()
    # 50 ppm of 10,000 and 30,000 micro-units: 0.5 and 1.5.
    assert commission_micro(costs, 1, 10_000) == 0
    assert commission_micro(costs, 1, 30_000) == 2
    assert commission_micro(costs, 7, 1_000_000_000_000) == 50_000_000


def test_what_did_not_trade_is_infinitely_dear() -> None:
    assert cost_fraction(COSTS, 2.0, 0.02, 10, 0, 100) == math.inf
    assert cost_fraction(COSTS, 2.0, 0.02, 0, 100, 100) == math.inf


def test_participation_is_floored() -> None:
    assert [participation_lots(COSTS, v) for v in (-5, 0, 9, 10, 19, 1_000)] == [0, 0, 0, 1, 1, 100]


@pytest.mark.parametrize(
    "wrong", [{"impact_y": -1.0}, {"slippage_bps": math.nan}, {"participation_cap": 1.5}]
)
def test_wrong_models_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match="cost"):
        CostModel(**wrong)
