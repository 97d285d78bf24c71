"""The round engine: an event loop's door to the thread that serves one round after the other.

The loop is busy with HTTP; a round that had to wait for it at every step would take several times
as long. So the thread waits for database, agents and gate itself, and the loop is woken once a
round, with the answers of all its requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np
import psycopg
import structlog

from data.records import RoundOutput, SessionConfig
from data.round_output import OutputArrays
from serve_apps.requests import Answer, Asked
from serve_apps.round_queue import RoundQueue, Waiting
from serve_apps.rounds import RETRY_AFTER_S, Fenced, Rounds, Stages
from serve_apps.session_state import LogMismatch, SessionState
from serve_apps.wire import Refused

log = structlog.get_logger("coordinator")

IDLE_S = 0.25
BUSY = 8  # requests in a round from which on the loop is let pass before the next one
ENOUGH = 24  # waiting requests that are not kept waiting for more
LOOP_S = 0.02
BETWEEN_S = 20.0  # that anybody waits for a place between two rounds
DEADLINE_S = 10.0

T = TypeVar("T")


class Listener(Protocol):
    """Hears of every round, on the event loop."""

    def round(self, output: RoundOutput, arrays: OutputArrays, stages: dict[str, float]) -> None:
        """A round is answered; stages in seconds."""


class DecidedMeanwhile(Exception):
    """A bar of the request was decided between its arrival and its turn: the log has the answer."""


class Engine:
    """Requests in, answers out; ``rounds`` belongs to the thread from ``start`` on."""

    def __init__(
        self,
        rounds: Rounds,
        stopping: threading.Event,
        listener: Listener | None = None,
        between: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.fault: str | None = "not started"
        self._rounds = rounds
        self._stopping = stopping
        self.listener = listener
        # Hears which session is served from now on, before its first round.
        self.entered: Callable[[SessionConfig], Awaitable[None]] | None = None
        self._between = between
        self._clock = clock
        self.shed = 0  # requests refused because the queue was full
        self._queue = RoundQueue()
        self._last_batch = 0
        self._owed = False  # that somebody hears of the session that is served
        self._in_flight: dict[str, Waiting] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def state(self) -> SessionState | None:
        """The session that is served now."""
        return self._rounds.state

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    @property
    def why_not_ready(self) -> str:
        """Why no round could be served now; empty when one could."""
        return self.fault or self._rounds.why_waiting

    @property
    def account(self) -> str | None:
        """The account of the session that is served; None without one."""
        state = self._rounds.state
        return None if state is None else state.config.account

    @property
    def min_agents(self) -> int:
        """The quorum of the session that is served; 0 without one."""
        state = self._rounds.state
        return 0 if state is None else int(state.config.limits["min_agents"])

    def why_no_quorum(self, agents_out: int) -> str:
        """Why nothing could be decided while so many agents are left out; empty when it could."""
        state = self._rounds.state
        if state is None or len(state.agents) - agents_out >= self.min_agents:
            return ""
        return f"{agents_out} agents are left out: below the quorum of {self.min_agents}"

    async def start(self) -> None:
        """Reads the log on the round's thread; returns when rounds can be served."""
        self._loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="rounds", daemon=True)
        self._thread.start()
        await ready
        if self._rounds.state is not None:
            await self._enter(self._rounds.state)

    async def stop(self) -> None:
        """Ends the thread after the round it is in."""
        self._stopping.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    # -- on the event loop ------------------------------------------------------------------

    async def session_state(self, session_id: str) -> SessionState:
        """The state of the session that this cell serves, changing to a new session if asked."""
        state = self._rounds.state
        if state is not None and state.config.session_id == session_id:
            if self._owed:
                await self._enter(state)
            return state
        if self.fault is not None:
            raise _not_ready(self.fault)
        if self._in_flight:
            detail = "another session's rounds are in flight"
            raise Refused(503, "Busy", detail, RETRY_AFTER_S, "busy")
        state = await self.between_rounds(lambda: self._rounds.change_to(session_id))
        await self._enter(state)
        return state

    async def _enter(self, state: SessionState) -> None:
        self._owed = True
        if self.entered is not None:
            await self.entered(state.config)
        self._owed = False

    async def between_rounds(self, action: Callable[[], T]) -> T:
        """Runs ``action`` on the round's thread, between two rounds; its result or error."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def run() -> None:
            try:
                result = action()
            except Exception as error:  # noqa: BLE001 - whoever asked gets it
                self._post(_settle, done, None, error)
            else:
                self._post(_settle, done, result, None)

        if self.fault is not None:
            raise _not_ready(self.fault)
        self._queue.act(run)
        try:
            async with asyncio.timeout(BETWEEN_S):
                return await done
        except TimeoutError:
            detail = "the present round does not end"
            raise Refused(503, "Busy", detail, RETRY_AFTER_S, "busy") from None

    async def submit(self, asked: Asked, deadline_s: float = DEADLINE_S) -> Answer:
        """Queues a request and waits for its round; Refused 503 when the queue is full, or when
        there is no answer by the deadline: it may still come to stand in the log.

        The same request, sent again while it is in flight, waits for the same answer.
        DecidedMeanwhile when the log has the answer by now.
        """
        if self.fault is not None:
            raise _not_ready(self.fault)
        state = self._rounds.state
        if state is None or state.config.session_id != asked.session_id:
            detail = "the cell has changed to another session"
            raise Refused(503, "Busy", detail, RETRY_AFTER_S, "busy")
        twin = self._in_flight.get(asked.request_id)
        if twin is not None:
            if twin.asked.body_hash != asked.body_hash:
                detail = f"request id {asked.request_id} is in use"
                raise Refused(409, "Another body", detail, code="another_body")
            return await asyncio.shield(twin.done)
        loop = asyncio.get_running_loop()
        now = self._clock()
        waiting = Waiting(asked, now, now + deadline_s, loop.create_future())
        if not self._queue.put(waiting):
            self.shed += 1
            detail = f"{len(self._queue)} requests wait"
            raise Refused(503, "Overloaded", detail, RETRY_AFTER_S, "overloaded")
        self._in_flight[asked.request_id] = waiting
        timer = loop.call_later(deadline_s, _too_late, waiting)
        try:
            # Shielded: who goes away must not take the answer from whoever asks again.
            return await asyncio.shield(waiting.done)
        finally:
            timer.cancel()
            self._in_flight.pop(asked.request_id, None)

    # -- on the round's thread --------------------------------------------------------------

    def _run(self, ready: asyncio.Future[None]) -> None:
        try:
            self._rounds.start()
        except Exception as error:  # noqa: BLE001 - the starter gets it
            self._post(_settle, ready, None, error)
            return
        self.fault = None
        self._post(_settle, ready, None, None)
        try:
            while not self._stopping.is_set() and self.fault is None:
                self._turn()
        except Exception as error:
            self._fence([], f"a fault of the round's thread: {type(error).__name__}")
            raise

    def _turn(self) -> None:
        if self._last_batch >= BUSY and len(self._queue) < ENOUGH:
            self._let_the_loop_pass()
        actions, batch = self._queue.take(IDLE_S)
        for action in actions:
            action()
        self._last_batch = len(batch)
        if batch:
            self._serve(batch)
        if self._between is not None:
            self._between()

    def _let_the_loop_pass(self) -> None:
        """Waits until the loop has written the last round's answers and read what came meanwhile.

        A round costs much the same for one request as for fifty, and while the loop is behind, a
        round that started now would only slow it down: it is better to take more along.
        """
        passed = threading.Event()
        # Twice: the first turn wakes whoever waits for an answer, the second lets them write.
        self._post(self._next_turn, passed)
        passed.wait(LOOP_S)

    def _next_turn(self, passed: threading.Event) -> None:
        if self._loop is not None:
            self._loop.call_soon(passed.set)

    def _serve(self, batch: Sequence[Waiting]) -> None:
        try:
            self._round_of(batch)
        except Refused as refused:
            self._post(_fail, batch, refused)
        except psycopg.errors.UniqueViolation:
            if len(batch) > 1:
                for waiting in batch:
                    if self.fault is None:
                        self._serve([waiting])
                    else:
                        self._post(_fail, [waiting], _not_ready(self.fault))
            else:
                self._post(_fail, batch, DecidedMeanwhile())
        except (Fenced, LogMismatch) as error:
            self._fence(batch, str(error))
        except psycopg.Error as error:
            log.error("journal", error=str(error))
            self._fence(batch, f"the journal cannot be written: {type(error).__name__}")
        except Exception as error:
            self._fence(batch, f"a fault of the round's thread: {type(error).__name__}")
            raise

    def _fence(self, batch: Sequence[Waiting], why: str) -> None:
        log.error("coordinator closed", why=why)
        self.fault = why
        self._post(_fail, [*batch, *self._queue.clear()], _not_ready(why))

    def _round_of(self, batch: Sequence[Waiting]) -> None:
        state = self._rounds.state
        if state is None:
            raise Refused(503, "Not ready", "no session is loaded", RETRY_AFTER_S, "not_ready")
        if batch[0].asked.session_id != state.config.session_id:
            detail = "the cell has changed to another session"
            raise Refused(503, "Busy", detail, RETRY_AFTER_S, "busy")
        now = self._clock()
        batch = [w for w in batch if w.give_up > now and not self._refuse_late(state, w)]
        if not batch:
            return
        queued = now - sum(waiting.came for waiting in batch) / len(batch)
        output, rows, stages = self._rounds.decide([waiting.asked for waiting in batch])
        stages.seconds["queue"] = queued
        self._post(self._deliver, batch, output, rows, stages)

    def _refuse_late(self, state: SessionState, waiting: Waiting) -> bool:
        last = state.last_ts
        keys = waiting.asked.keys
        if all(ts > last[symbol] for symbol, ts in keys):
            return False
        late = [symbol for symbol, ts in keys if ts < last[symbol]]
        if late:
            names = ", ".join(state.config.symbols[symbol] for symbol in late)
            detail = f"{names}: a later bar was decided already"
            error: Exception = Refused(409, "Out of order", detail, code="out_of_order")
        else:
            error = DecidedMeanwhile()
        self._post(_fail, [waiting], error)
        return True

    def _post(self, function: Callable[..., None], *arguments: object) -> None:
        """Calls ``function`` on the event loop, if that still runs."""
        with contextlib.suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(function, *arguments)

    def _deliver(
        self,
        batch: Sequence[Waiting],
        output: RoundOutput,
        rows: Sequence[np.ndarray],
        stages: Stages,
    ) -> None:
        arrays = output.arrays()
        for waiting, places in zip(batch, rows, strict=True):
            if not waiting.done.done():
                waiting.done.set_result(Answer(output, arrays, places))
        if self.listener is not None:
            self.listener.round(output, arrays, stages.seconds)


def _not_ready(why: str) -> Refused:
    return Refused(503, "Not ready", why, RETRY_AFTER_S, "not_ready")


def _settle(done: asyncio.Future[T], result: T, error: BaseException | None) -> None:
    if done.done():
        return
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(result)


def _too_late(waiting: Waiting) -> None:
    detail = "no answer by the deadline; ask again with the same request id"
    _fail([waiting], Refused(503, "Too late", detail, RETRY_AFTER_S, "deadline"))


def _fail(batch: Sequence[Waiting], error: Exception) -> None:
    for waiting in batch:
        if not waiting.done.done():
            waiting.done.set_exception(error)
