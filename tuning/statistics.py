"""Performance statistics of a series of simple returns, and what can be inferred from them.

Conventions: ``returns`` is (n,) per period, finite; risk-free rate zero; standard deviations with
n - 1; annualisation by the square root of the periods in a year. A figure that is not defined for
the given series (no variation, no loss, too short) is ``nan``, never a number that looks like one.
Input that is not a series of returns raises ValueError.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

Floats = NDArray[np.float64]

DAYS = 252.0
# A spread below this multiple of the mean is rounding noise of a constant series, not variation.
_NO_VARIATION = 1e-13


def returns_of(equity: ArrayLike) -> Floats:
    """Simple returns (n - 1,) of equity (n,) in any unit; ValueError unless every value is > 0."""
    values = np.asarray(equity, np.float64)
    if values.ndim != 1 or not np.isfinite(values).all() or (values <= 0.0).any():
        raise ValueError("returns are undefined: equity must be a series of finite values above 0")
    return values[1:] / values[:-1] - 1.0


def _checked(returns: ArrayLike) -> Floats:
    values = np.asarray(returns, np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError("returns must be one series of finite numbers")
    if (values < -1.0).any():
        raise ValueError("returns below -100 % are not simple returns of an equity")
    return values


def _spread(values: Floats) -> float:
    if len(values) < 2:
        return math.nan
    spread = float(values.std(ddof=1))
    return spread if spread > _NO_VARIATION * float(np.abs(values).max()) else 0.0


def volatility(returns: ArrayLike, periods: float = DAYS) -> float:
    """Annualised standard deviation; nan for fewer than two returns."""
    return _spread(_checked(returns)) * math.sqrt(periods)


def sharpe(returns: ArrayLike) -> float:
    """Mean over standard deviation PER PERIOD (Sharpe 1994); nan without variation."""
    values = _checked(returns)
    spread = _spread(values)
    return float(values.mean()) / spread if spread > 0.0 else math.nan


def annualised_sharpe(returns: ArrayLike, periods: float = DAYS) -> float:
    """Sharpe ratio times the square root of the periods in a year; nan without variation."""
    return sharpe(returns) * math.sqrt(periods)


def shape(returns: ArrayLike) -> tuple[float, float]:
    """(skewness, kurtosis), population moments, kurtosis NOT in excess; nan without variation."""
    values = _checked(returns)
    if not _spread(values) > 0.0:
        return math.nan, math.nan
    centred = values - values.mean()
    centred /= np.abs(centred).max()  # no scale, so that no power underflows
    second = float((centred**2).mean())
    return (
        float((centred**3).mean()) / second**1.5,
        float((centred**4).mean()) / second**2,
    )


def sharpe_deviation(ratio: float, n: int, skew: float, kurtosis: float) -> float:
    """Standard error of a per-period Sharpe ratio estimated from n returns.

    sqrt((1 - skew SR + (kurtosis - 1) / 4 SR^2) / (n - 1))   (Mertens 2002, kurtosis not in excess)

    With skew 0 and kurtosis 3 this is Lo (2002) for independent normal returns. Dividing by n - 1
    follows Bailey and Lopez de Prado (2012). nan where the estimate does not exist.
    """
    inner = 1.0 - skew * ratio + (kurtosis - 1.0) / 4.0 * ratio * ratio
    if n < 2 or not inner > 0.0:
        return math.nan
    return math.sqrt(inner / (n - 1))


def sharpe_interval(
    returns: ArrayLike, periods: float = DAYS, confidence: float = 0.95
) -> tuple[float, float]:
    """Confidence interval of the ANNUALISED Sharpe ratio: estimate -+ z times ``sharpe_deviation``.

    Serial correlation is not corrected for. (nan, nan) where the ratio is undefined.
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    values = _checked(returns)
    ratio = sharpe(values)
    half = float(ndtri(0.5 + confidence / 2.0)) * sharpe_deviation(
        ratio, len(values), *shape(values)
    )
    year = math.sqrt(periods)
    return (ratio - half) * year, (ratio + half) * year


