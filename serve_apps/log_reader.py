"""The cell's log as a starting coordinator reads it: the last round, rounds, the pool's memory."""

from __future__ import annotations

from collections.abc import Iterator

from actors.snapshot import Snapshot
from actors.snapshot_store import newest
from data import round_log
from data.round_log import LoggedRound
from data.store import connect
from serve_apps.session_state import POOL, pool_code

_EVER = 2**62  # no round has this number


class DatabaseLog:
    """See serve_apps.round_ports.LogReader; a connection only while something is read."""

    def __init__(self, url: str, cell: int) -> None:
        self._url = url
        self._cell = cell
        self._name = f"coordinator-{cell}-start"

    def last_round(self) -> tuple[int, str] | None:
        """See LogReader."""
        with connect(self._url, name=self._name) as connection:
            return round_log.last_round(connection, self._cell)

    def rounds(self, session_id: str, after: int) -> Iterator[LoggedRound]:
        """See LogReader."""
        with connect(self._url, name=self._name) as connection:
            yield from round_log.rounds(connection, self._cell, session_id, after)

    def memory(self, session_id: str) -> Snapshot | None:
        """See LogReader."""
        with connect(self._url, name=self._name) as connection:
            return newest(connection, self._cell, session_id, POOL, pool_code(), _EVER)
