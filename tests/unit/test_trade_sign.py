"""Trade signs: each source by hand, and their agreement with the flags of recorded wires."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import trade_signs
from data.ticks import NBBO, TRADE
from data.trade_sign import SignRule, TradeSigner, midpoint_sign, sign_trades


def trades(*rows):
    """Rows of (ts, price, side)."""
    return np.array([(ts, price, 1, side, 0) for ts, price, side in rows], TRADE)


def test_tick_rule_zero_ticks_take_the_last_sign():
    prices = [10, 10, 11, 11, 10, 10, 12]
    rows = trades(*((i, price, 0) for i, price in enumerate(prices)))
    assert sign_trades(rows, rule=SignRule.TICK).tolist() == [0, 0, 1, 1, -1, -1, 1]


def test_the_flag_goes_first_and_still_moves_the_ticks():
    rows = trades((1, 10, 1), (2, 12, -1), (3, 12, 0))
    assert sign_trades(rows).tolist() == [1, -1, 1]
    assert sign_trades(rows, rule=SignRule.FLAG).tolist() == [1, -1, 0]
    assert sign_trades(rows, rule=SignRule.TICK).tolist() == [0, 1, 1]
    assert sign_trades(rows, rule=SignRule.BULK).tolist() == [0, 0, 0]


def test_lee_ready_uses_the_quote_strictly_before():
    nbbo = np.array([(5, 10, 1, 14, 1), (10, 20, 1, 24, 1)], NBBO)
    rows = trades(
        (5, 11, 0),  # no quote before it and no tick yet
        (6, 13, 0),  # above 12
        (7, 11, 0),  # below 12
        (8, 12, 0),  # at 12: an uptick
        (10, 13, 0),  # the quote of this very ts is not yet used
        (11, 13, 0),  # below 22
    )
    assert sign_trades(rows, nbbo, SignRule.LEE_READY).tolist() == [0, 1, -1, 1, 1, -1]


def test_many_quotes_of_one_ts_leave_the_one_before_them():
    nbbo = np.array([(1, 10, 1, 14, 1), (5, 20, 1, 24, 1), (5, 30, 1, 34, 1)], NBBO)
    assert sign_trades(trades((5, 13, 0), (6, 31, 0)), nbbo).tolist() == [1, -1]


@pytest.mark.parametrize("unusable", [(2, 15, 1, 12, 1), (2, 0, 0, 12, 1), (2, 15, 1, 0, 0)])
def test_a_crossed_or_one_sided_quote_leaves_the_tick_rule(unusable):
    rows = trades((1, 20, 0), (3, 19, 0), (4, 30, 0))
    assert sign_trades(rows, np.array([unusable], NBBO)).tolist() == [0, -1, 1]


def test_an_odd_spread_has_its_midpoint_between_ticks():
    assert [midpoint_sign(price, 10, 13) for price in (11, 12)] == [-1, 1]
    assert [midpoint_sign(price, 10, 12) for price in (10, 11, 12)] == [-1, 0, 1]


def test_rows_out_of_order_are_refused():
    with pytest.raises(ValueError, match="trades row 1"):
        sign_trades(trades((2, 1, 0), (1, 1, 0)))
    signer = TradeSigner()
    signer.push(trades((5, 1, 0)))
    with pytest.raises(ValueError, match="has passed"):
        signer.push(trades((4, 1, 0)))


# Per cent of trades; docs/market_data.md holds the same figures.
TRADES_RIGHT = {
    "USD-M": {"tick rule": 96.87, "Lee-Ready, venue clock": 99.83, "Lee-Ready, depth bound": 95.93},
    "spot": {
        "tick rule": 95.93,
        "Lee-Ready, depth bound": 96.87,
        "Lee-Ready, received + 0 ms": 54.03,
    },
}
# Mean error of a bar's buy share, percentage points.
SHARE_ERROR = {
    "USD-M": {"bars 1s, bulk": 25.14, "bars 1s, tick rule": 3.83},
    "spot": {"bars 1s, bulk": 26.08, "bars 1s, tick rule": 5.85},
}


@pytest.mark.parametrize("venue", sorted(TRADES_RIGHT))
def test_agreement_with_the_flags_of_recorded_wires(venue):
    if not (trade_signs.SHARED / trade_signs.WIRES[venue][0]).is_file():
        pytest.skip("needs recorded wires in ../shared/data, absent here")
    found = trade_signs.measure(venue)
    for method, per_cent in TRADES_RIGHT[venue].items():
        assert round(found[method][0], 2) == per_cent, method
    for method, error in SHARE_ERROR[venue].items():
        assert round(found[method][1], 2) == error, method
