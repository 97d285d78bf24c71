"""The tables of a study's report, as HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from actors.space import Choice
from tuning.report_tables import Raw, table
from tuning.report_text import MISSING, day, number, percent
from tuning.study.evidence import Evidence
from tuning.study.report_words import (
    bounded,
    config_text,
    figure,
    objective_title,
    rule_title,
    value_text,
)
from tuning.study.rules import PASSED, UNKNOWN, Reason
from tuning.study.view import FoldRow, StudyView, failure_reasons, parameter_of, pareto

MOST_ROWS = 25
_OUTCOMES = {PASSED: "✓ passed", UNKNOWN: "? not known"}
_ASKS = {
    "pbo": "at most",
    "locked_openings": "at most",
    "locked_sharpe": "above",
    "beats_incumbent": "above",
}
_SHARES = ("deflated_sharpe", "pbo", "plateau")


def rules(reasons: Sequence[Reason]) -> str:
    """Each promotion rule, what was found and what is asked."""
    rows = []
    for reason in reasons:
        outcome = _OUTCOMES.get(reason.outcome, "✗ failed")
        said = reason.text if reason.rule == "plateau" or math.isnan(reason.value) else ""
        asked = MISSING
        if not math.isnan(reason.bound):
            asked = f"{_ASKS.get(reason.rule, 'at least')} {_amount(reason.rule, reason.bound)}"
        rows.append(
            (
                rule_title(reason.rule),
                _amount(reason.rule, reason.value),
                asked,
                Raw(f'<td><span class="outcome {escape(reason.outcome)}">{outcome}</span></td>'),
                Raw(f'<td class="l wrap">{escape(said)}</td>'),
            )
        )
    heads = ("Rule", "Found", "Asked", "Outcome", Raw('<th class="l">Remark</th>'))
    return table(heads, rows, left=1)


def parameters(view: StudyView) -> str:
    """The winner's configuration beside the range that was searched and the declared default."""
    best = view.winning
    rows = []
    for name in view.parameters():
        declared = parameter_of(view, name)
        points = declared.points(2)
        between = ", " if isinstance(declared, Choice) else " to "
        range_ = between.join(value_text(point) for point in points)
        when = declared.when
        rows.append(
            (
                name,
                value_text(best.config[name]) if best and name in best.config else "off",
                range_,
                value_text(declared.default) if view.space is not None else MISSING,
                f"{when.parameter} = {value_text(when.equals)}" if when else "",
            )
        )
    heads = ("Parameter", "Winner", "Searched", "Default", "Only when")
    if not any(row[-1] for row in rows):  # Nothing depends on anything.
        return table(heads[:-1], [row[:-1] for row in rows], left=1)
    return table(heads, rows, left=1)


def folds(view: StudyView, rows: Sequence[FoldRow]) -> str:
    """The winner fold by fold, with its rank among all complete trials."""
    name = objective_title(view.spec.objectives[0])
    heads = (
        "Fold",
        "From",
        "To",
        "Returns",
        f"{name}, winner",
        "Median trial",
        "Rank",
        "Winner earned",
        *(f"{benchmark} earned" for benchmark in view.benchmarks),
    )
    body = [
        (
            str(row.number),
            day(row.test_from),
            day(row.test_until),
            f"{row.observations:,}",
            figure(row.value),
            figure(row.median),
            f"{row.rank:,} of {row.of:,}" if row.rank else MISSING,
            percent(row.total, 1, True),
            *(percent(row.benchmarks[benchmark], 1, True) for benchmark in view.benchmarks),
        )
        for row in rows
    ]
    return table(heads, body, left=3)


def benchmarks(found: Evidence) -> str:
    """Leads over each benchmark with their bootstrap intervals, and the winner's own figures."""
    rows = [
        (
            "The winner itself" if name is None else f"against {name}",
            bounded(lead.growth, as_percent=True),
            percent(lead.growth.below_zero, 1),
            bounded(lead.sharpe, as_percent=False),
            percent(lead.sharpe.below_zero, 1),
        )
        for name, lead in ((None, found.own), *found.leads.items())
    ]
    heads = (
        "",
        "Log growth a year (95 % interval)",
        "P(at or below 0)",
        "Sharpe ratio (95 % interval)",
        "P(at or below 0)",
    )
    return table(heads, rows, left=1)


def front(view: StudyView) -> str:
    """The Pareto front, the first MOST_ROWS of it."""
    trials = pareto(view)
    rows = [
        (
            f"{trial.number:,}{' (winner)' if trial.number == view.winner else ''}",
            *(figure(value) for value in trial.values),
            Raw(f'<td class="l wrap">{escape(config_text(trial.config))}</td>'),
        )
        for trial in trials[:MOST_ROWS]
    ]
    heads = (
        "Trial",
        *(objective_title(name) for name in view.spec.objectives),
        Raw('<th class="l">Configuration</th>'),
    )
    return table(heads, rows, left=1) + _more(len(trials) - len(rows), "trial")


def failures(view: StudyView) -> str:
    """Why trials failed, the most frequent reason first."""
    reasons = failure_reasons(view)
    rows = [
        (
            Raw(f'<td class="l wrap">{escape(why[:300])}</td>'),
            f"{len(numbers):,}",
            ", ".join(map(str, numbers[:8])) + (", …" if len(numbers) > 8 else ""),
            Raw(f'<td class="l wrap">{escape(_example(view, numbers[0]))}</td>'),
        )
        for why, numbers in reasons[:MOST_ROWS]
    ]
    heads = (
        Raw('<th class="l">Reason</th>'),
        "Trials",
        "Which",
        Raw('<th class="l">For example</th>'),
    )
    return table(heads, rows, left=0) + _more(len(reasons) - len(rows), "reason")


def facts(rows: Sequence[tuple[str, str]]) -> str:
    """Names and values."""
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows)
    return f'<div class="panel"><dl>{items}</dl></div>'


def _example(view: StudyView, number_: int) -> str:
    return next(config_text(trial.config) for trial in view.trials if trial.number == number_)


def _more(count: int, what: str) -> str:
    if count <= 0:
        return ""
    return f'<p class="note">and {count:,} more {what}{"" if count == 1 else "s"}.</p>'


def _amount(rule: str, value: float) -> str:
    if math.isnan(value):
        return MISSING
    if rule in _SHARES:
        return percent(value, 1) if abs(value) < 1e6 else figure(value)
    return number(value, 0) if float(value).is_integer() else figure(value)
