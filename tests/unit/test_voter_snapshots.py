"""Memories of agents as bytes, and whose turn it is to write one; voters restarted from them."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from support import by_moment, random_bars
from test_voter import MODELS, MemoryLog, payloads, undisturbed
from test_voter import SPEC as MICROSTRUCTURE

from actors import financial_sentiment, trend_momentum
from actors.agent import Agent
from actors.contract import AgentSpec
from actors.snapshot import AgentMemory, Snapshot, SnapshotPlan, memory_decoder
from actors.voter import Voter
from data.news import News
from data.records import RoundInput, encode

BARS = by_moment(random_bars(40))
NEWS = financial_sentiment.SPEC
TEXTS = ("Profit rose on strong demand.", "Sales fell and the outlook is weak.", "It is Tuesday.")
TUNED = np.array([2e14, 0.5, 0.05, 0.0, -0.8, 0.1, 0.0, 0.0, 0.8])


def news_log() -> dict[int, bytes]:
    """Rounds with news that is due at once, later, or never, and a model that comes and goes."""
    rng = np.random.default_rng(5)
    made = {}
    for number, bars in enumerate(BARS, 1):
        ts = int(bars["ts"][0])
        step = int(BARS[1]["ts"][0]) - int(BARS[0]["ts"][0])
        news = [
            News(f"{number}-{k}", k % 2, ts + int(rng.integers(-2, 6)) * step, TEXTS[k])
            for k in rng.permutation(3).tolist()
            if rng.random() < 0.5
        ]
        model = {NEWS.name: "tuned"} if 10 <= number < 25 else {}
        made[number] = encode(
            RoundInput(
                session_id="s", cell=0, round=number, ts=ts, clock_ns=ts, requests=[],
                bars=bars.tobytes(), news=news, models=model, locked=[],
            )
        )  # fmt: skip
    return made


def lived(spec: AgentSpec, log: dict[int, bytes]) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """Votes and memory after every round of a voter that lives through all of them."""
    voter = Voter(spec, MemoryLog(log))
    votes, memories = {}, {}
    for number, given in log.items():
        votes[number] = voter.vote(given).tobytes()
        memory = voter.memory()
        assert memory is not None
        memories[number] = memory
    return votes, memories


def test_a_voter_killed_at_any_round_goes_on_from_any_snapshot_to_the_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(MODELS, "tuned", TUNED)
    log = news_log()
    votes, memories = lived(NEWS, log)
    waiting = [bool(memory_decoder.decode(memory).pending) for memory in memories.values()]
    assert sum(waiting) > 20
    last = max(log)
    for kept in range(1, last):
        for killed in range(kept, last, 7):
            known = MemoryLog(log)
            known.kept = {kept: memories[kept]}
            voter = Voter(NEWS, known)
            assert voter.vote(log[killed + 1]).tobytes() == votes[killed + 1]
            assert known.asked == ([(kept, killed + 1)] if killed > kept else [])
            assert voter.vote(log[last]).tobytes() == votes[last]
            assert voter.memory() == memories[last]


def test_a_snapshot_is_used_for_models_that_change_after_it() -> None:
    log = payloads("one") | {n: p for n, p in payloads("two").items() if n >= 135}
    votes = undisturbed(log)
    _, memories = lived(MICROSTRUCTURE, log)
    known = MemoryLog(log)
    known.kept = {130: memories[130]}
    voter = Voter(MICROSTRUCTURE, known)
    assert voter.vote(log[140]).tobytes() == votes[140]
    assert known.models == ["one", "two"]
    assert known.asked == [(130, 140)]


def test_a_log_is_read_in_slices() -> None:
    log = payloads()
    votes, memories = lived(MICROSTRUCTURE, log)
    known = MemoryLog(log)
    voter = Voter(MICROSTRUCTURE, known)
    assert voter.memory() is None
    assert [voter.catch_up(0, "s", 50) for _ in range(4)] == [50, 100, 140, 140]
    assert [after for after, _ in known.asked] == [0, 50, 100, 140]
    assert voter.memory() == memories[140]
    # It read the last round while that was still open, and is asked for its votes now.
    assert voter.vote(log[140]).tobytes() == votes[140]


def test_catching_up_starts_from_the_newest_snapshot() -> None:
    log = payloads()
    votes, memories = lived(MICROSTRUCTURE, log)
    known = MemoryLog({n: p for n, p in log.items() if n > 100})
    known.kept = {90: memories[90], 100: memories[100]}
    voter = Voter(MICROSTRUCTURE, known)
    assert voter.catch_up(0, "s", 20) == 120
    assert voter.vote(log[140]).tobytes() == votes[140]


def test_the_votes_of_a_snapshots_own_round_come_from_what_was_before_it() -> None:
    """A snapshot holds none, and an empty answer in their place would be a lie."""
    log = payloads()
    votes, memories = lived(MICROSTRUCTURE, log)
    known = MemoryLog(log)
    known.kept = {130: memories[130], 140: memories[140]}
    voter = Voter(MICROSTRUCTURE, known)
    assert voter.catch_up(0, "s", 10) == 140
    assert voter.vote(log[140]).tobytes() == votes[140]


def test_a_failed_start_is_done_anew() -> None:
    log = payloads()
    votes, memories = lived(MICROSTRUCTURE, log)

    class Away(MemoryLog):
        away = True

        def snapshot(self, cell: int, session_id: str, at_most: int) -> bytes | None:
            if self.away:
                raise ConnectionError("no database")
            return super().snapshot(cell, session_id, at_most)

    known = Away(log)
    known.kept = {130: memories[130]}
    voter = Voter(MICROSTRUCTURE, known)
    with pytest.raises(ConnectionError):
        voter.vote(log[140])
    known.away = False
    assert voter.vote(log[140]).tobytes() == votes[140]
    assert known.asked == [(130, 140)]


def test_an_agents_memory_is_all_of_it() -> None:
    agent = Agent(NEWS)
    later = int(BARS[3]["ts"][0])
    items = [News("b", 1, later, TEXTS[0]), News("a", 1, later, TEXTS[1])]
    agent.apply(BARS[0], [News("0", 0, 1, TEXTS[0]), *items])
    memory = AgentMemory.of(agent, "s", 1, "")
    again = memory_decoder.decode(msgspec.msgpack.encode(memory)).agent(NEWS)
    assert AgentMemory.of(again, "s", 1, "") == memory
    assert again.pending == {1: [items[1], items[0]]}
    assert again.state.tobytes() == agent.state.tobytes()
    with pytest.raises(ValueError, match="width 4"):
        memory.agent(trend_momentum.SPEC)


def test_votes_over_a_round_are_those_bar_by_bar() -> None:
    """With news waiting the bars are stepped one at a time: that must not change a bit."""
    whole, single = Agent(NEWS), Agent(NEWS)
    item = News("a", 0, int(BARS[0]["ts"][0]), TEXTS[0])
    unborn = News("z", 1, 2**62, TEXTS[1])  # waits for ever in one of the two
    whole.apply(BARS[0], [item])
    single.apply(BARS[0], [item, unborn])
    assert single.pending
    assert not whole.pending
    for bars in BARS[1:]:
        assert whole.apply(bars).tobytes() == single.apply(bars).tobytes()


def test_a_digest_covers_the_payload_and_whose_it_is() -> None:
    made = Snapshot("pool", 7, "code", b"payload")
    others = [
        Snapshot("poo", 7, "code", b"payload"),
        Snapshot("pool", 8, "code", b"payload"),
        Snapshot("pool", 7, "codes", b"payload"),
        Snapshot("pool", 7, "code", b"payloads"),
    ]
    digests = {made.digest("s"), made.digest("t"), *(other.digest("s") for other in others)}
    assert len(digests) == 6
    assert {len(digest) for digest in digests} == {32}


def test_parts_take_turns_at_different_rounds() -> None:
    plan = SnapshotPlan(["pool", "a", "b"], 30, 0.0)
    turns = [(n, part) for n in range(1, 101) if (part := plan.due(n, n / 1000))]
    assert [part for _, part in turns] == ["pool", "a", "b"] * 3 + ["pool"]
    assert all(b - a == 10 for (a, _), (b, _) in pairwise(turns))


def test_fast_rounds_are_paced_by_the_clock() -> None:
    plan = SnapshotPlan(["pool", "a", "b"], 3, 30.0)
    turns = [(n, part) for n in range(1, 6001) if (part := plan.due(n, n * 0.01))]
    assert [part for _, part in turns] == ["pool", "a", "b"] * 2
    assert all(b - a >= 1000 for (a, _), (b, _) in pairwise(turns))


def test_a_plan_that_starts_late_is_due_at_once_and_more_parts_than_rounds_are_no_fault() -> None:
    plan = SnapshotPlan(["pool", "a", "b"], 1, 0.0)
    assert [plan.due(n, 0.0) for n in (5000, 5000, 5001, 5002)] == ["pool", None, "a", "b"]
