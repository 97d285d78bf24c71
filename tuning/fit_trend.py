"""Fits the link of the trend momentum agent on warm-up bars.

A strong ridge, for a reason: two years of daily bars of a few symbols, one of them spent on
warming up, hold some 750 rows; their labels overlap ``horizon`` times and the symbols move
together. Whatever slope such a sample shows is mostly noise. So each slope has a normal prior of
standard deviation PRIOR_SLOPE (a feature one deviation out moves the odds by about 5 %) and the
forecast stays near the base rates until the data insist (``tuning.samples.humble_link``).
"""

from __future__ import annotations

from actors import trend_momentum
from actors.contract import Floats
from actors.space import Real, Space
from data.bars import Bars
from tuning.samples import Samples, collect, humble_link

PRIOR_SLOPE = 0.05
# What a study may search.
SPACE = Space({"prior_slope": Real(0.005, 0.5, PRIOR_SLOPE, log=True)})


def fit(bars: Bars, horizon: int, seed: int) -> Floats:  # noqa: ARG001 - one signature for all
    """Link parameters, shape (21,), from bars in (ts, symbol) order; empty when they are too few.

    Uses nothing but ``bars``. ``seed`` is unused: the fit has a unique minimum.
    """
    return humble_link(training_samples(bars, horizon), horizon, PRIOR_SLOPE)


def training_samples(bars: Bars, horizon: int) -> Samples:
    """Features and outcomes of the bars on which a fitted agent would have voted."""
    return collect(trend_momentum.SPEC, bars, horizon, trend_momentum.FEATURE_COUNT)
