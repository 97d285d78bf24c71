"""A study whose trials are decided about as they come: the asynchronous form's state.

No Ray, clock or thread in here. A scheduler of Ray Tune says which trial is stopped (asynchronous
successive halving, Li et al. 2020) or takes over another's configuration (population based
training, Jaderberg et al. 2017); this keeps numbers, configurations and results, and makes each
trial durable when it ends. What a scheduler decides depends on which worker was faster: so the
study is not exactly repeatable, and says so (``StudySpec.exact``).

A resumed study keeps what is stored, gives the numbers that are missing to fresh configurations,
and ends with all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from actors.space import Config
from data.errors import InputError
from tuning.study.contract import Evaluator, Failure, FoldResult, StudySpec, Trial
from tuning.study.searchers import GridSearch, Searcher, explore
from tuning.study.trials import Begun, Scorer

ASHA, PBT_ASYNC = "asha", "pbt_async"
# The schedulers of this form and the options of each.
ASYNCHRONOUS: dict[str, tuple[str, ...]] = {
    ASHA: ("eta",),
    PBT_ASYNC: ("quantile", "resample", "scale"),
}
FEWEST_MEMBERS = 4  # of a population: fewer have no quantiles to speak of
WORST = 1e9  # bounds what a scheduler ranks by: it averages, and an infinity would spread
_STREAM = 7303  # of the study's seed: the mutations' randomness

Save = Callable[[Sequence[Trial]], None]


@dataclass(frozen=True, kw_only=True)
class Tactics:
    """The scheduler's options, checked."""

    eta: int = 3  # asha: one of so many goes on
    quantile: float = 0.25  # pbt_async: of the members that are replaced, and that replace
    resample: float = 0.25  # probability that a parameter is drawn anew
    scale: float = 0.2  # else it moves by up to this share of its range


def tactics(spec: StudySpec) -> Tactics:
    """The options of an asynchronous spec; InputError for what this form cannot do."""
    if spec.scheduler not in ASYNCHRONOUS:
        raise InputError(f"{spec.scheduler!r} is no asynchronous scheduler")
    if len(spec.objectives) != 1:
        raise InputError(f"{spec.scheduler} ranks by one objective: give one, or no scheduler")
    if spec.searcher == "pbt":
        raise InputError(
            f"searcher pbt decides at the end of a generation, {spec.scheduler} in between:"
            " choose pbt without a scheduler, or random, grid or tpe with this one"
        )
    if spec.scheduler == ASHA and spec.generation != 1:
        raise InputError("asha draws one configuration at a time: leave the generation out")
    if spec.scheduler == PBT_ASYNC and spec.generation < FEWEST_MEMBERS:
        raise InputError(f"pbt_async: the generation is the population, {FEWEST_MEMBERS} or more")
    allowed = ASYNCHRONOUS[spec.scheduler]
    given = {key: value for key, value in spec.options.items() if key != "searcher"}
    odd = [key for key in given if key not in allowed]
    if odd:
        raise InputError(f"scheduler {spec.scheduler} knows no option {', '.join(sorted(odd))}")
    found = Tactics(**given)
    if not isinstance(found.eta, int) or not 2 <= found.eta <= 10:
        raise InputError(f"asha: eta must be a whole number from 2 to 10, not {found.eta!r}")
    if not (0 < found.quantile <= 0.5 and 0 <= found.resample <= 1 and 0 < found.scale <= 1):
        raise InputError("pbt_async: quantile in (0, 0.5], resample in [0, 1], scale in (0, 1]")
    return found


def rank(scorer: Scorer, results: Sequence[FoldResult]) -> float:
    """What a scheduler makes large: the first objective so far, finite, the worst if undefined."""
    loss = scorer.loss(results)
    return max(-WORST, min(WORST, -loss))


