"""Optuna's tree-structured Parzen estimator (Bergstra et al. 2011; several objectives: Ozaki et al.
2022) as a searcher whose suggestions are a function of the study's history alone.

The trials of a generation are asked for together, each seeing its siblings as running (constant
liar). Asked trials are withdrawn afterwards and what really came out is added in trial order, so
that a resumed study holds what an undisturbed one holds.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from actors.space import Config, Integer, Parameter, Real, Space, Value
from tuning.study.contract import COMPLETE, OBJECTIVES, PRUNED, Trial

STARTUP_TRIALS = 20
TRIES = 50  # asks for a configuration that meets the constraints, then a uniform draw


class OptunaSearch:
    """See the module's text."""

    def __init__(self, space: Space, objectives: Sequence[str], seed: int) -> None:
        self._space = space
        self._objectives = tuple(objectives)
        self._seed = seed
        self._distributions = {
            name: distribution(parameter) for name, parameter in space.parameters.items()
        }
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        directions = [
            StudyDirection.MAXIMIZE if OBJECTIVES[name] else StudyDirection.MINIMIZE
            for name in objectives
        ]
        self._study = optuna.create_study(
            storage=optuna.storages.InMemoryStorage(), directions=directions
        )
        self._added = 0

    def total(self, wanted: int) -> int:
        """See Searcher."""
        return wanted

    def suggest(self, generation: int, count: int, history: Sequence[Trial]) -> list[Config]:
        """See Searcher."""
        for trial in history[self._added :]:
            self._study.add_trial(self._frozen(trial))
        self._added = len(history)
        words = np.random.SeedSequence([self._seed, generation]).generate_state(2)
        with warnings.catch_warnings():
            # These options are called experimental; the version is locked and they are tested.
            warnings.simplefilter("ignore", ExperimentalWarning)
            self._study.sampler = TPESampler(
                n_startup_trials=STARTUP_TRIALS,
                multivariate=True,
                group=True,
                constant_liar=True,
                seed=int(words[0]),
            )
        rng = np.random.default_rng([self._seed, generation, int(words[1])])
        asked: list[optuna.Trial] = []
        suggested = [self._ask(asked, rng) for _ in range(count)]
        for each in asked:
            self._study.tell(each, state=TrialState.FAIL, skip_if_finished=True)
        return suggested

    def _ask(self, asked: list[optuna.Trial], rng: np.random.Generator) -> Config:
        for _ in range(TRIES):
            trial = self._study.ask()
            asked.append(trial)
            config = self._config(trial)
            if not self._space.broken(config):
                return config
            self._study.tell(trial, state=TrialState.FAIL)
        return self._space.sample(rng)

    def _config(self, trial: optuna.Trial) -> Config:
        config: Config = {}
        for name, parameter in self._space.parameters.items():
            when = parameter.when
            if when is None or config.get(when.parameter) == when.equals:
                config[name] = _suggest(trial, name, self._distributions[name])
        return config

    def _frozen(self, trial: Trial) -> FrozenTrial:
        states = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED}
        # One objective only: pruned trials carry how far they came.
        reached = {}
        if trial.status == PRUNED and len(self._objectives) == 1:
            reached = {step: values[0] for step, values in enumerate(trial.folds)}
        return create_trial(
            state=states.get(trial.status, TrialState.FAIL),
            values=list(trial.values) if trial.status == COMPLETE else None,
            params=dict(trial.config),
            distributions={name: self._distributions[name] for name in trial.config},
            intermediate_values=reached,
        )


def distribution(parameter: Parameter) -> BaseDistribution:
    """A parameter as Optuna describes it."""
    if isinstance(parameter, Real):
        return FloatDistribution(parameter.low, parameter.high, log=parameter.log)
    if isinstance(parameter, Integer):
        return IntDistribution(parameter.low, parameter.high, log=parameter.log)
    return CategoricalDistribution(parameter.options)


def _suggest(trial: optuna.Trial, name: str, kind: BaseDistribution) -> Value:
    value: float | int | str | None
    if isinstance(kind, FloatDistribution):
        value = trial.suggest_float(name, kind.low, kind.high, log=kind.log)
    elif isinstance(kind, IntDistribution):
        value = trial.suggest_int(name, kind.low, kind.high, log=kind.log)
    elif isinstance(kind, CategoricalDistribution):
        value = trial.suggest_categorical(name, kind.choices)
    else:
        raise TypeError(f"{name}: no such distribution {kind!r}")
    if value is None:
        raise TypeError(f"{name}: the sampler chose nothing")
    return value
