"""Answers to decide requests: from the engine when they are new, from the log when they are not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from data.records import SessionConfig
from data.sessions import UnknownSession
from serve_apps.decision_log import DecisionLog
from serve_apps.engine import DEADLINE_S, DecidedMeanwhile, Engine
from serve_apps.requests import (
    Answer,
    Asked,
    SymbolTable,
    check_fresh,
    decode,
    parse,
    respond,
    rows_of,
)
from serve_apps.rounds import RETRY_AFTER_S
from serve_apps.wire import DecideResponse, Refused, response_decoder

MOST_ROUNDS = 256  # that one request may ask again for


class Incoming(Protocol):
    """A request whose session is known and whose bars are not read yet."""

    @property
    def session_id(self) -> str:
        """The session that it is for."""

    def asked(self, table: SymbolTable, clock_ns: int) -> Asked:
        """The request's bars, checked; Refused says what is wrong with them."""


class JsonRequest:
    """A JSON body; Refused 422 when it is none."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._request = decode(body)

    @property
    def session_id(self) -> str:
        """See Incoming."""
        return self._request.session_id

    def asked(self, table: SymbolTable, clock_ns: int) -> Asked:
        """See Incoming."""
        return parse(self._request, self._body, table, clock_ns)


@dataclass(frozen=True)
class Decided:
    """The recorded decisions for a request, ready to be written as JSON or Arrow."""

    table: SymbolTable
    request_id: str
    answers: list[Answer]
    replayed: bool  # all of them stood in the log before


class Decider:
    """One cell's requests. ``clock_ns`` is the wall clock, ns UTC."""

    def __init__(
        self, engine: Engine, log: DecisionLog, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self.engine = engine
        self._log = log
        self._clock_ns = clock_ns
        self._table: SymbolTable | None = None

    @property
    def session(self) -> SessionConfig | None:
        """The session that the cell serves now."""
        state = self.engine.state
        return None if state is None else state.config

    async def answer(self, incoming: Incoming, deadline_s: float = DEADLINE_S) -> Decided:
        """The recorded decisions; Refused when the request is wrong or there are none in time."""
        try:
            state = await self.engine.session_state(incoming.session_id)
        except UnknownSession as error:
            detail = f"session {incoming.session_id!r} is not recorded"
            raise Refused(404, "Unknown session", detail, code="unknown_session") from error
        table = self._table_of(state.config)
        asked = incoming.asked(table, self._clock_ns())
        if all(ts > state.last_ts[symbol] for symbol, ts in asked.keys):
            try:
                answer = await self._new(table, asked, deadline_s)
            except DecidedMeanwhile:
                pass
            else:
                return Decided(table, asked.request_id, [answer], False)
        async with asyncio.timeout(deadline_s):
            answers, rest = await self._known(table.config, asked)
        if rest is not None:
            try:
                answers.append(await self._new(table, rest, deadline_s))
            except DecidedMeanwhile:
                detail = "a bar of the request is being decided for another one: ask again"
                raise Refused(503, "Open round", detail, RETRY_AFTER_S, "open_round") from None
        return Decided(table, asked.request_id, answers, rest is None)

    async def _new(self, table: SymbolTable, asked: Asked, deadline_s: float) -> Answer:
        check_fresh(asked, table, self._clock_ns())
        return await self.engine.submit(asked, deadline_s)

    async def decide(self, body: bytes, deadline_s: float = DEADLINE_S) -> DecideResponse:
        """The answer to a JSON body, as an object: for callers in this process."""
        decided = await self.answer(JsonRequest(body), deadline_s)
        payload = respond(decided.table, decided.request_id, decided.answers)
        return response_decoder.decode(payload)

    def _table_of(self, config: SessionConfig) -> SymbolTable:
        if self._table is None or self._table.config is not config:
            self._table = SymbolTable(config)
        return self._table

    async def _known(
        self, config: SessionConfig, asked: Asked
    ) -> tuple[list[Answer], Asked | None]:
        """Recorded answers for what was decided before, and the part that was not."""
        known = await self._log.request(asked.request_id)
        if known is not None and known[0] != asked.body_hash:
            detail = f"request id {asked.request_id} was answered for another body"
            raise Refused(409, "Another body", detail, code="another_body")
        keys = [(int(bar["symbol"]), int(bar["ts"])) for bar in asked.bars]
        decided = await self._log.decisions(config, keys)
        for key, digest in zip(keys, asked.bar_hashes, strict=True):
            if key in decided and decided[key].bar_hash != digest:
                detail = f"{config.symbols[key[0]]} {key[1]}: another bar was decided already"
                raise Refused(409, "Changed bar", detail, code="changed_bar")
        numbers = sorted({decision.round for decision in decided.values()})
        if len(numbers) > MOST_ROUNDS:
            detail = f"the bars were decided in {len(numbers)} rounds: ask for fewer at once"
            raise Refused(413, "Too many rounds", detail, code="too_many_rounds")
        outputs = await self._log.outputs(numbers)
        if len(outputs) != len(numbers):
            if await self._log.aborted(numbers):
                detail = "its round was closed as aborted after a crash: no trade comes of it"
                raise Refused(409, "Round aborted", detail, code="round_aborted")
            detail = "its round is still open: ask again with the same request id"
            raise Refused(503, "Open round", detail, RETRY_AFTER_S, "open_round")
        answers = [rows_of(output, keys) for output in outputs]
        new = [i for i, key in enumerate(keys) if key not in decided]
        if not new:
            return answers, None
        return answers, replace(
            asked, bars=asked.bars[new], bar_hashes=tuple(asked.bar_hashes[i] for i in new)
        )
