"""The loop's books, orders and fills, kept again in plain Python integers.

From the order log, the fill log and the bars alone: nothing here calls a step function of the loop.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from loop_support import CHEAP, LIMITS, SECOND, Case, a_case, cases, made_bars, news_for

from actors.checks import Code, Verdict
from tuning.backtest_result import Result
from tuning.backtesting import Run, moment_starts
from tuning.loop_state import (
    AWAKE_WEIGHT,
    CANCELLED,
    CODE,
    DECISION_ORDER,
    DELTA,
    DISSENT,
    EXPIRED,
    FILLED,
    LIMIT,
    OPERATOR_ORDER,
    REFUSED,
    RESTING_COUNT,
    TOXICITY,
    VERDICT,
)

few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
PPM = 10**6
DECAY = 0.5 ** (1 / 20)


def replayed(case: Case, result: Result) -> list[dict[str, Any]]:
    """Cash, lots and equity after each moment, from the fills and the closes."""
    unit, symbols = case.params.micro_per_tick, len(case.params.symbols)
    cash, lots, mark = case.params.opening_micro, [0] * symbols, [0] * symbols
    fills, bars = list(result.fills), case.bars
    books = []
    for start, stop in zip(moment_starts(bars), [*moment_starts(bars)[1:], len(bars)], strict=True):
        ts = int(bars["ts"][start])
        while fills and fills[0]["ts"] == ts:
            fill = fills.pop(0)
            signed = int(fill["side"]) * int(fill["lots"])
            cash -= signed * int(fill["price_ticks"]) * unit + int(fill["fee_micro"])
            lots[fill["symbol"]] += signed
        for bar in bars[start:stop]:
            mark[bar["symbol"]] = int(bar["close"])
        worth = sum(held * price * unit for held, price in zip(lots, mark, strict=True))
        books.append({"ts": ts, "cash": cash, "lots": tuple(lots), "equity": cash + worth})
    assert not fills, "a fill at no moment, or out of order"
    return books


def check_equity(case: Case, result: Result) -> None:
    books = replayed(case, result)
    assert [book["equity"] for book in books] == result.equity_micro.tolist()
    assert books[-1]["equity"] == result.final_equity_micro
    assert books[-1]["cash"] == result.state.books[0]["cash_micro"]
    assert list(books[-1]["lots"]) == result.state.positions["lots"].tolist()
    assert all(book["cash"] >= 0 for book in books)
    if not case.limits.allow_short:
        assert all(min(book["lots"]) >= 0 for book in books)
    # The halt: at the first moment whose equity lies at or below the peak by the limit.
    peak, limit, halt = (
        case.params.opening_micro,
        int(case.limits.record()["max_drawdown_ppm"]),
        None,
    )
    for book in books:
        peak = max(peak, book["equity"])
        if halt is None and (peak - book["equity"]) * PPM >= peak * limit:
            halt = book["ts"]
    assert result.halted_at == halt


def half_even(value: Fraction) -> int:
    return round(value)  # Python rounds a Fraction half to even, exactly.


def known_before(bars: np.ndarray, costs: Any) -> tuple[float, float]:
    """Half the spread in bp and the volatility per bar after ``bars`` of one symbol."""
    bid, ask = int(bars[-1]["bid"]), int(bars[-1]["ask"])
    spread = 1e4 * (ask - bid) / (ask + bid) if 0 < bid <= ask else costs.half_spread_bps
    moves = np.diff(np.log(bars["close"].astype(float)))
    if len(moves) < 20:
        return spread, 0.0
    weights = DECAY ** np.arange(len(moves))[::-1]
    return spread, float(np.sqrt(np.sum(weights * moves**2) / np.sum(weights)))


def check_fills(case: Case, result: Result) -> None:
    """Each accepted order against the bar that its latency leads to."""
    costs, params = case.costs, case.params
    by_order = {int(fill["order"]): fill for fill in result.fills}
    assert len(by_order) == len(result.fills), "an order filled twice"
    for number, order in enumerate(result.orders):
        fill = by_order.get(number)
        if order["status"] == REFUSED:
            assert fill is None
            assert order["reserved_micro"] == order["filled_lots"] == 0
            continue
        own = case.bars[case.bars["symbol"] == order["symbol"]]
        first = int(np.searchsorted(own["ts"], order["ts"], "right")) - 1 + params.latency_bars
        begins = own["ts"][np.maximum(np.arange(len(own)) - 1, 0)]
        if params.latency_ns:
            arrives = order["ts"] + params.latency_ns
            first = max(first, int(np.searchsorted(begins[1:], arrives)) + 1)
        if first >= len(own) or order["status"] == CANCELLED:
            assert fill is None
            assert order["status"] == CANCELLED
            assert first >= len(own) or result.halted_at <= own[first]["ts"]
            continue
        bar = own[first]
        most = int(bar["volume"]) * round(costs.participation_cap * PPM) // PPM
        lots = min(int(order["lots"]), most)
        side, opening = int(order["side"]), int(bar["open"])
        spread, sigma = known_before(own[:first], costs)
        if lots:
            move = (spread + costs.slippage_bps) * 1e-4
            move += costs.impact_y * sigma * np.sqrt(lots / int(bar["volume"]))
            price = opening + side * int(np.rint(opening * move))
            if side * price > side * int(order["limit_ticks"]):
                lots = 0
        assert order["filled_lots"] == lots
        assert order["status"] == (FILLED if lots == order["lots"] else EXPIRED)
        if lots == 0:
            assert fill is None
            continue
        assert (fill["ts"], fill["symbol"], fill["side"]) == (bar["ts"], order["symbol"], side)
        assert (fill["lots"], fill["open_ticks"], fill["volume"]) == (lots, opening, bar["volume"])
        assert fill["spread_bps"] == pytest.approx(spread, rel=1e-12)
        assert fill["sigma"] == pytest.approx(sigma, rel=1e-9, abs=1e-15)
        # A tick of leeway: the volatility above is summed in another order.
        assert abs(int(fill["price_ticks"]) - price) <= 1
        amount = int(fill["price_ticks"]) * lots * params.micro_per_tick
        fee = half_even(Fraction(amount * costs.commission_ppm, PPM))
        fee += costs.commission_per_lot_micro * lots
        assert fill["fee_micro"] == max(costs.commission_min_micro, fee)


def check_orders(case: Case, result: Result) -> None:
    """Each approval became one order or one refusal, and nothing else did."""
    judged, limits = result.kept.judged, case.limits
    approved = np.isin(judged[:, VERDICT], (Verdict.APPROVED, Verdict.REDUCED))
    wanted = np.flatnonzero(approved & (judged[:, DELTA] != 0))
    orders = result.orders[result.orders["origin"] == DECISION_ORDER]
    assert len(orders) == len(wanted)
    accepted = result.orders[result.orders["status"] != REFUSED]["ts"]
    equity = dict(zip(result.ts.tolist(), result.equity_micro.tolist(), strict=True))
    for row, order in zip(wanted, orders, strict=True):
        bar, delta = case.bars[row], int(judged[row, DELTA])
        ts = int(bar["ts"])
        assert (order["ts"], order["symbol"]) == (ts, bar["symbol"])
        assert order["side"] == np.sign(delta)
        assert order["limit_ticks"] == judged[row, LIMIT]
        assert 0 < order["lots"] <= abs(delta)
        if order["status"] == REFUSED or order["lots"] < abs(delta):
            assert order["code"] != Code.NONE
        # What every approval needs.
        numbers = result.kept.numbers[row]
        assert result.kept.awake[row] >= limits.min_agents
        assert numbers[AWAKE_WEIGHT] >= limits.min_weight_share
        assert numbers[DISSENT] <= limits.max_dissent
        assert 0.0 <= numbers[TOXICITY] <= 1.0
        assert ts >= case.params.first_traded
        recent = np.sum((accepted > ts - 60 * SECOND) & (accepted < ts))
        assert recent < limits.max_orders_per_minute
        notional = abs(delta) * int(bar["close"]) * case.params.micro_per_tick
        assert notional <= int(limits.max_order_notional * PPM)
        assert notional * PPM <= equity[ts] * int(limits.record()["max_order_ppm"])
        if result.halted_at is not None:
            assert ts < result.halted_at


def check_halt(result: Result) -> None:
    """Operator's orders come from the halt on."""
    operators = result.orders[result.orders["origin"] == OPERATOR_ORDER]
    if result.halted_at is None:
        assert len(operators) == 0
    else:
        assert (operators["ts"] >= result.halted_at).all()


