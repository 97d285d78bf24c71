"""Fits the link of the volume microstructure agent on warm-up bars, under strong priors.

Flow and liquidity say little about the next days' direction, and two years of daily bars could not
tell much more than that from chance: a feature one deviation out may move the odds by about 5 %
before the data insist (``tuning.samples.humble_link``).
"""

from __future__ import annotations

from actors import volume_microstructure
from actors.contract import Floats
from actors.space import Real, Space
from data.bars import Bars
from tuning.samples import Samples, collect, humble_link

PRIOR_SLOPE = 0.05
# What a study may search.
SPACE = Space({"prior_slope": Real(0.005, 0.5, PRIOR_SLOPE, log=True)})


def fit(bars: Bars, horizon: int, seed: int) -> Floats:  # noqa: ARG001 (one signature for all)
    """Link parameters, shape (24,), from bars in (ts, symbol) order; empty when they are too few.

    Uses nothing but ``bars``. ``seed`` is unused: the fit has a unique minimum.
    """
    return humble_link(training_samples(bars, horizon), horizon, PRIOR_SLOPE)


def training_samples(bars: Bars, horizon: int) -> Samples:
    """Features and outcomes of the bars on which a fitted agent would have voted."""
    count = volume_microstructure.FEATURE_COUNT
    return collect(volume_microstructure.SPEC, bars, horizon, count)
