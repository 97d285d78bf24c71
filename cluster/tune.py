"""``sapphire tune run|resume|list|show|compare``: studies from the command line."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from cluster import tune_view
from cluster.home import Home
from cluster.processes import ServiceError
from cluster.settings import ClusterSettings, load_cluster
from cluster.stopping import Stopped, stoppable
from cluster.tune_store import Stores, folder, stores
from data.errors import InputError
from data.feed import Feed, open_feed
from tuning.study.api import agreed, check_code
from tuning.study.build import AnyEvaluator, build, counted, evaluation_of, returns_of
from tuning.study.contract import StudySpec
from tuning.study.database import DatabaseError
from tuning.study.outcome import view_of
from tuning.study.promotion import locked_view
from tuning.study.rules import PromotionRules
from tuning.study.runner import EXECUTORS, RAY, Place, check_place, check_plan, run_study
from tuning.study.spec import make_spec, study_code, with_data
from tuning.study.store import StudyStore
from tuning.study.targets import TARGETS
from tuning.study.view import StudyView

MOST_WORKERS = 4_096


@dataclass(frozen=True, kw_only=True)
class TuneOptions:
    """What a person asked for: the study, where it is kept, where its trials run."""

    name: str | None = None
    target: str = "strategy_optimization"
    objectives: tuple[str, ...] = ()
    searcher: str = "tpe"
    scheduler: str = "none"
    trials: int = 200
    generation: int = 0
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    storage: str = ""
    executor: str = RAY
    workers: int = 0
    address: str | None = None
    resume_if_exists: bool = False
    tensorboard: Path | None = None
    report: bool = True
    as_json: bool = False

    def place(self) -> Place:
        """Where trials are evaluated; InputError for what is no place."""
        if self.executor not in EXECUTORS:
            known = ", ".join(EXECUTORS)
            raise InputError(f"--executor {self.executor!r}: choose {known}")
        if self.address and self.executor != RAY:
            raise InputError(
                f"--address {self.address} names a Ray cluster, and --executor {self.executor} uses"
                " none: leave one of them out"
            )
        workers = self.workers or (MOST_WORKERS if self.address else os.cpu_count() or 1)
        if not 1 <= workers <= MOST_WORKERS:
            raise InputError(f"--workers {self.workers}: give 1 to {MOST_WORKERS}")
        return Place(executor=self.executor, workers=workers, address=self.address)

    def asked(self, name: str) -> StudySpec:
        """The spec of a new study of this name, without data; InputError for what is wrong."""
        return make_spec(
            name,
            self.target,
            objectives=self.objectives,
            searcher=self.searcher,
            scheduler=self.scheduler,
            trials=self.trials,
            generation=self.generation,
            seed=self.seed,
            options=self.options,
            evaluation=self.evaluation,
        )

    def prepare_tensorboard(self) -> None:
        """Makes the directory of the TensorBoard files; InputError where none can be written."""
        if self.tensorboard is None:
            return
        try:
            self.tensorboard.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.tensorboard):
                pass
        except OSError as error:
            raise InputError(
                f"--tensorboard {self.tensorboard}: {error.strerror}: give a directory that can be"
                " written"
            ) from None


def run(options: TuneOptions) -> int:
    """Begins a study, or goes on with it where ``resume_if_exists`` says so, to its end."""
    place = options.place()
    with opened(options.storage) as (_, home, kept):
        name = options.name or _free_name(kept, options.target)
        asked = options.asked(name)
        check_place(asked, place)
        there = any(store.exists(name) for store in kept.all)
        if there and not options.resume_if_exists:
            kept.holding(name).create(asked)  # Refuses, and says what can be done.
        feed = feed_of(asked, home)
        spec = with_data(asked, feed)
        store = kept.holding(name) if there else kept.new
        # Contradictions show before the study is on record.
        evaluator = build(spec, feed)
        check_plan(spec, evaluator)
        options.prepare_tensorboard()
        if options.resume_if_exists:
            spec = agreed(store, spec)
        else:
            store.create(spec)
        return _carry(store, spec, feed, evaluator, home, place, options)


def resume(options: TuneOptions) -> int:
    """Goes on with a stored study."""
    place = options.place()
    with opened(options.storage) as (_, home, kept):
        store, spec = kept.spec(options.name or "")
        check_code(spec, study_code())
        options.prepare_tensorboard()
        feed = feed_of(spec, home)
        return _carry(store, spec, feed, build(spec, feed), home, place, options)


def _carry(
    store: StudyStore,
    spec: StudySpec,
    feed: Feed,
    evaluator: AnyEvaluator,
    home: Home,
    place: Place,
    options: TuneOptions,
) -> int:
    human = Console(stderr=True) if options.as_json else Console()
    already = len(store.trials(spec.name))
    human.print(
        f"study {spec.name}: {spec.trials:,} trials of {TARGETS[spec.target].title} by"
        f" {spec.searcher} over {len(evaluator.folds)} folds"
        + (f", {already:,} done" if already else ""),
        highlight=False,
    )
    asked = PromotionRules().observations
    if returns_of(evaluator) < asked:
        human.print(
            f"{counted(evaluator)}: too few to be believed, a promotion asks for {asked}; give a"
            " longer period",
            highlight=False,
            soft_wrap=True,
        )
    try:
        with stoppable(), tune_view.progress(human, spec.name, already) as watch:
            run_study(store, spec, evaluator, place, watch)
    except (Stopped, KeyboardInterrupt):
        done = len(store.trials(spec.name))
        human.print(
            f"stopped with {done:,} of {spec.trials:,} trials; go on with:"
            f" {store.resume_words(spec.name)}",
            highlight=False,
            soft_wrap=True,
        )
        raise
    view = _view(store, spec, feed, evaluator)
    return _show(view, home, options, human)


def show(options: TuneOptions) -> int:
    """A stored study's result, and its report anew."""
    with opened(options.storage) as (_, home, kept):
        store, spec = kept.spec(options.name or "")
        options.prepare_tensorboard()
        feed = feed_of(spec, home)
        view = _view(store, spec, feed, build(spec, feed))
        human = Console(stderr=True) if options.as_json else Console()
        return _show(view, home, options, human)


