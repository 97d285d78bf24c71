"""Which parameters decide whether a trial is among the best, beside what chance alone would show.

PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023; with conditional parameters as Optuna 5 does
it): how far the density of a parameter among the best trials is from its density among all. The
figure for shuffled objectives is taken too: an importance that chance reaches means nothing.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import create_trial

from tuning.study.contract import Floats, Trial
from tuning.study.optuna_search import distribution
from tuning.study.view import StudyView, parameter_of

FEWEST_TRIALS = 20  # complete ones; fewer say nothing
FEWEST_BEST = 5  # trials among the best that the method wants
BEST_SHARE = 0.1
MOST_TRIALS = 2_000  # evenly taken from more
SHUFFLES = 20
_SHUFFLE_SEED = 20_231_130
CHANCE = 0.95  # quantile of the shuffled figures


@dataclass(frozen=True)
class Importance:
    """``share`` of all parameters' divergence; ``chance``, in the same unit, of shuffled values."""

    parameter: str
    share: float
    chance: float

    @property
    def is_above_chance(self) -> bool:
        """Whether it is more than chance would show."""
        return self.share > self.chance


@dataclass(frozen=True)
class Importances:
    """The most important first; empty where ``why_none`` says why."""

    parameters: Sequence[Importance]
    trials: int
    best: int  # of them, those that count as the best
    why_none: str = ""


def study_importances(view: StudyView) -> Importances:
    """With fixed shuffles: a study's figures are the same in each report of it."""
    return importances(view, np.random.default_rng(_SHUFFLE_SEED))


def importances(view: StudyView, rng: np.random.Generator) -> Importances:
    """For the first objective. ``rng`` shuffles."""
    trials = [t for t in view.complete if math.isfinite(t.values[0])]
    if len(trials) < FEWEST_TRIALS:
        return Importances(
            (), len(trials), 0, f"{len(trials)} complete trials, {FEWEST_TRIALS} needed"
        )
    if len(trials) > MOST_TRIALS:
        trials = [trials[i] for i in np.linspace(0, len(trials) - 1, MOST_TRIALS).astype(int)]
    distributions = _distributions(view, trials)
    if not distributions:
        return Importances((), len(trials), 0, "no parameter took two values")
    best = max(math.ceil(BEST_SHARE * len(trials)), FEWEST_BEST)
    sign = -1.0 if view.is_up() else 1.0
    losses = sign * np.array([trial.values[0] for trial in trials])
    if np.ptp(losses) == 0.0:
        return Importances((), len(trials), best, "all trials have the same value")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        # It says aloud that it minimises, and which parameter has few trials in a branch.
        warnings.simplefilter("ignore")
        study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
        study.add_trials(
            [
                create_trial(
                    value=0.0,
                    params={n: v for n, v in trial.config.items() if n in distributions},
                    distributions={n: distributions[n] for n in trial.config if n in distributions},
                )
                for trial in trials
            ]
        )
        evaluator = PedAnovaImportanceEvaluator(target_quantile=best / len(trials))
        names = list(distributions)
        found = _divergences(evaluator, study, names, losses)
        shuffled = np.array(
            [
                _divergences(evaluator, study, names, rng.permutation(losses))
                for _ in range(SHUFFLES)
            ]
        )
    total = found.sum() or 1.0
    chance = np.quantile(shuffled, CHANCE, axis=0)
    rows = [
        Importance(name, float(found[i] / total), float(chance[i] / total))
        for i, name in enumerate(names)
    ]
    rows.sort(key=lambda row: (-row.share, row.parameter))
    return Importances(rows, len(trials), best)


def _divergences(
    evaluator: PedAnovaImportanceEvaluator,
    study: optuna.Study,
    names: list[str],
    losses: Floats,
) -> Floats:
    raw = evaluator.evaluate(study, names, target=lambda trial: float(losses[trial.number]))
    return np.array([raw[name] for name in names])


def _distributions(view: StudyView, trials: Sequence[Trial]) -> dict[str, BaseDistribution]:
    """Of the parameters that took two values at least."""
    found: dict[str, BaseDistribution] = {}
    for name in view.parameters():
        if len({trial.config[name] for trial in trials if name in trial.config}) > 1:
            found[name] = distribution(parameter_of(view, name))
    return found
