"""The rounds of one cell, one at a time, each logged before it is applied. One thread's work.

    requests -> input record -> agents in parallel -> pool -> gate -> output record

A round whose input is committed is carried to its output, by this process or by the next one that
reads the log. While the journal or the gate is away, the round waits for it; the requests in it
give up by their own deadlines and find the answer in the log later.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec
import numpy as np
import psycopg
import structlog

from actors.contract import AgentSpec
from actors.gate import Judged, judged_decoder
from data.bars import Bars
from data.journal import OPERATIONS, Head, Record, cell_chain, next_record
from data.news import News
from data.records import (
    RoundAborted,
    RoundInput,
    RoundOutput,
    SessionConfig,
    encode,
    input_decoder,
)
from data.round_log import LoggedRound
from serve_apps.model_changes import ModelChanges, check_models, model_names
from serve_apps.requests import Asked
from serve_apps.round_ports import (
    Agents,
    GateFailed,
    GateLost,
    GatePort,
    LogReader,
    NewsPort,
    NoNews,
)
from serve_apps.round_store import RoundStore
from serve_apps.session_state import SessionState, rebuild
from serve_apps.wire import Refused

log = structlog.get_logger("coordinator")
T = TypeVar("T")

PAUSE_S = 0.1
GATE_TRIES = 3  # of a round on which the gate breaks
NEWS_A_ROUND = 256
OPEN_S = 60.0  # a round that a crash left open longer is aborted, outside a historical session
LOST = (psycopg.OperationalError, psycopg.InterfaceError)  # of the connection, not of a statement
RETRY_AFTER_S = 1


class Fenced(RuntimeError):
    """Another coordinator writes this cell's log: this one must not go on."""


