"""The round engine: one round at a time, logged before it is applied.

    waiting requests -> input record -> agents in parallel -> pool -> gate -> output record

A round whose input is committed is carried to its output, by this process or by the next one that
reads the log. An answer leaves only after the output record stands.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import psycopg
import structlog

from actors.contract import AgentSpec, Floats, Status
from data.bars import Bars
from data.journal import OPERATIONS, Head, cell_chain, next_record
from data.records import (
    RoundAborted,
    RoundInput,
    RoundOutput,
    bars_to_rows,
    encode,
    input_decoder,
    output_decoder,
)
from data.round_log import LoggedRound
from serve_apps.requests import Asked
from serve_apps.round_store import RoundStore, StoredOutput
from serve_apps.session_state import SessionState, rebuild
from serve_apps.wire import Refused

log = structlog.get_logger("coordinator")

QUEUE_LIMIT = 256
GATE_RETRY_S = 0.2
GATE_DEADLINE_S = 30.0
RETRY_AFTER_S = 1


class Agents(Protocol):
    """The six agents, wherever they run."""

    async def votes(self, payload: bytes, deadline_s: float) -> Mapping[str, Floats | Status]:
        """Each agent's votes, or LATE or FAILED in their place."""


class GateLost(RuntimeError):
    """The gate's call did not come back; whether it committed must be read from the log."""


class GatePort(Protocol):
    """The risk gate, wherever it runs."""

    async def judge(self, pooled: bytes, input_seq: int, input_hash: bytes) -> bytes:
        """The committed output record's payload; GateLost when the call was lost."""


@dataclass
class Waiting:
    """A request in the queue and the future of its round's output."""

    asked: Asked
    done: asyncio.Future[RoundOutput] = field(repr=False)


