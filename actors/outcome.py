"""What happened after a decision: down, flat or up, against lagged volatility.

Flat means |ln(close_h / close_0)| <= 0.43 sigma sqrt(h), where sigma is the exponentially weighted
standard deviation of one-bar log returns known at the decision (RiskMetrics, 1996, with a
half-life instead of a decay). For normal returns the three outcomes are then about equally likely.
"""

from __future__ import annotations

import math

from data.compiled import inline_njit

DOWN, FLAT, UP = 0, 1, 2
FLAT_BAND = 0.43
VOLATILITY_HALF_LIFE = 20.0
VOLATILITY_WARM_UP = 20
_DECAY = 0.5 ** (1.0 / VOLATILITY_HALF_LIFE)


@inline_njit
def update_variance(variance, weight, log_return):
    """One step of the bias-corrected exponentially weighted mean of squared returns.

    Returns the new (variance, weight), both unnormalised: the estimate is variance / weight.
    """
    return _DECAY * variance + (1.0 - _DECAY) * log_return * log_return, (
        _DECAY * weight + (1.0 - _DECAY)
    )


@inline_njit
def outcome(close_0, close_h, sigma, horizon):
    """0 down, 1 flat, 2 up. Prices in ticks, ``sigma`` per bar, ``horizon`` in bars."""
    move = math.log(close_h / close_0)
    band = FLAT_BAND * sigma * math.sqrt(horizon)
    if move > band:
        return UP
    if move < -band:
        return DOWN
    return FLAT
