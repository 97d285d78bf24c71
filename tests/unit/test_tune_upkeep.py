"""Whose bars a live session's predictor is trained again on."""

from __future__ import annotations

from pathlib import Path

import msgspec
from support import plain_config

from cluster.home import Home
from cluster.model_cache import fitted_models
from cluster.plan import HORIZON, plan_session
from cluster.tune_upkeep import declared_fit_bars
from data.sessions import model_id
from tuning.model_schedule import PREDICTOR


def test_the_samples_warm_up_counts_only_where_it_gave_the_declared_model(tmp_path: Path) -> None:
    home, plan = Home(tmp_path / "home"), plan_session(None, None, (), None, 0)
    fitted = fitted_models(home, plan)[PREDICTOR]
    name = model_id(PREDICTOR, HORIZON, plan.models_from, fitted)
    config = plain_config(
        models={PREDICTOR: name}, mode="paper", models_from=plan.models_from, horizon=HORIZON
    )
    config = msgspec.structs.replace(config, seed=0)
    found = declared_fit_bars(home, config)
    assert found is not None
    assert found.tobytes() == plan.fit_bars.tobytes()
    for other in (
        {"models": {PREDICTOR: "another"}},
        {"models": {}},
        {"models_from": plan.models_from + 1},
    ):
        assert declared_fit_bars(home, msgspec.structs.replace(config, **other)) is None
