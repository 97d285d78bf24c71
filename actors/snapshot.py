"""Memories as bytes, taken at the end of a round and read by the same code only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import msgspec
import numpy as np

from actors.agent import Agent
from actors.contract import AgentSpec
from data.news import News
from data.records import content_hash

KEPT = 2  # newest snapshots of a part


class AgentMemory(msgspec.Struct, frozen=True, kw_only=True):
    """All that an agent knows after a round; the votes of the round are not part of it."""

    session_id: str
    round: int
    model: str  # in force, empty for none
    width: int
    state: bytes  # float64 (symbols, width)
    pending: list[News]

    @classmethod
    def of(cls, agent: Agent, session_id: str, number: int, model: str) -> AgentMemory:
        """The agent's memory after round ``number``; to be encoded before its next round.

        The state is a view and not a copy: a copy of megabytes would keep the votes waiting.
        """
        waiting = [item for symbol in sorted(agent.pending) for item in agent.pending[symbol]]
        return cls(
            session_id=session_id,
            round=number,
            model=model,
            width=agent.spec.state_width,
            state=cast("bytes", agent.state.data),  # encoded as bytes are
            pending=waiting,
        )

    def agent(self, spec: AgentSpec) -> Agent:
        """An agent with this memory and without its model; ValueError for one of other shape."""
        if self.width != spec.state_width:
            raise ValueError(f"{spec.name}: a memory of width {self.width} is not its own")
        agent = Agent(spec)
        agent.restore(np.frombuffer(self.state, np.float64).reshape(-1, self.width), self.pending)
        return agent


class Snapshot(msgspec.Struct, frozen=True):
    """One part's memory of a round, and the hash of the code it belongs to."""

    part: str
    round: int
    code: str
    payload: bytes

    def digest(self, session_id: str) -> bytes:
        """SHA-256 (FIPS 180-4) of the payload and of all that says whose it is."""
        owner = (session_id, self.part, str(self.round), self.code)
        parts = [text.encode() for text in owner]
        return bytes.fromhex(content_hash(*parts, self.payload))


class SnapshotPlan:
    """Whose turn it is: one part after the other, no two at the same round.

    A whole turn of all parts takes ``every_rounds`` rounds, and at least ``every_s`` seconds.
    """

    def __init__(self, parts: Sequence[str], every_rounds: int, every_s: float) -> None:
        self._parts = tuple(parts)
        self._rounds = max(1, every_rounds // len(self._parts))
        self._seconds = every_s / len(self._parts)
        self._next = 0
        self._round = 0
        self._when = float("-inf")

    def due(self, number: int, now: float) -> str | None:
        """The part to be written after round ``number`` at ``now`` (s, monotonic), if one is."""
        if number - self._round < self._rounds or now - self._when < self._seconds:
            return None
        part = self._parts[self._next]
        self._next = (self._next + 1) % len(self._parts)
        self._round, self._when = number, now
        return part


memory_decoder = msgspec.msgpack.Decoder(AgentMemory)
