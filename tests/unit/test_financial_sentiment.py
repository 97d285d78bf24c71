"""News absorbed, faded and turned into probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from actors.agent import Agent
from actors.contract import OUT_FIXED, P_DOWN, P_FLAT, P_UP, REASON, STATUS, Reason, Status
from actors.financial_sentiment import PRIOR_MASS, SLOPE, SPEC, absorb
from actors.sentiment import score_text
from data.bars import empty_bars
from data.news import News

DAY = 86_400 * 10**9
START = 1_700_000_000 * 10**9
GOOD = "Profit rose on strong demand."
BAD = "The company cut its guidance."
EMPTY = np.empty(0)


def daily(count: int, symbol: int = 0) -> np.ndarray:
    bars = empty_bars(count)
    bars["ts"] = START + np.arange(count) * DAY
    bars["symbol"] = symbol
    for field in ("open", "high", "low", "close"):
        bars[field] = 1000
    return bars


def test_without_news_it_abstains_for_want_of_news() -> None:
    votes = Agent(SPEC).apply(daily(5))
    assert (votes[:, STATUS] == Status.ABSTAINED).all()
    assert (votes[:, REASON] == Reason.NO_NEWS).all()
    assert (votes[:, :3] == 0.0).all()


def test_one_item_fades_by_half_a_day_until_it_is_silent() -> None:
    agent = Agent(SPEC)
    votes = agent.apply(daily(7), [News("a", 0, START, GOOD)])
    score = score_text(GOOD)
    for i in range(5):
        mass = 0.5**i
        net = mass * score / (mass + PRIOR_MASS)
        odds = np.exp([-SLOPE * net, 0.0, SLOPE * net])
        assert votes[i, STATUS] == Status.VOTED
        np.testing.assert_allclose(votes[i, :3], odds / odds.sum(), rtol=1e-12)
        np.testing.assert_allclose(votes[i, OUT_FIXED:], [net, mass], rtol=1e-12)
    # 2^-5 = 0.03125 of an item is below the live mass.
    assert (votes[5:, REASON] == Reason.NO_NEWS).all()


def test_tone_decides_the_direction() -> None:
    good = Agent(SPEC).apply(daily(1), [News("a", 0, START, GOOD)])[0]
    bad = Agent(SPEC).apply(daily(1), [News("a", 0, START, BAD)])[0]
    assert good[P_UP] > good[P_FLAT] > good[P_DOWN]
    assert bad[P_UP] < bad[P_FLAT] < bad[P_DOWN]


def test_items_in_any_order_of_arrival_give_the_same_sums() -> None:
    forward, backward = np.zeros(SPEC.state_width), np.zeros(SPEC.state_width)
    items = [(START, 1.0, 0.5), (START + DAY, 0.5, -0.2), (START + 3 * DAY, 1.0, 0.9)]
    for item in items:
        absorb(EMPTY, forward, *item)
    for item in items[::-1]:
        absorb(EMPTY, backward, *item)
    np.testing.assert_allclose(forward, backward, rtol=1e-12)
    mass = 2.0**-3 + 0.5 * 2.0**-2 + 1.0
    assert forward[2] == pytest.approx(mass, rel=1e-12)


def test_scores_and_relevance_are_bounded() -> None:
    state = np.zeros(SPEC.state_width)
    absorb(EMPTY, state, START, 7.0, -5.0)
    assert state[2] == 1.0
    assert state[3] == -1.0


def test_declared_parameters_can_be_replaced() -> None:
    params = np.array([2.0 * DAY, 0.0, 0.01, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0])
    agent = Agent(SPEC)
    agent.set_model(params)
    vote = agent.apply(daily(3), [News("a", 0, START, GOOD)])[2]
    assert vote[OUT_FIXED + 1] == pytest.approx(0.5, rel=1e-12)
    assert vote[OUT_FIXED] == pytest.approx(score_text(GOOD), rel=1e-12)
