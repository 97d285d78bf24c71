"""Studies in a notebook.

    from tuning import Study

    study = Study("my-first", target="strategy_optimization", trials=100)
    study.run()
    study.frame()      # polars; study.pandas() for pandas
    study.sentence     # whether the winner is to be believed
    study.report()     # path of the HTML page

A function of one's own, simple returns after costs for each of ``ts``:

    Study("mine", function=f, space=Space({...}), ts=ts, trials=100, executor="here")
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from actors.space import Config, Space
from data.errors import InputError
from data.feed import open_feed
from data.records import content_hash
from tuning.study.build import build, embargo_of, evaluation_of
from tuning.study.contract import Evaluator, Ints, StudySpec, Trial
from tuning.study.database import Database, Postgres, Sqlite
from tuning.study.executors import Watch
from tuning.study.folds import make_folds
from tuning.study.function_evaluator import FunctionEvaluator
from tuning.study.outcome import view_of
from tuning.study.promotion import locked_view
from tuning.study.report import write_study_report
from tuning.study.report_json import verdict
from tuning.study.runner import RAY, Place, check_plan, run_study
from tuning.study.searchers import best_of
from tuning.study.spec import CUSTOM, make_spec, with_data
from tuning.study.store import NameTaken, StudyStore
from tuning.study.view import LockedView, StudyView

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

DEFAULT_HOME = ".sapphire"
FILE = "studies.db"


class Study:
    """One study: begun when it is new, gone on with when ``name`` stands in the store already.

    ``target``     what is searched (``tuning.study.targets.TARGETS``); or ``function`` and
                   ``space`` with ``ts`` (n,) UTC ns, the moments of what it returns
    ``objectives`` of ``tuning.study.contract.OBJECTIVES``; the target's own when empty
    ``options``    of the searcher and scheduler: {"eta": 3, "searcher": {"points": 5}}
    ``evaluation`` of the data and the folds, see ``tuning.study.build.Evaluation``
    ``home``       where the SQLite file and reports are; ``database`` a PostgreSQL instead
    ``executor``   "ray", or "here" for this process alone

    InputError for contradictions, for a stored study of another spec, and for changed data.
    """

    def __init__(
        self,
        name: str,
        *,
        target: str = "strategy_optimization",
        function: Callable[[Config], ArrayLike] | None = None,
        space: Space | None = None,
        ts: ArrayLike | None = None,
        periods_per_year: float = 252.0,
        objectives: Sequence[str] = (),
        searcher: str = "tpe",
        scheduler: str = "none",
        trials: int = 200,
        generation: int = 0,
        seed: int = 0,
        options: dict[str, Any] | None = None,
        evaluation: dict[str, Any] | None = None,
        home: Path | str = DEFAULT_HOME,
        database: str = "",
        executor: str = RAY,
        workers: int = 0,
        address: str | None = None,
    ) -> None:
        self._home = Path(home).expanduser() / "studies"
        self._database: Database = Postgres(database) if database else Sqlite(self._home / FILE)
        self.store = StudyStore(self._database)
        self._place = Place(
            executor=executor, workers=workers or os.cpu_count() or 1, address=address
        )
        asked = make_spec(
            name,
            CUSTOM if function is not None else target,
            objectives=objectives,
            searcher=searcher,
            scheduler=scheduler,
            trials=trials,
            generation=generation,
            seed=seed,
            options=options,
            evaluation=evaluation,
        )
        self._evaluator: Evaluator
        self._locked: LockedView | None = None  # a function's study locks nothing away
        if function is not None:
            self.spec = self._custom(asked, function, space, ts, periods_per_year)
            self._evaluator = self._function(function, space, ts, periods_per_year)
        else:
            if space is not None or ts is not None:
                raise InputError("space and ts belong to a function of your own: give function too")
            wanted = evaluation_of(asked)
            feed = open_feed(wanted.data, wanted.symbols, Path(home).expanduser() / "lake")
            self.spec = with_data(asked, feed)
            self._evaluator = build(self.spec, feed)
            self._locked = locked_view(self.spec, feed, self._database)
        check_plan(self.spec, self._evaluator)
        self.spec = agreed(self.store, self.spec)

    def _custom(
        self,
        spec: StudySpec,
        function: Callable[[Config], ArrayLike],
        space: Space | None,
        ts: ArrayLike | None,
        periods: float,
    ) -> StudySpec:
        if space is None or ts is None:
            raise InputError("a function of your own needs its space and the moments ts")
        moments = np.asarray(ts, np.int64)
        return msgspec.structs.replace(
            spec,
            space=space.describe(),
            data_hash=content_hash(moments.tobytes(), repr(periods).encode(), _source(function)),
        )

    def _function(
        self,
        function: Callable[[Config], ArrayLike],
        space: Space | None,
        ts: ArrayLike | None,
        periods: float,
    ) -> FunctionEvaluator:
        if space is None or ts is None:
            raise InputError("a function of your own needs its space and the moments ts")
        asked = evaluation_of(self.spec)
        moments: Ints = np.asarray(ts, np.int64)
        folds = make_folds(
            moments,
            asked.scheme,
            asked.folds,
            first_test_share=asked.first_test_share,
            gap=asked.gap,
            embargo=embargo_of(asked, len(moments)),
            tests=asked.tests,
            horizon=asked.horizon,
        )
        return FunctionEvaluator(space, function, moments, folds, periods)

    def run(self, watch: Watch | None = None) -> Study:
        """Evaluates what is missing; returns the study. Stopped anywhere, ``run`` goes on."""
        run_study(self.store, self.spec, self._evaluator, self._place, watch or (lambda _: None))
        return self

    @property
    def trials(self) -> list[Trial]:
        """All durable trials, in their order."""
        return self.store.trials(self.spec.name)

    @property
    def best(self) -> Trial | None:
        """The winner; None before any configuration could be evaluated."""
        return best_of(self.trials, self.spec.objectives)

    def frame(self) -> pl.DataFrame:
        """One row a trial: number, status, values by objective, parameters, seconds, error."""
        import polars as pl

        return pl.DataFrame(
            [_row(trial, self.spec) for trial in self.trials], infer_schema_length=None
        )

    def pandas(self) -> pd.DataFrame:
        """The same for pandas."""
        import pandas as pd

        return pd.DataFrame([_row(trial, self.spec) for trial in self.trials])

    def view(self) -> StudyView:
        """Everything that reports are made of; computes the evidence."""
        return view_of(self.store, self.spec, self._evaluator, locked=self._locked)

    @property
    def sentence(self) -> str:
        """Whether the winner is to be believed, and why, in one sentence."""
        return verdict(self.view())

    def report(self, path: Path | str | None = None) -> Path:
        """Writes the HTML report; its path."""
        where = Path(path) if path else self._home / self.spec.name / "report.html"
        where.parent.mkdir(parents=True, exist_ok=True)
        write_study_report(self.view(), where)
        return where

    def close(self) -> None:
        """Ends the connection to the store."""
        with contextlib.suppress(OSError):
            self._database.close()


def agreed(store: StudyStore, spec: StudySpec) -> StudySpec:
    """The stored spec of this name when it is the same study, created when there is none.

    InputError when the name is taken by a study of another spec, or its code was another.
    """
    if not store.exists(spec.name):
        # Another driver may begin it between the look and the write.
        with contextlib.suppress(NameTaken):
            store.create(spec)
            return spec
    stored = store.spec(spec.name)
    check_data(stored, spec)
    odd = differing(stored, spec)
    if odd:
        raise InputError(
            f"a study is called {spec.name!r} already and is another one ({', '.join(odd)} differ):"
            " choose another name"
        )
    check_code(stored, spec.code)
    return stored


def check_data(stored: StudySpec, now: StudySpec) -> None:
    """InputError when the data of a study are no longer those that it began with."""
    if stored.target == now.target and stored.data_hash != now.data_hash:
        raise InputError(
            f"study {stored.name}: the data or the function have changed since it began (then"
            f" {stored.data_hash[:12]}, now {now.data_hash[:12]}): bring them back, or begin a"
            " study of another name; the stored trials are untouched"
        )


def check_code(stored: StudySpec, code: str) -> None:
    """InputError when the code that decides results has changed since the study began."""
    if stored.code != code:
        raise InputError(
            f"study {stored.name} was begun by other code ({stored.code[:12]}, here {code[:12]}):"
            " its trials would not be comparable; check that version out, or begin a study of"
            " another name"
        )


def differing(stored: StudySpec, now: StudySpec) -> list[str]:
    """Which fields of two specs differ, code and data apart."""
    return [
        name
        for name in StudySpec.__struct_fields__
        if name not in ("code", "data_hash") and getattr(stored, name) != getattr(now, name)
    ]


def _source(function: Callable[[Config], ArrayLike]) -> bytes:
    """The function's own text, so that an edited one is another study; its code where there is
    none. What it calls or closes over is not in it.
    """
    try:
        return inspect.getsource(function).encode()
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        if code is None:
            return repr(function).encode()
        return bytes(code.co_code) + repr(code.co_consts).encode()


def _row(trial: Trial, spec: StudySpec) -> dict[str, Any]:
    values = trial.values or (None,) * len(spec.objectives)
    return {
        "trial": trial.number,
        "generation": trial.generation,
        "status": trial.status,
        **dict(zip(spec.objectives, values, strict=True)),
        **trial.config,
        "seconds": trial.seconds,
        "error": trial.error,
    }
