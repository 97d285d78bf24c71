"""Training rows of an agent: its own step run over warm-up bars, and what happened afterwards."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actors.agent import Agent
from actors.contract import OUT_FIXED, REASON, AgentSpec, Floats, Reason, no_params
from actors.outcome import DOWN, UP
from data.bars import Bars
from tuning.fit_link import CLASSES, fit_link
from tuning.labels import NO_LABEL, labels

MIN_ROWS = 100
CHUNK = 100_000  # bars; a long history's votes do not all stand in memory at once
# Equal thirds are what the flat band of ``actors.outcome`` aims at. If the shares of a two-year
# period stray from them by 0.05, they are worth .222 / .05^2 = 89 outcomes, 30 a class; twice that,
# since symbols that move together are counted here as if each told something new.
PRIOR_OUTCOMES = 60


@dataclass(frozen=True)
class Samples:
    """``x`` (n, features), ``y`` (n,) in {0, 1, 2}, and when each row's label begins and ends."""

    x: Floats
    y: NDArray[np.int64]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]

    @property
    def enough(self) -> bool:
        return len(self.y) >= MIN_ROWS and len(np.unique(self.y)) == CLASSES

    def only(self, keep: NDArray[np.bool_]) -> Samples:
        return Samples(self.x[keep], self.y[keep], self.begin[keep], self.end[keep])


def collect(
    spec: AgentSpec,
    bars: Bars,
    horizon: int,
    features: int,
    settings: Floats | None = None,
    kept: NDArray[np.bool_] | None = None,
) -> Samples:
    """Rows on which a fitted agent would have voted and whose outcome lies within ``bars``.

    The first ``features`` evidence columns are the row; ``settings`` are params that configure
    the step without being a model. Bars come in (ts, symbol) order; every one is stepped through,
    but only those ``kept`` (n,) give a row.
    """
    agent = Agent(spec)
    agent.set_model(no_params() if settings is None else settings)
    outcomes, end = labels(bars, horizon), label_end(bars, horizon)
    known = outcomes != NO_LABEL if kept is None else kept & (outcomes != NO_LABEL)
    rows, places = [], []
    for start in range(0, max(len(bars), 1), CHUNK):
        votes = agent.apply(bars[start : start + CHUNK])
        usable = (votes[:, REASON] == Reason.NO_MODEL) & known[start : start + CHUNK]
        rows.append(votes[usable, OUT_FIXED : OUT_FIXED + features])
        places.append(start + np.flatnonzero(usable))
    chosen = np.concatenate(places)
    return Samples(
        np.concatenate(rows), outcomes[chosen], bars["ts"][chosen].astype(np.int64), end[chosen]
    )


def label_end(bars: Bars, horizon: int) -> NDArray[np.int64]:
    """ts of the symbol's bar ``horizon`` bars later, the maximum of int64 where there is none."""
    end = np.full(len(bars), np.iinfo(np.int64).max)
    for symbol in np.unique(bars["symbol"]):
        rows = np.flatnonzero(bars["symbol"] == symbol)
        if len(rows) > horizon:
            end[rows[:-horizon]] = bars["ts"][rows[horizon:]]
    return end


def humble_link(samples: Samples, horizon: int, prior_slope: float) -> Floats:
    """The link fitted under priors, shape (3 (features + 1),); empty when the rows are too few.

    Every slope has a normal prior of standard deviation ``prior_slope``. Labels overlap
    ``horizon`` times, so the likelihood counts each move once: a ridge of horizon / prior_slope^2.
    PRIOR_OUTCOMES rows of each class at x = 0 pull the intercepts towards equal thirds (a
    Dirichlet prior). Down and up weigh the same in total, see ``balance``.
    """
    if not samples.enough:
        return no_params()
    count = PRIOR_OUTCOMES * horizon
    x = np.concatenate([samples.x, np.zeros((CLASSES * count, samples.x.shape[1]))])
    y = np.concatenate([samples.y, np.repeat(np.arange(DOWN, UP + 1), count)])
    weights = np.concatenate([balance(samples.y), np.ones(CLASSES * count)])
    return fit_link(x, y, horizon / prior_slope**2, weights)


def balance(y: NDArray[np.int64]) -> Floats:
    """Weights (n,) under which down and up occur equally often; flat rows keep weight one.

    Two years of one market hold one drift, whose sign they cannot tell from chance: at 32 % a year
    of volatility even a drift of 10 % has a t statistic of 0.4. So no forecast may learn that
    prices fall, or rise, by themselves: a direction must come from the features.
    """
    down, up = int(np.sum(y == DOWN)), int(np.sum(y == UP))
    weights = np.ones(len(y))
    if down and up:
        weights[y == DOWN] = (down + up) / (2.0 * down)
        weights[y == UP] = (down + up) / (2.0 * up)
    return weights


def base_rates(y: NDArray[np.int64], horizon: int) -> Floats:
    """Outcome shares (3,) under the same prior and the same balance as ``humble_link``."""
    count = np.bincount(y, balance(y), minlength=CLASSES) / horizon + PRIOR_OUTCOMES
    return np.asarray(count / count.sum(), np.float64)