class Engine:
    """Rounds of one cell. ``history`` reads the session's rounds for a rebuild."""

    def __init__(
        self,
        cell: int,
        specs: tuple[AgentSpec, ...],
        store: RoundStore,
        agents: Agents,
        gate: GatePort,
        history: Callable[[str], Awaitable[list[LoggedRound]]],
        last_round: Callable[[], Awaitable[tuple[int, str] | None]],
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.cell = cell
        self._specs = specs
        self._store = store
        self._agents = agents
        self._gate = gate
        self._history = history
        self._last_round = last_round
        self._clock_ns = clock_ns
        self._queue: list[Waiting] = []
        self._in_flight: dict[str, Waiting] = {}
        self._wake = asyncio.Event()
        self._loading = asyncio.Lock()  # two first requests of a session must not both load it
        self.state: SessionState | None = None
        self._round = 0
        self._head: Head | None = None
        self.fault: str | None = "not started"

    async def start(self) -> None:
        """Reads the log: the last session's state, and the round that a crash left open."""
        last = await self._last_round()
        if last is not None:
            self._round, session_id = last
            _, ended = await self._store.session(session_id)
            # A session that has ended asks nothing more; its log may be of older code.
            if not ended or await self._store.output(self._round) is None:
                await self._load(session_id)
        self._head = await self._store.head()
        self.fault = None

    async def _load(self, session_id: str) -> None:
        config, _ = await self._store.session(session_id)
        await self._check_models(config.models, config.models_from)
        state, open_round = rebuild(config, self._specs, await self._history(session_id))
        self.state = state
        if open_round is not None:
            await self._finish(state, open_round)

    async def _check_models(self, models: dict[str, str], models_from: int) -> None:
        names = list(models.values())
        stored, trained_until = await self._store.models_trained_until(names)
        if stored != len(set(names)):
            raise Refused(409, "Model missing", "a model of the session is not in the database")
        if trained_until > models_from:
            raise Refused(409, "Look-ahead", "a model was trained on bars after it comes in force")

    async def _finish(self, state: SessionState, open_round: LoggedRound) -> None:
        """Completes the round that has an input but no output, or closes it as aborted."""
        given = input_decoder.decode(open_round.input)
        head = await self._store.head()
        age_s = (self._clock_ns() - given.clock_ns) / 1e9
        if state.config.mode == "historical" or age_s <= state.config.vote_deadline_s:
            log.info("completing the open round", round=given.round)
            await self._complete(state, given, head)
            return
        why = f"left open for {age_s:.0f} s by a crash"
        body = RoundAborted(session_id=given.session_id, cell=self.cell, round=given.round, why=why)
        record = next_record(
            head,
            chain=cell_chain(self.cell),
            kind="aborted",
            session_id=given.session_id,
            ts=given.ts,
            written_ns=self._clock_ns(),
            payload=body,
            seen={OPERATIONS: await self._store.operations_seq()},
        )
        await self._store.commit_aborted(record, given.round)
        state.skip(given)
        log.warning("round aborted", round=given.round, why=why)

    # -- requests ---------------------------------------------------------------------------

    async def session_state(self, session_id: str) -> SessionState:
        """The state of the session that this cell serves, changing to a new session if asked."""
        async with self._loading:
            if self.state is None or self.state.config.session_id != session_id:
                self.state = await self._change_to(session_id)
            return self.state

    async def _change_to(self, session_id: str) -> SessionState:
        config, ended = await self._store.session(session_id)
        if config.cell != self.cell:
            raise Refused(409, "Other cell", f"session {session_id} lives on cell {config.cell}")
        if ended:
            raise Refused(409, "Session ended", f"session {session_id} has ended")
        await self._check_models(config.models, config.models_from)
        state, open_round = rebuild(config, self._specs, await self._history(session_id))
        # Looked at last: nothing may be waited for between this and the change.
        if self._in_flight or open_round is not None:
            raise Refused(503, "Busy", "another session's rounds are in flight", RETRY_AFTER_S)
        return state

    async def submit(self, asked: Asked) -> RoundOutput:
        """Queues a request and waits for its round's output; Refused 503 when the queue is full.

        The same request, sent again while it is in flight, waits for the same output.
        """
        if self.fault is not None:
            raise Refused(503, "Not ready", self.fault, RETRY_AFTER_S)
        if self.state is None or self.state.config.session_id != asked.session_id:
            raise Refused(503, "Busy", "the cell has changed to another session", RETRY_AFTER_S)
        twin = self._in_flight.get(asked.request_id)
        if twin is not None:
            if twin.asked.body_hash != asked.body_hash:
                raise Refused(409, "Another body", f"request id {asked.request_id} is in use")
            return await asyncio.shield(twin.done)
        if len(self._queue) >= QUEUE_LIMIT:
            raise Refused(503, "Overloaded", f"{QUEUE_LIMIT} requests wait", RETRY_AFTER_S)
        waiting = Waiting(asked, asyncio.get_running_loop().create_future())
        self._in_flight[asked.request_id] = waiting
        waiting.done.add_done_callback(lambda _: self._in_flight.pop(asked.request_id, None))
        self._queue.append(waiting)
        self._wake.set()
        return await asyncio.shield(waiting.done)

    async def run(self) -> None:
        """Serves rounds until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                batch = take_batch(self._queue)
                await self._serve(batch)

    async def _serve(self, batch: list[Waiting]) -> None:
        try:
            await self._round_of(batch)
        except Refused as refused:
            _fail(batch, refused)
        except psycopg.errors.UniqueViolation as error:
            constraint = error.diag.constraint_name or ""
            if not constraint.startswith(("request_identity", "decision_identity")):
                self._fence(batch, "another coordinator writes this cell")
            elif len(batch) > 1:
                for waiting in batch:
                    await self._serve([waiting])
            else:
                _fail(batch, Refused(409, "Another body", "this request id has an answer already"))
        except psycopg.Error as error:
            # The commit may or may not stand: only a fresh read of the log can tell.
            self._fence(batch, f"the journal cannot be written: {type(error).__name__}")

    def _fence(self, batch: list[Waiting], why: str) -> None:
        log.error("coordinator closed", why=why)
        self.fault = why
        _fail([*batch, *self._queue], Refused(503, "Not ready", why, RETRY_AFTER_S))
        self._queue.clear()

    # -- one round --------------------------------------------------------------------------

    async def _round_of(self, batch: list[Waiting]) -> None:
        state = self.state
        if state is None or self._head is None:
            raise Refused(503, "Not ready", "no session is loaded", RETRY_AFTER_S)
        batch = [waiting for waiting in batch if not self._refuse_late(state, waiting)]
        if not batch:
            return
        asked = [waiting.asked for waiting in batch]
        given = self._input(state, asked)
        record = next_record(
            self._head,
            chain=cell_chain(self.cell),
            kind="input",
            session_id=given.session_id,
            ts=given.ts,
            written_ns=self._clock_ns(),
            payload=given,
            seen={OPERATIONS: await self._store.operations_seq()},
        )
        await self._store.commit_input(record, state.config, given.round, asked)
        self._round = given.round
        self._head = record.head
        output = await self._complete(state, given, record.head)
        for waiting in batch:
            if not waiting.done.done():
                waiting.done.set_result(output)

    @staticmethod
    def _refuse_late(state: SessionState, waiting: Waiting) -> bool:
        bars = waiting.asked.bars
        late = bars["ts"] <= state.last_ts[bars["symbol"]]
        if not late.any():
            return False
        names = [state.config.symbols[int(symbol)] for symbol in bars["symbol"][late]]
        detail = f"{', '.join(names)}: a bar of this time or a later one was decided already"
        _fail([waiting], Refused(409, "Out of order", detail))
        return True

    def _input(self, state: SessionState, asked: list[Asked]) -> RoundInput:
        bars = _merge([request.bars for request in asked])
        newest = int(bars["ts"].max())
        historical = state.config.mode == "historical"
        return RoundInput(
            session_id=state.config.session_id,
            cell=self.cell,
            round=self._round + 1,
            ts=newest,
            clock_ns=newest if historical else self._clock_ns(),
            requests=[request.request_id for request in asked],
            bars=bars_to_rows(bars),
            news=[],
            models=state.models_for(bars),
            locked=sorted({symbol for request in asked for symbol in request.locked}),
        )

    async def _complete(self, state: SessionState, given: RoundInput, head: Head) -> RoundOutput:
        outs = await self._agents.votes(encode(given), state.config.vote_deadline_s)
        pooled = state.pool_votes(given, dict(outs))
        stored = await self._judged(encode(pooled), given.round, head)
        self._head = stored.head
        return output_decoder.decode(stored.payload)

    async def _judged(self, pooled: bytes, number: int, head: Head) -> StoredOutput:
        """The gate's output record; never a second call without a look first."""
        deadline = time.monotonic() + GATE_DEADLINE_S
        while True:
            try:
                await self._gate.judge(pooled, head.seq, head.hash)
            except GateLost as lost:
                log.warning("gate call lost", round=number, why=str(lost))
            stored = await self._store.output(number)
            if stored is not None:
                return stored
            if time.monotonic() > deadline:
                self.fault = "the risk gate does not answer"
                raise Refused(503, "No gate", self.fault, RETRY_AFTER_S)
            await asyncio.sleep(GATE_RETRY_S)


def take_batch(queue: list[Waiting]) -> list[Waiting]:
    """Removes from the queue, in order, the requests that fit one round: no symbol twice."""
    taken: list[Waiting] = []
    rest: list[Waiting] = []
    used: set[int] = set()
    for waiting in queue:
        symbols = {int(symbol) for symbol in waiting.asked.bars["symbol"]}
        same_session = not taken or waiting.asked.session_id == taken[0].asked.session_id
        if same_session and not symbols & used:
            taken.append(waiting)
        else:
            rest.append(waiting)
        # Also those of a request that waits: a later bar must not overtake it.
        used |= symbols
    queue[:] = rest
    return taken


def _merge(parts: list[Bars]) -> Bars:
    bars = np.concatenate(parts)
    return bars[np.lexsort((bars["symbol"], bars["ts"]))]


def _fail(batch: list[Waiting], error: Refused) -> None:
    for waiting in batch:
        if not waiting.done.done():
            waiting.done.set_exception(error)
