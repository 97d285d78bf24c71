"""What every agent promises: its votes depend on a symbol's own bars and news up to the bar, alone.

Bit for bit, with fitted models on real prices and on made-up bars: however the stream is cut into
batches, whatever comes after the bar, and whichever other symbols are present.
"""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.agent import Agent
from actors.contract import (
    P_DOWN,
    P_UP,
    REASON,
    STATUS,
    AgentSpec,
    Floats,
    Reason,
    Status,
)
from actors.registry import AGENTS
from data.bars import Bars, empty_bars
from data.daily_stocks import load_feed
from data.news import News
from tuning.fit_models import fit_models

HORIZON = 5
SEED = 3
MINUTE = 60 * 10**9
TEXTS = (
    "Profit rose on strong demand.",
    "The company cut its guidance.",
    "The annual meeting is on Tuesday.",
)
every_agent = pytest.mark.parametrize("spec", AGENTS, ids=lambda spec: spec.name)
few = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def real_bars() -> Bars:
    """Three symbols, 1,800 bars of 600 dates in (ts, symbol) order."""
    return load_feed(symbols=["AAPL", "IBM", "MSFT"]).bars[:1800]


@cache
def models() -> dict[str, Floats]:
    return fit_models(real_bars()[:1500], HORIZON, SEED)


def agent_of(spec: AgentSpec) -> Agent:
    agent = Agent(spec)
    if spec.name in models():
        agent.set_model(models()[spec.name])
    return agent


def news_for(bars: Bars) -> list[News]:
    """An item some time before every 40th bar, known at any moment of the half minute before."""
    return [
        News(f"n{i}", int(bars["symbol"][i]), int(bars["ts"][i]) - i % 30, TEXTS[i % 3])
        for i in range(0, len(bars), 40)
    ]


def run(spec: AgentSpec, bars: Bars, news: list[News], cuts: tuple[int, ...] = ()) -> Floats:
    """Votes over ``bars``; an item comes with the batch that holds the first bar at its moment."""
    agent, votes, taken = agent_of(spec), [], 0
    waiting = sorted(news, key=lambda item: item.ts)
    edges = [0, *sorted(set(cuts) & set(range(1, len(bars)))), len(bars)]
    for start, stop in itertools.pairwise(edges):
        due = taken
        while due < len(waiting) and waiting[due].ts <= bars["ts"][stop - 1]:
            due += 1
        votes.append(agent.apply(bars[start:stop], waiting[taken:due]))
        taken = due
    return np.concatenate(votes)


@cache
def real_votes(name: str) -> Floats:
    spec = next(spec for spec in AGENTS if spec.name == name)
    return run(spec, real_bars(), news_for(real_bars()))


