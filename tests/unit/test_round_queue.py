"""The queue of waiting requests: bounded, ordered, no symbol twice in a round."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from data.bars import empty_bars
from serve_apps.requests import Asked
from serve_apps.round_queue import QUEUE_BARS, ROUND_BARS, RoundQueue, Waiting, take_batch


def waiting(symbols: Sequence[int], session: str = "s") -> Waiting:
    bars = empty_bars(len(symbols))
    bars["symbol"] = symbols
    asked = Asked("r", session, b"", bars, (), ())
    loop = asyncio.new_event_loop()
    try:
        return Waiting(asked, 0.0, 1.0, loop.create_future())
    finally:
        loop.close()


def symbols_of(waiting_: Waiting) -> list[int]:
    found: list[int] = waiting_.asked.bars["symbol"].tolist()
    return found


requests = st.lists(
    st.tuples(st.sets(st.integers(0, 5), min_size=1), st.sampled_from("st")), max_size=12
)


@given(requests)
def test_rounds_take_everything_in_order_and_no_symbol_twice(
    asked: list[tuple[set[int], str]],
) -> None:
    everything = [waiting(sorted(symbols), session) for symbols, session in asked]
    queue = list(everything)
    order: dict[int, list[Waiting]] = {}
    while queue:
        batch = take_batch(queue)
        assert batch
        together = [symbol for one in batch for symbol in symbols_of(one)]
        assert len(together) == len(set(together))
        assert len({one.asked.session_id for one in batch}) == 1
        for one in batch:
            for symbol in symbols_of(one):
                order.setdefault(symbol, []).append(one)
    for symbol, served in order.items():
        assert served == [one for one in everything if symbol in symbols_of(one)]


def test_a_round_is_bounded_in_bars_but_takes_any_one_request() -> None:
    half = ROUND_BARS // 2
    parts = [range(half), range(half, 2 * half), range(2 * half, 2 * half + 1)]
    queue = [waiting(list(part)) for part in parts]
    assert [len(take_batch(queue)), len(take_batch(queue))] == [2, 1]
    queue = [waiting(range(ROUND_BARS + 5))]
    assert len(take_batch(queue)) == 1


def test_a_full_queue_takes_no_more() -> None:
    queue = RoundQueue(2)
    assert queue.put(waiting([0]))
    assert queue.put(waiting([1]))
    assert not queue.put(waiting([2]))
    assert len(queue) == 2
    bulky = RoundQueue()
    assert bulky.put(waiting(range(QUEUE_BARS)))
    assert not bulky.put(waiting([0]))
    assert [symbols_of(one) for one in queue.clear()] == [[0], [1]]
    assert queue.put(waiting([2]))


def test_actions_come_before_rounds_and_nothing_is_waited_for_in_vain() -> None:
    queue = RoundQueue()
    done: list[str] = []
    action: Callable[[], None] = lambda: done.append("acted")  # noqa: E731 - a plain action
    queue.put(waiting([0]))
    queue.act(action)
    actions, batch = queue.take(10.0)
    assert (actions, batch) == ([action], [])
    actions, batch = queue.take(10.0)
    assert (actions, len(batch)) == ([], 1)
    assert queue.take(0.001) == ([], [])
