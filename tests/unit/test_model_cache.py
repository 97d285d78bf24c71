"""Fitted models in the home: the same ones again, to the bit, whatever happened to the files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cluster import model_cache
from cluster.home import Home
from cluster.model_cache import fitted_models, fitted_plan
from cluster.plan import HORIZON, FittedModels, Plan, plan_session
from tuning import fit_predictor

PREDICTOR = "market_prediction"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_session(None, "2002-06-28", (), None, 3, retrain_months=1)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home") / "home")


@pytest.fixture(scope="module")
def fitted(house: Home, plan: Plan) -> FittedModels:
    return fitted_plan(house, plan, 2)


def bits(fitted: FittedModels) -> list[tuple[int, dict[str, bytes]]]:
    return [
        (since, {name: params.tobytes() for name, params in models.items()})
        for since, models in fitted.sets(0)
    ]


def written(home: Home) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (home.path / "models").iterdir()}


def test_the_models_of_a_plan_know_only_their_past(fitted: FittedModels, plan: Plan) -> None:
    sets = fitted.sets(plan.models_from)
    assert [since for since, _ in sets] == [plan.models_from, *plan.retrained_at]
    assert len(sets) == 4
    for since, models in sets[1:]:
        past = plan.history[plan.history["ts"] < since]
        assert models[PREDICTOR].tobytes() == fit_predictor.fit(past, HORIZON, 3).tobytes()
    assert len({models[PREDICTOR].tobytes() for _, models in sets}) == 4
    for _, models in sets:
        assert models.keys() == sets[0][1].keys()
        assert all(models[name] is sets[0][1][name] for name in models if name != PREDICTOR)


def test_models_are_fitted_once_and_then_kept(
    house: Home, fitted: FittedModels, plan: Plan
) -> None:
    before = written(house)
    assert len(before) == 2
    assert bits(fitted_plan(house, plan)) == bits(fitted)
    again = fitted_models(house, plan)
    assert {name: p.tobytes() for name, p in again.items()} == bits(fitted)[0][1]
    # Bars after the last training change none of it.
    shorter = replace(plan, history=plan.history[plan.history["ts"] < plan.retrained_at[-1] + 1])
    assert bits(fitted_plan(house, shorter)) == bits(fitted)
    assert written(house) == before


def test_damaged_files_are_made_anew(house: Home, fitted: FittedModels, plan: Plan) -> None:
    for path in written(house):
        path.write_bytes(b"damaged")
    assert bits(fitted_plan(house, plan)) == bits(fitted)
    for path in written(house):
        with np.load(path) as stored:
            assert stored.files


@pytest.fixture
def small(plan: Plan) -> Plan:
    """Few bars, fitted in no time."""
    history = plan.history[:700]
    moments = (int(history["ts"][500]), int(history["ts"][600]))
    return replace(plan, fit_bars=history[:300], history=history, retrained_at=moments)


@pytest.mark.parametrize(("change", "more"), [("seed", 2), ("bar", 1), ("moment", 1)])
def test_other_data_seed_or_moments_are_fitted(
    tmp_path: Path, small: Plan, change: str, more: int
) -> None:
    home = Home(tmp_path / "home")
    for _ in range(2):
        fitted_plan(home, small)
    before = written(home)
    history = small.history.copy()
    history["volume"][500] += 1
    other = {
        "seed": replace(small, seed=4),
        "bar": replace(small, history=history),
        "moment": replace(small, retrained_at=small.retrained_at[1:]),
    }[change]
    fitted_plan(home, other)
    assert len(before) == 2
    assert len(written(home)) == 2 + more


def test_without_trainings_there_is_nothing_to_keep_for_them(
    house: Home, fitted: FittedModels, plan: Plan
) -> None:
    once = fitted_plan(house, replace(plan, retrained_at=()))
    assert once.schedule == []
    assert bits(once) == bits(fitted)[:1]


def test_only_the_newest_files_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: Plan
) -> None:
    monkeypatch.setattr(model_cache, "MOST_FILES", 3)
    home = Home(tmp_path / "home")
    kept: list[Path] = []
    for seed in range(5):
        fitted_models(home, replace(small, seed=seed))
        kept += [path for path in written(home) if path not in kept]
    assert len(kept) == 5
    assert set(written(home)) == set(kept[-3:])
