"""The predictor's training with settings of one's own, for a study: what may be searched, and how.

Same steps as ``tuning.fit_predictor.fit``, which the defaults reproduce to the bit. Boosters depend
on all settings but the prior of the shrinkage, so a study trains once where only that one differs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xgboost as xgb

from actors import market_prediction
from actors.contract import Floats
from actors.space import Config, Integer, Real, Space, Value
from tuning.fit_link import CLASSES
from tuning.fit_predictor import (
    ROUNDS,
    SETTINGS,
    SHRINKAGE_DEVIATION,
    SHRINKAGE_PRIOR,
    flatten,
    probabilities,
    purged_split,
)
from tuning.samples import Samples, balance, base_rates

# Names of xgboost's settings by the names of the space.
_XGBOOST = {
    "max_depth": "max_depth",
    "eta": "eta",
    "min_child_weight": "min_child_weight",
    "l2": "lambda",
    "subsample": "subsample",
    "colsample": "colsample_bytree",
}
SPACE = Space(
    {
        "rounds": Integer(20, 200, ROUNDS, log=True),
        "max_depth": Integer(1, 4, 2),
        "eta": Real(0.01, 0.3, 0.05, log=True),
        "min_child_weight": Real(5.0, 200.0, 30.0, log=True),
        "l2": Real(1.0, 200.0, 30.0, log=True),
        "subsample": Real(0.4, 1.0, 0.7),
        "colsample": Real(0.3, 1.0, 0.6),
        "shrinkage_prior": Real(0.0, 1.0, SHRINKAGE_PRIOR),
    }
)
BOOSTER_NAMES = ("rounds", *_XGBOOST)
_NOISE = 1.0 / 3.0  # as in tuning.fit_predictor


class Trained(NamedTuple):
    """What does not depend on the prior of the shrinkage."""

    trees: Floats  # block of actors.trees, trained on all rows
    rates: Floats  # (3,) of all rows
    lean: Floats  # (n, 3) of the later rows: forecast of the trial's trees minus its base rates
    miss: Floats  # (n, 3) outcome minus the same base rates
    weights: Floats  # (n, 1)


def train(samples: Samples, horizon: int, seed: int, config: Config) -> Trained | None:
    """Both boosters of a configuration; None where the rows are too few to calibrate."""
    if not samples.enough:
        return None
    earlier, later = purged_split(samples)
    if not earlier.enough or len(later.y) == 0:
        return None
    rates = base_rates(earlier.y, horizon)
    trial = flatten(_booster(earlier, seed, config), earlier.x)
    return Trained(
        trees=flatten(_booster(samples, seed, config), samples.x),
        rates=base_rates(samples.y, horizon),
        lean=probabilities(trial, later.x) - rates,
        miss=np.eye(CLASSES)[later.y] - rates,
        weights=balance(later.y)[:, None],
    )


def assemble(trained: Trained, horizon: int, prior_mean: float) -> Floats:
    """Params of ``actors.market_prediction``, with the shrinkage under this prior mean."""
    prior = _NOISE / SHRINKAGE_DEVIATION**2
    lean, miss, weights = trained.lean, trained.miss, trained.weights
    slope = (np.sum(weights * lean * miss) / horizon + prior * prior_mean) / (
        np.sum(weights * lean * lean) / horizon + prior
    )
    return np.concatenate([[min(max(float(slope), 0.0), 1.0)], trained.rates, trained.trees])


def booster_key(config: Config) -> tuple[Value, ...]:
    """Equal for configurations with the same boosters."""
    return tuple(config[name] for name in BOOSTER_NAMES)


def _booster(samples: Samples, seed: int, config: Config) -> xgb.Booster:
    data = xgb.DMatrix(
        samples.x.astype(np.float32),
        label=samples.y,
        weight=balance(samples.y),
        feature_names=list(market_prediction.FEATURES),
        nthread=1,
    )
    own = {theirs: config[ours] for ours, theirs in _XGBOOST.items()}
    settings = {**SETTINGS, **own, "seed": seed}
    return xgb.train(settings, data, num_boost_round=int(config["rounds"]))
