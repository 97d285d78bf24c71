"""What the rounds of a cell talk to: agents, gate, log and news, wherever they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from actors.contract import Floats, Status
from actors.snapshot import Snapshot
from data.news import News
from data.records import RoundInput, SessionConfig
from data.round_log import LoggedRound


class Agents(Protocol):
    """The six agents, wherever they run."""

    def votes(
        self, given: RoundInput, payload: bytes, config: SessionConfig
    ) -> Mapping[str, Floats | Status]:
        """Each agent's votes, or LATE or FAILED in their place, by the session's deadline."""

    def versions(self) -> dict[str, str]:
        """Each agent's hash of its step function."""


class LogReader(Protocol):
    """The cell's log, read at a start and at a change of session."""

    def last_round(self) -> tuple[int, str] | None:
        """Number and session of the last input record; None before the first."""

    def rounds(self, session_id: str, after: int) -> Iterable[LoggedRound]:
        """The session's rounds after a number, in order."""

    def memory(self, session_id: str) -> Snapshot | None:
        """The newest snapshot of the session's pool; None without one."""


class GateLost(RuntimeError):
    """The gate's call did not come back; whether it committed must be read from the log."""


class GateFailed(RuntimeError):
    """The gate raised on this very round: it would do so again."""


class GatePort(Protocol):
    """The risk gate, wherever it runs."""

    def judge(self, pooled: bytes, input_seq: int, input_hash: bytes) -> bytes:
        """An encoded actors.gate.Judged.

        GateLost when the call was lost or the gate cannot work now, GateFailed when it broke on
        this round.
        """


class NewsPort(Protocol):
    """News that waits for a round; see serve_apps.news_desk."""

    def take(self, session_id: str, limit: int) -> list[News]:
        """Waiting items of the session in (ts, id) order."""

    def put_back(self, items: Iterable[News]) -> None:
        """The round did not come about."""

    def settled(self, items: Iterable[News]) -> None:
        """The round's input is committed."""


class NoNews:
    """A cell that takes no news."""

    def take(self, session_id: str, limit: int) -> list[News]:  # noqa: ARG002 - see NewsPort
        """Nothing."""
        return []

    def put_back(self, items: Iterable[News]) -> None:
        """There is nothing to put back."""

    def settled(self, items: Iterable[News]) -> None:
        """There is nothing to settle."""
