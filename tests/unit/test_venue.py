"""When a resting order meets its bar, and what the venue knows of a symbol by then."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from actors.costs import CostModel
from cloud_trader.venue import (
    RESTING,
    TAPE,
    known_sigma,
    known_spread_bps,
    meet_bar,
    read_bar,
)
from data.bars import make_bar

FREE = CostModel(0, 0, 0, half_spread_bps=3.0, slippage_bps=0.0, impact_y=0.0).record()


def bar(ts: int, close: int = 1_000, **fields: Any) -> np.void:
    values = {"open": 1_000, "high": 2_000, "low": 1, "volume": 10**6, **fields}
    return make_bar(ts=ts, symbol=0, close=close, **values)[0]


def tape_of(*bars: np.void) -> np.void:
    tape = np.zeros(1, TAPE)[0]
    for one in bars:
        read_bar(tape, one)
    return tape


def resting(decided: int, **fields: Any) -> np.void:
    order = np.zeros(1, RESTING)[0]
    for name, value in {"side": 1, "lots": 10, "limit_ticks": 2_000, **fields}.items():
        order[name] = value
    order["decided_ts"] = decided
    return order


def met_at(decided: int, bars: list[int], latency_bars: int, latency_ns: int) -> int | None:
    """ts of the bar that an order of the moment ``decided`` meets; bars by their closes."""
    order, tape = resting(decided), np.zeros(1, TAPE)[0]
    for ts in bars:
        one = bar(ts)
        if ts > decided and meet_bar(FREE, tape, order, one, latency_bars, latency_ns, 0, 100)[0]:
            return ts
        read_bar(tape, one)
    return None


@pytest.mark.parametrize(
    ("latency_bars", "latency_ns", "expected"),
    [
        (1, 0, 20),
        (2, 0, 30),
        (4, 0, 70),
        (5, 0, None),
        # A bar begins where the one before it ended: 20 begins at 10, 30 at 20, 60 at 30.
        (1, 1, 30),
        (1, 10, 30),
        (1, 11, 60),
        (1, 20, 60),
        (1, 21, 70),
        (1, 51, None),
        (3, 1, 60),
        (2, 20, 60),
    ],
)
def test_the_bar_that_an_order_meets(
    latency_bars: int, latency_ns: int, expected: int | None
) -> None:
    assert met_at(10, [5, 10, 20, 30, 60, 70], latency_bars, latency_ns) == expected


def test_an_order_fills_once_at_the_open_and_its_rest_is_gone() -> None:
    tape = tape_of(bar(1))
    met = meet_bar(FREE, tape, resting(1, lots=500), bar(2, volume=1_000), 1, 0, 0, 100)
    assert met == (True, 100, 1_000, 0)  # A tenth of the volume; 3 bp of 1000 round to nothing.
    beyond = meet_bar(FREE, tape, resting(1, limit_ticks=999), bar(2), 1, 0, 0, 100)
    assert beyond == (True, 0, 0, 0)
    waits = meet_bar(FREE, tape, resting(1), bar(2), 2, 0, 0, 100)
    assert waits == (False, 0, 0, 0)


def test_the_spread_is_that_of_the_last_quote() -> None:
    quoted = bar(1, bid=990, ask=1_010)
    assert known_spread_bps(FREE, tape_of()) == 3.0
    assert known_spread_bps(FREE, tape_of(quoted)) == 100.0
    assert known_spread_bps(FREE, tape_of(quoted, bar(2))) == 3.0, "a quote does not live on"
    crossed = bar(2, bid=1_010, ask=990)
    assert known_spread_bps(FREE, tape_of(crossed)) == 3.0
    price = meet_bar(FREE, tape_of(quoted), resting(1), bar(2, bid=1, ask=5), 1, 0, 0, 100)[2]
    assert price == 1_010, "the quote at the end of the filling bar is not known at its open"


def test_volatility_is_known_after_twenty_returns() -> None:
    closes = [1_000 + 37 * (i % 5) for i in range(40)]
    tape = np.zeros(1, TAPE)[0]
    for i, close in enumerate(closes):
        read_bar(tape, bar(i, close))
        assert tape["bars"] == i + 1
        moves = np.diff(np.log(closes[: i + 1]))
        weights = 0.5 ** (np.arange(len(moves))[::-1] / 20)
        expected = math.sqrt(np.average(moves**2, weights=weights)) if len(moves) >= 20 else 0.0
        assert known_sigma(tape) == pytest.approx(expected, rel=1e-12)
    assert (tape["ts"], tape["close"], tape["bid"], tape["ask"]) == (39, closes[-1], -1, -1)
