"""The multinomial fit against identities that hold at its minimum, and against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

from actors.link import CLIP, link
from tuning.fit_link import fit_link, mean_log_loss


def sample(n: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, k))
    slopes = rng.normal(scale=0.7, size=(k, 3))
    odds = np.exp(x @ slopes + np.array([-0.5, 0.3, 0.1]))
    p = odds / odds.sum(axis=1, keepdims=True)
    y = (rng.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1)
    return x, y


def forecasts(params: np.ndarray, x: np.ndarray) -> np.ndarray:
    out = np.empty((len(x), 3))
    for i in range(len(x)):
        link(params, 0, x[i], x.shape[1], out[i])
    return out


def test_without_features_the_base_rates_come_out() -> None:
    y = np.repeat([0, 1, 2], [5, 12, 3])
    params = fit_link(np.empty((20, 0)), y, 1.0)
    assert params.shape == (3,)
    np.testing.assert_allclose(
        forecasts(params, np.empty((1, 0)))[0], [0.25, 0.6, 0.15], atol=1e-12
    )


@pytest.mark.parametrize("ridge", [0.5, 40.0])
def test_residuals_balance_the_ridge_at_the_minimum(ridge: float) -> None:
    x, y = sample(400, 4, 1)
    params = fit_link(x, y, ridge)
    residual = np.eye(3)[y] - forecasts(params, x)
    slopes = params.reshape(3, 5)[:, 1:]
    np.testing.assert_allclose(residual.sum(axis=0), 0.0, atol=1e-6)
    np.testing.assert_allclose(residual.T @ np.clip(x, -CLIP, CLIP), ridge * slopes, atol=1e-6)


def test_scipy_finds_the_same_minimum() -> None:
    x, y = sample(300, 3, 2)
    ridge = 7.0

    def loss(flat: np.ndarray) -> float:
        table = flat.reshape(3, 4)
        log_p = log_softmax(table[:, 0] + np.clip(x, -CLIP, CLIP) @ table[:, 1:].T, axis=1)
        return -log_p[np.arange(len(y)), y].sum() + 0.5 * ridge * (table[:, 1:] ** 2).sum()

    independent = minimize(loss, np.zeros(12), method="BFGS", options={"gtol": 1e-6})
    params = fit_link(x, y, ridge)
    assert loss(params) <= independent.fun + 1e-9
    np.testing.assert_allclose(forecasts(params, x), forecasts(independent.x, x), atol=1e-5)


def test_without_a_ridge_the_true_slopes_are_recovered() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(20_000, 1))
    p = np.exp(x @ np.array([[-0.4, 0.0, 0.4]]))
    p /= p.sum(axis=1, keepdims=True)
    y = (rng.random((len(x), 1)) > p.cumsum(axis=1)).sum(axis=1)
    slopes = fit_link(x, y, 0.0).reshape(3, 2)[:, 1]
    # Standard error about 1 / sqrt(0.22 n) = 0.015.
    np.testing.assert_allclose(slopes, [-0.4, 0.0, 0.4], atol=0.05)


def test_a_large_ridge_shrinks_to_the_base_rates() -> None:
    x, y = sample(500, 3, 4)
    shares = np.bincount(y, minlength=3) / len(y)
    np.testing.assert_allclose(
        forecasts(fit_link(x, y, 1e9), x), np.tile(shares, (500, 1)), atol=1e-5
    )


def test_outliers_are_clipped_as_the_link_clips_them() -> None:
    x, y = sample(200, 2, 5)
    x[0, 0] = 1e6
    clipped = x.copy()
    clipped[0, 0] = CLIP
    assert fit_link(x, y, 1.0).tobytes() == fit_link(clipped, y, 1.0).tobytes()


def test_equal_rows_give_equal_bits() -> None:
    x, y = sample(200, 4, 6)
    assert fit_link(x, y, 3.0).tobytes() == fit_link(x.copy(), y.astype(np.int32), 3.0).tobytes()


@pytest.mark.parametrize(("k", "ridge"), [(1, 2000.0), (6, 2000.0), (2, 1e-6)])
def test_rows_of_any_size_converge(k: int, ridge: float) -> None:
    for seed in range(10):
        x, y = sample(1100, k, 100 + seed)
        residual = np.eye(3)[y] - forecasts(fit_link(x, y, ridge), x)
        assert np.abs(residual.sum(axis=0)).max() < 1e-6


def test_mean_log_loss_of_equal_thirds() -> None:
    x, y = sample(50, 2, 7)
    assert mean_log_loss(np.zeros(9), x, y) == pytest.approx(np.log(3.0), abs=1e-12)


@pytest.mark.parametrize(
    ("x", "y", "ridge", "said"),
    [
        (np.zeros((4, 1)), np.array([0, 1, 1, 0]), 1.0, "outcome 2 never occurs"),
        (np.zeros((3, 1)), np.array([0, 1, 2, 2]), 1.0, r"x must be \(n, k\)"),
        (np.full((3, 1), np.nan), np.array([0, 1, 2]), 1.0, "not finite"),
        (np.zeros((3, 1)), np.array([0, 1, 2]), -1.0, "ridge"),
        (np.zeros((4, 1)), np.array([0, 1, 2, -1]), 1.0, "without a label"),
        (np.zeros((4, 1)), np.array([0, 1, 2, 2]), 0.0, "collinear"),
    ],
)
def test_bad_input_is_named(x: np.ndarray, y: np.ndarray, ridge: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fit_link(x, y, ridge)


def test_separable_outcomes_end_at_a_minimum_to_working_precision() -> None:
    x = np.linspace(-3.0, 3.0, 30)[:, None]
    y = np.repeat([0, 1, 2], 10)
    params = fit_link(x, y, 0.0)
    assert np.isfinite(params).all()
    assert (forecasts(params, x).argmax(axis=1) == y).all()
