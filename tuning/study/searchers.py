"""Searchers: which configurations are tried next. Each is a function of the study alone.

``suggest(generation, count, history)`` gives the configurations of one generation; its randomness
is seeded with (study's seed, generation) and ``history`` are the trials of all generations before,
in trial order. So a study that is killed and resumed suggests what it would have suggested.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from actors.space import Config, Space
from data.errors import InputError
from tuning.study.contract import COMPLETE, OBJECTIVES, StudySpec, Trial, is_better

SEARCHERS = ("random", "grid", "tpe", "pbt")
_OPTIONS = {"grid": ("points",), "pbt": ("quantile", "resample", "scale")}
MOST_POINTS = 1_000


class Searcher(Protocol):
    """See the module's text."""

    def total(self, wanted: int) -> int:
        """How many trials there will be when ``wanted`` are asked for."""

    def suggest(self, generation: int, count: int, history: Sequence[Trial]) -> list[Config]:
        """``count`` configurations."""


def make_searcher(spec: StudySpec, space: Space) -> Searcher:
    """The searcher that a spec names; InputError for an unknown one or an unknown option."""
    options = dict(spec.options.get("searcher", {}))
    made: Searcher
    if spec.searcher == "random":
        made = RandomSearch(space, spec.seed)
    elif spec.searcher == "grid":
        made = GridSearch(space, _whole(options.pop("points", 10), "points"))
    elif spec.searcher == "tpe":
        from tuning.study.optuna_search import OptunaSearch

        made = OptunaSearch(space, spec.objectives, spec.seed)
    elif spec.searcher == "pbt":
        made = PopulationSearch(
            space,
            spec.objectives,
            spec.seed,
            quantile=_number(options.pop("quantile", 0.25), "quantile"),
            resample=_number(options.pop("resample", 0.25), "resample"),
            scale=_number(options.pop("scale", 0.2), "scale"),
        )
    else:
        raise InputError(f"no searcher is called {spec.searcher!r}: choose {', '.join(SEARCHERS)}")
    if options:
        odd, takes = ", ".join(sorted(options)), ", ".join(_OPTIONS.get(spec.searcher, ()))
        raise InputError(
            f"searcher {spec.searcher} knows no option {odd}: it takes {takes or 'none'}"
        )
    return made


def _whole(value: Any, name: str) -> int:
    if not isinstance(value, int) or not 1 <= value <= MOST_POINTS:
        raise InputError(f"{name} must be a whole number from 1 to {MOST_POINTS}, not {value!r}")
    return value


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{name} must be a number, not {value!r}")
    return float(value)


