"""An agent's place in the rounds: applies them in order, once each, and closes gaps from the log.

A repeated round gets the kept votes again; a round further ahead makes the voter read what it
missed from the log first, from its newest snapshot on where it starts with nothing. So its votes
are a function of the log, whatever died in between.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Protocol

import msgspec

from actors.agent import Agent
from actors.contract import AgentSpec, Floats, no_params
from actors.snapshot import AgentMemory, memory_decoder
from data.records import RoundInput, input_decoder

_EVER = 2**62  # no round has this number


class Log(Protocol):
    """What a voter may read besides its round: older rounds and models by name."""

    def inputs(self, cell: int, session_id: str, after: int, before: int) -> Iterable[bytes]:
        """Input payloads with after < round < before."""

    def model(self, model_id: str) -> Floats:
        """The parameters that the name stands for."""

    def snapshot(self, cell: int, session_id: str, at_most: int) -> bytes | None:
        """This agent's newest memory (an AgentMemory, encoded) up to a round; None without one."""


class StaleRound(RuntimeError):
    """A round older than the last one applied: its votes are no longer kept."""


class Voter:
    """One agent, its log, and the last round it applied."""

    def __init__(self, spec: AgentSpec, log: Log) -> None:
        self.spec = spec
        self._log = log
        self._session = ""
        self._agent = Agent(spec)
        self._model = ""
        self._round = 0
        self._votes: Floats | None = None  # of the last round; a snapshot holds none

    @property
    def last_round(self) -> int:
        return self._round

    def vote(self, payload: bytes) -> Floats:
        """Votes of the round in ``payload`` (a RoundInput), shape (bars, spec.out_width).

        StaleRound when a later round of the session was applied already.
        """
        given = input_decoder.decode(payload)
        # A snapshot holds no votes: those of its own round come from what was before it.
        restored = given.round == self._round and self._votes is None
        if given.session_id != self._session or restored:
            self._start(given.cell, given.session_id, given.round - 1)
        if given.round == self._round and self._votes is not None:
            return self._votes
        if given.round <= self._round:
            raise StaleRound(f"{self.spec.name}: round {given.round} after {self._round}")
        if given.round > self._round + 1:
            self._read(given.cell, given.round, None)
        return self._apply(given)

    def catch_up(self, cell: int, session_id: str, limit: int) -> int:
        """Applies up to ``limit`` more rounds of the log without voting; the last one applied."""
        if session_id != self._session:
            self._start(cell, session_id, _EVER)
        self._read(cell, _EVER, limit)
        return self._round

    def memory(self) -> bytes | None:
        """All that the agent knows after its last round, encoded; None before the first."""
        if not self._round:
            return None
        memory = AgentMemory.of(self._agent, self._session, self._round, self._model)
        return msgspec.msgpack.encode(memory)

    def _start(self, cell: int, session_id: str, at_most: int) -> None:
        """A session's memory as of its newest snapshot, empty without one."""
        kept = self._log.snapshot(cell, session_id, at_most)
        memory = None if kept is None else memory_decoder.decode(kept)
        self._agent = Agent(self.spec) if memory is None else memory.agent(self.spec)
        self._round = 0 if memory is None else memory.round
        self._model, self._votes = "", None
        if memory is not None:
            self._use(memory.model)
        # Last, so that whatever failed above is done anew, and not from an empty memory.
        self._session = session_id

    def _read(self, cell: int, before: int, limit: int | None) -> None:
        for older in islice(self._log.inputs(cell, self._session, self._round, before), limit):
            self._apply(input_decoder.decode(older))

    def _use(self, model: str) -> None:
        if model != self._model:
            self._agent.set_model(self._log.model(model) if model else no_params())
            self._model = model

    def _apply(self, given: RoundInput) -> Floats:
        session, self._session = self._session, ""  # Half a round must not stay: see below.
        self._use(given.models.get(self.spec.name, ""))
        self._votes = votes = self._agent.apply(given.rows(), given.news)
        self._round = given.round
        self._session = session
        return votes
