"""From an approval, or an operator's wish, to an order or a refusal with its reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from support import limits, plain_config

from actors.checks import Code
from actors.costs import CostModel
from cloud_trader.account_records import OrderEntry, RefusedEntry
from cloud_trader.account_step import POSITION, opened_books
from cloud_trader.order_rules import Approval, OrderRules

CONFIG = plain_config(("BBB", "AAA"))
OPENING = 10**12
RULES = OrderRules(CONFIG, limits().record(), CostModel().record())
GOOD = Approval(
    account=CONFIG.account, symbol="AAA", ts=5, side=1, lots=100, limit_ticks=1_010_000,
    net_lots=0, epoch=3, epoch_in_force=3, fresh=True, ordered=False,
)  # fmt: skip


def positions(**fields: Any) -> np.ndarray:
    """Of AAA, the second symbol; all marked at 100.00."""
    rows = np.zeros(2, POSITION)
    rows["mark_ticks"] = 1_000_000
    for name, value in fields.items():
        rows[name][1] = value
    return rows


def test_a_good_approval_becomes_its_order() -> None:
    order = RULES.decide(GOOD, opened_books(OPENING), positions())
    assert order == OrderEntry(
        client_order_id=f"{CONFIG.session_id}/AAA/5/d", symbol="AAA", ts=5, origin="decision",
        side=1, lots=100, limit_ticks=1_010_000, epoch=3, code="NONE",
        reserved_micro=100 * 1_010_000 * 100 + 10**6,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"account": "other"}, Code.NO_APPROVAL),
        ({"epoch_in_force": 4}, Code.EPOCH_VOID),
        ({"epoch_in_force": None}, Code.EPOCH_VOID),
        ({"fresh": False}, Code.EXPIRED),
        ({"ordered": True}, Code.DUPLICATE),
        ({"net_lots": 1}, Code.STALE_VIEW),
        # The first objection is the one that is told.
        ({"epoch_in_force": 4, "fresh": False, "ordered": True, "net_lots": 1}, Code.EPOCH_VOID),
        ({"fresh": False, "ordered": True, "net_lots": 1}, Code.EXPIRED),
        ({"ordered": True, "net_lots": 1}, Code.DUPLICATE),
        # The account's own checks come last.
        ({"limit_ticks": 1_060_000}, Code.COLLAR),
        ({"side": -1, "limit_ticks": 990_000}, Code.SHORT),
    ],
)
def test_what_is_wrong_with_an_approval(changes: dict[str, Any], code: Code) -> None:
    approval = replace(GOOD, **changes)
    refused = RULES.decide(approval, opened_books(OPENING), positions())
    assert refused == RefusedEntry(
        symbol="AAA", ts=5, side=approval.side, lots=100, code=code.name, epoch=3,
        epoch_in_force=approval.epoch_in_force or 0,
    )  # fmt: skip


def test_open_orders_belong_to_the_view_of_an_approval() -> None:
    held = positions(lots=50, open_buys=30, open_sells=10)
    books = opened_books(OPENING)
    assert isinstance(RULES.decide(replace(GOOD, net_lots=70), books, held), OrderEntry)
    stale = RULES.decide(replace(GOOD, net_lots=50), books, held)
    assert stale.code == "STALE_VIEW"


def test_an_order_made_smaller_says_why() -> None:
    order = RULES.decide(replace(GOOD, lots=10**6), opened_books(OPENING), positions())
    assert isinstance(order, OrderEntry)
    assert order.code == "CONCENTRATION"
    # 0.4 of equity at the worst price, 101.00.
    assert order.lots == 4 * 10**11 // (1_010_000 * 100)


def test_to_close_lists_what_is_not_zero_with_open_orders() -> None:
    rows = positions(lots=5, open_sells=5)
    assert RULES.to_close(rows) == []
    rows["open_buys"][0] = 1
    assert RULES.to_close(rows) == ["BBB"]
    rows["open_sells"][1] = 0
    assert RULES.to_close(rows) == ["BBB", "AAA"]


@pytest.mark.parametrize(
    ("held", "side", "lots", "limit"),
    [
        ({"lots": 7}, -1, 7, 950_000),
        ({"lots": -7}, 1, 7, 1_050_000),
        ({"lots": 7, "open_sells": 3}, -1, 4, 950_000),
    ],
)
def test_an_operator_closes_within_the_collar(
    held: dict[str, int], side: int, lots: int, limit: int
) -> None:
    books = opened_books(OPENING)
    books["state"] = 2  # Halted: an operator may still close.
    order = RULES.close("AAA", 9, "flatten", books, positions(**held))
    assert isinstance(order, OrderEntry)
    assert (order.side, order.lots, order.limit_ticks) == (side, lots, limit)
    assert order.client_order_id == f"{CONFIG.session_id}/AAA/9/o"
    assert (order.origin, order.epoch, order.code) == ("operator", None, "flatten")


def test_a_close_that_nobody_can_pay_is_refused() -> None:
    books = opened_books(OPENING)
    books["cash_micro"] = 0
    refused = RULES.close("AAA", 9, "flatten", books, positions(lots=-7))
    assert isinstance(refused, RefusedEntry)
    assert msgspec.structs.asdict(refused) == {
        "symbol": "AAA", "ts": 9, "side": 1, "lots": 7, "code": "CASH", "epoch": 0,
        "epoch_in_force": 0,
    }  # fmt: skip
