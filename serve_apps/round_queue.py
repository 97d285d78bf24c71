"""Requests that wait for a round: bounded, in order, at most one bar of a symbol in each round."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from serve_apps.requests import Answer, Asked

QUEUE_LIMIT = 1024  # requests
ROUND_BARS = 4096


@dataclass(eq=False)
class Waiting:
    """A request, the moment it came (monotonic seconds), and the future of its answer."""

    asked: Asked
    came: float
    give_up: float
    done: asyncio.Future[Answer] = field(repr=False)


class RoundQueue:
    """Between the event loop, which puts requests in, and the round's thread, which takes them.

    The thread also takes actions, which run between two rounds.
    """

    def __init__(self, limit: int = QUEUE_LIMIT) -> None:
        self._limit = limit
        self._waiting: list[Waiting] = []
        self._actions: list[Callable[[], None]] = []
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, waiting: Waiting) -> bool:
        """Whether there was room."""
        with self._changed:
            if len(self._waiting) >= self._limit:
                return False
            self._waiting.append(waiting)
            self._changed.notify()
        return True

    def act(self, action: Callable[[], None]) -> None:
        """Runs ``action`` on the round's thread before its next round."""
        with self._changed:
            self._actions.append(action)
            self._changed.notify()

    def take(self, timeout_s: float) -> tuple[list[Callable[[], None]], list[Waiting]]:
        """What is to be done next; both empty when nothing came in time."""
        with self._changed:
            if not self._waiting and not self._actions:
                self._changed.wait(timeout_s)
            actions, self._actions = self._actions, []
            return actions, [] if actions else take_batch(self._waiting)

    def clear(self) -> list[Waiting]:
        """Empties the queue; what was in it."""
        with self._changed:
            left, self._waiting = self._waiting, []
        return left


def take_batch(queue: list[Waiting]) -> list[Waiting]:
    """Removes from the queue, in order, the requests that fit one round: no symbol twice."""
    taken: list[Waiting] = []
    rest: list[Waiting] = []
    used: set[int] = set()
    bars = 0
    for waiting in queue:
        symbols = [symbol for symbol, _ in waiting.asked.keys]
        same_session = not taken or waiting.asked.session_id == taken[0].asked.session_id
        fits = not taken or bars + len(symbols) <= ROUND_BARS
        if same_session and fits and used.isdisjoint(symbols):
            taken.append(waiting)
            bars += len(symbols)
        else:
            rest.append(waiting)
        # Also those of a request that waits: a later bar must not overtake it.
        used.update(symbols)
    queue[:] = rest
    return taken
