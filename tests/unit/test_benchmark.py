"""Buy-and-hold by hand, and against a walk through the bars one by one."""

from __future__ import annotations

import numpy as np
import pytest
from session_results import DAY

from actors.costs import CostModel, commission_micro
from cloud_trader.fills import fill_price
from data.bars import Bars, empty_bars
from data.daily_stocks import load_feed
from data.money import notional_micro
from tuning.benchmark import buy_and_hold

FREE = CostModel(
    commission_per_lot_micro=0, commission_min_micro=0, half_spread_bps=0.0, slippage_bps=0.0
)


def made(*rows: tuple[int, int, int, int]) -> Bars:
    """Bars of (day, symbol, open, close), a million lots each."""
    bars = empty_bars(len(rows))
    for i, (day, symbol, opened, close) in enumerate(rows):
        bars[i]["ts"], bars[i]["symbol"] = day * DAY, symbol
        bars[i]["open"], bars[i]["close"], bars[i]["volume"] = opened, close, 10**6
    return bars


def test_by_hand() -> None:
    bars = made(
        (1, 0, 100, 100), (1, 1, 50, 50), (2, 0, 110, 120), (3, 1, 40, 60), (3, 2, 7, 9),
        (4, 0, 130, 130), (5, 1, 70, 20),
    )  # fmt: skip
    moments, equity = buy_and_hold(bars, DAY, 20_000, 1, FREE)
    assert (moments == DAY * np.arange(1, 6)).all()
    # Half buys 90 lots at 110 on day 2, the other half 250 lots at 40 on day 3; symbol 2 came late.
    expected = [
        20_000,
        20_000 + 90 * 10,
        20_000 + 90 * 10 + 250 * 20,
        20_000 + 90 * 20 + 250 * 20,
        20_000 + 90 * 20 + 250 * -20,
    ]
    assert equity.tolist() == expected


def walked(bars: Bars, first_traded: int, opening: int, costs: CostModel) -> list[int]:
    """The rule again, bar after bar, with the most affordable lots found by bisection."""
    record, cash, lots, marks, equity = costs.record(), opening, {}, {}, []
    traded = [ts for ts in np.unique(bars["ts"]) if ts >= first_traded]
    waiting = {int(b["symbol"]) for b in bars if traded and b["ts"] == traded[0]}
    share = opening // max(len(waiting), 1)

    def cost(n: int, bar: np.void) -> int:
        price = fill_price(record, 1, n, int(bar["open"]), int(bar["volume"]), 2.0, 0.0)
        notional = notional_micro(price, n, 100)
        return int(notional + commission_micro(record, n, notional))

    for ts in np.unique(bars["ts"]):
        for bar in bars[bars["ts"] == ts]:
            symbol = int(bar["symbol"])
            if traded and ts > traded[0] and symbol in waiting:
                waiting.remove(symbol)
                low, high = 0, 10**9
                while high - low > 1:
                    middle = (low + high) // 2
                    low, high = (middle, high) if cost(middle, bar) <= share else (low, middle)
                lots[symbol] = low
                cash -= cost(low, bar) if low else 0
            marks[symbol] = int(bar["close"])
        equity.append(cash + sum(marks[s] * n * 100 for s, n in lots.items()))
    return equity


@pytest.mark.parametrize("first", [0, 40, 249, 250])
def test_equals_a_walk_through_real_bars_with_gaps(first: int) -> None:
    bars = load_feed(symbols=["AAPL", "IBM", "MSFT"]).bars[: 3 * 250]
    stamps = np.unique(bars["ts"])
    gone = (bars["symbol"] == 1) & (np.arange(len(bars)) % 5 < 2)
    bars = bars[~gone]
    start = int(stamps[first]) if first < 250 else int(stamps[-1]) + 1
    _, equity = buy_and_hold(bars, start, 10**12, 100, CostModel())
    assert equity.tolist() == walked(bars, start, 10**12, CostModel())
    assert (len(set(equity.tolist())) > 100) == (first < 100)
