"""What may end a run of a study besides its own end; the study itself stays intact."""

from __future__ import annotations

from collections import Counter

RETRIES = 5  # of what was lost with its worker, whatever the cause; then the run ends
MOST_DEATHS = 20
# Why a configuration has failed that no process survived. Always the same words: a trial says
# nothing of how often, or by whom, it was tried.
WORKER_DIED = "its worker died each time (out of memory?)"


class ClusterLost(RuntimeError):
    """Ray cannot be reached, or went away in mid-study; what was durable before stays."""


class Losses:
    """Ends a run that loses the same, by its number, with one worker after the other."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._count: Counter[int] = Counter()

    def note(self, number: int) -> None:
        """A worker was lost with it; ClusterLost when no other may try."""
        self._count[number] += 1
        if self._count[number] > RETRIES:
            raise ClusterLost(
                f"{self._what} was lost {self._count[number]} times: see the workers' logs"
            )


class Streak:
    """Ends a run that hears of nothing but deaths: too many to be the configurations' fault.

    More of them in a row than ``generation`` and MOST_DEATHS together: those of one generation come
    last in it, one after the other.
    """

    def __init__(self, generation: int) -> None:
        self._most = generation + MOST_DEATHS
        self._deaths = 0

    def note(self, *, died: bool) -> None:
        """A result, or a configuration that has failed because its workers died; ClusterLost."""
        self._deaths = self._deaths + 1 if died else 0
        if self._deaths > self._most:
            raise ClusterLost(
                f"{self._deaths} configurations in a row ended their workers: see the workers' logs"
                " and whether there is memory enough"
            )