class RandomSearch:
    """Independent uniform draws (Bergstra and Bengio 2012)."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._seed = seed

    def total(self, wanted: int) -> int:
        """See Searcher."""
        return wanted

    def suggest(self, generation: int, count: int, history: Sequence[Trial]) -> list[Config]:  # noqa: ARG002
        """See Searcher."""
        rng = np.random.default_rng([self._seed, generation])
        return [self._space.sample(rng) for _ in range(count)]


class GridSearch:
    """Every combination of evenly spaced points, in order; a study ends with the grid."""

    def __init__(self, space: Space, points: int) -> None:
        self._grid = space.grid(points)

    def total(self, wanted: int) -> int:
        """See Searcher."""
        return min(wanted, len(self._grid))

    def suggest(self, generation: int, count: int, history: Sequence[Trial]) -> list[Config]:  # noqa: ARG002
        """See Searcher."""
        first = len(history)
        return [dict(config) for config in self._grid[first : first + count]]


class PopulationSearch:
    """Population based training (Jaderberg et al. 2017) with truncation selection.

    A generation is the population. A backtest has no weights that a member could go on training:
    what it inherits is the configuration. After each generation a member keeps the better of its
    old and its new configuration; the worst ``quantile`` of the members exploit one of the best
    ``quantile``; then each explores: every parameter is drawn anew with probability ``resample``,
    else moved by up to ``scale`` of its range.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[str],
        seed: int,
        *,
        quantile: float = 0.25,
        resample: float = 0.25,
        scale: float = 0.2,
    ) -> None:
        if len(objectives) != 1:
            raise InputError("population based training ranks by one objective: give one")
        if not (0 < quantile <= 0.5 and 0 <= resample <= 1 and 0 < scale <= 1):
            raise InputError("pbt: quantile in (0, 0.5], resample in [0, 1], scale in (0, 1]")
        self._space = space
        self._objective = objectives[0]
        self._seed = seed
        self._quantile, self._resample, self._scale = quantile, resample, scale

    def total(self, wanted: int) -> int:
        """See Searcher."""
        return wanted

    def suggest(self, generation: int, count: int, history: Sequence[Trial]) -> list[Config]:
        """See Searcher."""
        rng = np.random.default_rng([self._seed, generation])
        members = self._members(history)
        if not members:
            return [self._space.sample(rng) for _ in range(count)]
        ranked = sorted(range(len(members)), key=lambda i: (self._loss(members[i]), i))
        edge = max(1, round(self._quantile * len(ranked)))
        worst = set(ranked[len(ranked) - edge :]) if len(ranked) > edge else set()
        suggested = []
        for i in range(count):
            place = i % len(members)
            if place in worst:
                place = ranked[int(rng.integers(edge))]
            near = members[place].config
            suggested.append(explore(self._space, near, rng, self._resample, self._scale))
        return suggested

    def _members(self, history: Sequence[Trial]) -> list[Trial]:
        """Each member's best trial so far; member i is the i-th of every generation."""
        members: dict[int, Trial] = {}
        first: dict[int, int] = {}
        for trial in history:
            place = trial.number - first.setdefault(trial.generation, trial.number)
            held = members.get(place)
            if held is None or self._loss(trial) < self._loss(held):
                members[place] = trial
        return [members[place] for place in sorted(members)]

    def _loss(self, trial: Trial) -> float:
        """Smaller is better; infinite for a trial without a value."""
        if trial.status != COMPLETE:
            return float("inf")
        return -trial.values[0] if OBJECTIVES[self._objective] else trial.values[0]


def explore(
    space: Space, config: Config, rng: np.random.Generator, resample: float, scale: float
) -> Config:
    """Another configuration near ``config`` that meets the constraints.

    Every parameter is drawn anew with probability ``resample``, else moved by up to ``scale`` of
    its range in the unit cube; after 100 draws that broke a constraint it is a uniform one.
    """
    here = space.unit(config)
    for _ in range(100):
        fresh = rng.random(len(here))
        moved = np.clip(here + scale * (2.0 * rng.random(len(here)) - 1.0), 0.0, 1.0)
        anew = rng.random(len(here)) < resample
        u = np.minimum(np.where(anew, fresh, moved), np.nextafter(1.0, 0.0))
        tried = space.from_unit(u.tolist())
        if not space.broken(tried):
            return tried
    return space.sample(rng)


def best_of(trials: Sequence[Trial], objectives: Sequence[str]) -> Trial | None:
    """The complete trial that is best in the first objective, then in the next; None without one.

    Equal values go to the earlier trial.
    """
    best: Trial | None = None
    for trial in trials:
        if trial.status == COMPLETE and (best is None or _beats(trial, best, objectives)):
            best = trial
    return best


def _beats(a: Trial, b: Trial, objectives: Sequence[str]) -> bool:
    for objective, x, y in zip(objectives, a.values, b.values, strict=True):
        if is_better(objective, x, y):
            return True
        if is_better(objective, y, x):
            return False
    return False


def pareto_front(trials: Sequence[Trial], objectives: Sequence[str]) -> list[Trial]:
    """The complete trials that no other beats in one objective without losing in another."""
    done = [trial for trial in trials if trial.status == COMPLETE]
    if not done:
        return []
    signs = np.array([1.0 if OBJECTIVES[name] else -1.0 for name in objectives])
    gains = np.array([trial.values for trial in done]) * signs
    front = []
    for i, trial in enumerate(done):
        at_least = (gains >= gains[i]).all(axis=1)
        more = (gains > gains[i]).any(axis=1)
        if not (at_least & more).any():
            front.append(trial)
    return front
