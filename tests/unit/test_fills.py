import pytest

from actors.costs import CostModel
from cloud_trader.fills import fill_price, next_bar_fill

COSTS = CostModel().record()


def test_a_buy_and_a_sell_by_hand() -> None:
    # 3 bp + 0.5 * 0.02 * sqrt(0.01) = 13 bp of 100.0000 is 1300 ticks; 1000 shares cost 5.00.
    buy = next_bar_fill(COSTS, 1, 1_000, 1_100_000, 1_000_000, 100_000, 2.0, 0.02, 100)
    sell = next_bar_fill(COSTS, -1, 1_000, 900_000, 1_000_000, 100_000, 2.0, 0.02, 100)
    assert buy == (1_000, 1_001_300, 5_000_000)
    assert sell == (1_000, 998_700, 5_000_000)


def test_the_move_is_rounded_half_to_even() -> None:
    flat = CostModel(half_spread_bps=2.5, slippage_bps=0.0, impact_y=0.0).record()
    # 2.5 bp of 10,000, 30,000 and 50,000 ticks: 2.5, 7.5 and 12.5 ticks.
    moves = [fill_price(flat, 1, 1, p, 100, 2.5, 0.0) - p for p in (10_000, 30_000, 50_000)]
    assert moves == [2, 8, 12]


def test_never_beyond_the_limit() -> None:
    at = next_bar_fill(COSTS, 1, 1_000, 1_001_300, 1_000_000, 100_000, 2.0, 0.02, 100)
    assert at[0] == 1_000
    assert next_bar_fill(COSTS, 1, 1_000, 1_001_299, 1_000_000, 100_000, 2.0, 0.02, 100)[0] == 0
    assert next_bar_fill(COSTS, -1, 1_000, 998_701, 1_000_000, 100_000, 2.0, 0.02, 100) == (0, 0, 0)


def test_participation_caps_the_fill_and_pays_impact_on_the_filled_part() -> None:
    lots, price, fee = next_bar_fill(COSTS, 1, 1_000, 2_000_000, 1_000_000, 5_000, 2.0, 0.02, 100)
    assert lots == 500
    # 3 bp + 0.01 * sqrt(0.1)
    assert price == 1_000_000 + round(1_000_000 * (0.0003 + 0.01 * 0.1**0.5))
    assert fee == 2_500_000
    assert next_bar_fill(COSTS, 1, 1_000, 2_000_000, 1_000_000, 9, 2.0, 0.02, 100) == (0, 0, 0)
    assert next_bar_fill(COSTS, 1, 1_000, 2_000_000, 1_000_000, 0, 2.0, 0.02, 100) == (0, 0, 0)


def test_a_price_never_reaches_zero() -> None:
    wild = CostModel(impact_y=1000.0).record()
    assert next_bar_fill(wild, -1, 10, 1, 100, 100, 2.0, 0.5, 100) == (0, 0, 0)


@pytest.mark.parametrize(
    "args",
    [
        (0, 1, 1, 1, 1, 2.0, 0.1),
        (1, 0, 1, 1, 1, 2.0, 0.1),
        (1, 1, 0, 1, 1, 2.0, 0.1),
        (1, 1, 1, 0, 1, 2.0, 0.1),
        (1, 1, 1, 1, 1, -2.0, 0.1),
    ],
)
def test_malformed_orders_are_refused(args) -> None:
    with pytest.raises(ValueError, match="fill"):
        next_bar_fill(COSTS, *args, 100)


def test_a_volatility_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="sigma"):
        next_bar_fill(COSTS, 1, 1, 1, 1, 100, 2.0, float("nan"), 100)
