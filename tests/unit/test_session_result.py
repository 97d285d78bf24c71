"""A session result refuses arrays that do not fit each other."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from session_results import DAY, ROUNDS, START, WARM_UP, session

from tuning.session_result import money


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"equity_micro": np.zeros(3, np.int64)}, "equity_micro"),
        ({"weights": np.zeros((ROUNDS, 2))}, "weights"),
        ({"d_votes": np.zeros((2 * ROUNDS, 3, 3))}, "d_votes"),
        ({"d_reason": np.zeros((1, 2), np.int64)}, "d_reason"),
        ({"d_code": ("NONE",)}, "d_code"),
        ({"d_verdict": ("yes",) * 2 * ROUNDS}, "unknown verdicts"),
        ({"d_symbol": np.full(2 * ROUNDS, 2)}, "d_symbol"),
        ({"d_symbol": np.full(2 * ROUNDS, -1)}, "d_symbol"),
        ({"ts": np.full(ROUNDS, START)}, "strictly increasing"),
        ({"d_ts": np.arange(2 * ROUNDS)[::-1]}, "back in time"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        session(**change)


def test_the_traded_period_takes_the_round_before_it_as_base():
    result = session()
    assert result.traded_rounds == slice(WARM_UP - 1, ROUNDS)
    assert result.in_traded_period().sum() == 2 * (ROUNDS - WARM_UP)


def test_a_session_that_never_traded_keeps_its_last_round_only():
    result = session(first_traded=START + 1000 * DAY)
    assert result.traded_rounds == slice(ROUNDS - 1, ROUNDS)
    assert not result.in_traded_period().any()


def test_money_is_exact():
    assert money(1_012_345_670_001) == Decimal("1012345.670001")
    assert str(money(-5)) == "-0.000005"
    assert str(money(2**62)) == "4611686018427.387904"