class AsyncStudy:
    """One asynchronous study. ``history`` are the stored trials of an earlier run; ``save`` makes
    trials durable before they count.

    InputError for a spec that this form cannot do.
    """

    def __init__(
        self,
        spec: StudySpec,
        evaluator: Evaluator,
        searcher: Searcher,
        save: Save,
        history: Sequence[Trial] = (),
    ) -> None:
        self.spec = spec
        self.tactics = tactics(spec)
        self.total = searcher.total(spec.trials)
        # In the order in which they ended; of an earlier run in that of their numbers.
        self.trials: dict[int, Trial] = {trial.number: trial for trial in history}
        self.scorer = Scorer(spec, evaluator)
        self._space = evaluator.space
        self._folds = len(evaluator.folds)
        self._searcher = searcher
        self._save = save
        self._grid = searcher.suggest(0, self.total, []) if type(searcher) is GridSearch else None
        self._numbers = iter([n for n in range(self.total) if n not in self.trials])
        self._begun: dict[int, Begun] = {}
        self._known: dict[int, dict[int, FoldResult]] = {}
        self._seconds: dict[int, float] = {}

    @property
    def finished(self) -> bool:
        """Whether every trial is known and durable."""
        return len(self.trials) >= self.total

    @property
    def alive(self) -> int:
        """How many trials have begun and not ended."""
        return len(self._begun)

    def history(self) -> list[Trial]:
        """All known trials in the order of their numbers."""
        return [self.trials[number] for number in sorted(self.trials)]

    def newcomer(self) -> Begun | None:
        """Another trial from the searcher; None when all numbers are given out."""
        number = next(self._numbers, None)
        if number is None:
            return None
        if self._grid is not None:
            config = self._grid[number]
        else:
            # A generation of one, seeded by its number, that knows what has ended so far.
            (config,) = self._searcher.suggest(number, 1, list(self.trials.values()))
        return self._begin(number, self._space.check(config))

    def mutated(self, config: Config) -> Begun | None:
        """Another trial near ``config``; None when all numbers are given out."""
        number = next(self._numbers, None)
        if number is None:
            return None
        rng = np.random.default_rng([self.spec.seed, _STREAM, number])
        tried = explore(self._space, config, rng, self.tactics.resample, self.tactics.scale)
        return self._begin(number, self._space.check(tried))

    def take(self, number: int, results: Sequence[FoldResult] | Failure, seconds: float) -> None:
        """Folds of a trial; with the last of them, or a failure, it ends. One that has ended is
        left as it is."""
        if number not in self._begun:
            return
        self._seconds[number] += seconds
        if isinstance(results, Failure):
            self._end(self.scorer.failed(*self._so_far(number), results.why))
            return
        self._known[number].update({result.fold: result for result in results})
        if len(self._known[number]) == self._folds:
            self._end(self.scorer.complete(*self._so_far(number)))

    def stop(self, number: int) -> None:
        """The scheduler ended it: pruned, unless it had ended by itself."""
        if number in self._begun:
            self._end(self.scorer.pruned(*self._so_far(number)))

    def _begin(self, number: int, config: Config) -> Begun:
        begun = Begun(number, number, config)
        self._begun[number] = begun
        self._known[number] = {}
        self._seconds[number] = 0.0
        return begun

    def _so_far(self, number: int) -> tuple[Begun, list[FoldResult], float]:
        known = self._known[number]
        return self._begun[number], [known[fold] for fold in sorted(known)], self._seconds[number]

    def _end(self, trial: Trial) -> None:
        """Durable first, then known."""
        self._save([trial])
        self.trials[trial.number] = trial
        for kept in (self._begun, self._known, self._seconds):
            kept.pop(trial.number)


def next_folds(known: Sequence[int], step: int, folds: int) -> tuple[int, ...]:
    """What a trial evaluates in its ``step`` (from 0): up to one fold a step, none twice.

    A member that took over another's place has a new configuration, whose folds are all to be
    evaluated: results belong to a configuration, and are never inherited.
    """
    return tuple(fold for fold in range(min(step + 1, folds)) if fold not in known)
