"""The asynchronous form on Ray Tune's own ASHA and population based training.

One Tune trial is one configuration, which reports once per walk-forward fold: Tune's scheduler
decides with each report, without waiting for the others. Several configurations in a Tune trial
are not possible here, so that the exact form (``ray_executor``) is quicker where a configuration
costs milliseconds.

asha       A trial that is below the best 1/eta of those that reached the same rung before it stops.
pbt_async  A member of the population goes from fold to fold. After each it may have to give way: it
           takes over the configuration of one of the best, mutated, as a trial of its own. The new
           configuration is evaluated in all folds from the first on: a backtest has no weights
           that could be inherited, and results of several configurations are nobody's.

A configuration whose worker is lost begins anew, in another Tune trial; one of which DEATHS workers
died, in whatever folds, has failed. See ``ray_tune`` for what counts as a death. It is never
evaluated alone: the others do not wait in this form.
"""

from __future__ import annotations

import pickle
from collections import deque
from typing import Any

import ray
from ray import tune
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining, TrialScheduler
from ray.tune.search import SearchAlgorithm, Searcher, SearchGenerator

from data.errors import InputError
from tuning.study.asynchronous import ASHA, WORST, AsyncStudy, next_folds, rank
from tuning.study.contract import Evaluator, Failure, FoldResult, StudySpec
from tuning.study.engine import WorkItem
from tuning.study.executors import Watch
from tuning.study.failures import WORKER_DIED, ClusterLost, Losses, Streak
from tuning.study.ray_tune import (
    ENDED_EARLY,
    PUT_S,
    TAKE_S,
    attempt,
    begin,
    beside_driver,
    prepared,
    run_tuner,
)
from tuning.study.trials import Begun, Scorer

DEATHS = 3
VALUE = "value"  # what schedulers rank by, more is better
STEP = "training_iteration"


class _Worker(tune.Trainable):
    """Evaluates one configuration, a fold a step; the evaluator outlives it."""

    _evaluator: Evaluator
    _scorer: Scorer
    _desk: Any
    _begun: Begun | None
    _known: dict[int, FoldResult]
    _unfit: Exception | None

    def setup(
        self,
        config: dict[str, Any],
        evaluator: Evaluator | None = None,
        spec: StudySpec | None = None,
        desk: Any = None,
    ) -> None:
        if evaluator is None or spec is None:
            raise TypeError("a worker needs an evaluator and a spec")
        self._evaluator = evaluator
        self._scorer = Scorer(spec, evaluator)
        self._desk = desk
        self._unfit = prepared(evaluator)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        # Made by this study's driver.
        self._begun = pickle.loads(new_config["work"])  # noqa: S301
        self._known = {}
        return True

    def step(self) -> dict[str, Any]:
        if self._begun is None:  # No number was left for a mutation.
            return {"done": True, VALUE: -WORST}
        number, count = self._begun.number, len(self._evaluator.folds)
        folds = next_folds(tuple(self._known), self.iteration, count)
        item = WorkItem(number, (number,), (self._begun.config,), folds)
        who, key = str(number), f"{number}/{self.iteration}"
        enough = begin(self._desk, who) >= DEATHS
        died = [Failure(WORKER_DIED)], 0.0
        answer: Any = self._unfit or (died if enough else attempt(self._evaluator, item))
        blob = pickle.dumps((number, answer))
        ray.get(self._desk.put.remote(who, key, blob), timeout=PUT_S)
        if isinstance(answer, Exception) or isinstance(answer[0][0], Failure):
            return {"done": True, VALUE: -WORST, "key": key}
        (results,), _ = answer
        self._known.update({result.fold: result for result in results})
        so_far = [self._known[fold] for fold in sorted(self._known)]
        return {"done": len(so_far) == count, VALUE: rank(self._scorer, so_far), "key": key}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:  # noqa: ARG002 - Tune's
        number = None if self._begun is None else self._begun.number
        return {"number": number, "known": list(self._known.values())}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        # Another's results are those of another configuration.
        if checkpoint and self._begun and checkpoint["number"] == self._begun.number:
            self._known = {result.fold: result for result in checkpoint["known"]}


