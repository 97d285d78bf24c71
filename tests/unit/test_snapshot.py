"""Memories as bytes, and whose turn it is to be written."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from support import by_moment, random_bars

from actors import financial_sentiment, trend_momentum
from actors.agent import Agent
from actors.snapshot import AgentMemory, SnapshotPlan, memory_decoder
from data.news import News

BARS = by_moment(random_bars(20, symbols=3))
LATER = int(BARS[-1]["ts"][0]) + 1


def test_a_memory_is_the_same_bytes_however_its_news_came() -> None:
    items = [News(f"n{i}", i % 3, LATER + i % 2, "Profit rose.") for i in range(6)]
    encoded = set()
    for order in (items, items[::-1]):
        agent = Agent(financial_sentiment.SPEC)
        for bars in BARS:
            agent.apply(bars)
        for item in order:
            agent.apply(BARS[0][:0], [item])
        memory = AgentMemory.of(agent, "s", 20, "m")
        encoded.add(msgspec.msgpack.encode(memory))
    assert len(encoded) == 1
    again = memory_decoder.decode(encoded.pop()).agent(financial_sentiment.SPEC)
    assert again.state.tobytes() == agent.state.tobytes()
    assert again.pending == agent.pending


def test_a_restored_agent_grows_and_goes_on_as_before() -> None:
    spec = trend_momentum.SPEC
    lived, early = Agent(spec), [bars[:2] for bars in BARS[:10]]
    for bars in early:
        lived.apply(bars)
    back = AgentMemory.of(lived, "s", 10, "").agent(spec)
    for bars in BARS[10:]:
        assert back.apply(bars).tobytes() == lived.apply(bars).tobytes()
    assert back.state.shape == (3, spec.state_width)


def test_a_memory_of_another_shape_is_refused() -> None:
    memory = AgentMemory.of(Agent(trend_momentum.SPEC), "s", 1, "")
    with pytest.raises(ValueError, match="not its own"):
        memory.agent(financial_sentiment.SPEC)


def test_every_part_has_its_turn_one_at_a_time_not_before_rounds_and_seconds_have_passed() -> None:
    plan = SnapshotPlan(["a", "b", "c"], every_rounds=30, every_s=6.0)
    turns = [(n, part) for n in range(1, 101) if (part := plan.due(n, n * 0.1))]
    # Ten rounds and two seconds between any two: here the seconds decide.
    assert [part for _, part in turns] == ["a", "b", "c", "a", "b"]
    assert np.diff([n for n, _ in turns]).min() >= 20
    slow = SnapshotPlan(["a", "b", "c"], every_rounds=30, every_s=6.0)
    turns = [(n, part) for n in range(1, 101) if (part := slow.due(n, n * 10.0))]
    assert [n for n, _ in turns] == list(range(10, 101, 10))
