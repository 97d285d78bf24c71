"""A moment's journal record, beside the books that it moved."""

from __future__ import annotations

import numpy as np
import pytest
from support import plain_config

from cloud_trader.account_records import ClosedEntry, FillEntry
from cloud_trader.account_step import POSITION, opened_books
from cloud_trader.broker import DoneEvent, FillEvent, Order
from cloud_trader.moment import settle_moment
from data.bars import Bars, empty_bars
from data.records import bars_to_rows

# Not in the order of their names: a record lists names in order, arrays follow the session.
CONFIG = plain_config(("CCC", "AAA", "BBB"))
TS = 86_400 * 10**9 * 11_000
BUY = Order("buy", "AAA", 1, 10, 1_100, from_decision=True)
SELL = Order("sell", "CCC", -1, 5, 900, from_decision=True)


def bars_of(*closes: int) -> Bars:
    bars = empty_bars(len(closes))
    bars["ts"], bars["symbol"], bars["close"] = TS, np.arange(len(closes)), closes
    return bars


def test_the_record_says_what_happened_and_how_the_books_stand() -> None:
    books, positions = opened_books(10**9), np.zeros(3, POSITION)
    positions["lots"], positions["mark_ticks"] = (5, 0, 0), (1_000, 0, 0)
    books["reserved_micro"] = 1_100_000
    bars = bars_of(1_010, 1_020)
    events = [
        FillEvent("f1", BUY, 4, 1_000, 30),
        DoneEvent(BUY, "expired", 4),
        DoneEvent(SELL, "expired", 0),
    ]
    record = settle_moment(CONFIG, books, positions, TS, bars, events, [0], 1_100_000)
    assert record.ts == TS
    assert record.fills == [FillEntry(
        fill_id="f1", client_order_id="buy", symbol="AAA", side=1, lots=4, price_ticks=1_000,
        fee_micro=30,
    )]  # fmt: skip
    assert record.closed == [
        ClosedEntry(client_order_id="buy", status="expired", filled_lots=4),
        ClosedEntry(client_order_id="sell", status="expired", filled_lots=0),
    ]
    assert record.positions == {"AAA": 4, "CCC": 5}
    assert list(record.positions) == ["AAA", "CCC"]
    assert record.marks == {"AAA": 1_020, "CCC": 1_010}, "BBB was never marked"
    assert record.cash_micro == 10**9 - 4 * 1_000 * 100 - 30
    assert record.equity_micro == record.cash_micro + 100 * (5 * 1_010 + 4 * 1_020)
    assert (record.reserved_micro, record.locked) == (0, ["CCC"])
    assert (record.day, record.day_open_micro) == (11_000, 10**9)
    assert record.peak_micro == max(10**9, record.equity_micro)
    # The bars that orders met, and no others.
    assert record.met == bars_to_rows(bars)
    assert record.equity_micro == books["equity_micro"]
    assert positions["lots"].tolist() == [5, 4, 0]


def test_a_quiet_moment_marks_and_nothing_else() -> None:
    books, positions = opened_books(10**9), np.zeros(3, POSITION)
    record = settle_moment(CONFIG, books, positions, TS, bars_of(7), [], [0], 0)
    assert (record.fills, record.closed, record.met, record.locked) == ([], [], [], [])
    assert record.marks == {"CCC": 7}
    assert record.equity_micro == record.cash_micro == 10**9


def test_a_fill_that_is_none_is_refused() -> None:
    books, positions = opened_books(10**9), np.zeros(3, POSITION)
    wrong = [FillEvent("f1", BUY, 0, 1_000, 0)]
    with pytest.raises(ValueError, match="fill"):
        settle_moment(CONFIG, books, positions, TS, bars_of(7, 7), wrong, [], 0)