class Stages:
    """Seconds that the parts of one round took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def passed(self, name: str) -> None:
        """The part ``name`` ends now."""
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now


class Rounds:
    """The state of one cell's log and the way to its next record.

    ``stopping`` ends every wait.
    """

    def __init__(
        self,
        cell: int,
        specs: Sequence[AgentSpec],
        store: RoundStore,
        agents: Agents,
        gate: GatePort,
        log: LogReader,
        clock_ns: Callable[[], int],
        stopping: threading.Event,
        news: NewsPort | None = None,
    ) -> None:
        self.cell = cell
        self.state: SessionState | None = None
        self.why_waiting = ""  # what the open round waits for; empty while nothing is amiss
        self._specs = tuple(specs)
        self._store = store
        self._agents = agents
        self._gate = gate
        self._log = log
        self._clock_ns = clock_ns
        self._stopping = stopping
        self._news = NoNews() if news is None else news
        self._number = 0
        self._head = Head(0, b"")
        self._models: ModelChanges | None = None  # of the session in ``state``

    # -- sessions ---------------------------------------------------------------------------

    def start(self) -> None:
        """Reads the log: the last session's state, and the round that a crash left open."""
        last = self._log.last_round()
        if last is not None:
            self._number, session_id = last
            _, ended = self._store.session(session_id)
            # A session that has ended asks nothing more; its log may be of older code.
            if not ended or self._store.output(self._number) is None:
                self._resume(session_id)
        self._head = self._store.head()

    def _resume(self, session_id: str) -> None:
        config, _ = self._store.session(session_id)
        self._models = self._models_of(config)
        self.state, open_round = self._rebuilt(config)
        if open_round is not None:
            self._finish(self.state, open_round)

    def change_to(self, session_id: str) -> SessionState:
        """The state of the session that this cell serves from now on.

        UnknownSession when there is none; Refused when it is another cell's or has ended.
        """
        if self.state is not None and self.state.config.session_id == session_id:
            return self.state
        config, ended = self._store.session(session_id)
        if config.cell != self.cell:
            detail = f"session {session_id} lives on cell {config.cell}"
            raise Refused(409, "Other cell", detail, code="other_cell")
        if ended:
            detail = f"session {session_id} has ended"
            raise Refused(409, "Session ended", detail, code="session_ended")
        models = self._models_of(config)
        state, open_round = self._rebuilt(config)
        if open_round is not None:
            raise Refused(503, "Busy", "the session has an open round", RETRY_AFTER_S, "busy")
        self.state, self._models = state, models
        return state

    def _rebuilt(self, config: SessionConfig) -> tuple[SessionState, LoggedRound | None]:
        def rounds(after: int) -> Iterable[LoggedRound]:
            return self._log.rounds(config.session_id, after)

        return rebuild(config, self._specs, rounds, self._log.memory(config.session_id))

    def _models_of(self, config: SessionConfig) -> ModelChanges:
        """The session's models with all changes up to now; Refused when it must not have them."""
        check_models(config, self._store.stored_models(model_names(config)))
        models = ModelChanges(config, self._specs, self._store.model)
        self._take_changes(models)
        return models

    def _take_changes(self, models: ModelChanges) -> None:
        last, records = self._store.operations(models.seq)
        if last > models.seq:
            for seq, why in models.take(records, last):
                log.warning("change of a model refused", operation=seq, why=why)

    def _finish(self, state: SessionState, open_round: LoggedRound) -> None:
        """Completes the round that has an input but no output, or closes it as aborted."""
        given = input_decoder.decode(open_round.input)
        head = self._store.head()
        age_s = (self._clock_ns() - given.clock_ns) / 1e9
        historical = state.config.mode == "historical"
        # Votes of other versions than the input names would be credited to the wrong ones.
        same = given.versions == self._agents.versions()
        if same and (historical or age_s <= OPEN_S):
            log.info("completing the open round", round=given.round)
            self._complete(state, given, open_round.input, head, Stages())
            return
        why = f"left open for {age_s:.0f} s by a crash" + ("" if same else ", agents changed since")
        body = RoundAborted(session_id=given.session_id, cell=self.cell, round=given.round, why=why)
        record = self._record("aborted", head, given.session_id, given.ts, encode(body))
        self._store.commit_aborted(record, given.round)
        state.skip(given)
        log.warning("round aborted", round=given.round, why=why)

    # -- one round --------------------------------------------------------------------------

    def decide(self, asked: Sequence[Asked]) -> tuple[RoundOutput, list[np.ndarray], Stages]:
        """Carries one round of these requests; its output and each request's rows in it.

        psycopg.errors.UniqueViolation when an identity is known already: nothing was written.
        Fenced when another coordinator writes the log.
        """
        state, models = self.state, self._models
        if state is None or models is None:
            raise Refused(503, "Not ready", "no session is loaded", RETRY_AFTER_S, "not_ready")
        stages = Stages()
        self._patiently(lambda: self._take_changes(models))
        bars, rows = merge([request.bars for request in asked])
        news = self._news.take(state.config.session_id, NEWS_A_ROUND)
        given = self._input(state, models, asked, bars, news)
        payload = encode(given)
        record = self._record("input", self._head, given.session_id, given.ts, payload)
        try:
            self._commit(record, state.config, given, asked)
        except psycopg.errors.UniqueViolation:
            self._news.put_back(news)
            raise
        self._news.settled(news)
        self._number, self._head = given.round, record.head
        stages.passed("input")
        output = self._complete(state, given, payload, record.head, stages)
        return output, rows, stages

    def _input(
        self,
        state: SessionState,
        models: ModelChanges,
        asked: Sequence[Asked],
        bars: Bars,
        news: Sequence[News],
    ) -> RoundInput:
        newest = int(bars["ts"].max())
        historical = state.config.mode == "historical"
        return RoundInput(
            session_id=state.config.session_id,
            cell=self.cell,
            round=self._number + 1,
            ts=newest,
            clock_ns=newest if historical else self._clock_ns(),
            requests=[request.request_id for request in asked],
            bars=bars.tobytes(),
            news=list(news),
            models=models.models(int(bars["ts"].min())),
            locked=sorted({symbol for request in asked for symbol in request.locked}),
            versions=self._agents.versions(),
        )

    def _record(self, kind: str, after: Head, session_id: str, ts: int, payload: bytes) -> Record:
        """The next one; it has seen the operations up to which changes of models were taken."""
        operations = 0 if self._models is None else self._models.seq
        return next_record(
            after,
            chain=cell_chain(self.cell),
            kind=kind,
            session_id=session_id,
            ts=ts,
            written_ns=self._clock_ns(),
            payload=payload,
            seen={OPERATIONS: operations},
        )

    def _commit(
        self, record: Record, config: SessionConfig, given: RoundInput, asked: Sequence[Asked]
    ) -> None:
        """Commits the input, whatever happens to the database meanwhile."""
        in_doubt = False
        while True:
            try:
                self._store.commit_input(record, config, given, asked)
                self.why_waiting = ""
                return
            except psycopg.errors.UniqueViolation as error:
                if in_doubt and self._read_head() == record.head:
                    return  # The lost commit stands after all.
                constraint = error.diag.constraint_name or ""
                if constraint.startswith(("request_identity", "decision_identity")):
                    raise
                raise Fenced("another coordinator writes this cell") from error
            except LOST as error:
                in_doubt = True
                self._store.close()
                self._wait(f"the journal cannot be written: {type(error).__name__}")
            # The commit may or may not stand: only the log can tell.
            head = self._read_head()
            if head == record.head:
                self.why_waiting = ""
                return
            if head != self._head:
                raise Fenced("another coordinator writes this cell")

    def _read_head(self) -> Head:
        return self._patiently(self._store.head)

    def _patiently(self, read: Callable[[], T]) -> T:
        """What ``read`` gives, however long the journal cannot be read."""
        while True:
            try:
                return read()
            except LOST as error:
                self._store.close()
                self._wait(f"the journal cannot be read: {type(error).__name__}")

    def _wait(self, why: str) -> None:
        if self.why_waiting != why:
            log.warning("the round waits", why=why)
        self.why_waiting = why
        if self._stopping.wait(PAUSE_S):
            raise Fenced("this coordinator stops")

    def _complete(
        self,
        state: SessionState,
        given: RoundInput,
        payload: bytes,
        head: Head,
        stages: Stages,
    ) -> RoundOutput:
        outs = self._agents.votes(given, payload, state.config)
        stages.passed("fan_out")
        pooled = state.pool_votes(given, outs)
        stages.passed("pool")
        clocked, judged = self._judged(state, pooled, head)
        if judged.votes != pooled.votes_digest():
            raise Fenced(f"round {given.round} was judged with other votes")
        self._head = Head(judged.seq, judged.hash)
        stages.passed("gate")
        return msgspec.structs.replace(
            clocked, epoch=judged.epoch, clock_ns=judged.clock_ns, table=judged.table
        )

    def _judged(
        self, state: SessionState, pooled: RoundOutput, head: Head
    ) -> tuple[RoundOutput, Judged]:
        """What was judged, and the gate's output; never a second call without a look at the log.

        Outside a historical session each call is judged by its own clock: while a round waits for
        journal or gate its bars grow stale.
        """
        failures = 0
        current = pooled
        while True:
            if state.config.mode != "historical":
                current = msgspec.structs.replace(pooled, clock_ns=self._clock_ns())
            try:
                answer = self._gate.judge(encode(current), head.seq, head.hash)
                self.why_waiting = ""
                return current, judged_decoder.decode(answer)
            except GateLost as lost:
                why = f"the risk gate does not answer: {lost}"
            except GateFailed as failed:
                failures += 1
                why = f"the risk gate breaks: {failed}"
            log.warning("no judgement", round=pooled.round, why=why)
            stored = self._look(pooled.round, head)
            if stored is not None:
                self.why_waiting = ""
                return current, stored
            if failures >= GATE_TRIES:
                self._abort(pooled, head, why)
            self._wait(why)

    def _abort(self, pooled: RoundOutput, head: Head, why: str) -> None:
        """Closes a round that the gate cannot judge, and this coordinator, whose memory has it."""
        body = RoundAborted(
            session_id=pooled.session_id, cell=self.cell, round=pooled.round, why=why
        )
        ts = int(pooled.arrays().table["ts"].max())
        record = self._record("aborted", head, pooled.session_id, ts, encode(body))
        self._store.commit_aborted(record, pooled.round)
        raise Fenced(f"round {pooled.round} was aborted: {why}")

    def _look(self, number: int, head: Head) -> Judged | None:
        """The round's output as the log has it; None while it is open."""
        try:
            stored = self._store.output(number)
            if stored is None and self._store.head() != head:
                raise Fenced("another coordinator writes this cell")
        except LOST:
            self._store.close()
            return None
        if stored is None:
            return None
        if stored.kind != "output":
            raise Fenced(f"round {number} was closed by another coordinator")
        return stored.judged()


def merge(parts: Sequence[Bars]) -> tuple[Bars, list[np.ndarray]]:
    """All bars in (ts, symbol) order, and where each part's bars stand in them."""
    if len(parts) == 1:
        return parts[0], [np.arange(len(parts[0]))]
    bars = np.concatenate(parts)
    order = np.lexsort((bars["symbol"], bars["ts"]))
    places = np.empty(len(bars), np.int64)
    places[order] = np.arange(len(bars))
    ends = np.cumsum([len(part) for part in parts])[:-1]
    return bars[order], np.split(places, ends)
