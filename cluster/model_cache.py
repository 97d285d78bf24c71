"""Fitted models kept in the home: the same bars, seed and code are not fitted twice.

A cache, nothing more: a file that is damaged or gone is fitted anew, to the same bits. Files are
replaced in one step, so that commands may run beside each other.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from actors.contract import Floats
from cluster.fingerprint import ROOT, code_hash, fingerprint
from cluster.home import Home, write_private
from cluster.plan import HORIZON, FittedModels, Plan
from data.bars import Bars
from data.jit_cache import FLOORS
from tuning.fit_models import fit_models
from tuning.model_schedule import retrained

MOST_FILES = 64


def fitted_models(home: Home, plan: Plan) -> dict[str, Floats]:
    """The models of the plan's warm-up, by agent."""
    key = _key(plan.fit_bars, plan.models_from, plan.seed)
    return _kept(home, key, lambda: fit_models(plan.fit_bars, HORIZON, plan.seed))


def fitted_plan(home: Home, plan: Plan, workers: int = 1) -> FittedModels:
    """All models of the plan, the predictor's later ones with them; see ``cluster.plan.fit_plan``.

    ``workers``: trainings at a time.
    """
    warm_up = fitted_models(home, plan)
    moments = plan.retrained_at
    if not moments:
        return FittedModels(warm_up)
    past = plan.history[plan.history["ts"] < moments[-1]]

    def train() -> dict[str, Floats]:
        sets = retrained(past, moments, HORIZON, plan.seed, workers)
        return {f"{since}/{agent}": p for since, models in sets for agent, p in models.items()}

    schedule: dict[int, dict[str, Floats]] = {}
    for name, params in _kept(home, _key(past, moments, plan.seed), train).items():
        since, _, agent = name.partition("/")
        schedule.setdefault(int(since), {})[agent] = params
    return FittedModels(warm_up, sorted(schedule.items()))


def _kept(home: Home, key: str, fit: Callable[[], dict[str, Floats]]) -> dict[str, Floats]:
    """What ``fit`` gives, from its file where there is one."""
    directory = home.create().path / "models"
    directory.mkdir(mode=0o700, exist_ok=True)
    path = directory / f"{key}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        path.unlink(missing_ok=True)
    models = fit()
    buffer = io.BytesIO()
    np.savez(buffer, **models)  # type: ignore[arg-type]
    write_private(path, buffer.getvalue())
    _prune(directory)
    return models


def _prune(directory: Path) -> None:
    """Keeps the newest; another command may do the same at the same time."""
    ages: list[tuple[int, Path]] = []
    for path in directory.glob("*.npz"):
        try:
            ages.append((path.stat().st_mtime_ns, path))
        except FileNotFoundError:
            continue
    for _, path in sorted(ages)[:-MOST_FILES]:
        path.unlink(missing_ok=True)


def _key(bars: Bars, moments: object, seed: int) -> str:
    parts = (
        HORIZON,
        seed,
        moments,
        hashlib.sha256(bars.tobytes()).hexdigest(),
        sorted(fingerprint().items()),
        code_hash(ROOT, FLOORS[:-1]),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]
