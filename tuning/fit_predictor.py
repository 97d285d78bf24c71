"""Trains the market predictor on warm-up bars: trees, base rates and one shrinkage.

Two years of daily bars hold about 1,200 rows, a hundred independent five-day periods of symbols
that move together, so everything is kept humble: trees of depth 2, large leaves, a strong penalty
on leaf weights, and a shrinkage towards the base rates:

    p = pi + a (q - pi),   q = softmax of the trees

a is estimated on the last part of the warm-up. A booster trained on the earlier part alone, minus
the rows whose label reaches into the later part (purging: Lopez de Prado 2018, ch. 7), forecasts
it; the Brier loss is quadratic in a, and with a normal prior on a its minimum is closed:

    a = (S_qy / h + k a0) / (S_qq / h + k),   S_qy = sum (q - pi)(y - pi),  S_qq = sum (q - pi)^2

1/h because labels overlap h times; k = residual variance / prior variance. The prior (a0 = 0.25
+- 0.25) says that most of what a booster finds in such a sample is noise; the data can move it.
The booster in force is then trained again on all rows with the same settings.
"""

from __future__ import annotations

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from actors import market_prediction
from actors.contract import Floats, no_params
from actors.trees import pack_trees, softmax, tree_margins
from data.bars import Bars
from tuning.fit_link import CLASSES
from tuning.samples import Samples, balance, base_rates, collect

ROUNDS = 60
SETTINGS = {
    "objective": "multi:softprob",
    "num_class": CLASSES,
    "tree_method": "exact",
    "max_depth": 2,
    "eta": 0.05,
    "min_child_weight": 30.0,
    "lambda": 30.0,
    "subsample": 0.7,
    "colsample_bytree": 0.6,
    "nthread": 1,
    "verbosity": 0,
}
CALIBRATION_SHARE = 0.3
SHRINKAGE_PRIOR = 0.25
SHRINKAGE_DEVIATION = 0.25
# Variance of one outcome's indicator around equal thirds, per free dimension of two.
_NOISE = 1.0 / 3.0
_TOLERANCE = 1e-6


def fit(bars: Bars, horizon: int, seed: int) -> Floats:
    """Params of ``actors.market_prediction``; empty when the rows are too few to calibrate.

    Uses nothing but ``bars``, in (ts, symbol) order; equal bars, horizon and seed give equal bits.
    """
    return fit_samples(training_samples(bars, horizon), horizon, seed)


def fit_samples(samples: Samples, horizon: int, seed: int) -> Floats:
    """The same from its rows."""
    if not samples.enough:
        return no_params()
    earlier, later = purged_split(samples)
    if not earlier.enough or len(later.y) == 0:
        return no_params()
    trial = flatten(train_booster(earlier.x, earlier.y, seed), earlier.x)
    shrinkage = fit_shrinkage(
        probabilities(trial, later.x), later.y, base_rates(earlier.y, horizon), horizon
    )
    trees = flatten(train_booster(samples.x, samples.y, seed), samples.x)
    return np.concatenate([[shrinkage], base_rates(samples.y, horizon), trees])


def training_samples(bars: Bars, horizon: int, kept: NDArray[np.bool_] | None = None) -> Samples:
    """Features and outcomes of the bars on which a trained predictor would have voted; of those
    ``kept`` (n,) alone when given.
    """
    spec = market_prediction.SPEC
    return collect(spec, bars, horizon, len(market_prediction.FEATURES), kept=kept)


def purged_split(samples: Samples) -> tuple[Samples, Samples]:
    """(earlier, later) by time; no label of the earlier part ends after the later part begins."""
    moments = np.unique(samples.begin)
    cut = moments[int(len(moments) * (1.0 - CALIBRATION_SHARE))]
    return samples.only(samples.end < cut), samples.only(samples.begin >= cut)


def train_booster(x: Floats, y: NDArray[np.int64], seed: int) -> xgb.Booster:
    """The xgboost model of features (n, 10) and outcomes (n,); one thread, so equal bits again.

    Rows are weighted by ``tuning.samples.balance``.
    """
    data = xgb.DMatrix(
        x.astype(np.float32),
        label=y,
        weight=balance(y),
        feature_names=list(market_prediction.FEATURES[: x.shape[1]]),
        nthread=1,
    )
    return xgb.train({**SETTINGS, "seed": seed}, data, num_boost_round=ROUNDS)


def flatten(booster: xgb.Booster, x: Floats) -> Floats:
    """The booster's block of ``actors.trees``, checked against its own forecasts of ``x``.

    Raises ValueError when they differ: a version of xgboost that stores its models in another way.
    """
    block = pack_trees(bytes(booster.save_raw("json")))
    data = xgb.DMatrix(x.astype(np.float32), feature_names=booster.feature_names, nthread=1)
    gap = float(np.max(np.abs(probabilities(block, x) - booster.predict(data))))
    if not gap <= _TOLERANCE:
        raise ValueError(
            f"flatten: flat trees differ from xgboost {xgb.__version__} by {gap:.2g}; "
            "its model format has changed: adapt actors.trees.pack_trees"
        )
    return block


def probabilities(block: Floats, x: Floats) -> Floats:
    """Forecasts (n, 3) of a block of trees for features (n, k), unshrunk."""
    result = np.empty((len(x), CLASSES))
    margins = np.empty(CLASSES)
    for i in range(len(x)):
        tree_margins(block, 0, x[i], margins)
        softmax(margins, result[i])
    return result


def fit_shrinkage(q: Floats, y: NDArray[np.int64], rates: Floats, horizon: int) -> float:
    """a in [0, 1] for forecasts ``q`` (n, 3) of outcomes ``y`` (n,); see the module's text."""
    lean = q - rates
    miss = np.eye(CLASSES)[y] - rates
    prior = _NOISE / SHRINKAGE_DEVIATION**2
    weights = balance(y)[:, None]
    slope = (np.sum(weights * lean * miss) / horizon + prior * SHRINKAGE_PRIOR) / (
        np.sum(weights * lean * lean) / horizon + prior
    )
    return float(min(max(slope, 0.0), 1.0))
