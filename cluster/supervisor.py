"""Watches the parts of a running cluster and starts again what died, a bounded number of times."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cluster.processes import WALL, Clock, ServiceError

LOOK_S = 0.3
# So many starts within the window mean a lasting cause, which only a person can find.
MOST_RESTARTS = 5
WINDOW_S = 60.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 8.0


@dataclass(frozen=True)
class Part:
    """One part. ``restart`` raises ServiceError when it fails; None: its death ends the run."""

    name: str
    alive: Callable[[], bool]
    restart: Callable[[], None] | None
    log_path: Path


@dataclass
class _Record:
    tries: deque[float] = field(default_factory=deque)
    not_before: float = 0.0
    restarts: int = 0


class Supervisor:
    """Looks at ``parts`` in their order: each needs only those before it.

    ``say`` hears every death and restart in one line; ``counted`` the restarts by part, after
    each. Call ``look`` every LOOK_S seconds.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        say: Callable[[str], None],
        counted: Callable[[dict[str, int]], None] = lambda _: None,
        clock: Clock = WALL,
    ) -> None:
        self._parts = tuple(parts)
        self._say = say
        self._counted = counted
        self._clock = clock
        self._records = {part.name: _Record() for part in self._parts}

    @property
    def restarts(self) -> dict[str, int]:
        """How often each part was started again; parts that never died are absent."""
        return {name: record.restarts for name, record in self._records.items() if record.restarts}

    def look(self) -> None:
        """Starts the first dead part again; ServiceError when that is hopeless."""
        for part in self._parts:
            if not part.alive() and not self._revive(part):
                return  # The parts after it need it.

    def _revive(self, part: Part) -> bool:
        record, began = self._records[part.name], self._clock.now()
        if part.restart is None:
            raise ServiceError(
                f"{part.name} died and cannot be started again (see {part.log_path})"
            )
        if began < record.not_before:
            return False
        while record.tries and began - record.tries[0] > WINDOW_S:
            record.tries.popleft()
        if len(record.tries) >= MOST_RESTARTS:
            raise ServiceError(
                f"{part.name} was started {MOST_RESTARTS} times within {WINDOW_S:.0f} s and died"
                f" again: given up (see {part.log_path})"
            )
        record.tries.append(began)
        pause = min(FIRST_PAUSE_S * 2 ** (len(record.tries) - 1), LONGEST_PAUSE_S)
        record.not_before = began + pause
        self._say(f"{part.name} died: starting it again")
        try:
            part.restart()
        except ServiceError as error:
            self._say(f"{part.name} did not start: {error}")
            return False
        record.restarts += 1
        self._say(f"{part.name} runs again after {self._clock.now() - began:.1f} s")
        self._counted(self.restarts)
        return True