def _view(store: StudyStore, spec: StudySpec, feed: Feed, evaluator: AnyEvaluator) -> StudyView:
    return view_of(store, spec, evaluator, locked=locked_view(spec, feed, store.database))


def _show(view: StudyView, home: Home, options: TuneOptions, human: Console) -> int:
    from tuning.study.report import write_study_report
    from tuning.study.report_json import study_json, verdict

    human.print(tune_view.outcome(view, verdict(view)), highlight=False)
    why = tune_view.failures(view)
    if why:
        human.print(f"study {view.spec.name}: {why}", highlight=False, markup=False, soft_wrap=True)
    path = folder(home.create()) / view.spec.name / "report.html"
    if options.report:
        with _writing("the report", view.spec):
            write_study_report(view, path)
        human.print(f"report: {path}", highlight=False, soft_wrap=True)
    if options.tensorboard:
        from tuning.study.tensorboard import write_tensorboard

        with _writing("the TensorBoard files", view.spec):
            write_tensorboard(view, options.tensorboard)
        human.print(f"TensorBoard files: {options.tensorboard}", highlight=False, soft_wrap=True)
    if options.as_json:
        found = study_json(view, path if options.report else "")
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
    return 1 if why else 0


@contextmanager
def _writing(what: str, spec: StudySpec) -> Iterator[None]:
    """What cannot be written is one line, and the study stays."""
    try:
        yield
    except OSError as error:
        where = f" to {error.filename}" if error.filename else ""
        raise ServiceError(
            f"{what} of study {spec.name} could not be written{where}: {error.strerror or error};"
            f" the study is kept: 'sapphire tune show {spec.name}' writes it anew"
        ) from None


def listing(storage: str, *, as_json: bool) -> int:
    """All studies."""
    if storage and "://" not in storage and not Path(storage).expanduser().exists():
        raise InputError(f"--storage {storage}: there is no such directory")
    with opened(storage) as (_, _, kept):
        rows = [(row, store.database.where) for store in kept.all for row in store.listing()]
    if as_json:
        found = [
            {
                "study": row.spec.name,
                "target": row.spec.target,
                "searcher": row.spec.searcher,
                "trials": row.trials,
                "wanted": row.spec.trials,
                "complete": row.complete,
                "finished": row.finished,
            }
            for row, _ in rows
        ]
        sys.stdout.write(json.dumps({"studies": found}) + "\n")
    elif rows:
        Console().print(tune_view.listing(rows), highlight=False)
    else:
        Console().print("no study yet: begin one with 'sapphire tune run'")
    return 0


def compare(names: Sequence[str], storage: str, *, as_json: bool) -> int:
    """Studies side by side."""
    from tuning.study.report_json import study_json, verdict

    if len(set(names)) < 2:
        raise InputError("compare needs two or more studies")
    with opened(storage) as (_, home, kept):
        views = []
        for name in names:
            store, spec = kept.spec(name)
            feed = feed_of(spec, home)
            view = _view(store, spec, feed, build(spec, feed))
            views.append((view, verdict(view)))
    if as_json:
        sys.stdout.write(json.dumps({"studies": [study_json(view) for view, _ in views]}) + "\n")
    else:
        Console().print(tune_view.side_by_side(views))
    return 0


@contextmanager
def opened(storage: str) -> Iterator[tuple[ClusterSettings, Home, Stores]]:
    """Settings, home and the stores; what a database or Ray says becomes one line."""
    from tuning.study.failures import ClusterLost

    settings = load_cluster()
    home = Home(settings.home)
    try:
        with stores(settings, home, storage) as kept:
            yield settings, home, kept
    except DatabaseError as error:
        raise ServiceError(f"the studies' store: {error}; what was stored before stays") from error
    except ClusterLost as error:
        raise ServiceError(f"{error}; the study is intact: resume it") from error


def feed_of(spec: StudySpec, home: Home) -> Feed:
    """The data that the spec names."""
    asked = evaluation_of(spec)
    return open_feed(asked.data, asked.symbols, home.path / "lake")


def _free_name(kept: Stores, target: str) -> str:
    lead = target.replace("_", "-")
    taken = {row.spec.name for store in kept.all for row in store.listing()}
    number = 1
    while f"{lead}-{number}" in taken:
        number += 1
    return f"{lead}-{number}"
