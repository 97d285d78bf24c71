"""A session result refuses arrays that do not fit each other."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from session_results import DAY, ROUNDS, START, WARM_UP, session

from actors.checks import Code, Verdict
from tuning.session_result import FillRow, money


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"equity_micro": np.zeros(3, np.int64)}, "equity_micro"),
        ({"weights": np.zeros((ROUNDS, 2))}, "weights"),
        ({"d_votes": np.zeros((2 * ROUNDS, 3, 3))}, "d_votes"),
        ({"d_reason": np.zeros((1, 2), np.int64)}, "d_reason"),
        ({"d_code": ("NONE",)}, "d_code"),
        ({"d_verdict": ("yes",) * 2 * ROUNDS}, "unknown verdicts"),
        ({"d_code": ("YES",) * 2 * ROUNDS}, "unknown codes"),
        ({"d_verdict": np.full(2 * ROUNDS, 4)}, "unknown verdicts outside 0 to 3"),
        ({"d_code": np.full(2 * ROUNDS, -1)}, "unknown codes outside"),
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


def test_verdicts_and_codes_may_come_as_words_or_as_small_numbers():
    by_word = session()
    numbers = session(
        d_verdict=by_word.verdicts.astype(np.int8), d_code=by_word.codes.astype(np.int8)
    )
    assert numbers.verdicts.dtype == np.int8
    assert numbers.verdict_names == by_word.verdict_names
    assert numbers.code_names == by_word.code_names
    assert by_word.verdict_names[0] == Verdict(by_word.verdicts[0]).name.lower() == "denied"
    assert by_word.code_names[0] == Code(by_word.codes[0]).name == "WARMING_UP"


def test_amounts_of_a_fill_by_hand():
    bought = FillRow(1, "BTC", 1, 30, Decimal("50001.5"), Decimal(1), Decimal(50000))
    assert bought.price_cost == Decimal(45)
    assert replace(bought, side=-1).price_cost == Decimal(-45)
    small = replace(bought, lot=Decimal("0.001"))
    assert (small.notional, small.price_cost) == (Decimal("1500.045"), Decimal("0.045"))
    assert replace(bought, reference=None).price_cost is None
