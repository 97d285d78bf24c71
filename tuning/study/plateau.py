"""Does the winner's neighbourhood hold, or is the winner a spike?

A strategy that works because of the market works with slightly other parameters too. A spike that
its neighbours do not share is fitted to the noise of the history (Pardo 2008, The Evaluation and
Optimization of Trading Strategies).

The rule. Neighbours are the nearest other configurations, a tenth of all trials but 5 to 25, no
farther than ``REACH``. Their median must
- keep at least half of the winner's lead over the lower quartile of the trials: the median of a
  region is not selected, so what the winner has above it is selection; more of that than of
  substance is called luck. The lower quartile stands for the rest of the space also when a searcher
  spent most trials near the winner, where the median of all trials would be the winner's own hill;
- be no worse than the median of all trials.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError

Floats = NDArray[np.float64]

FEWEST_TRIALS = 30
FEWEST_NEIGHBOURS, MOST_NEIGHBOURS = 5, 25
# Root mean square over the coordinates; two random points of the cube are sqrt(1/6) = 0.41 apart.
REACH = 0.25
LEAST_KEPT = 0.5
LEAST_QUANTILE = 0.5


@dataclass(frozen=True)
class Plateau:
    """nan where the neighbourhood is unknown; then ``holds`` is None."""

    holds: bool | None
    why: str
    neighbours: int
    distance: float  # of the farthest of them, root mean square per coordinate
    median: float  # of their objectives
    kept: float  # of the winner's lead over the trials' lower quartile; -inf where they failed
    quantile: float  # share of the other trials whose objective is at most that median


def plateau(
    coordinates: Floats,
    objective: Floats,
    winner: int,
    neighbours: int | None = None,
    reach: float = REACH,
) -> Plateau:
    """The neighbourhood of trial ``winner`` among n trials at (n, d) points of the unit cube.

    ``objective`` (n,), MORE IS BETTER; a trial without one (nan: failed, pruned) ranks below all
    that have one, and the lower quartile is that of those that have one.
    Trials at one and the same point count once, and the winner's own point is no neighbour.
    ``neighbours`` replaces the tenth of all trials. Unknown with fewer than 30 distinct points,
    fewer than 5 of them (or than asked for) within ``reach``, or a winner without an objective.
    """
    points, values = np.asarray(coordinates, np.float64), np.asarray(objective, np.float64)
    if points.ndim != 2 or values.shape != points.shape[:1] or points.shape[1] < 1:
        raise InputError(
            f"plateau: {points.shape} coordinates and {values.shape} objectives: give (n, d), (n,)"
        )
    if not 0 <= winner < len(values):
        raise InputError(f"plateau: winner {winner} is none of {len(values)} trials")
    if not ((points >= 0.0) & (points <= 1.0)).all():
        raise InputError("plateau: coordinates must lie in the unit cube")
    if neighbours is not None and neighbours < 1:
        raise InputError(f"plateau: {neighbours} neighbours: give 1 or more")
    values = np.where(np.isfinite(values), values, -np.inf)
    best = float(values[winner])
    others, theirs = _distinct_others(points, values, winner)
    measured = theirs[np.isfinite(theirs)]
    if not (math.isfinite(best) and len(measured)):
        return _unknown("the winner, or every other trial, has no objective")
    if len(theirs) + 1 < FEWEST_TRIALS:
        return _unknown(f"{len(theirs) + 1} distinct trials, {FEWEST_TRIALS} needed")
    wanted = neighbours or min(max(round(len(theirs) / 10), FEWEST_NEIGHBOURS), MOST_NEIGHBOURS)
    distance = np.sqrt(np.mean((others - points[winner]) ** 2, axis=1))
    near = np.argsort(distance, kind="stable")[:wanted]
    near = near[distance[near] <= reach]
    needed = min(wanted, FEWEST_NEIGHBOURS)
    if len(near) < needed:
        return _unknown(f"{len(near)} trials near the winner, {needed} needed", len(near))
    median = float(np.sort(theirs[near])[(len(near) - 1) // 2])  # the lower of two in the middle
    rest = float(np.quantile(measured, 0.25))
    kept = (median - rest) / (best - rest) if best > rest else 1.0
    quantile = float((theirs <= median).mean())
    holds = kept >= LEAST_KEPT and quantile >= LEAST_QUANTILE
    keeps = f"keeps {kept:.0%} of the winner's lead" if math.isfinite(kept) else "has no objective"
    why = (
        f"the median of its {len(near)} neighbours {keeps} and is no worse than {quantile:.0%} of "
        "the trials"
    )
    return Plateau(holds, why, len(near), float(distance[near[-1]]), median, kept, quantile)


def _distinct_others(points: Floats, values: Floats, winner: int) -> tuple[Floats, Floats]:
    """The points other than the winner's, each once with the worst objective found there."""
    distinct, which = np.unique(points, axis=0, return_inverse=True)
    worst = np.full(len(distinct), np.inf)
    np.minimum.at(worst, which.ravel(), values)
    apart = np.arange(len(distinct)) != which.ravel()[winner]
    return distinct[apart], worst[apart]


def _unknown(why: str, found: int = 0) -> Plateau:
    return Plateau(None, why, found, *[math.nan] * 4)