class _Hooks(Callback):
    """The study behind Tune's callbacks. What breaks here ends the run and is kept."""

    def __init__(self, study: AsyncStudy, desk: Any, watch: Watch) -> None:
        self.study = study
        self.error: BaseException | None = None
        self.again: deque[Begun] = deque()  # lost with their workers
        self._desk = desk
        self._watch = watch
        self._losses = Losses("a trial")
        self._streak = Streak(study.spec.generation)

    def on_trial_result(
        self,
        iteration: int,  # noqa: ARG002 - Tune's signature
        trials: list[Trial],  # noqa: ARG002
        trial: Trial,
        result: dict[str, Any],
        **info: Any,  # noqa: ARG002
    ) -> None:
        try:
            self._take(trial, result)
        except BaseException as broken:
            self.error = broken
            raise

    def on_trial_error(
        self,
        iteration: int,  # noqa: ARG002 - Tune's signature
        trials: list[Trial],  # noqa: ARG002
        trial: Trial,
        **info: Any,  # noqa: ARG002
    ) -> None:
        begun = _begun(trial.config)
        if begun is None or self.error is not None:
            return
        self.again.append(begun)
        try:
            self._losses.note(begun.number)
        except ClusterLost as broken:
            self.error = broken
            raise

    def _take(self, trial: Trial, result: dict[str, Any]) -> None:
        before = len(self.study.trials)
        key = result.get("key")
        if key is not None:
            blob = ray.get(self._desk.take.remote(key), timeout=TAKE_S)
            number, answer = pickle.loads(blob)  # noqa: S301 - made by this study's worker
            if isinstance(answer, Exception):
                raise answer
            (results,), seconds = answer
            self.study.take(number, results, seconds)
            self._streak.note(died=results == Failure(WORKER_DIED))
            now = _begun(trial.config)
            # Stopped, or replaced by another's mutated configuration.
            if result.get("done") or now is None or now.number != number:
                self.study.stop(number)
        if len(self.study.trials) > before:
            self._watch(self.study)

    def explore(self, config: dict[str, Any]) -> dict[str, Any]:
        """Of one of the best, what the member that gives way becomes."""
        try:
            begun = _begun(config)
            fresh = None if begun is None else self.study.mutated(begun.config)
        except BaseException as broken:
            self.error = broken
            raise
        return _work(fresh)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune writes its parts to disk for a resume of its own, which nobody uses."""
        return {}


class _StudySearch(Searcher):
    """The study behind Tune's Searcher interface, with at most ``members`` alive."""

    def __init__(self, hooks: _Hooks, members: int) -> None:
        super().__init__(metric=VALUE, mode="max")
        self._hooks = hooks
        self._members = members

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # noqa: ARG002 - Tune's
        if self._hooks.error is not None:
            return Searcher.FINISHED
        study, again = self._hooks.study, self._hooks.again
        if again:
            return _work(again.popleft())
        if study.alive >= self._members:
            return None
        begun = study.newcomer()
        if begun is not None:
            return _work(begun)
        # While others are at work one of them may be lost, and has to begin anew.
        return None if study.alive else Searcher.FINISHED

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: the hooks heard it."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, see the hooks."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study's store is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, see save."""


class _Newcomers(SearchAlgorithm):
    """A searcher for Tune's population based training, which refuses a SearchGenerator: searchers
    would take a mutated trial's result for that of what they suggested. Ours goes by numbers."""

    def __init__(self, searcher: Searcher) -> None:
        self._inner = SearchGenerator(searcher)

    @property
    def metric(self) -> str | None:
        return self._inner.metric

    @property
    def total_samples(self) -> int:
        return self._inner.total_samples

    def add_configurations(self, experiments: Any) -> None:
        self._inner.add_configurations(experiments)

    def next_trial(self) -> Trial | None:
        return self._inner.next_trial()

    def is_finished(self) -> bool:
        return self._inner.is_finished()


def run_async(study: AsyncStudy, evaluator: Evaluator, watch: Watch, workers: int) -> None:
    """Runs the study to its end on the Ray that is connected to.

    InputError where this Ray cannot do it, ClusterLost when Ray goes away, KeyboardInterrupt at
    Ctrl-C: what was durable stays.
    """
    if study.finished:
        return
    halving = study.spec.scheduler == ASHA
    if not halving and sum(node["Alive"] for node in ray.nodes()) > 1:
        raise InputError(
            "pbt_async hands members over through this machine's disk, and this Ray has several"
            " nodes: choose --searcher pbt (exact) or --scheduler asha"
        )
    desk = beside_driver()
    hooks = _Hooks(study, desk, watch)
    search = _StudySearch(hooks, workers if halving else study.spec.generation)
    run_tuner(
        tune.with_parameters(_Worker, evaluator=evaluator, spec=study.spec, desk=desk),
        search=search if halving else _Newcomers(search),
        broken=lambda: hooks.error,
        max_concurrent_trials=workers if halving else None,
        scheduler=_scheduler(study, hooks, len(evaluator.folds)),
        callbacks=[hooks],
    )
    if not study.finished:
        raise ClusterLost(ENDED_EARLY)


class _Asha(ASHAScheduler):
    """Tune's own, which forgets what it saw of a trial that was lost: it comes again, as another
    Tune trial, and would count twice in its rungs."""

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        for bracket in self._brackets:
            for _, seen in bracket._rungs:  # noqa: SLF001 - Tune offers no other way
                seen.pop(trial.trial_id, None)
        super().on_trial_error(tune_controller, trial)


def make_asha(folds: int, eta: int) -> ASHAScheduler:
    """Asynchronous successive halving over so many folds; the best 1/eta of a rung go on."""
    return _Asha(time_attr=STEP, metric=VALUE, mode="max", max_t=folds, reduction_factor=eta)


def _scheduler(study: AsyncStudy, hooks: _Hooks, folds: int) -> TrialScheduler:
    chosen = study.tactics
    if study.spec.scheduler == ASHA:
        return make_asha(folds, chosen.eta)
    return PopulationBasedTraining(
        time_attr=STEP,
        metric=VALUE,
        mode="max",
        perturbation_interval=1,
        quantile_fraction=chosen.quantile,
        custom_explore_fn=hooks.explore,
        log_config=False,
    )


def _work(begun: Begun | None) -> dict[str, Any]:
    return {"work": pickle.dumps(begun)}


def _begun(config: dict[str, Any]) -> Begun | None:
    found: Begun | None = pickle.loads(config["work"])  # noqa: S301 - made above
    return found
