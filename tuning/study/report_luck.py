"""The section of a study's report that asks whether its winner is luck."""

from __future__ import annotations

import math

from tuning.report_parts import chart
from tuning.report_text import MISSING, number, percent, plural
from tuning.study import report_evidence_charts as charts
from tuning.study.view import StudyView


def luck_section(view: StudyView) -> str:
    found = view.evidence
    if found is None:
        return ""
    parts = ["<h2>Was it luck?</h2>"]
    if found.overfitting is None:
        parts.append("<p>Too few trials or returns for a probability of overfitting.</p>")
    else:
        cscv = found.overfitting
        parts.append(
            f"<p>The returns of {found.columns:,} trials are cut into {cscv.blocks} blocks. In each"
            f" of {len(cscv.logits):,} ways to take half of them as in sample, the best trial there"
            f" is looked up in the other half. In {percent(cscv.pbo)} it lands in the worse half"
            f" (the probability of backtest overfitting), and in {percent(cscv.loss)} it loses"
            ' money out of sample.</p><div class="two">'
            f"{chart(charts.logit_chart(cscv), 'logits')}"
            f"{chart(charts.degradation_chart(cscv, found.periods_per_year), 'degradation')}</div>"
        )
    effective = found.effective.by_mean_correlation
    shown = (
        f", {found.shown:,} candidates shown to its locked segment before" if found.shown else ""
    )
    parts.append(
        f'<p class="note">Counted: {plural(found.trials, "configuration")} tried{shown}; they'
        f" behave like {_count(effective)} independent ones (by eigenvalues"
        f" {_count(found.effective.by_eigenvalues)}). With those the deflated probability is"
        f" {percent(found.deflated_effective.probability)}. That many trials without skill look as"
        f" good as the winner on records shorter than {_years(found.backtest_years)}; this one has"
        f" {_years(found.years)}.</p>"
    )
    if found.paths is not None:
        figure_ = charts.paths_chart(found.paths, found.annual_sharpe, found.periods_per_year)
        parts.append(
            "<h3>The procedure, not the winner</h3>"
            '<p class="note">Choosing the best on the training part and holding it on the test'
            " part, over the paths of combinatorial purged cross-validation: what choosing like"
            f" this earns where it has not looked. Median Sharpe ratio {number(found.median_path)}"
            f"{_walked(view)}.</p>{chart(figure_, 'paths')}"
        )
    return "".join(parts)


def _walked(view: StudyView) -> str:
    found = view.evidence
    if found is None or found.walked is None:
        return ""
    ratio = found.walked.sharpe * math.sqrt(found.periods_per_year)
    return f"; walked forward in time {number(ratio)}"


def _count(value: float) -> str:
    return MISSING if math.isnan(value) else f"{value:,.1f}"


def _years(value: float) -> str:
    return f"{number(value, 1)} years"
