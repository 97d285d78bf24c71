"""The report of a study as one JSON object, for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tuning.bootstrap import Difference
from tuning.study.contract import COMPLETE, FAILED, PRUNED, Trial
from tuning.study.evidence import Evidence, sentence
from tuning.study.importance import Importances, study_importances
from tuning.study.intervals import Lead
from tuning.study.rules import judge, promotes
from tuning.study.view import StudyView, failure_reasons, fold_rows, growth, pareto


def verdict(view: StudyView) -> str:
    """One sentence: whether the winner is to be believed."""
    if view.evidence is None:
        return f"There is no winner to believe: {view.why_none}."
    return sentence(view.evidence, view.rules, view.locked_result)


def is_believed(view: StudyView) -> bool:
    """Whether every promotion rule is passed."""
    if view.evidence is None:
        return False
    return promotes(judge(view.evidence, view.rules, view.locked_result))


def study_json(
    view: StudyView, report_path: Path | str = "", found: Importances | None = None
) -> dict[str, Any]:
    """The figures of the HTML report. What is undefined is null, never 0.

    Ratios are annualised unless a name says otherwise, growth is a year's log growth, intervals are
    95 %. ``pareto`` names trials. ``found`` is ``study_importances(view)`` where it is at hand.
    """
    spec, counts, best = view.spec, view.counts, view.winning
    return {
        "study": spec.name,
        "sentence": verdict(view),
        "believed": is_believed(view),
        "target": spec.target,
        "objectives": list(spec.objectives),
        "searcher": spec.searcher,
        "scheduler": spec.scheduler,
        "seed": spec.seed,
        "data_hash": spec.data_hash,
        "code": spec.code,
        "exact": spec.exact,
        "finished": view.finished,
        "trials": {
            "wanted": spec.trials,
            "tried": len(view.trials),
            "complete": counts[COMPLETE],
            "pruned": counts[PRUNED],
            "failed": counts[FAILED],
        },
        "winner": None if best is None else _trial(best, spec.objectives),
        "folds": [
            {
                "fold": row.number,
                "from_ns": row.test_from,
                "until_ns": row.test_until,
                "returns": row.observations,
                "value": _figure(row.value),
                "median_value": _figure(row.median),
                "rank": row.rank or None,
                "of": row.of,
                "earned": _figure(row.total),
                "benchmarks_earned": {k: _figure(v) for k, v in row.benchmarks.items()},
            }
            for row in fold_rows(view)
        ],
        "evidence": None if view.evidence is None else _evidence(view.evidence),
        "rules": []
        if view.evidence is None
        else [
            {
                "rule": reason.rule,
                "outcome": reason.outcome,
                "found": _figure(reason.value),
                "bound": _figure(reason.bound),
                "text": reason.text,
            }
            for reason in judge(view.evidence, view.rules, view.locked_result)
        ],
        "locked": _locked(view),
        "importance": _importance(study_importances(view) if found is None else found),
        "pareto": [trial.number for trial in pareto(view)] if len(spec.objectives) > 1 else [],
        "failures": [{"why": why, "trials": numbers} for why, numbers in failure_reasons(view)],
        "seconds": _figure(view.seconds),
        "resumed": view.resumed,
        "report": str(report_path),
    }


def _trial(trial: Trial, objectives: Sequence[str]) -> dict[str, Any]:
    values = {k: _figure(v) for k, v in zip(objectives, trial.values, strict=True)}
    return {"trial": trial.number, "config": dict(trial.config), "values": values}


def _evidence(found: Evidence) -> dict[str, Any]:
    cscv, year = found.overfitting, math.sqrt(found.periods_per_year)
    return {
        "observations": found.observations,
        "years": _figure(found.years),
        "trials": found.trials,
        "shown": found.shown,
        "effective_trials": _figure(found.effective.by_mean_correlation),
        "effective_trials_by_eigenvalues": _figure(found.effective.by_eigenvalues),
        "sharpe": _figure(found.annual_sharpe),
        "sharpe_ci": _interval(found.annual_sharpe_low, found.annual_sharpe_high),
        "skew": _figure(found.skew),
        "kurtosis": _figure(found.kurtosis),
        "probabilistic_sharpe": _figure(found.probabilistic),
        "deflated_sharpe": _figure(found.deflated.probability),
        "deflated_threshold": _figure(found.deflated.threshold * year),
        "deflated_sharpe_effective": _figure(found.deflated_effective.probability),
        "minimum_track_record": _figure(found.track_record),
        "minimum_backtest_years": _figure(found.backtest_years),
        "pbo": _figure(found.pbo),
        "pbo_blocks": None if cscv is None else cscv.blocks,
        "pbo_splits": None if cscv is None else len(cscv.logits),
        "mean_logit": None if cscv is None else _figure(cscv.mean_logit),
        "degradation_slope": None if cscv is None else _figure(cscv.slope),
        "probability_of_loss": None if cscv is None else _figure(cscv.loss),
        "plateau": {
            "holds": found.plateau.holds,
            "why": found.plateau.why,
            "neighbours": found.plateau.neighbours,
            "kept": _figure(found.plateau.kept),
        },
        "path_sharpes": []
        if found.paths is None
        else [_figure(ratio * year) for ratio in np.sort(found.paths.sharpes)],
        "walked_sharpe": None if found.walked is None else _figure(found.walked.sharpe * year),
        "own": _lead(found.own),
        "leads": _leads(found.leads),
    }


def _leads(leads: Mapping[str, Lead]) -> dict[str, Any]:
    return {name: _lead(lead) for name, lead in leads.items()}


def _lead(lead: Lead) -> dict[str, Any]:
    return {"growth": _difference(lead.growth), "sharpe": _difference(lead.sharpe)}


def _difference(found: Difference) -> dict[str, Any]:
    return {
        "value": _figure(found.value),
        "ci": _interval(found.low, found.high),
        "p": _figure(found.below_zero),
    }


def _locked(view: StudyView) -> dict[str, Any] | None:
    locked = view.locked
    if locked is None:
        return None
    result = locked.result
    return {
        "symbols": list(locked.segment.symbols),
        "since_ns": locked.segment.since,
        "until_ns": locked.segment.until,
        "content": locked.segment.content,
        "openings": locked.openings,
        "shown": locked.shown,
        "opened": result is not None,
        "returns": None if result is None else result.observations,
        "winner_sharpe": None if result is None else _figure(result.winner_sharpe),
        "incumbent_sharpe": None if result is None else _figure(result.incumbent_sharpe),
        "lead": None if result is None else _lead(result.lead),
        "winner_became": _figure(float(growth(locked.winner)[-1])) if len(locked.winner) else None,
    }


def _importance(found: Importances) -> dict[str, Any]:
    return {
        "method": "PED-ANOVA",
        "why_none": found.why_none,
        "trials": found.trials,
        "best": found.best,
        "parameters": [
            {
                "parameter": row.parameter,
                "share": _figure(row.share),
                "chance": _figure(row.chance),
                "above_chance": row.is_above_chance,
            }
            for row in found.parameters
        ],
    }


def _figure(value: float) -> float | None:
    """JSON knows neither nan nor infinity."""
    return float(value) if math.isfinite(value) else None


def _interval(low: float, high: float) -> list[float] | None:
    return [float(low), float(high)] if math.isfinite(low) and math.isfinite(high) else None
