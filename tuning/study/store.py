"""A study on disk: its spec, its trials as they end, and what happened to it. Inserts only."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from data.errors import InputError
from tuning.study.contract import StudySpec, Trial
from tuning.study.database import Database, Taken

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?")
_TRIAL = (
    "INSERT INTO study_trial (study, number, generation, config, status, vals, folds, returns,"
    " error, seconds) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
    " ON CONFLICT (study, number) DO NOTHING"
)
# Kinds of events.
RESUMED, FINISHED, STOPPED, EVIDENCE = "resumed", "finished", "stopped", "evidence"


class NameTaken(InputError):
    """There is a study of this name."""


@dataclass(frozen=True)
class Event:
    """One thing that happened to a study."""

    kind: str
    detail: dict[str, Any]
    at_ns: int


@dataclass(frozen=True)
class StudyRow:
    """A study in a list."""

    spec: StudySpec
    created_ns: int
    trials: int
    complete: int
    finished: bool


def check_name(name: str) -> str:
    """The name; InputError unless it can also name a Kubernetes object (RFC 1123 label)."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"study name {name!r}: give 1 to 48 of a-z, 0-9 and '-', no '-' at either end"
        )
    return name


class StudyStore:
    """The studies of one database. ``clock_ns`` stamps what is written; nothing depends on it."""

    def __init__(self, database: Database, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self.database = database
        self._clock_ns = clock_ns

    def resume_words(self, name: str) -> str:
        """The command that goes on with a study of this store."""
        return f"sapphire tune resume {name}"

    def create(self, spec: StudySpec) -> None:
        """Records a new study; NameTaken when there is one of its name."""
        check_name(spec.name)
        blob = msgspec.json.encode(spec).decode()
        try:
            self.database.execute(
                "INSERT INTO study (name, spec, created_ns) VALUES (%s, %s, %s)",
                (spec.name, blob, self._clock_ns()),
            )
        except Taken:
            raise NameTaken(
                f"a study is called {spec.name!r} already ({self.database.where}):"
                f" '{self.resume_words(spec.name)}' goes on with it, another name starts anew"
            ) from None

    def spec(self, name: str) -> StudySpec:
        """The study's spec; InputError when there is none."""
        rows = self.database.execute("SELECT spec FROM study WHERE name = %s", (name,))
        if not rows:
            known = [row[0] for row in self.database.execute("SELECT name FROM study LIMIT 20")]
            there = f"there are {', '.join(sorted(known))}" if known else "there is none yet"
            raise InputError(f"no study is called {name!r} in {self.database.where}: {there}")
        return msgspec.json.decode(rows[0][0], type=StudySpec)

    def exists(self, name: str) -> bool:
        """Whether there is such a study."""
        return bool(self.database.execute("SELECT 1 FROM study WHERE name = %s", (name,)))

    def listing(self) -> list[StudyRow]:
        """All studies, the oldest first."""
        rows = self.database.execute(
            "SELECT s.spec, s.created_ns, count(t.number),"
            " coalesce(sum(CASE WHEN t.status = 'complete' THEN 1 ELSE 0 END), 0),"
            " EXISTS (SELECT 1 FROM study_event e WHERE e.study = s.name AND e.kind = 'finished')"
            " FROM study s LEFT JOIN study_trial t ON t.study = s.name"
            " GROUP BY s.name, s.spec, s.created_ns ORDER BY s.created_ns, s.name"
        )
        return [
            StudyRow(
                msgspec.json.decode(spec, type=StudySpec),
                int(created),
                int(count),
                int(complete),
                bool(finished),
            )
            for spec, created, count, complete, finished in rows
        ]

    def save(self, name: str, trials: Sequence[Trial]) -> None:
        """Makes trials durable, all or none; one that is stored already is left as it is."""
        if not trials:
            return
        with self.database.transaction():
            self.database.execute_many(_TRIAL, [(name, *_row(trial)) for trial in trials])

    def trials(self, name: str) -> list[Trial]:
        """The stored trials in their order."""
        rows = self.database.execute(
            "SELECT number, generation, config, status, vals, folds, returns, error, seconds"
            " FROM study_trial WHERE study = %s ORDER BY number",
            (name,),
        )
        return [_trial(row) for row in rows]

    def note(self, name: str, kind: str, detail: dict[str, Any]) -> None:
        """Records that something happened to the study."""
        with self.database.transaction():
            rows = self.database.execute(
                "SELECT coalesce(max(seq), 0) FROM study_event WHERE study = %s", (name,)
            )
            self.database.execute(
                "INSERT INTO study_event (study, seq, kind, detail, at_ns)"
                " VALUES (%s, %s, %s, %s, %s)",
                (name, int(rows[0][0]) + 1, kind, json.dumps(detail), self._clock_ns()),
            )

    def events(self, name: str, kind: str | None = None) -> list[Event]:
        """What happened to the study, in order."""
        rows = self.database.execute(
            "SELECT kind, detail, at_ns FROM study_event WHERE study = %s ORDER BY seq", (name,)
        )
        events = [Event(str(k), json.loads(detail), int(at)) for k, detail, at in rows]
        return [event for event in events if kind is None or event.kind == kind]


def _row(trial: Trial) -> tuple[Any, ...]:
    return (
        trial.number,
        trial.generation,
        json.dumps(trial.config),
        trial.status,
        json.dumps(trial.values),
        json.dumps(trial.folds),
        np.asarray(trial.returns, "<f4").tobytes(),
        trial.error,
        trial.seconds,
    )


def _trial(row: tuple[Any, ...]) -> Trial:
    number, generation, config, status, values, folds, returns, error, seconds = row
    return Trial(
        number=int(number),
        generation=int(generation),
        config=json.loads(config),
        status=str(status),
        values=tuple(json.loads(values)),
        folds=tuple(tuple(fold) for fold in json.loads(folds)),
        returns=np.frombuffer(bytes(returns), "<f4").astype(np.float32),
        error=str(error),
        seconds=float(seconds),
    )
