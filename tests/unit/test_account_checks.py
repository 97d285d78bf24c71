"""The account's judgement of one order, case by case."""

import numpy as np
import pytest

from actors.account_checks import (
    ORDER,
    affordable_lots,
    check_order,
    loss_reached,
    reserve_micro,
)
from actors.checks import Code, TradingState, Verdict
from actors.costs import CostModel
from actors.limits import RiskLimits

COSTS = CostModel().record()
A, R, D = Verdict.APPROVED, Verdict.REDUCED, Verdict.DENIED
MILLION = 10**12

GOOD = {
    "side": 1,
    "lots": 1_000,
    "limit_price": 105_000,  # 10.50
    "reference": 100_000,  # 10.00
    "micro_per_tick": 100,
    "state": TradingState.ACTIVE,
    "cash_micro": MILLION,
    "equity_micro": MILLION,
    "peak_micro": MILLION,
    "day_start_micro": MILLION,
}
SELL = {"side": -1, "limit_price": 95_000}


def check(limits=None, **changes):
    row = np.zeros(1, ORDER)
    for name, value in {**GOOD, **changes}.items():
        row[name] = value
    return check_order((limits or RiskLimits()).record(), COSTS, row[0])


def test_a_plain_buy_and_sell() -> None:
    assert check() == (A, Code.NONE, 1_000)
    assert check(**SELL, position=1_000) == (A, Code.NONE, 1_000)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"side": 0}, Code.PRECISION),
        ({"lots": 0}, Code.PRECISION),
        ({"lots": -1}, Code.PRECISION),
        ({"limit_price": 0}, Code.PRECISION),
        ({"reference": 0}, Code.PRECISION),
        ({"state": TradingState.HALTED}, Code.HALTED),
        ({"state": TradingState.REDUCING}, Code.REDUCING_ONLY),
        ({"limit_price": 105_001}, Code.COLLAR),
        ({"side": -1, "limit_price": 95_000}, Code.SHORT),
        ({"equity_micro": MILLION - MILLION // 20}, Code.DAILY_LOSS),
        ({"day_start_micro": 0}, Code.DAILY_LOSS),
        ({"peak_micro": MILLION * 4 // 3 + 1}, Code.DRAWDOWN),
        ({"cash_micro": 0}, Code.CASH),
        ({"reserved_micro": MILLION}, Code.CASH),
        ({"gross_other_micro": MILLION}, Code.GROSS),
        ({"position": 40_000}, Code.CONCENTRATION),
    ],
)
def test_what_denies_a_buy(changes, code) -> None:
    assert check(**changes) == (D, code, 0)


def test_losses_below_their_limit_pass() -> None:
    assert check(equity_micro=MILLION - MILLION // 20 + 1) == (A, Code.NONE, 1_000)
    assert check(peak_micro=MILLION * 4 // 3 - 1) == (A, Code.NONE, 1_000)
    assert loss_reached(250_000, 100, 75)
    assert not loss_reached(250_000, 100, 76)


def test_cash_is_counted_at_the_worst_price_with_commission() -> None:
    # Ten lots at 10.50 and the minimum of 1.00: 106.00.
    dust = RiskLimits(min_order_notional=0)
    assert check(dust, cash_micro=106_000_000, lots=20) == (R, Code.CASH, 10)
    assert check(dust, cash_micro=105_999_999, lots=20) == (R, Code.CASH, 9)
    assert affordable_lots(COSTS, 1_000_000, 1) == 0
    # A thousand lots cost 0.005 each.
    assert affordable_lots(COSTS, 1_000 * 10_505_000, 10_500_000) == 1_000
    assert affordable_lots(COSTS, 1_000 * 10_505_000 - 1, 10_500_000) == 999
    assert reserve_micro(COSTS, 1, 1_000, 105_000, 100) == 1_000 * 10_505_000
    assert reserve_micro(COSTS, -1, 1_000, 105_000, 100) == 0


def test_a_sale_must_pay_its_commission() -> None:
    # One lot at 0.50 does not pay 1.00, unless there is cash.
    penny = {"side": -1, "limit_price": 5_000, "reference": 5_000, "lots": 1, "position": 1}
    assert check(**penny, cash_micro=0) == (D, Code.CASH, 0)
    assert check(**penny, cash_micro=500_000) == (A, Code.NONE, 1)


def test_concentration_and_gross_reduce_at_the_worst_price() -> None:
    # 40 % of a million at 10.50: 38095 lots, 100 of them held, 50 on order.
    held = {"position": 100, "open_buys": 50, "lots": 60_000}
    assert check(**held) == (R, Code.CONCENTRATION, 38_095 - 150)
    assert check(lots=60_000, gross_other_micro=MILLION * 9 // 10) == (R, Code.GROSS, 9_523)
    small = RiskLimits(max_position_notional=1_050)
    assert check(small) == (R, Code.POSITION, 100)


def test_reductions_pass_every_loss_and_exposure_limit() -> None:
    bad = {
        "position": 90_000,
        "equity_micro": MILLION // 2,
        "gross_other_micro": 9 * MILLION,
        "cash_micro": 0,
        "lots": 90_000,
    }
    assert check(**SELL, **bad) == (A, Code.NONE, 90_000)
    assert check(**SELL, **bad, state=TradingState.REDUCING) == (A, Code.NONE, 90_000)
    assert check(**SELL, **bad, state=TradingState.HALTED) == (D, Code.HALTED, 0)


def test_a_sale_counts_the_sales_already_on_their_way() -> None:
    assert check(**SELL, position=1_000, open_sells=400) == (R, Code.SHORT, 600)
    assert check(**SELL, position=1_000, open_buys=500, open_sells=1_000) == (D, Code.SHORT, 0)


def test_shorts_where_allowed_stay_within_concentration() -> None:
    free = RiskLimits(allow_short=True)
    # Shorts are valued at the mark, above their limit price.
    assert check(free, **{**SELL, "lots": 60_000}) == (R, Code.CONCENTRATION, 40_000)
    assert check(free, **{**SELL, "lots": 60_000, "position": 500}) == (
        R,
        Code.CONCENTRATION,
        40_500,
    )


def test_operators_only_reduce_and_do_so_in_every_state() -> None:
    ruined = {"operator": 1, "state": TradingState.HALTED, "equity_micro": 1, "lots": 10}
    assert check(**SELL, **ruined, position=10) == (A, Code.NONE, 10)
    assert check(**SELL, **ruined, position=7) == (R, Code.REDUCING_ONLY, 7)
    assert check(**SELL, **ruined, position=0) == (D, Code.REDUCING_ONLY, 0)
    assert check(**ruined, position=5) == (D, Code.REDUCING_ONLY, 0)
    assert check(**ruined, position=-10) == (A, Code.NONE, 10)
