"""Fits the VPIN agent on warm-up bars: its bucket size, and a link that can hardly lean.

VPIN is a measure of toxicity, not of direction, and disputed even as that: the priors are tighter
than those of any other agent (``tuning.samples.humble_link``).
"""

from __future__ import annotations

import numpy as np

from actors import vpin_hft
from actors.contract import Floats, no_params
from actors.space import Real, Space
from data.bars import Bars
from data.clocks import DAY_NS
from tuning.samples import Samples, collect, humble_link

PRIOR_SLOPE = 0.025
# What a study may search. ``bucket`` multiplies the bucket's declared size.
SPACE = Space(
    {
        "prior_slope": Real(0.0025, 0.25, PRIOR_SLOPE, log=True),
        "bucket": Real(1.0, 10.0, 1.0, log=True),
        "half_life_days": Real(5.0, 100.0, vpin_hft.HALF_LIFE_DAYS, log=True),
    }
)


def fit(bars: Bars, horizon: int, seed: int) -> Floats:  # noqa: ARG001 (one signature for all)
    """Params of ``actors.vpin_hft``, shape (14,); empty when the bars are too few.

    Uses nothing but ``bars``, in (ts, symbol) order. ``seed`` is unused: the minimum is unique.
    """
    link = humble_link(training_samples(bars, horizon), horizon, PRIOR_SLOPE)
    if len(link) == 0:
        return no_params()
    return np.concatenate([settings(bars), link])


def settings(
    bars: Bars, bucket: float = 1.0, half_life_days: float = vpin_hft.HALF_LIFE_DAYS
) -> Floats:
    """[bucket size in mean bars, decay per bar], shape (2,), from how many bars make a day.

    ``bucket`` multiplies the declared size.
    """
    per_day = bars_per_day(bars)
    size = bucket * max(1.0, per_day / vpin_hft.BUCKETS_PER_DAY)
    return np.array([size, 0.5 ** (1.0 / (half_life_days * per_day))])


def bars_per_day(bars: Bars) -> float:
    """Median over (symbol, UTC day) of the number of bars, at least 1."""
    if len(bars) == 0:
        return 1.0
    days = np.stack([bars["symbol"], bars["ts"] // DAY_NS])
    return float(np.median(np.unique(days, axis=1, return_counts=True)[1]))


def training_samples(bars: Bars, horizon: int) -> Samples:
    """Features and outcomes of the bars on which a fitted agent would have voted."""
    return collect(vpin_hft.SPEC, bars, horizon, vpin_hft.FEATURE_COUNT, settings(bars))
