"""A voter's place in the rounds: gaps, repeats, stale rounds, new sessions, changed models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support import by_moment, random_bars

from actors import trend_momentum, volume_microstructure
from actors.agent import Agent
from actors.contract import STATUS, AgentSpec, Floats, Status
from actors.voter import StaleRound, Voter
from data.bars import Bars
from data.records import RoundInput, encode

SPEC = volume_microstructure.SPEC  # votes after 126 bars
BARS = by_moment(random_bars(140))
MODELS = {"one": np.linspace(-1, 1, 24), "two": np.linspace(1, -1, 24)}


class MemoryLog:
    """The log of rounds in memory, and what was asked of it."""

    def __init__(self, payloads: dict[int, bytes]) -> None:
        self._payloads = payloads
        self.asked: list[tuple[int, int]] = []
        self.models: list[str] = []
        self.kept: dict[int, bytes] = {}  # round -> memory

    def inputs(self, cell: int, session_id: str, after: int, before: int) -> Iterator[bytes]:
        self.asked.append((after, before))
        yield from (self._payloads[n] for n in sorted(self._payloads) if after < n < before)

    def model(self, model_id: str) -> Floats:
        self.models.append(model_id)
        return MODELS[model_id]

    def snapshot(self, cell: int, session_id: str, at_most: int) -> bytes | None:
        kept = [n for n in self.kept if n <= at_most]
        return self.kept[max(kept)] if kept else None


def payload(number: int, bars: Bars, model: str = "one", session: str = "s") -> bytes:
    models = {SPEC.name: model} if model else {}
    ts = int(bars["ts"].max())
    return encode(
        RoundInput(
            session_id=session, cell=0, round=number, ts=ts, clock_ns=ts, requests=[],
            bars=bars.tobytes(), news=[], models=models, locked=[],
        )
    )  # fmt: skip


def payloads(model: str = "one", **arguments: Any) -> dict[int, bytes]:
    return {n: payload(n, bars, model, **arguments) for n, bars in enumerate(BARS, 1)}


def undisturbed(log: dict[int, bytes]) -> dict[int, bytes]:
    voter = Voter(SPEC, MemoryLog(log))
    return {number: voter.vote(log[number]).tobytes() for number in log}


def test_votes_are_the_agents_own() -> None:
    agent = Agent(SPEC)
    agent.set_model(MODELS["one"])
    votes = undisturbed(payloads())
    for number, bars in enumerate(BARS, 1):
        assert agent.apply(bars).tobytes() == votes[number]
    assert (agent.votes[:, STATUS] == Status.VOTED).all()


@pytest.mark.parametrize("kept", [[140], [1, 140], [50, 51, 139, 140], list(range(5, 141, 5))])
def test_a_gap_is_closed_from_the_log_with_the_same_votes(kept: list[int]) -> None:
    log = payloads()
    votes = undisturbed(log)
    memory = MemoryLog(log)
    voter = Voter(SPEC, memory)
    for number in kept:
        assert voter.vote(log[number]).tobytes() == votes[number]
        assert voter.last_round == number
    gaps = [(a, b) for a, b in zip([0, *kept], kept, strict=False) if b > a + 1]
    assert memory.asked == gaps


def test_a_repeated_round_gets_the_kept_votes_and_changes_nothing() -> None:
    log = payloads()
    votes = undisturbed(log)
    memory = MemoryLog(log)
    voter = Voter(SPEC, memory)
    for number in (138, 138, 138, 139, 139, 140):
        assert voter.vote(log[number]).tobytes() == votes[number]
    assert memory.asked == [(0, 138)]


def test_an_older_round_is_refused() -> None:
    log = payloads()
    votes = undisturbed(log)
    voter = Voter(SPEC, MemoryLog(log))
    voter.vote(log[139])
    with pytest.raises(StaleRound, match="round 138 after 139"):
        voter.vote(log[138])
    assert voter.vote(log[140]).tobytes() == votes[140]


def test_a_new_session_starts_empty() -> None:
    first, second = payloads(), payloads(session="t")
    voter = Voter(SPEC, MemoryLog(first))
    voter.vote(first[140])
    # Its rounds go on counting with the cell; the log holds none of its own before.
    voter._log = MemoryLog({})
    again = voter.vote(payload(141, BARS[-1], session="t"))
    assert (again[:, STATUS] == Status.ABSTAINED).all()
    fresh = Voter(SPEC, MemoryLog(second))
    assert undisturbed(second)[140] == fresh.vote(second[140]).tobytes()


def test_a_changed_model_counts_from_its_round_on_and_is_read_once() -> None:
    log = {
        n: payload(n, bars, "" if n < 130 else "one" if n < 135 else "two")
        for n, bars in enumerate(BARS, 1)
    }
    votes = undisturbed(log)
    one, two = undisturbed(payloads("one")), undisturbed(payloads("two"))
    assert votes[134] == one[134] != two[134]
    assert votes[135] == two[135] != one[135]
    memory = MemoryLog(log)
    voter = Voter(SPEC, memory)
    # Closing the gap passes through all three models, each read once.
    assert voter.vote(log[140]).tobytes() == votes[140]
    assert memory.models == ["one", "two"]
    silent = np.frombuffer(votes[129]).reshape(2, SPEC.out_width)
    assert (silent[:, STATUS] == Status.ABSTAINED).all()


def test_another_agents_model_is_none_of_its_business() -> None:
    other: AgentSpec = trend_momentum.SPEC
    voter = Voter(other, MemoryLog({}))
    voter.vote(payload(1, BARS[0]))
    assert voter._model == ""