@st.composite
def made_up_bars(draw: st.DrawFn) -> Bars:
    """Two interleaved symbols with jumps, still stretches, bars without volume, odd gaps."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(330, 480))
    roughness = draw(st.sampled_from([0.0, 0.001, 0.02, 0.2]))
    still = draw(st.sampled_from([0.0, 0.3, 0.95]))
    bars = empty_bars(count)
    bars["ts"] = 1_600_000_000 * 10**9 + np.cumsum(rng.integers(1, 3 * MINUTE, count))
    bars["symbol"] = rng.integers(0, 4, count) // 3  # symbol 1 has a quarter of the bars
    for symbol in (0, 1):
        rows = np.flatnonzero(bars["symbol"] == symbol)
        moves = roughness * rng.standard_normal(len(rows)) * (rng.random(len(rows)) >= still)
        level = np.clip(12.0 + np.cumsum(moves), 3.0, 25.0)
        close = np.rint(np.exp(level)).astype(np.int64)
        opening = np.concatenate([close[:1], close[:-1]])
        bars["open"][rows], bars["close"][rows] = opening, close
        bars["high"][rows] = np.maximum(opening, close) + rng.integers(0, 3, len(rows))
        low = np.minimum(opening, close) - rng.integers(0, 3, len(rows))
        bars["low"][rows] = np.maximum(low, 1)
        bars["volume"][rows] = rng.integers(0, 10**6, len(rows)) * (rng.random(len(rows)) >= still)
    if draw(st.booleans()):
        bars["buy_volume"] = rng.integers(0, bars["volume"] + 1)
    return bars


def check_rows(votes: Floats) -> None:
    voted = votes[:, STATUS] == Status.VOTED
    p = votes[:, P_DOWN : P_UP + 1]
    assert np.isfinite(votes).all()
    assert np.isin(votes[:, STATUS], (Status.VOTED, Status.ABSTAINED)).all()
    assert np.abs(p[voted].sum(axis=1) - 1.0).max(initial=0.0) <= 1e-12
    assert (p[voted] > 0.0).all()
    assert (p[voted] < 1.0).all()
    assert (votes[voted, REASON] == Reason.NONE).all()
    assert (p[~voted] == 0.0).all()
    assert (votes[~voted, REASON] != Reason.NONE).all()


@every_agent
def test_with_its_model_it_votes_once_warm_and_every_row_is_sound(spec: AgentSpec) -> None:
    votes = real_votes(spec.name)
    assert votes.shape == (len(real_bars()), spec.out_width)
    check_rows(votes)
    # A symbol's bar n (from 1) is warm when n > warm_up; the three symbols come in turn.
    seen = np.arange(len(votes)) // 3 + 1
    assert (votes[seen <= spec.warm_up, STATUS] == Status.ABSTAINED).all()
    assert (votes[seen > spec.warm_up, STATUS] == Status.VOTED).any()
    assert np.ptp(votes[votes[:, STATUS] == Status.VOTED, P_UP]) > 0.0


@every_agent
def test_batches_do_not_matter_on_real_prices(spec: AgentSpec) -> None:
    bars, news = real_bars(), news_for(real_bars())
    rng = np.random.default_rng(5)
    for parts in (1, 7, 200):
        cuts = tuple(int(cut) for cut in rng.integers(1, len(bars), parts))
        assert run(spec, bars, news, cuts).tobytes() == real_votes(spec.name).tobytes()


@every_agent
def test_one_bar_at_a_time_is_the_same_as_all_at_once(spec: AgentSpec) -> None:
    bars, news = real_bars()[:1000], news_for(real_bars()[:1000])
    alone = run(spec, bars, news, tuple(range(1, len(bars))))
    assert alone.tobytes() == real_votes(spec.name)[:1000].tobytes()


@every_agent
def test_the_future_does_not_matter_on_real_prices(spec: AgentSpec) -> None:
    bars, news = real_bars(), news_for(real_bars())
    for cut in (1, 400, 1203, 1799):
        # All the news is handed over at once: what is later than a bar must wait.
        early = agent_of(spec).apply(bars[:cut], news)
        assert early.tobytes() == real_votes(spec.name)[:cut].tobytes()
        other = bars.copy()
        for field in ("open", "high", "low", "close", "volume"):
            other[field][cut:] = other[field][cut:] * 3 + 1
        assert run(spec, other, news)[:cut].tobytes() == early.tobytes()


@every_agent
def test_other_symbols_do_not_matter_on_real_prices(spec: AgentSpec) -> None:
    bars, news = real_bars(), news_for(real_bars())
    for symbol in range(3):
        rows = bars["symbol"] == symbol
        own = [item for item in news if item.symbol == symbol]
        alone = run(spec, bars[rows], own)
        assert alone.tobytes() == real_votes(spec.name)[rows].tobytes()


@every_agent
def test_each_value_counts_from_its_own_bar_on(spec: AgentSpec) -> None:
    """The checks above could pass on an agent that reads nothing: it must hear its input."""
    bars = real_bars()
    cut, news = 1500, news_for(real_bars())
    if spec.absorb is None:
        changed = bars.copy()
        for field in ("open", "high", "low", "close"):
            changed[field][cut:] = changed[field][cut:] * 2
        changed["volume"][cut:] *= 3
        votes = run(spec, changed, news)
    else:
        item = News("x", int(bars["symbol"][cut]), int(bars["ts"][cut]), TEXTS[1])
        votes = run(spec, bars, [*news, item])
    assert votes[:cut].tobytes() == real_votes(spec.name)[:cut].tobytes()
    assert votes[cut].tobytes() != real_votes(spec.name)[cut].tobytes()


@every_agent
@few
@given(bars=made_up_bars(), data=st.data())
def test_on_made_up_bars(spec: AgentSpec, bars: Bars, data: st.DataObject) -> None:
    news = news_for(bars)
    whole = run(spec, bars, news)
    check_rows(whole)
    cuts = data.draw(st.lists(st.integers(1, len(bars) - 1), max_size=8), label="cuts")
    assert run(spec, bars, news, tuple(cuts)).tobytes() == whole.tobytes()
    end = data.draw(st.integers(1, len(bars)), label="end")
    assert agent_of(spec).apply(bars[:end], news).tobytes() == whole[:end].tobytes()
    rows = bars["symbol"] == 0
    own = [item for item in news if item.symbol == 0]
    assert run(spec, bars[rows], own).tobytes() == whole[rows].tobytes()
