"""An agent's place in the rounds: applies them in order, once each, and closes gaps from the log.

A repeated round gets the kept votes again; a round further ahead makes the voter read what it
missed from the log first. So its votes are a function of the log, whatever died in between.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from actors.agent import Agent
from actors.contract import AgentSpec, Floats, no_params
from data.records import RoundInput, input_decoder


class Log(Protocol):
    """What a voter may read besides its round: older rounds and models by name."""

    def inputs(self, cell: int, session_id: str, after: int, before: int) -> Iterable[bytes]:
        """Input payloads with after < round < before."""

    def model(self, model_id: str) -> Floats:
        """The parameters that the name stands for."""


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
        self._votes: Floats = no_params()

    @property
    def last_round(self) -> int:
        return self._round

    def vote(self, payload: bytes) -> Floats:
        """Votes of the round in ``payload`` (a RoundInput), shape (bars, spec.out_width).

        StaleRound when a later round of the session was applied already.
        """
        given = input_decoder.decode(payload)
        if given.session_id != self._session:
            self._start(given.session_id)
        if given.round == self._round:
            return self._votes
        if given.round < self._round:
            raise StaleRound(f"{self.spec.name}: round {given.round} after {self._round}")
        if given.round > self._round + 1:
            missed = self._log.inputs(given.cell, given.session_id, self._round, given.round)
            for older in missed:
                self._apply(input_decoder.decode(older))
        self._apply(given)
        return self._votes

    def _start(self, session_id: str) -> None:
        self._agent = Agent(self.spec)
        self._session = session_id
        self._model = ""
        self._round = 0

    def _apply(self, given: RoundInput) -> None:
        wanted = given.models.get(self.spec.name, "")
        if wanted != self._model:
            self._agent.set_model(self._log.model(wanted) if wanted else no_params())
            self._model = wanted
        self._votes = self._agent.apply(given.rows(), given.news)
        self._round = given.round