def probabilistic_sharpe(
    ratio: float, n: int, skew: float = 0.0, kurtosis: float = 3.0, benchmark: float = 0.0
) -> float:
    """Probability that the true per-period Sharpe ratio exceeds ``benchmark``.

    Phi((SR - SR*) sqrt(n - 1) / sqrt(1 - skew SR + (kurtosis - 1) / 4 SR^2))
    (Bailey and Lopez de Prado 2012; not the revision of 2025, which evaluates the variance at SR*).
    """
    deviation = sharpe_deviation(ratio, n, skew, kurtosis)
    return float(ndtr((ratio - benchmark) / deviation))


def minimum_track_record(
    ratio: float,
    skew: float = 0.0,
    kurtosis: float = 3.0,
    benchmark: float = 0.0,
    confidence: float = 0.95,
) -> float:
    """Returns needed before ``probabilistic_sharpe`` reaches ``confidence`` (same paper).

    nan unless ``ratio`` exceeds ``benchmark``: no record is long enough then.
    """
    if not ratio > benchmark:
        return math.nan
    variance = 1.0 - skew * ratio + (kurtosis - 1.0) / 4.0 * ratio * ratio
    return 1.0 + variance * (float(ndtri(confidence)) / (ratio - benchmark)) ** 2


def drawdowns(returns: ArrayLike) -> Floats:
    """Fall below the running peak after each return, (n,), in [-1, 0]; the start counts as peak."""
    wealth = np.cumprod(1.0 + _checked(returns))
    peak = np.maximum(np.maximum.accumulate(wealth), 1.0)
    return wealth / peak - 1.0


def max_drawdown(returns: ArrayLike) -> float:
    """The deepest drawdown as a negative fraction; 0 when there was none; nan without returns."""
    falls = drawdowns(returns)
    return float(falls.min()) if len(falls) else math.nan


def cagr(returns: ArrayLike, periods: float = DAYS) -> float:
    """Compound growth per year; nan without returns."""
    values = _checked(returns)
    if len(values) == 0:
        return math.nan
    return float(np.prod(1.0 + values) ** (periods / len(values)) - 1.0)


def sortino(returns: ArrayLike, periods: float = DAYS) -> float:
    """Annualised mean over downside deviation, target zero (Sortino and Price 1994).

    The downside deviation is the root of the mean of min(r, 0)^2 over ALL periods. nan without a
    losing period.
    """
    values = _checked(returns)
    downside = math.sqrt(float((np.minimum(values, 0.0) ** 2).mean())) if len(values) else 0.0
    return float(values.mean()) / downside * math.sqrt(periods) if downside > 0.0 else math.nan


def calmar(returns: ArrayLike, periods: float = DAYS) -> float:
    """Compound growth per year over the deepest drawdown (Young 1991); nan without a drawdown."""
    depth = max_drawdown(returns)
    return cagr(returns, periods) / -depth if depth < 0.0 else math.nan


def mean_interval(
    values: ArrayLike, lags: int, confidence: float = 0.95
) -> tuple[float, float, float]:
    """(mean, low, high) of a serially correlated series, with Newey and West (1987) errors.

    Bartlett weights over ``lags`` autocovariances. Forecasts that look h periods ahead overlap, so
    h - 1 is the least that is honest. Applied to a difference of losses this is the test of
    Diebold and Mariano (1995). nan bounds for fewer than lags + 2 values or without variation.
    """
    series = np.asarray(values, np.float64)
    if series.ndim != 1 or not np.isfinite(series).all() or lags < 0:
        raise ValueError("mean_interval needs one series of finite numbers and lags >= 0")
    n = len(series)
    mean = float(series.mean()) if n else math.nan
    if n < lags + 2:
        return mean, math.nan, math.nan
    centred = series - mean
    variance = float(centred @ centred) / n
    for lag in range(1, lags + 1):
        covariance = float(centred[lag:] @ centred[:-lag]) / n
        variance += 2.0 * (1.0 - lag / (lags + 1.0)) * covariance
    if not variance > 0.0:
        return mean, math.nan, math.nan
    half = float(ndtri(0.5 + confidence / 2.0)) * math.sqrt(variance / n)
    return mean, mean - half, mean + half
