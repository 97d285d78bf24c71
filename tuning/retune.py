"""The retune loop: champions reviewed, the predictor retrained, new data studied, finds proposed.

One run at a time, whoever starts it. A run that died is taken up again under its own number, so
that its studies resume; a run that was missed is made up for once. Nothing is promoted without a
person unless the settings name the target, and then only if every rule passed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Annotated

import psycopg
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from data.bars import Bars
from data.clocks import DAY_NS
from data.errors import InputError
from data.records import SessionConfig
from data.sessions import load_session
from tuning.champion_review import review_all
from tuning.champions import in_force, promote
from tuning.decay import DecayRules
from tuning.proposals import Proposal, write_proposal
from tuning.retrain import retrain_predictor
from tuning.study.database import DatabaseError
from tuning.study.failures import ClusterLost

RETUNE_LOCK = (7305, 0)  # advisory; others in data.store and tuning.study.database
LOOK_S = 60.0  # how often the loop looks whether a run is due
FINISHED, FAILED = "finished", "failed"
# What ends one step of a run and not the others: what a user can mend, a store or a cluster that
# went away, and rows that were altered (ValueError).
STEP_FAILURES = (InputError, DatabaseError, ClusterLost, ValueError)

_OPEN_SESSIONS = """
SELECT s.session_id FROM session s LEFT JOIN session_end e USING (session_id)
WHERE s.mode <> 'historical' AND e.session_id IS NULL ORDER BY s.opened_at, s.session_id
"""
_LAST = """
SELECT r.started_ns, e.status FROM retune_run r LEFT JOIN retune_end e USING (started_ns)
ORDER BY r.started_ns DESC LIMIT 1
"""
_END = "INSERT INTO retune_end (started_ns, ended_ns, status, detail) VALUES (%s, %s, %s, %s)"

# (target, the run's number) -> what it found, or why it proposes nothing. The same number means
# the same study, to be resumed if it exists.
Study = Callable[[str, int], Proposal | str]
# The bars that a session's own models were fitted on; None where they are not known.
FitBars = Callable[[SessionConfig], Bars | None]


def no_fit_bars(config: SessionConfig) -> None:
    """For whoever knows no session's bars."""


class AlreadyRunning(InputError):
    """Another retune holds the lock."""


