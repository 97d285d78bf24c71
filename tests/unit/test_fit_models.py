"""Fitting on warm-up bars: determinism, purging, priors, and what happens with too few bars."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from actors import vpin_hft
from actors.link import link
from data.bars import empty_bars
from data.daily_stocks import load_feed
from tuning import fit_predictor, fit_vpin
from tuning.fit_models import FITTERS, fit_models
from tuning.samples import PRIOR_OUTCOMES, Samples, balance, base_rates, collect, humble_link

ROOT = Path(__file__).resolve().parents[2]
FIRST_TRADED = np.datetime64("2002-03-01", "ns").astype(np.int64)
HORIZON = 5

DIGEST = """
import hashlib, sys
import numpy as np
from data.daily_stocks import load_feed
from tuning.fit_models import fit_models
bars = load_feed().bars
models = fit_models(bars[bars["ts"] < np.datetime64("2002-03-01", "ns").astype(np.int64)], 5, 7)
print(hashlib.sha256(b"".join(models[n].tobytes() for n in sorted(models))).hexdigest())
"""


@pytest.fixture(scope="module")
def warm_up():
    bars = load_feed().bars
    return bars[bars["ts"] < FIRST_TRADED]


@pytest.fixture(scope="module")
def models(warm_up):
    return fit_models(warm_up, HORIZON, 7)


def test_every_model_agent_gets_a_model(models):
    assert set(models) == {
        "trend_momentum",
        "strategy_optimization",
        "market_prediction",
        "volume_microstructure",
        "vpin_hft",
    }
    assert set(models) == set(FITTERS)
    for name, params in models.items():
        assert params.dtype == np.float64, name
        assert len(params) > 0, name
        assert np.isfinite(params).all(), name


def test_another_process_fits_the_same_bits(models):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", DIGEST],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    mine = hashlib.sha256(b"".join(models[name].tobytes() for name in sorted(models)))
    assert done.stdout.split()[-1] == mine.hexdigest()


def test_the_seed_reaches_the_booster_only(warm_up, models):
    others = fit_models(warm_up, HORIZON, 8)
    changed = {name for name in models if models[name].tobytes() != others[name].tobytes()}
    assert changed == {"market_prediction"}


def test_too_few_bars_give_no_model(warm_up):
    assert len(fit_predictor.fit(warm_up[:300], HORIZON, 7)) == 0
    assert len(fit_vpin.fit(warm_up[:300], HORIZON, 7)) == 0


def test_bad_arguments_are_refused(warm_up):
    with pytest.raises(ValueError, match="horizon"):
        fit_models(warm_up, 0, 7)
    with pytest.raises(ValueError, match="sorted"):
        fit_models(warm_up[::-1], HORIZON, 7)


def test_labels_end_where_the_bars_end(warm_up):
    samples = collect(vpin_hft.SPEC, warm_up, HORIZON, 3)
    assert samples.end.max() <= warm_up["ts"].max()
    assert (samples.end > samples.begin).all()


def test_the_calibration_part_is_purged(warm_up):
    samples = fit_predictor.training_samples(warm_up, HORIZON)
    earlier, later = fit_predictor.purged_split(samples)
    assert earlier.end.max() < later.begin.min()
    gone = len(samples.y) - len(earlier.y) - len(later.y)
    # AAPL, IBM and MSFT each lose the rows whose label ends in the later part.
    assert gone == 3 * HORIZON


def test_shrinkage_is_the_penalised_minimum():
    rng = np.random.default_rng(2)
    rates = np.array([0.3, 0.4, 0.3])
    q, y = rng.dirichlet([6, 8, 6], 500), rng.integers(0, 3, 500)
    y[:200] = q[:200].argmax(axis=1)
    precision = (1 / 3) / 0.25**2

    def loss(a):
        p = rates + a * (q - rates)
        weights = balance(y)[:, None]
        return np.sum(weights * (p - np.eye(3)[y]) ** 2) / HORIZON + precision * (a - 0.25) ** 2

    best = minimize_scalar(loss, bounds=(0, 1), method="bounded", options={"xatol": 1e-10}).x
    assert 0.3 < best < 0.999, "an inner minimum, away from the prior"
    assert fit_predictor.fit_shrinkage(q, y, rates, HORIZON) == pytest.approx(best, abs=1e-6)


def test_shrinkage_stays_between_base_rates_and_the_trees():
    rates = np.full(3, 1 / 3)
    y = np.tile([0, 1, 2], 2000)
    sure = 0.1 / 3 + 0.9 * np.eye(3)[y]
    assert fit_predictor.fit_shrinkage(sure, y, rates, HORIZON) == 1.0
    assert fit_predictor.fit_shrinkage(sure, (y + 1) % 3, rates, HORIZON) == 0.0
    silent = np.tile(rates, (6000, 1))
    assert fit_predictor.fit_shrinkage(silent, y, rates, HORIZON) == 0.25


def _samples(x, y):
    return Samples(x, y, np.arange(len(y)), np.arange(len(y)) + 1)


def test_humble_link_without_features_is_the_dirichlet_mean():
    y = np.repeat([0, 1, 2], [300, 600, 100])
    params = humble_link(_samples(np.empty((1000, 0)), y), HORIZON, 0.05)
    out = np.empty(3)
    link(params, 0, np.empty(0), 0, out)
    expected = np.array([40, 120, 40]) + PRIOR_OUTCOMES  # down and up balanced
    assert out == pytest.approx(expected / expected.sum(), abs=1e-8)
    assert base_rates(y, HORIZON) == pytest.approx(expected / expected.sum(), rel=1e-14)


def test_humble_link_stays_humble_before_noise():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1000, 4)), rng.integers(0, 3, 1000)
    params = humble_link(_samples(x, y), HORIZON, 0.05).reshape(3, 5)
    assert np.abs(params[:, 1:]).max() < 0.05
    loose = humble_link(_samples(x, y), HORIZON, 5.0).reshape(3, 5)
    assert np.abs(loose[:, 1:]).max() > np.abs(params[:, 1:]).max()


def test_a_booster_that_is_not_its_block_is_refused():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(300, 3)), rng.integers(0, 3, 300)

    class OtherFormat:
        """A booster whose stored model is another one: what a changed format would look like."""

        def __init__(self, stored, speaking):
            self.save_raw, self.predict = stored.save_raw, speaking.predict
            self.feature_names = speaking.feature_names

    stored = fit_predictor.train_booster(x, y, 1)
    speaking = fit_predictor.train_booster(x, (y + 1) % 3, 1)
    with pytest.raises(ValueError, match="format has changed"):
        fit_predictor.flatten(OtherFormat(stored, speaking), x)


@pytest.mark.parametrize(("per_day", "bucket"), [(1, 1.0), (24, 1.0), (390, 7.8)])
def test_bucket_size_follows_the_bars_of_a_day(per_day, bucket):
    bars = empty_bars(per_day * 10)
    day = 86_400 * 10**9
    bars["ts"] = (np.arange(10)[:, None] * day + np.arange(per_day) * 60 * 10**9).ravel()
    size, decay = fit_vpin.settings(bars)
    assert size == pytest.approx(bucket)
    assert decay ** (20 * per_day) == pytest.approx(0.5)


def test_down_and_up_weigh_the_same():
    y = np.array([0] * 60 + [1] * 30 + [2] * 40)
    weights = balance(y)
    assert weights[y == 0].sum() == pytest.approx(50.0)
    assert weights[y == 2].sum() == pytest.approx(50.0)
    assert (weights[y == 1] == 1.0).all()
    rates = base_rates(y, HORIZON)
    assert rates[0] == pytest.approx(rates[2], abs=1e-15)


def test_no_forecast_learns_that_prices_fall_by_themselves(warm_up):
    link = fit_vpin.fit(warm_up, HORIZON, 0)[2:].reshape(3, -1)
    assert link[0, 0] == pytest.approx(link[2, 0], abs=0.02)
