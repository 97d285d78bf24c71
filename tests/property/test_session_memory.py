"""A coordinator restored from its memory is the one that lived through the rounds, bit for bit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from session_support import ReadLog, live, logged, made_rounds, rebuilt, small_config
from support import plain_config

from actors.registry import AGENTS
from data.records import encode
from serve_apps.session_state import SessionState, pool_code, window_record

COUNT = 70

changes = st.dictionaries(
    st.integers(2, COUNT), st.lists(st.integers(0, 5), min_size=1, max_size=6), max_size=4
)


def same(one: SessionState, other: SessionState) -> bool:
    return one.memory() == other.memory() and one.pool.to_bytes() == other.pool.to_bytes()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, COUNT - 1), changes)
def test_a_memory_of_any_round_goes_on_as_if_nothing_had_been(
    seed: int, cut: int, changed: dict[int, list[int]]
) -> None:
    config = small_config()
    rounds = made_rounds(seed, COUNT, changed)
    straight = SessionState(config, AGENTS)
    before = live(straight, rounds[:cut])
    kept = straight.memory()
    restored = SessionState(config, AGENTS)
    restored.restore(kept)
    assert (kept.part, kept.round, kept.code) == ("pool", cut, pool_code())
    assert same(straight, restored)
    assert restored.last_ts.tobytes() == straight.last_ts.tobytes()
    assert restored.last_round == cut
    assert window_record(restored.pool) == window_record(straight.pool)
    after = live(straight, rounds[cut:])
    again = live(restored, rounds[cut:])
    assert [o and encode(o) for o in after] == [o and encode(o) for o in again]
    assert same(straight, restored)
    # A start reads only what came after its memory, and gives the same as one without.
    log = ReadLog(logged(rounds, [*before, *after]))
    assert same(rebuilt(config, log, kept), straight)
    assert same(rebuilt(config, log), straight)
    assert log.after == [cut, 0]


def test_a_memory_of_another_session_is_refused() -> None:
    state = SessionState(small_config(), AGENTS)
    live(state, made_rounds(1, 3))
    other = SessionState(plain_config(("AAA", "BBB")), AGENTS)
    with pytest.raises(ValueError, match="not this session's"):
        other.restore(state.memory())
    assert other.last_round == 0


def test_a_memory_does_not_move_with_the_session() -> None:
    rounds = made_rounds(2, 40, {5: [1], 30: [1]})
    state = SessionState(small_config(), AGENTS)
    live(state, rounds[:20])
    kept = state.memory()
    copied = bytes(kept.payload)
    restored = SessionState(small_config(), AGENTS)
    restored.restore(kept)
    live(restored, rounds[20:])
    live(state, rounds[20:])
    assert kept.payload == copied
    assert same(restored, state)
