"""``sapphire tune retune``: tunes on new data and proposes, once or whenever a run is due."""

from __future__ import annotations

import getpass
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg
from pydantic import ValidationError
from rich.console import Console

from cluster import tune_view
from cluster.database import database
from cluster.home import Home
from cluster.processes import ServiceError
from cluster.settings import ClusterSettings
from cluster.stopping import stoppable
from cluster.tune import TuneOptions, feed_of, opened
from cluster.tune_promote import verdict_on
from cluster.tune_store import Stores
from cluster.tune_upkeep import declared_fit_bars
from data.errors import InputError
from data.store import connect
from tuning.proposals import Proposal
from tuning.retune import FINISHED, RetuneReport, RetuneSettings, keep_retuning, retune
from tuning.study.api import check_code
from tuning.study.build import build
from tuning.study.contract import StudySpec
from tuning.study.rules import PASSED
from tuning.study.runner import Place, run_study
from tuning.study.spec import make_spec, study_code, with_data
from tuning.study.store import StudyStore
from tuning.study.targets import TARGETS

_EVERY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(d|h|m)")
_IN_DAYS = {"d": 1.0, "h": 1.0 / 24.0, "m": 1.0 / 1440.0}
_LEAD = 31  # of a study's name, so that a run's number fits behind it


@dataclass(frozen=True, kw_only=True)
class RetuneOptions:
    """What a person asked for. ``every``: a loop, "1d", "12h" or "30m"; empty: one run now.

    No ``targets``: those of SAPPHIRE_RETUNE_TARGETS, or the default.
    """

    targets: tuple[str, ...] = ()
    every: str = ""
    trials: int = 200
    evaluation: dict[str, Any] = field(default_factory=dict)
    storage: str = ""
    executor: str = "ray"
    workers: int = 0
    address: str | None = None
    as_json: bool = False

    def place(self) -> Place:
        """Where trials are evaluated; InputError for what is no place."""
        asked = TuneOptions(executor=self.executor, workers=self.workers, address=self.address)
        return asked.place()


def days(text: str) -> float:
    """ "1d", "12h" or "30m" in days; InputError for anything else."""
    match = _EVERY.fullmatch(text)
    found = float(match[1]) * _IN_DAYS[match[2]] if match else 0.0
    if not found:
        raise InputError(f"--every {text!r}: write a number above 0 with d, h or m, as 1d or 12h")
    return found


def settings_of(options: RetuneOptions) -> RetuneSettings:
    """The environment's settings, with what the command line says instead; InputError if wrong."""
    given: dict[str, Any] = {}
    if options.targets:
        given["SAPPHIRE_RETUNE_TARGETS"] = options.targets
    if options.every:
        given["SAPPHIRE_RETUNE_EVERY_DAYS"] = days(options.every)
    try:
        settings = RetuneSettings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{name}: {first['msg']}") from None
    known = [name for name, target in TARGETS.items() if target.promotes]
    for name in options.targets:
        if name not in known:
            raise InputError(f"{name!r} is no target of a retune: there are {', '.join(known)}")
    settings.check(known)
    return settings


def study_name(target: str, run: int) -> str:
    """The study of a run: the same for the same run, so that a run that died resumes it."""
    return f"{target.replace('_', '-')[:_LEAD].rstrip('-')}-{run:016x}"


def run_retune(options: RetuneOptions) -> int:
    """One run, or a loop until it is stopped; 1 when a step of the one run failed."""
    settings = settings_of(options)
    place = options.place()
    human = Console(stderr=True) if options.as_json else Console()
    by = getpass.getuser()

    def told(report: RetuneReport) -> None:
        for line in report.lines:
            human.print(line, highlight=False, soft_wrap=True)
        human.print(f"retune {report.started_ns} {report.status}", highlight=False)
        if options.as_json:
            sys.stdout.write(
                json.dumps(
                    {"run": report.started_ns, "status": report.status, "lines": report.lines}
                )
                + "\n"
            )
            sys.stdout.flush()

    with (
        opened(options.storage) as (cluster, home, kept),
        _operations(cluster, home, loop=bool(options.every)) as url,
    ):
        bench = _Bench(options, place, home, kept, url, human)
        fit_bars = partial(declared_fit_bars, home)
        with stoppable(), _plainly():
            if options.every:
                keep_retuning(
                    lambda: connect(url, name="sapphire-retune"),
                    settings,
                    bench,
                    time.time_ns,
                    threading.Event().wait,
                    told,
                    by,
                    fit_bars,
                )
                return 0
            with connect(url, name="sapphire-retune") as link:
                report = retune(link, settings, bench, time.time_ns, by, fit_bars)
    told(report)
    return 0 if report.status == FINISHED else 1


@contextmanager
def _operations(settings: ClusterSettings, home: Home, *, loop: bool) -> Iterator[str]:
    """The database's address; a loop does not hold the home for itself."""
    if loop and not settings.database_url and not home.is_locked():
        raise InputError(
            "a retune loop needs a PostgreSQL that runs: start 'sapphire up', set DATABASE_URL, or"
            " leave --every out for one run"
        )
    with database(settings, home, "ops") as url:
        yield url


@contextmanager
def _plainly() -> Iterator[None]:
    try:
        yield
    except psycopg.OperationalError as error:
        first = (str(error).splitlines() or ["the connection was lost"])[0]
        raise ServiceError(f"PostgreSQL: {first}; the next retune takes this one up") from error


class _Bench:
    """Runs a target's study for a run of the loop, and has its winner judged."""

    def __init__(
        self,
        options: RetuneOptions,
        place: Place,
        home: Home,
        kept: Stores,
        url: str,
        human: Console,
    ) -> None:
        self._options = options
        self._place = place
        self._home = home
        self._kept = kept
        self._url = url
        self._human = human

    def __call__(self, target: str, run: int) -> Proposal | str:
        """What it found, or why it proposes nothing."""
        store, spec = self._study(target, study_name(target, run))
        evaluator = build(spec, feed_of(spec, self._home))
        already = len(store.trials(spec.name))
        with tune_view.progress(self._human, spec.name, already) as watch:
            trials = run_study(store, spec, evaluator, self._place, watch)
        say: Callable[[str], None] = lambda text: self._human.print(f"{text} …")  # noqa: E731
        with connect(self._url, name="sapphire-retune-judge") as link:
            verdict = verdict_on(store, spec, self._home, self._url, link, trials, "", say)
        if verdict.candidate is None:
            failed = [each.text for each in verdict.reasons if each.outcome != PASSED]
            return "; ".join(failed) + "; the locked segment stays unopened"
        return Proposal(target, verdict.candidate, tuple(verdict.reasons))

    def _study(self, target: str, name: str) -> tuple[StudyStore, StudySpec]:
        """The run's study: stored by an earlier try of the run, else begun on the data of now."""
        if any(store.exists(name) for store in self._kept.all):
            store, spec = self._kept.spec(name)
            check_code(spec, study_code())
            return store, spec
        asked = make_spec(
            name, target, trials=self._options.trials, evaluation=self._options.evaluation
        )
        spec = with_data(asked, feed_of(asked, self._home))
        self._kept.new.create(spec)
        return self._kept.new, spec
