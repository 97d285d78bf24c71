"""Opening hours: against dates that everybody can look up, and the quotes that end with them."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from data.clocks import Clock
from data.errors import InputError
from data.session_hours import quote_ends, session_hours
from data.ticks_import import bars_of_ticks


def ns(text: str) -> int:
    return int(np.datetime64(text, "ns").astype(np.int64))


def test_opens_and_closes_of_thanksgiving() -> None:
    opens, closes = session_hours("XNYS", ns("2009-11-25T12:00"), ns("2009-11-30T12:00"))
    week = [(ns("2009-11-25T14:30"), ns("2009-11-25T21:00")),
            (ns("2009-11-27T14:30"), ns("2009-11-27T18:00")),
            (ns("2009-11-30T14:30"), ns("2009-11-30T21:00"))]  # fmt: skip
    found = list(zip(opens.tolist(), closes.tolist(), strict=True))
    assert found[found.index(week[0]) :][:3] == week
    assert opens[0] < ns("2009-11-25")
    assert closes[-1] > ns("2009-12-01")
    with pytest.raises(InputError, match="--calendar 'MARS' is not known"):
        session_hours("MARS", 0, 1)


def test_quotes_end_at_the_close_and_at_midnight_when_the_exchange_is_shut() -> None:
    ends = quote_ends("XNYS", ns("2009-11-27T15:00"), ns("2009-11-30T22:00"))
    assert ends.tolist() == [
        ns("2009-11-27T18:00"), ns("2009-11-30T05:00"), ns("2009-11-30T21:00"),
    ]  # fmt: skip
    # Chicago's futures open the evening before: midnight is in the middle of their session.
    ends = quote_ends("CMES", ns("2024-03-05T12:00"), ns("2024-03-06T12:00"))
    assert ends.tolist() == [ns("2024-03-05T23:00")]


def frame(rows: list[tuple[object, ...]], *names: str) -> pl.DataFrame:
    made = pl.DataFrame(rows, schema=["ts", *names], orient="row")
    return made.with_columns(
        pl.col("ts").str.to_datetime(time_unit="ns", time_zone="UTC"), symbol=pl.lit("A")
    )


def test_a_bar_before_the_open_carries_no_quote_of_the_last_evening() -> None:
    quotes = frame(
        [("2009-11-30T20:59:50", 0, 100, 5, 102, 5), ("2009-12-01T14:30:00", 0, 101, 5, 0, 0)],
        "exchange", "bid", "bid_size", "ask", "ask_size",
    )  # fmt: skip
    trades = frame(
        [(f"2009-{moment}", 101, 1, 0, 0) for moment in
         ("11-30T20:59:55", "12-01T12:00:10", "12-01T14:31:00")],
        "price", "size", "side", "exchange",
    )  # fmt: skip
    units = (Decimal("0.01"), Decimal(1))
    shown = {}
    for calendar in ("XNYS", None):
        bars, said = bars_of_ticks(trades, quotes, Clock.parse("1m"), units, 1, calendar)
        assert said == ["A: quotes read as per exchange"]
        shown[calendar] = bars.select("bid", "ask").rows()
    assert shown["XNYS"] == [(100, 102), (None, None), (101, None)]
    assert shown[None] == [(100, 102), (100, 102), (101, 102)]
    # No quote comes after the close: what stood ends all the same.
    bars, _ = bars_of_ticks(trades, quotes[:1], Clock.parse("1m"), units, 1, "XNYS")
    assert bars["bid"].to_list() == [100, None, None]


def test_pairs_of_bids_and_asks_are_said_to_be_read_as_national() -> None:
    rows = [(f"2009-11-30T15:00:{n:02}", n % 2, *side) for n in range(5)
            for side in ((100, 5, 0, 0), (0, 0, 102, 5))]  # fmt: skip
    quotes = frame(rows, "exchange", "bid", "bid_size", "ask", "ask_size")
    trades = frame([("2009-11-30T15:00:09", 101, 1, 0, 0)], "price", "size", "side", "exchange")
    _, said = bars_of_ticks(
        trades, quotes, Clock.parse("1m"), (Decimal("0.01"), Decimal(1)), 2, "XNYS"
    )
    assert said == ["A: quotes read as national"]