class RetuneSettings(BaseSettings):
    """What a retune does, with the environment variables that say so. Names are split at commas."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    every_days: float = Field(7.0, gt=0.0, le=3650.0, validation_alias="SAPPHIRE_RETUNE_EVERY_DAYS")
    targets: Annotated[tuple[str, ...], NoDecode] = Field(
        ("strategy_optimization",), validation_alias="SAPPHIRE_RETUNE_TARGETS"
    )
    promote_by_itself: Annotated[tuple[str, ...], NoDecode] = Field(
        (), validation_alias="SAPPHIRE_RETUNE_PROMOTE_BY_ITSELF"
    )
    retrain: bool = Field(True, validation_alias="SAPPHIRE_RETUNE_RETRAIN")
    demote_confidence: float = Field(
        0.95, ge=0.5, lt=1.0, validation_alias="SAPPHIRE_RETUNE_DEMOTE_CONFIDENCE"
    )

    @field_validator("targets", "promote_by_itself", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @property
    def every_ns(self) -> int:
        return round(self.every_days * DAY_NS)

    def check(self, known: Sequence[str]) -> None:
        """InputError unless every target is one of ``known`` and what promotes is a target."""
        for name in self.targets:
            if name not in known:
                raise InputError(
                    f"SAPPHIRE_RETUNE_TARGETS: {name!r} is no target: there are {', '.join(known)}"
                )
        for name in self.promote_by_itself:
            if name not in self.targets:
                raise InputError(
                    f"SAPPHIRE_RETUNE_PROMOTE_BY_ITSELF: {name!r} is not in SAPPHIRE_RETUNE_TARGETS"
                )


@dataclass(frozen=True)
class RetuneReport:
    """One run: its number, how it ended, and one line for each thing done."""

    started_ns: int
    status: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class LastRun:
    """The newest run on record; ``status`` is None while it has not ended."""

    started_ns: int
    status: str | None


def next_run(last: LastRun | None, every_ns: int) -> int:
    """When the next run is due, ns UTC; 0 means at once.

    Counted from the last run's start, so however many were missed, one is due. A run that did not
    end is taken up at once.
    """
    if last is None or last.status is None:
        return 0
    return last.started_ns + every_ns


def retune(
    connection: psycopg.Connection,
    settings: RetuneSettings,
    study: Study,
    clock_ns: Callable[[], int],
    by: str = "retune",
    fit_bars: FitBars = no_fit_bars,
) -> RetuneReport:
    """One run, now. ``connection`` is in autocommit, of the operations role, and holds the lock.

    What fails one step alone (STEP_FAILURES) is a line of the report and ends the run as failed,
    after the other steps were tried. AlreadyRunning when another run is under way.
    """
    with _one_at_a_time(connection):
        return _run(connection, settings, study, clock_ns, by, fit_bars)


def keep_retuning(
    connect: Callable[[], psycopg.Connection],
    settings: RetuneSettings,
    study: Study,
    clock_ns: Callable[[], int],
    wait: Callable[[float], bool],
    told: Callable[[RetuneReport], None],
    by: str = "retune",
    fit_bars: FitBars = no_fit_bars,
) -> None:
    """Runs whenever one is due, until ``wait(seconds)`` answers True; each report goes to ``told``.

    A run that another process has under way is waited for.
    """
    while True:
        with connect() as connection:
            report = _if_due(connection, settings, study, clock_ns, by, fit_bars)
        if report is not None:
            told(report)
        if wait(LOOK_S):
            return


def last_run(connection: psycopg.Connection) -> LastRun | None:
    """The newest run on record."""
    row = connection.execute(_LAST).fetchone()
    return LastRun(int(row[0]), row[1]) if row else None


def _if_due(
    connection: psycopg.Connection,
    settings: RetuneSettings,
    study: Study,
    clock_ns: Callable[[], int],
    by: str,
    fit_bars: FitBars,
) -> RetuneReport | None:
    """A run if one is due and no other is under way; asked again under the lock."""

    def due() -> bool:
        return next_run(last_run(connection), settings.every_ns) <= clock_ns()

    with suppress(AlreadyRunning):
        if due():
            with _one_at_a_time(connection):
                if due():
                    return _run(connection, settings, study, clock_ns, by, fit_bars)
    return None


def _run(
    connection: psycopg.Connection,
    settings: RetuneSettings,
    study: Study,
    clock_ns: Callable[[], int],
    by: str,
    fit_bars: FitBars,
) -> RetuneReport:
    started = _begin(connection, settings.every_ns, clock_ns())
    lines: list[str] = []
    failed = False
    for step in _steps(connection, settings, study, started, clock_ns, by, fit_bars):
        try:
            lines += step()
        except STEP_FAILURES as error:
            failed = True
            lines.append(f"failed: {' '.join(str(error).split())}")
    status = FAILED if failed else FINISHED
    connection.execute(_END, (started, clock_ns(), status, "\n".join(lines)))
    return RetuneReport(started, status, tuple(lines))


def _steps(
    connection: psycopg.Connection,
    settings: RetuneSettings,
    study: Study,
    started: int,
    clock_ns: Callable[[], int],
    by: str,
    fit_bars: FitBars,
) -> Iterator[Callable[[], list[str]]]:
    """In their order: what has decayed goes first, so that candidates meet the right incumbent."""

    def reviewed() -> list[str]:
        rules = DecayRules(confidence=settings.demote_confidence)
        return [str(each) for each in review_all(connection, rules, by)]

    def retrained() -> list[str]:
        return _retrain(connection, clock_ns(), by, fit_bars)

    def studied(target: str) -> Callable[[], list[str]]:
        return lambda: _study(connection, settings, study, target, started, by)

    yield reviewed
    if settings.retrain:
        yield retrained
    for target in settings.targets:
        yield studied(target)


def _retrain(connection: psycopg.Connection, now_ns: int, by: str, fit_bars: FitBars) -> list[str]:
    lines = []
    for (name,) in connection.execute(_OPEN_SESSIONS).fetchall():
        config = load_session(connection, name)
        change = retrain_predictor(connection, config, now_ns, by=by, fit_bars=fit_bars(config))
        if change is not None:
            lines.append(f"session {name}: {change.agent} {change.reason}")
    return lines


def _study(
    connection: psycopg.Connection,
    settings: RetuneSettings,
    study: Study,
    target: str,
    started: int,
    by: str,
) -> list[str]:
    found = study(target, started)
    if isinstance(found, str):
        return [f"{target}: nothing to propose: {found}"]
    candidate = found.candidate
    standing = in_force(connection, candidate.agent, candidate.scope)
    if standing.model == candidate.model:  # Judged against itself: no judgement to propose by.
        why = f"model {candidate.model[:12]} of study {candidate.study} is in force already"
        when = f"operations record {standing.seq}, as after a run that died once it had promoted"
        return [f"{target}: nothing to propose: {why} ({when})"]
    name = write_proposal(connection, found, by)[:12]
    lines = [f"{target}: proposal {name}"]
    lines += [f"{target}: {each.rule} {each.outcome}: {each.text}" for each in found.reasons]
    if not found.passes:
        return [*lines, f"{target}: not every rule passed, so nothing is promoted"]
    if target not in settings.promote_by_itself:
        command = f"'sapphire tune promote {found.candidate.study}'"
        return [*lines, f"{target}: every rule passed; it waits for {command}"]
    done = promote(connection, found.candidate, found.reasons, by)
    return [*lines, f"{target}: {done}"]


def _begin(connection: psycopg.Connection, every_ns: int, now_ns: int) -> int:
    """The number of the run that starts, or of the one that died and is taken up again."""
    last = last_run(connection)
    if last is not None and last.status is None:
        if now_ns < last.started_ns + every_ns:
            return last.started_ns
        connection.execute(_END, (last.started_ns, now_ns, FAILED, "it died, and is too old"))
    started = now_ns if last is None else max(now_ns, last.started_ns + 1)
    connection.execute("INSERT INTO retune_run (started_ns) VALUES (%s)", (started,))
    return started


@contextmanager
def _one_at_a_time(connection: psycopg.Connection) -> Iterator[None]:
    """Holds the lock of the connection: it ends with the connection, so a dead run frees it."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", RETUNE_LOCK).fetchone()
    if row is None or not row[0]:
        raise AlreadyRunning("another retune is under way: wait for it, or look at its report")
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(%s, %s)", RETUNE_LOCK)
