"""The models of a session: every agent that needs one, fitted once on the warm-up bars alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from actors.contract import Floats
from data.bars import Bars
from tuning import fit_microstructure, fit_predictor, fit_trend, fit_vpin, seed_champions

# Not financial_sentiment: its lexicon is declared, nothing in it is fitted.
FITTERS: dict[str, Callable[[Bars, int, int], Floats]] = {
    "trend_momentum": fit_trend.fit,
    "strategy_optimization": seed_champions.seed,
    "market_prediction": fit_predictor.fit,
    "volume_microstructure": fit_microstructure.fit,
    "vpin_hft": fit_vpin.fit,
}


def fit_models(bars: Bars, horizon: int, seed: int) -> dict[str, Floats]:
    """Agent name -> params, for votes about the next ``horizon`` bars of a symbol.

    ``bars`` in (ts, symbol) order are all that a fit may know: the caller passes those strictly
    before the first traded date, and no label reaches past the last of them. Equal arguments give
    equal bits. An empty row means that the bars were too few: that agent abstains with NO_MODEL.

    Raises ValueError when the bars are out of order or the horizon is below 1.
    """
    if horizon < 1:
        raise ValueError(f"fit_models: horizon must be at least one bar, got {horizon}")
    if len(bars) and np.any(np.diff(bars["ts"]) < 0):
        raise ValueError("fit_models: bars must be sorted by ts: sort them before fitting")
    return {name: fit(bars, horizon, seed) for name, fit in FITTERS.items()}