def check(case: Case) -> Result:
    result = case.run()
    check_equity(case, result)
    check_fills(case, result)
    check_orders(case, result)
    check_halt(result)
    assert result.state.books[0]["reserved_micro"] == 0, "cash reserved without an open order"
    return result


@few
@given(case=cases())
def test_books_orders_and_fills_are_those_of_the_log(case: Case) -> None:
    check(case)


@few
@given(case=cases())
def test_reserved_cash_and_open_lots_are_those_of_the_open_orders(case: Case) -> None:
    run = Run(case.bars, case.params, case.limits, case.costs)
    symbols = range(len(case.params.symbols))
    for row in [*moment_starts(case.bars)[1:].tolist(), len(case.bars)]:
        run.advance(row)
        state = run.state
        books, waiting = state.books[0], state.resting[: state.counts[RESTING_COUNT]]
        assert books["reserved_micro"] == sum(waiting["reserved_micro"].tolist())
        for name, side in (("open_buys", 1), ("open_sells", -1)):
            mine = waiting[waiting["side"] == side]
            lots = [int(mine["lots"][mine["symbol"] == symbol].sum()) for symbol in symbols]
            assert state.positions[name].tolist() == lots
        assert books["cash_micro"] - books["reserved_micro"] >= 0
        assert books["peak_micro"] >= books["equity_micro"]


