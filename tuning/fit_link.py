"""Fits the link of ``actors.link``: multinomial logit with a ridge on the slopes only.

Minimises  -sum_i ln p(y_i | x_i) + ridge/2 sum_kj w_kj^2  by Newton's method with step halving
(the loss is convex). The intercepts are not penalised: as ``ridge`` grows, the forecast shrinks to
the base rates, never to one third each (le Cessie and van Houwelingen 1992).

Sums run in row order in compiled code, not in BLAS, whose last bits depend on its thread count:
the same rows give the same parameters in every process.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from actors.link import CLIP, link

CLASSES = 3
_MAX_STEPS = 200
_MAX_HALVINGS = 60
_TOLERANCE = 1e-10  # gradient per row
# A loss summed over many rows may rise by its own rounding where a Newton step is still right.
_ROUNDING = 1e-12


def fit_link(
    x: NDArray[np.float64],
    y: NDArray[np.integer],
    ridge: float,
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Parameters of ``actors.link.link``, shape (3 (k + 1),).

    x      (n, k) features, clipped to +-CLIP here as the link does; k may be 0
    y      (n,) outcomes 0, 1, 2; rows without a label are dropped by the caller
    ridge  >= 0, in units of observations: the precision of a normal prior on each slope. The
           slopes are not rescaled, so features should be of order one.
    weights  (n,) positive weight of each row in the likelihood; all one when None

    Intercepts sum to zero (softmax does not change when one number is added to all three).
    Raises ValueError on wrong shapes, non-finite features, or an outcome that never occurs: its
    fitted probability would be zero.
    """
    x = np.ascontiguousarray(x, np.float64)
    outcomes = np.ascontiguousarray(y, np.int64)
    _check(x, outcomes, ridge)
    n, k = x.shape
    w = np.ones(n) if weights is None else np.ascontiguousarray(weights, np.float64)
    if w.shape != (n,) or not (np.isfinite(w) & (w > 0.0)).all():
        raise ValueError(f"fit_link: weights must be ({n},) positive numbers")
    x = np.clip(x, -CLIP, CLIP)
    params = np.zeros(CLASSES * (k + 1))
    loss, gradient, hessian = _evaluate(params, x, outcomes, w, ridge)
    for _ in range(_MAX_STEPS):
        if np.max(np.abs(gradient)) <= _TOLERANCE * n:
            return params
        try:
            step = np.linalg.solve(hessian, gradient)
        except np.linalg.LinAlgError as error:
            raise ValueError("fit_link: the features are collinear: use ridge > 0") from error
        scale = 1.0
        slack = _ROUNDING * (1.0 + abs(loss))
        for _ in range(_MAX_HALVINGS):
            trial = params - scale * step
            trial_loss, trial_gradient, trial_hessian = _evaluate(trial, x, outcomes, w, ridge)
            if trial_loss <= loss + slack:
                break
            scale *= 0.5
        else:
            raise ValueError(f"fit_link: no step lowers the loss over {n} rows of {k} features")
        params, loss, gradient, hessian = trial, trial_loss, trial_gradient, trial_hessian
    raise ValueError(
        f"fit_link: no minimum after {_MAX_STEPS} steps over {n} rows of {k} features; "
        "the outcomes are separable or the features collinear: use ridge > 0"
    )


def mean_log_loss(
    params: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.integer]
) -> float:
    """Mean of -ln p(y | x) in nats over the rows of x (n, k), y (n,)."""
    x = np.ascontiguousarray(np.clip(x, -CLIP, CLIP), np.float64)
    return float(
        _evaluate(params, x, np.ascontiguousarray(y, np.int64), np.ones(len(y)), 0.0)[0]
    ) / len(y)


def _check(x: NDArray[np.float64], y: NDArray[np.int64], ridge: float) -> None:
    if x.ndim != 2 or y.shape != (x.shape[0],):
        raise ValueError(f"fit_link: x must be (n, k) and y (n,), got {x.shape} and {y.shape}")
    if not np.isfinite(x).all():
        raise ValueError("fit_link: x holds a value that is not finite; drop such rows")
    if not (math.isfinite(ridge) and ridge >= 0.0):
        raise ValueError(f"fit_link: ridge must be finite and >= 0, got {ridge}")
    for outcome in range(CLASSES):
        if not (y == outcome).any():
            raise ValueError(
                f"fit_link: outcome {outcome} never occurs in {len(y)} rows; fit on more bars"
            )
    if y.min() < 0 or y.max() >= CLASSES:
        raise ValueError("fit_link: y must be 0, 1 or 2; drop rows without a label")


@njit(cache=True)
def _evaluate(params, x, y, w, ridge):
    """Penalised loss, gradient and Hessian, plus a term that only fixes the free constant.

    Adding one vector to all three classes leaves the probabilities as they are; half the squared
    sum over the classes makes the minimum unique and is zero there.
    """
    n, k = x.shape
    stride = k + 1
    size = 3 * stride
    loss = 0.0
    gradient = np.zeros(size)
    hessian = np.zeros((size, size))
    p = np.empty(3)
    row = np.empty(stride)
    row[0] = 1.0
    for i in range(n):
        for j in range(k):
            row[1 + j] = x[i, j]
        link(params, 0, x[i], k, p)
        loss -= w[i] * math.log(max(p[y[i]], 1e-300))
        for a in range(3):
            error = w[i] * (p[a] - (1.0 if y[i] == a else 0.0))
            for j in range(stride):
                gradient[a * stride + j] += error * row[j]
            for b in range(3):
                weight = w[i] * p[a] * ((1.0 if a == b else 0.0) - p[b])
                for j in range(stride):
                    for m in range(stride):
                        hessian[a * stride + j, b * stride + m] += weight * row[j] * row[m]
    for j in range(stride):
        total = params[j] + params[stride + j] + params[2 * stride + j]
        loss += 0.5 * total * total
        for a in range(3):
            here = a * stride + j
            gradient[here] += total
            for b in range(3):
                hessian[here, b * stride + j] += 1.0
            if j > 0:
                loss += 0.5 * ridge * params[here] * params[here]
                gradient[here] += ridge * params[here]
                hessian[here, here] += ridge
    return loss, gradient, hessian
