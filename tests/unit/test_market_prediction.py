"""The market predictor: features against plain formulas and TA-Lib, votes against xgboost."""

import numpy as np
import pytest
import talib
import xgboost as xgb

from actors import market_prediction as agent
from actors.agent import Agent
from actors.contract import OUT_FIXED, REASON, STATUS, Reason, Status
from data.bars import empty_bars
from data.daily_stocks import load_feed
from tuning import fit_predictor


@pytest.fixture(scope="module")
def ibm():
    return load_feed(symbols=("IBM",)).bars[:600]


def _apply(bars, params=None):
    one = Agent(agent.SPEC)
    if params is not None:
        one.set_model(params)
    return one.apply(bars)


def _deviation(changes):
    """Exponentially weighted deviation, half-life 20, as a plain weighted mean."""
    weights = 0.5 ** (np.arange(len(changes))[::-1] / 20.0)
    return np.sqrt(np.average(changes**2, weights=weights))


def _expected(bars, t):
    """The ten features at bar ``t`` from whole arrays, without rings or recursions."""
    part = bars[: t + 1]
    close, volume = part["close"].astype(float), np.log1p(part["volume"].astype(float))
    log_close = np.log(close)
    changes = np.diff(log_close)
    sigma = _deviation(changes)
    spread = np.log(part["high"] / part["low"]) ** 2 / (4 * np.log(2))
    moves = [(log_close[-1] - log_close[-1 - n]) / sigma / np.sqrt(n) for n in (1, 5, 21, 63)]
    gaps = [(log_close[-1] - log_close[-n:].mean()) / sigma / np.sqrt(n / 3) for n in (10, 50)]
    return [
        *moves,
        np.sqrt(spread[-10:].mean()) / sigma - 1,
        *gaps,
        talib.RSI(close, 14)[-1] / 50 - 1,
        (volume[-1] - volume[-63:].mean()) / volume[-63:].std(),
        sigma / changes[-63:].std() - 1,
    ]


@pytest.mark.parametrize("t", [80, 81, 143, 300, 599])
def test_features_equal_the_plain_formulas(ibm, t):
    votes = _apply(ibm[: t + 1])
    assert votes[t, OUT_FIXED:] == pytest.approx(_expected(ibm, t), rel=1e-9, abs=1e-9)


def test_first_vote_comes_after_the_declared_warm_up(ibm):
    votes = _apply(ibm[:100])
    assert set(votes[: agent.WARM_UP, REASON]) == {Reason.WARMING_UP}
    assert set(votes[agent.WARM_UP :, REASON]) == {Reason.NO_MODEL}
    assert not votes[:, :3].any()


def test_votes_equal_the_booster_shrunk_to_base_rates(ibm):
    samples = fit_predictor.training_samples(ibm, 5)
    booster = fit_predictor.train_booster(samples.x, samples.y, 4)
    block = fit_predictor.flatten(booster, samples.x)
    params = np.concatenate([[0.6, 0.3, 0.45, 0.25], block])
    votes = _apply(ibm, params)[agent.WARM_UP :]
    assert set(votes[:, STATUS]) == {Status.VOTED}
    rows = votes[:, OUT_FIXED:].astype(np.float32)
    q = booster.predict(xgb.DMatrix(rows, feature_names=booster.feature_names))
    rates = np.array([0.3, 0.45, 0.25])
    assert np.max(np.abs(votes[:, :3] - (rates + 0.6 * (q - rates)))) <= 1e-6
    assert np.ptp(q, axis=0).min() > 0.05


def test_an_outlier_is_clipped(ibm):
    bars = ibm[:120].copy()
    for field in ("open", "high", "low", "close"):
        bars[field][119] *= 1000
    x = _apply(bars)[119, OUT_FIXED:]
    assert np.isfinite(x).all()
    assert np.abs(x).max() <= 8.0
    assert x[0] < 8.0, "the move itself raises sigma"


def test_a_standstill_is_degenerate_and_constant_volume_is_not():
    bars = empty_bars(120)
    bars["ts"] = np.arange(120)
    for field in ("open", "high", "low", "close", "volume"):
        bars[field] = 1000
    assert _apply(bars)[-1, REASON] == Reason.DEGENERATE
    bars["close"] += np.arange(120) % 3
    bars["high"] += 3
    last = _apply(bars)[-1]
    assert last[REASON] == Reason.NO_MODEL
    assert last[OUT_FIXED + agent.FEATURES.index("volume_z")] == 0.0