@pytest.mark.parametrize("name", sorted(LIMITS))
@pytest.mark.parametrize("step", [86_400 * SECOND, 20 * SECOND])
def test_each_set_of_limits_binds_and_holds(name: str, step: int) -> None:
    bars = made_bars(11, 400, 3, step)
    result = check(a_case(bars, LIMITS[name], CHEAP, latency_bars=2, news=news_for(bars)))
    assert result.counts["fills"] > 2
    codes = set(result.kept.code) | set(result.orders["code"])
    bound = {
        "shorts": Code.CONCENTRATION,
        "long only": Code.SHORT,
        "small orders": Code.ORDER_NOTIONAL,
        "small drawdown": Code.HALTED,
        "small gross": Code.GROSS,
    }
    assert bound[name] in codes
    if name == "small orders" and step < 60 * SECOND:
        assert Code.RATE in codes


@pytest.mark.parametrize("seed", range(4))
def test_after_the_halt_all_is_sold_and_nothing_is_bought_again(seed: int) -> None:
    bars = made_bars(seed, 500, 3)
    case = a_case(bars, LIMITS["small drawdown"], CHEAP, latency_bars=2)
    result = check(case)
    assert result.halted_at is not None
    books = replayed(case, result)
    halt = next(i for i, book in enumerate(books) if book["ts"] == result.halted_at)
    exposures = [sum(map(abs, book["lots"])) for book in books[halt:]]
    # Orders that were open are taken back: from the halt on every position only shrinks.
    assert exposures[0] > 0
    assert exposures == sorted(exposures, reverse=True)
    assert exposures[-1] == 0
    flat = exposures.index(0)
    assert len({book["equity"] for book in books[halt + flat :]}) == 1
    verdicts = result.kept.judged[case.bars["ts"] >= result.halted_at]
    assert not np.isin(verdicts[:, VERDICT], (Verdict.APPROVED, Verdict.REDUCED)).any()
    assert (verdicts[:, CODE] == Code.HALTED).any()
