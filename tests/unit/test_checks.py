"""Each check at its boundary."""

from types import SimpleNamespace

import pytest

from actors.checks import (
    Code,
    TradingState,
    Verdict,
    check_collar,
    check_dissent,
    check_lock,
    check_min_notional,
    check_order_notional,
    check_precision,
    check_quorum,
    check_rate,
    check_staleness,
    check_state,
    check_toxicity,
    check_volatility,
    collar_price,
    reducing_lots,
    then,
)
from actors.limits import RiskLimits

LIMITS = RiskLimits().record()
A, R, D = Verdict.APPROVED, Verdict.REDUCED, Verdict.DENIED
OK = (A, Code.NONE, 10)


def test_quorum_needs_agents_and_weight() -> None:
    assert check_quorum(LIMITS, 3, 0.5, 10) == OK
    assert check_quorum(LIMITS, 2, 1.0, 10) == (D, Code.NO_QUORUM, 0)
    assert check_quorum(LIMITS, 6, 0.49, 10) == (D, Code.NO_QUORUM, 0)


def test_dissent_staleness_lock_rate_and_precision() -> None:
    assert check_dissent(LIMITS, 0.35, 10) == OK
    assert check_dissent(LIMITS, 0.3501, 10) == (D, Code.DISSENT, 0)
    assert check_staleness(LIMITS, 60.0, 10) == OK
    for age in (60.1, -1.0, float("nan")):
        assert check_staleness(LIMITS, age, 10) == (D, Code.STALE_DATA, 0)
    assert check_lock(0, 10) == OK
    assert check_lock(1, 10) == (D, Code.SYMBOL_LOCKED, 0)
    assert check_rate(LIMITS, 599, 10) == OK
    assert check_rate(LIMITS, 600, 10) == (D, Code.RATE, 0)
    assert check_precision(1, 10) == OK
    assert check_precision(0, 10) == (D, Code.PRECISION, 0)
    for lots in (0, -1):
        assert check_precision(1, lots) == (D, Code.PRECISION, 0)
    assert check_lock(1, -1) == check_lock(0, -1) == (D, Code.SYMBOL_LOCKED, 0)


@pytest.mark.parametrize(
    ("position", "side", "expected"), [(7, -1, 7), (15, -1, 10), (7, 1, 0), (-7, 1, 7), (0, -1, 0)]
)
def test_reducing_lots(position: int, side: int, expected: int) -> None:
    assert reducing_lots(position, side, 10) == expected


def test_states() -> None:
    assert check_state(TradingState.ACTIVE, 0, 1, 10) == OK
    assert check_state(TradingState.REDUCING, 7, -1, 10) == (R, Code.REDUCING_ONLY, 7)
    assert check_state(TradingState.REDUCING, 7, 1, 10) == (D, Code.REDUCING_ONLY, 0)
    for state in (TradingState.HALTED, 3, -1):
        assert check_state(state, 7, -1, 10) == (D, Code.HALTED, 0)


def test_toxic_and_wild_flow_stops_increases_only() -> None:
    assert check_toxicity(LIMITS, 0.99, 0, 1, 10) == OK
    assert check_toxicity(LIMITS, 0.995, 0, 1, 10) == (D, Code.TOXIC, 0)
    assert check_toxicity(LIMITS, 0.995, 20, -1, 10) == OK
    assert check_toxicity(LIMITS, float("nan"), 0, 1, 10) == (D, Code.TOXIC, 0)
    assert check_volatility(LIMITS, 0.1, 0, 1, 10) == OK
    assert check_volatility(LIMITS, 0.11, 0, 1, 10) == (D, Code.VOLATILITY, 0)
    assert check_volatility(LIMITS, 0.11, 4, -1, 10) == (R, Code.VOLATILITY, 4)


def test_order_size() -> None:
    # 25 % of 1,000 at 50 a lot: five lots.
    assert check_order_notional(LIMITS, 10**9, 50_000_000, 10) == (R, Code.ORDER_NOTIONAL, 5)
    assert check_order_notional(LIMITS, 10**9, 25_000_000, 10) == OK
    assert check_order_notional(LIMITS, -1, 1, 10) == (D, Code.ORDER_NOTIONAL, 0)
    small = RiskLimits(max_order_notional=90).record()
    assert check_order_notional(small, 10**12, 10**7, 10) == (R, Code.ORDER_NOTIONAL, 9)


def test_minimum_size_spares_the_last_lots() -> None:
    # At least 100: ten lots of ten, and not nine.
    assert check_min_notional(LIMITS, 10**7, 0, 1, 10) == OK
    assert check_min_notional(LIMITS, 10**7, 0, 1, 9) == (D, Code.MIN_NOTIONAL, 0)
    assert check_min_notional(LIMITS, 10**7 - 1, 0, 1, 10) == (D, Code.MIN_NOTIONAL, 0)
    assert check_min_notional(LIMITS, 1, 10, -1, 10) == OK
    assert check_min_notional(LIMITS, 1, 11, -1, 10) == (D, Code.MIN_NOTIONAL, 0)


def test_collar() -> None:
    # 500 bp of 10,001 is 500.05: rounded so that the collar is never looser.
    assert collar_price(LIMITS, 1, 10_001) == 10_501
    assert collar_price(LIMITS, -1, 10_001) == 9_501
    assert collar_price(LIMITS, -1, 1) == 1
    assert check_collar(LIMITS, 1, 10_501, 10_001, 10) == OK
    assert check_collar(LIMITS, 1, 10_502, 10_001, 10) == (D, Code.COLLAR, 0)
    assert check_collar(LIMITS, -1, 9_501, 10_001, 10) == OK
    assert check_collar(LIMITS, -1, 9_500, 10_001, 10) == (D, Code.COLLAR, 0)


def test_an_objection_replaces_and_an_approval_keeps() -> None:
    assert then(R, Code.CASH, (A, Code.NONE, 5)) == (R, Code.CASH, 5)
    assert then(R, Code.CASH, (D, Code.GROSS, 0)) == (D, Code.GROSS, 0)
    assert SimpleNamespace(**{c.name: c for c in Code}).CASH == 18  # codes are in journals: fixed
