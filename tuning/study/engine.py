"""A study's progress as a state machine: what is evaluated next, and what became of it.

No Ray, clock or thread in here. An executor asks ``next`` for work and hands results to ``done``;
the engine draws the configurations of one generation, waits for all of them, makes each trial
durable and only then draws the next generation. Whatever order results arrive in, trials are told
to the searcher in trial order: so a study is a function of its spec and its data.

With successive halving (Jamieson and Talwalkar 2016) the trials of a generation climb rungs of
more and more folds together; at each rung the best 1/eta go on. The decision is taken when the
whole rung is known, which is what makes it repeatable.

A configuration may end the process that evaluates it. An item that is ``lost`` is cut into single
configurations; one that is lost again is evaluated alone, after all others of its generation or
rung, so that no neighbour's hunger for memory counts against it; lost there, it has failed.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from actors.space import Config
from data.errors import InputError
from tuning.study.asynchronous import ASYNCHRONOUS
from tuning.study.contract import Evaluator, Failure, FoldResult, StudySpec, Trial
from tuning.study.failures import WORKER_DIED
from tuning.study.searchers import Searcher
from tuning.study.trials import Begun, Scorer

EXACT = ("none", "halving")  # by this engine
SCHEDULERS = (*EXACT, *ASYNCHRONOUS)
ITEM_S = 1.0  # work that is worth a trip to a worker
SHARES = 4  # items for each worker and generation, at least, so that they end together
FIRST_BATCH = 4  # configurations in an item before their cost is known
MOST_BATCH = 512


@dataclass(frozen=True)
class WorkItem:
    """Configurations that one worker evaluates together."""

    number: int
    trials: tuple[int, ...]
    configs: tuple[Config, ...]
    folds: tuple[int, ...]
    alone: bool = False  # one configuration, while no other item is evaluated


Answer = Sequence[Sequence[FoldResult] | Failure]
Save = Callable[[Sequence[Trial]], None]


def rungs(folds: int, eta: int) -> list[int]:
    """How many folds are known at each rung: 1, eta, eta^2, ... and at last all of them."""
    marks = []
    reach = 1
    while reach < folds:
        marks.append(reach)
        reach *= eta
    return [*marks, folds]


def eta_of(spec: StudySpec) -> int | None:
    """One of so many goes on at a rung; None without rungs. InputError for options of an exact
    scheduler that contradict each other."""
    known_options = {"searcher", "eta"} if spec.scheduler == "halving" else {"searcher"}
    odd = sorted(set(spec.options) - known_options)
    if odd:
        raise InputError(f"scheduler {spec.scheduler} knows no option {', '.join(odd)}")
    if spec.scheduler == "none":
        return None
    if spec.scheduler != "halving":
        known = ", ".join(EXACT)
        raise InputError(f"no scheduler is called {spec.scheduler!r}: choose {known}")
    if len(spec.objectives) != 1:
        raise InputError("halving ranks by one objective: give one, or no scheduler")
    eta = spec.options.get("eta", 3)
    if not isinstance(eta, int) or not 2 <= eta <= 10:
        raise InputError(f"halving: eta must be a whole number from 2 to 10, not {eta!r}")
    return eta


class Engine:
    """One study. ``history`` are the stored trials of an earlier run; ``save`` makes trials durable
    before they count.

    InputError when the stored trials are not those that this study would have suggested.
    """

    def __init__(
        self,
        spec: StudySpec,
        evaluator: Evaluator,
        searcher: Searcher,
        save: Save,
        history: Sequence[Trial] = (),
        workers: int = 1,
    ) -> None:
        self.spec = spec
        self.total = searcher.total(spec.trials)
        self.trials: dict[int, Trial] = {trial.number: trial for trial in history}
        self._evaluator = evaluator
        self._searcher = searcher
        self._save = save
        self._workers = workers
        self._scorer = Scorer(spec, evaluator)
        self._folds = len(evaluator.folds)
        self._rungs = self._plan()
        self._generation = -1
        self._first = 0  # number of the generation's first trial
        self._configs: list[Config] = []
        self._known: dict[int, dict[int, FoldResult]] = {}
        self._seconds: dict[int, float] = {}
        self._alive: list[int] = []
        self._broken: set[int] = set()  # failed in this generation
        self._rung = 0
        self._queue: deque[WorkItem] = deque()
        self._suspects: deque[WorkItem] = deque()  # to be evaluated alone
        self._flying: dict[int, WorkItem] = {}
        self._items = 0
        self._cost = 0.0  # seconds a configuration and fold, as last seen
        self._advance()

    def _plan(self) -> list[int]:
        eta = eta_of(self.spec)
        return [self._folds] if eta is None else rungs(self._folds, eta)

    # -- what an executor calls ---------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether every trial is known and durable."""
        return len(self.trials) >= self.total and not self._pending

    @property
    def has_work(self) -> bool:
        """Whether ``next`` would give an item."""
        return bool(self._queue or (self._suspects and not self._flying))

    def next(self) -> WorkItem | None:
        """Work that can start now; None while results are awaited, and at the end."""
        if not self.has_work:
            return None
        item = (self._queue or self._suspects).popleft()
        self._flying[item.number] = item
        return item

    def done(self, item: WorkItem, answer: Answer, seconds: float) -> None:
        """Takes an item's results; ``seconds`` is what it took."""
        del self._flying[item.number]
        if len(answer) != len(item.trials):
            raise ValueError(f"{len(answer)} answers for {len(item.trials)} configurations")
        each = seconds / len(item.trials)
        self._cost = each / len(item.folds)
        self._take(item, answer, each)

    def _take(self, item: WorkItem, answer: Answer, each: float) -> None:
        ended = []
        for number, results in zip(item.trials, answer, strict=True):
            self._seconds[number] = self._seconds.get(number, 0.0) + each
            if isinstance(results, Failure):
                self._broken.add(number)
                ended.append(self._scorer.failed(*self._so_far(number), results.why))
                continue
            self._known[number].update({result.fold: result for result in results})
            if self._rungs[self._rung] == self._folds:
                ended.append(self._scorer.complete(*self._so_far(number)))
        self._end(ended)
        self._advance()

    def give_back(self, item: WorkItem) -> None:
        """An item that was lost with its worker, whoever's fault that was: it is given out anew."""
        del self._flying[item.number]
        self._queue.appendleft(item)

    def lost(self, item: WorkItem) -> None:
        """An item that its workers did not survive: its configurations are evaluated one by one,
        then alone; one that was alone has failed."""
        del self._flying[item.number]
        if item.alone:
            self._take(item, [Failure(WORKER_DIED)], 0.0)
        elif len(item.trials) == 1:
            self._suspects.append(replace(item, number=self._number(), alone=True))
        else:
            parts = zip(item.trials, item.configs, strict=True)
            self._queue.extend(
                WorkItem(self._number(), (number,), (config,), item.folds)
                for number, config in parts
            )

    def history(self) -> list[Trial]:
        """All known trials in their order."""
        return [self.trials[number] for number in sorted(self.trials)]

    # -- generations --------------------------------------------------------------------------

    @property
    def _pending(self) -> bool:
        return bool(self._queue or self._suspects or self._flying)

    def _advance(self) -> None:
        """Goes on as far as it can without another result."""
        while not self._pending:
            if self._alive:
                self._climb()
            elif self._first + len(self._configs) < self.total:
                self._draw()
            else:
                return

    def _draw(self) -> None:
        """The next generation; of a resumed study only what is not stored yet is evaluated."""
        self._generation += 1
        self._first += len(self._configs)
        count = min(self.spec.generation, self.total - self._first)
        before = [self.trials[number] for number in range(self._first)]
        configs = self._searcher.suggest(self._generation, count, before)
        self._configs = [self._evaluator.space.check(config) for config in configs]
        numbers = list(range(self._first, self._first + len(self._configs)))
        self._compare(numbers)
        self._known = {number: {} for number in numbers}
        self._seconds = {}
        self._broken = set()
        self._rung = -1
        missing = [number for number in numbers if number not in self.trials]
        # A rung is judged on all its members: with rungs, stored ones are evaluated once more.
        self._alive = numbers if missing and len(self._rungs) > 1 else missing
        if self._alive:
            self._climb()

    def _compare(self, numbers: Sequence[int]) -> None:
        for number, config in zip(numbers, self._configs, strict=True):
            stored = self.trials.get(number)
            if stored is not None and stored.config != config:
                raise InputError(
                    f"study {self.spec.name}: trial {number} is stored as {stored.config}, and this"
                    f" code suggests {config}: it was begun by other code or libraries"
                )

    def _climb(self) -> None:
        """From a finished rung to the next one: the best go on, the others are pruned."""
        alive = [number for number in self._alive if number not in self._broken]
        if self._rung >= 0 and self._rungs[self._rung] < self._folds:
            eta = int(self.spec.options.get("eta", 3))
            kept = max(1, math.ceil(len(alive) / eta)) if alive else 0
            ranked = sorted(alive, key=lambda number: (self._loss(number), number))
            alive = sorted(ranked[:kept])
            self._end([self._scorer.pruned(*self._so_far(number)) for number in ranked[kept:]])
        elif self._rung >= 0:
            alive = []
        self._alive = alive
        if alive:
            self._rung += 1
            low = self._rungs[self._rung - 1] if self._rung else 0
            self._broken.update(number for number in alive if self._died_after(number, low))
            healthy = [number for number in alive if number not in self._broken]
            self._fill(healthy, tuple(range(low, self._rungs[self._rung])))

    def _died_after(self, number: int, folds: int) -> bool:
        """Whether it is on record that no worker survived what follows these folds: a resumed study
        does not try it again."""
        stored = self.trials.get(number)
        return stored is not None and stored.error == WORKER_DIED and len(stored.folds) == folds

    def _fill(self, numbers: Sequence[int], folds: tuple[int, ...]) -> None:
        """Cuts the work into items: large enough to be worth a trip, small enough for everybody."""
        size = FIRST_BATCH
        if self._cost > 0:
            size = int(ITEM_S / (self._cost * len(folds)))
        share = math.ceil(len(numbers) / (self._workers * SHARES))
        size = max(1, min(size, share, MOST_BATCH))
        for first in range(0, len(numbers), size):
            part = tuple(numbers[first : first + size])
            configs = tuple(self._configs[number - self._first] for number in part)
            self._queue.append(WorkItem(self._number(), part, configs, folds))

    def _number(self) -> int:
        self._items += 1
        return self._items

    # -- ends of trials -----------------------------------------------------------------------

    def _loss(self, number: int) -> float:
        """Smaller is better, over the folds known so far; the worst when undefined."""
        return self._scorer.loss(self._results(number))

    def _results(self, number: int) -> list[FoldResult]:
        known = self._known[number]
        return [known[fold] for fold in sorted(known)]

    def _so_far(self, number: int) -> tuple[Begun, list[FoldResult], float]:
        begun = Begun(number, self._generation, self._configs[number - self._first])
        return begun, self._results(number), self._seconds.get(number, 0.0)

    def _end(self, ended: Sequence[Trial]) -> None:
        """Durable first, then known. What is stored already stays as it is."""
        fresh = [trial for trial in ended if trial.number not in self.trials]
        if fresh:
            self._save(fresh)
            self.trials.update({trial.number: trial for trial in fresh})
