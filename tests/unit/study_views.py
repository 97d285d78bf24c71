"""A synthetic study for tests of what is shown of one, with figures of the real statistics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from actors.space import Choice, Config, Constraint, Integer, Real, Space, When
from tuning.study.contract import COMPLETE, FAILED, PRUNED, Fold, Segment, StudySpec, Trial
from tuning.study.evidence import evidence
from tuning.study.rules import locked_result
from tuning.study.view import LockedView, StudyView

DAY = 86_400_000_000_000
START = 11_000 * DAY  # 2000-02-13
PERIODS = 252.0
FOLDS, LENGTH = 5, 120
SPACE = Space(
    {
        "fast": Integer(2, 60, default=20),
        "slow": Integer(5, 126, default=50),
        "band": Real(0.0001, 0.1, default=0.01, log=True),
        "exit": Choice(("cross", "trailing"), default="cross"),
        "trail": Real(1.0, 5.0, default=2.0, when=When(parameter="exit", equals="trailing")),
    },
    [Constraint("fast < slow", lambda c: float(c["fast"]) < float(c["slow"]))],
)


def spec(**changes: Any) -> StudySpec:
    """The spec of the synthetic study."""
    values = {
        "name": "ema-2026",
        "target": "ema_cross",
        "objectives": ["sharpe"],
        "searcher": "tpe",
        "scheduler": "halving",
        "trials": 120,
        "generation": 12,
        "seed": 7,
        "options": {"eta": 3},
        "evaluation": {"data": "sample", "scheme": "anchored"},
        "space": SPACE.describe(),
        "data_hash": "d4" * 32,
        "code": "c0" * 32,
    }
    return StudySpec(**{**values, **changes})


def _mean(config: Config) -> float:
    """A hill over fast and slow: what a configuration earns a day."""
    fast, slow = float(config["fast"]), float(config["slow"])
    hill = np.exp(-(((fast - 15) / 14) ** 2) - ((slow - 80) / 40) ** 2)
    return float(0.0022 * hill - 0.0003)


def study_view(trials: int = 120, locked: bool = True, **changes: Any) -> StudyView:
    """A study of ``trials`` with pruned and failed ones; ``changes`` replace fields of the view."""
    rng = np.random.default_rng(5)
    count = FOLDS * LENGTH
    ts = START + DAY * np.arange(count)
    folds = [
        Fold(i, ((START - 400 * DAY, START + i * LENGTH * DAY),), *_edges(i)) for i in range(FOLDS)
    ]
    market = rng.normal(0.0003, 0.01, count)
    made = [_trial(number, rng, market) for number in range(trials)]
    complete = [trial for trial in made if trial.status == COMPLETE]
    best = max(complete, key=lambda trial: trial.values[0], default=None)
    found = None
    benchmarks = {"buy-and-hold": market, "equal weights": 0.5 * market + 0.0001}
    benchmarks["incumbent"] = 0.8 * market
    if best is not None:
        column = complete.index(best)
        found = evidence(
            np.stack([trial.returns for trial in complete], axis=1),
            column,
            np.array([SPACE.unit(trial.config) for trial in complete]),
            np.array([trial.values[0] for trial in complete]),
            benchmarks,
            PERIODS,
            1,
            trials,
            np.random.default_rng(1),
            shown=2,
            blocks=8,
            resamples=200,
        )
    view = StudyView(
        spec=spec(),
        trials=made,
        folds=folds,
        test_ts=ts,
        periods_per_year=PERIODS,
        space=SPACE,
        winner=best.number if best else None,
        evidence=found,
        benchmarks=benchmarks,
        incumbent="champion 3, study ema-2025",
        locked=_locked(rng, count) if locked else None,
        seconds=12.5,
        created_ns=START + 3_000 * DAY,
        resumed=1,
        notes=("The last day of the data is short.",),
    )
    return replace(view, **changes)


def _edges(fold: int) -> tuple[int, int]:
    return START + fold * LENGTH * DAY, START + (fold + 1) * LENGTH * DAY


def _trial(number: int, rng: np.random.Generator, market: np.ndarray) -> Trial:
    config = SPACE.sample(rng)
    about = {"number": number, "generation": number // 12, "config": config, "seconds": 0.1}
    noise = rng.normal(_mean(config), 0.01, len(market))
    if number % 40 == 13:
        why = "NaN objective in fold 2" if number < 100 else "ValueError: <b>no bars</b>"
        return Trial(**about, status=FAILED, error=why)
    returns = 0.2 * market + noise
    ratios = returns.reshape(FOLDS, LENGTH)
    values = tuple((float(r.mean() / r.std() * PERIODS**0.5),) for r in ratios)
    if number % 9 == 4:
        return Trial(**about, status=PRUNED, folds=values[:2])
    whole = float(returns.mean() / returns.std() * PERIODS**0.5)
    return Trial(
        **about,
        status=COMPLETE,
        values=(whole,),
        folds=values,
        returns=returns.astype(np.float32),
    )


def _locked(rng: np.random.Generator, count: int) -> LockedView:
    ts = START + DAY * (count + np.arange(90))
    winner, incumbent = rng.normal(0.0015, 0.01, 90), rng.normal(0.0, 0.01, 90)
    return LockedView(
        segment=Segment(("AAPL", "IBM"), int(ts[0]), int(ts[-1]) + DAY, "5e" * 32),
        openings=1,
        shown=2,
        result=locked_result(winner, incumbent, PERIODS, 1, np.random.default_rng(2), 200),
        ts=ts,
        winner=winner,
        incumbent=incumbent,
    )


def two_objectives(view: StudyView) -> StudyView:
    """The same study with a Brier loss beside the Sharpe ratio."""
    rng = np.random.default_rng(3)

    def widen(trial: Trial) -> Trial:
        loss = 0.66 + 0.01 * float(rng.normal()) - 0.002 * sum(trial.values)
        folds = tuple((*values, loss) for values in trial.folds)
        values = (*trial.values, loss) if trial.status == COMPLETE else ()
        return replace(trial, values=values, folds=folds)

    changed = spec(objectives=["sharpe", "brier"], searcher="nsga2", scheduler="none")
    return replace(view, spec=changed, trials=[widen(trial) for trial in view.trials])
