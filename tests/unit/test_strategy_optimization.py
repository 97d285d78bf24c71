"""The champions' rules against TA-Lib, their mixture by hand, and changes of champions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import talib

from actors import strategy_optimization as agent_module
from actors.agent import Agent
from actors.contract import OUT_FIXED, P_UP, REASON, STATUS, Floats, Reason, Status
from actors.rules import MAX_PERIOD
from actors.strategy_optimization import SPEC, describe, pack
from data.bars import empty_bars
from data.daily_stocks import load_feed
from tuning.seed_champions import DECLARED, seed

WARM = SPEC.warm_up
SIGNAL = OUT_FIXED + SPEC.evidence.index("signal_0")


@pytest.fixture(scope="module")
def bars() -> np.ndarray:
    return load_feed(symbols=["MSFT"]).bars[:1200]


def champion(rule: str, link: tuple[float, ...] = (0.0,) * 6, **rest: float) -> dict[str, Any]:
    return {"rule": rule, "trend_taste": 0.0, "vol_taste": 0.0, "link": list(link)} | rest


def run(bars: np.ndarray, *champions: dict[str, Any]) -> Floats:
    agent = Agent(SPEC)
    agent.set_model(pack(list(champions)))
    return agent.apply(bars)


def test_ema_cross_is_ta_libs_over_sigma(bars: np.ndarray) -> None:
    closes = bars["close"].astype(np.float64)
    signal = run(bars, champion("ema_cross", fast=10, slow=40))[WARM:, SIGNAL]
    gap = (talib.EMA(closes, 10) - talib.EMA(closes, 40)) / closes
    squares = np.diff(np.log(closes)) ** 2
    sigma = np.full(len(closes), np.nan)
    for i in range(WARM, len(closes)):
        weights = 0.5 ** (np.arange(i)[::-1] / 20.0)
        sigma[i] = np.sqrt((weights * squares[:i]).sum() / weights.sum())
    np.testing.assert_allclose(signal, (gap / sigma)[WARM:] / np.sqrt(40), rtol=1e-8, atol=1e-10)


def test_rsi_and_bollinger_are_ta_libs(bars: np.ndarray) -> None:
    closes = bars["close"].astype(np.float64)
    votes = run(
        bars,
        champion("rsi", period=14, width=20.0),
        champion("bollinger", period=20, width=2.0),
    )
    rsi = (50.0 - talib.RSI(closes, 14)) / 20.0
    np.testing.assert_allclose(votes[WARM:, SIGNAL], rsi[WARM:], rtol=1e-8, atol=1e-10)
    upper, middle, lower = talib.BBANDS(closes, 20, 2.0, 2.0)
    # The upper band is two deviations up: a close on it gives -1.
    bands = (middle - closes) / ((upper - lower) / 2.0)
    np.testing.assert_allclose(votes[WARM:, SIGNAL + 1], bands[WARM:], rtol=1e-5, atol=1e-8)


def test_donchian_holds_from_breakout_to_the_exit_channel(bars: np.ndarray) -> None:
    signal = run(bars, champion("donchian", entry=20, exit=10))[WARM:, SIGNAL]
    held, expected = 0, []
    for i in range(len(bars)):
        close = bars["close"][i]
        if i >= 20:
            if close > bars["high"][i - 20 : i].max():
                held = 1
            elif close < bars["low"][i - 20 : i].min():
                held = -1
            elif (held == 1 and close < bars["low"][i - 10 : i].min()) or (
                held == -1 and close > bars["high"][i - 10 : i].max()
            ):
                held = 0
        expected.append(held)
    assert set(expected[WARM:]) == {-1, 0, 1}
    np.testing.assert_array_equal(signal, expected[WARM:])


def test_the_mixture_weighs_champions_by_their_taste_for_the_regime(bars: np.ndarray) -> None:
    rise = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # votes for up whatever the signal says
    fall = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
    votes = run(
        bars,
        champion("rsi", rise, period=14, width=20.0) | {"trend_taste": 0.8},
        champion("bollinger", fall, period=20, width=2.0) | {"vol_taste": -0.3},
    )[WARM:]
    closes = bars["close"].astype(np.float64)
    moves = np.abs(np.diff(closes))
    for row, i in zip(votes[::50], range(WARM, len(bars), 50), strict=True):
        path = moves[i - 20 : i].sum()
        efficiency = abs(closes[i] - closes[i - 20]) / path
        trend = np.clip((efficiency - 0.22) / 0.16, -3, 3)
        assert row[OUT_FIXED] == pytest.approx(trend, rel=1e-9)
        weights = np.exp([0.8 * trend, -0.3 * row[OUT_FIXED + 1]])
        up = np.exp([1.0, -1.0]) / (np.exp(1.0) + 1.0 + np.exp(-1.0))
        assert row[P_UP] == pytest.approx((weights * up).sum() / weights.sum(), rel=1e-9)


def test_the_volatility_regime_compares_short_with_long(bars: np.ndarray) -> None:
    calm_then_wild = empty_bars(400)
    i = np.arange(400)
    swing = np.where(i < 380, 10, 300) * (i % 2)
    calm_then_wild["ts"] = i
    for field, offset in (("open", 0), ("close", 0), ("high", 5), ("low", -5)):
        calm_then_wild[field] = 100_000 + swing + offset
    votes = run(calm_then_wild, champion("rsi", period=14, width=20.0))
    assert abs(votes[370, OUT_FIXED + 1]) < 0.01
    assert votes[399, OUT_FIXED + 1] > 1.0


def test_without_champions_it_abstains(bars: np.ndarray) -> None:
    votes = Agent(SPEC).apply(bars)
    assert (votes[:WARM, REASON] == Reason.WARMING_UP).all()
    assert (votes[WARM:, REASON] == Reason.NO_CHAMPION).all()
    assert (votes[:, STATUS] == Status.ABSTAINED).all()


def test_champions_that_arrive_late_speak_at_once_from_their_warm_up_window(
    bars: np.ndarray,
) -> None:
    chosen = [champion(rule="ema_cross", fast=20, slow=100), *_plain()]
    late, cut = Agent(SPEC), 700
    late.apply(bars[:cut])
    late.set_model(pack(chosen))
    given = late.apply(bars[cut:])
    # The same champions over nothing but the ring's 126 bars and this one.
    fresh = Agent(SPEC)
    fresh.set_model(pack(chosen))
    window = fresh.apply(bars[cut - MAX_PERIOD : cut + 1])[-1]
    assert given[0, STATUS] == Status.VOTED
    np.testing.assert_array_equal(given[0, SIGNAL + 1 :][:3], window[SIGNAL + 1 :][:3])
    # The cross has sigma in it, which remembers more than the window; after 500 bars the slow
    # average has forgotten all but (99/101)^500 = 4e-5 of where it began.
    ratio = given[:, SIGNAL] / run(bars, *chosen)[cut:, SIGNAL]
    assert ratio[-1] == pytest.approx(1.0, rel=1e-4)


def test_a_slot_never_reads_the_memory_of_another_rule(bars: np.ndarray) -> None:
    switched, cut = Agent(SPEC), 600
    switched.set_model(pack([champion("ema_cross", fast=20, slow=100)]))
    switched.apply(bars[:cut])
    switched.set_model(pack([champion("rsi", period=14, width=20.0)]))
    unburdened = Agent(SPEC)
    unburdened.apply(bars[:cut])
    unburdened.set_model(pack([champion("rsi", period=14, width=20.0)]))
    assert switched.apply(bars[cut:]).tobytes() == unburdened.apply(bars[cut:]).tobytes()


def test_a_new_link_alone_keeps_the_rules_memory(bars: np.ndarray) -> None:
    agent, cut = Agent(SPEC), 600
    agent.set_model(pack([champion("ema_cross", fast=20, slow=100)]))
    agent.apply(bars[:cut])
    agent.set_model(pack([champion("ema_cross", (0.1,) * 6, fast=20, slow=100)]))
    whole = run(bars, champion("ema_cross", (0.1,) * 6, fast=20, slow=100))
    assert agent.apply(bars[cut:]).tobytes() == whole[cut:].tobytes()


def test_description_and_packing_are_inverse() -> None:
    params = pack(_plain())
    assert pack(describe(params)).tobytes() == params.tobytes()
    assert describe(params)[0]["rule"] == "donchian"
    assert describe(np.empty(0)) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (champion("ema_cross", fast=20, slow=500), "slow = 500"),
        (champion("ema_cross", fast=2.5, slow=40), "fast = 2.5"),
        (champion("rsi", period=14, width=0.0), "width"),
        (champion("oracle", period=14, width=1.0), "oracle"),
        (champion("rsi", (np.nan,) * 6, period=14, width=1.0), "finite"),
    ],
)
def test_a_champion_that_cannot_run_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        pack([wrong])


def test_too_many_or_torn_champions_are_refused() -> None:
    with pytest.raises(ValueError, match="got 9"):
        pack(_plain() * 3)
    with pytest.raises(ValueError, match="rows of"):
        describe(np.zeros(agent_module.CHAMPION_WIDTH + 1))


def test_the_seeded_champions_are_the_declared_ones_with_humble_links() -> None:
    bars = load_feed(symbols=["AAPL", "IBM", "MSFT"]).bars[:1500]
    params = seed(bars, 5, 0)
    assert params.tobytes() == seed(bars.copy(), 5, 9).tobytes()
    for found, declared in zip(describe(params), DECLARED, strict=True):
        assert {name: found[name] for name in declared} == declared
        slopes = np.array(found["link"]).reshape(3, 2)[:, 1]
        assert 0.0 < np.abs(slopes).max() < 0.1
    assert len(seed(bars[:300], 5, 0)) == 0


def _plain() -> list[dict[str, Any]]:
    return [
        champion("donchian", entry=55, exit=20),
        champion("rsi", period=14, width=20.0),
        champion("bollinger", period=20, width=2.0),
    ]
