"""The report of a study: one HTML file for people, the first sentence saying what to believe.

The page is self-contained: Plotly's script is inlined once and a content policy forbids the browser
to load anything from anywhere. The dict for programs is ``tuning.study.report_json``'s.
"""

from __future__ import annotations

import math
import os
from html import escape
from pathlib import Path

import numpy as np

from tuning.report_parts import chart
from tuning.report_text import day, number, percent, plural
from tuning.study import report_evidence_charts as evidence_charts
from tuning.study import report_tables as tables
from tuning.study.contract import COMPLETE, FAILED, PRUNED
from tuning.study.importance import study_importances
from tuning.study.report_facts import facts_section
from tuning.study.report_json import is_believed, study_json, verdict
from tuning.study.report_luck import luck_section
from tuning.study.report_page import study_page
from tuning.study.report_search import front_section, search_section
from tuning.study.report_words import config_text, figure, objective_title
from tuning.study.rules import judge
from tuning.study.view import StudyView, failure_reasons, fold_rows

__all__ = ["study_json", "verdict", "write_study_report"]


def write_study_report(view: StudyView, path: Path) -> None:
    """Writes the HTML report to ``path``, whole or not at all; OSError when it cannot."""
    text = study_page(f"{view.spec.name}: {verdict(view)}", _body(view))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _body(view: StudyView) -> str:
    found = study_importances(view)
    return "\n".join(
        (
            _verdict(view),
            _cards(view),
            _rules(view),
            _winner(view),
            _equity(view),
            _benchmarks(view),
            luck_section(view),
            search_section(view, found),
            front_section(view),
            _failures(view),
            facts_section(view),
            _reading(view),
        )
    )


def _verdict(view: StudyView) -> str:
    text = verdict(view)
    kind = "won" if is_believed(view) else "halted" if text.startswith("Do not") else "lost"
    best = view.winning
    lines = [f"<h1>{escape(text)}</h1>"]
    if best is not None:
        lines.append(
            f"<p>The winner is trial {best.number:,}: {escape(config_text(best.config))}.</p>"
        )
    if not view.finished:
        done = plural(len(view.trials), "trial")
        lines.append(f"<p>The study is not finished: {done} of {view.spec.trials:,} so far.</p>")
    if not view.spec.exact:
        lines.append(
            '<p class="alarm">This study is not exactly repeatable: its trials were stopped or'
            " mutated as they came in, so another run of it may find another winner.</p>"
        )
    meta = {
        "study": view.spec.name,
        "searched": view.spec.target,
        "by": view.spec.searcher
        + (f" with {view.spec.scheduler}" if view.spec.scheduler != "none" else ""),
        "objective": ", ".join(objective_title(name) for name in view.spec.objectives),
        "tested on": _span(view),
    }
    facts = " · ".join(f"{key} <b>{escape(value)}</b>" for key, value in meta.items())
    lines.append(f'<p class="meta">{facts}</p>')
    return f'<header class="verdict {kind}">{"".join(lines)}</header>'


def _span(view: StudyView) -> str:
    if not len(view.test_ts):
        return "none"
    return f"{day(view.test_ts.min())} to {day(view.test_ts.max())}"


def _cards(view: StudyView) -> str:
    counts, best, found = view.counts, view.winning, view.evidence
    cards = [
        (
            "Trials",
            f"{len(view.trials):,}",
            f"{counts[COMPLETE]:,} complete, {counts[PRUNED]:,} pruned, {counts[FAILED]:,} failed",
        )
    ]
    if best is not None and (found is None or view.spec.objectives[0] != "sharpe"):
        cards.append(
            (
                f"{objective_title(view.spec.objectives[0])}, winner",
                figure(best.values[0]),
                f"median trial {figure(float(np.nanmedian(view.values())))}",
            )
        )
    if found is not None:
        low, high = number(found.annual_sharpe_low), number(found.annual_sharpe_high)
        luck = found.deflated.threshold * math.sqrt(found.periods_per_year)
        cards += [
            (
                "Sharpe ratio, winner",
                number(found.annual_sharpe),
                f"95 % interval {low} to {high}, before selection is counted",
            ),
            (
                "Deflated Sharpe probability",
                percent(found.deflated.probability),
                f"best of {found.deflated.trials:,.0f} without skill: {number(luck)} a year",
            ),
            (
                "Probability of overfitting",
                percent(found.pbo),
                f"at most {percent(view.rules.pbo, 0)} asked",
            ),
            (
                "Neighbourhood",
                {True: "holds", False: "does not hold", None: "not known"}[found.plateau.holds],
                found.plateau.why,
            ),
        ]
        if found.leads:
            name, lead = next(iter(found.leads.items()))
            cards.append(
                (f"Growth against {name}", percent(lead.growth.value, 1, True), "log, a year")
            )
    cards.append(("Locked segment", *_locked_card(view)))
    return (
        '<div class="cards">'
        + "".join(
            f'<div class="card"><div class="k">{escape(key)}</div>'
            f'<div class="v{" small" if len(value) > 10 else ""}">{escape(value)}</div>'
            f'<div class="s">{escape(small)}</div></div>'
            for key, value, small in cards
        )
        + "</div>"
    )


def _locked_card(view: StudyView) -> tuple[str, str]:
    locked = view.locked
    if locked is None:
        return "not shown", "this report was made without one"
    span = f"{day(locked.segment.since)} to {day(locked.segment.until)}"
    if locked.result is None:
        before = f", opened {locked.openings} times before" if locked.openings else ""
        return "closed", f"{span}{before}"
    return number(locked.result.winner_sharpe), f"Sharpe ratio there; {span}"


def _rules(view: StudyView) -> str:
    if view.evidence is None:
        return ""
    reasons = judge(view.evidence, view.rules, view.locked_result)
    return (
        "<h2>What a promotion asks</h2><p>A winner trades only when every rule is passed. A figure"
        f" that is not known passes none.</p>{tables.rules(reasons)}"
    )


def _winner(view: StudyView) -> str:
    if view.winning is None:
        return ""
    name, rows = objective_title(view.spec.objectives[0]), fold_rows(view)
    return (
        f"<h2>The winner</h2><p>Trial {view.winning.number:,} beside what was searched.</p>"
        f"{tables.parameters(view)}<h3>Fold by fold</h3>"
        f'<p class="note">{escape(name)} of each fold alone, with the winner\'s rank among all'
        " complete trials there. A winner that lives by one fold is a winner of that fold.</p>"
        f"{_folded(tables.folds(view, rows), len(rows))}"
    )


def _folded(html: str, rows: int) -> str:
    if rows <= tables.MOST_ROWS:
        return html
    return f"<details><summary>All {rows:,} folds</summary>{html}</details>"


def _equity(view: StudyView) -> str:
    if view.winning is None:
        return ""
    locked = view.locked
    if locked is None:
        after = "This report was made without a locked segment: nothing here is out of sample."
    elif not len(locked.ts):
        after = (
            f"The locked segment, {day(locked.segment.since)} to {day(locked.segment.until)}, is"
            " closed: it is opened only to judge a winner, and every opening is on record."
        )
    else:
        after = (
            f"Shaded: the locked segment, which the search never saw (opening {locked.openings} on"
            f" record; it was shown {plural(locked.shown, 'candidate')} before)."
        )
    return (
        "<h2>Equity in and out of sample</h2><p>What one unit became, after costs: first over the"
        " test folds, by which the winner was chosen, so that this part flatters it. Each part"
        f" begins at 1. {escape(after)}</p>{chart(evidence_charts.equity_chart(view), 'equity')}"
    )


def _benchmarks(view: StudyView) -> str:
    if view.evidence is None:
        return ""
    who = f" The incumbent is {view.incumbent}." if view.incumbent else ""
    return (
        "<h2>Against the benchmarks</h2><p>Over the test folds, after costs; the winner minus the"
        " benchmark. Intervals are from a block bootstrap and do not count the selection."
        f"{escape(who)}</p>{tables.benchmarks(view.evidence)}"
    )


def _failures(view: StudyView) -> str:
    failed = view.counts[FAILED]
    if not failed:
        return "<h2>Failures</h2><p>No trial failed.</p>"
    return (
        f"<h2>Failures</h2><p>{plural(failed, 'trial')} failed, for"
        f" {plural(len(failure_reasons(view)), 'reason')}. They count as tried, never as best.</p>"
        f"{tables.failures(view)}"
    )


_GLOSSARY = {
    "Deflated Sharpe": "The probability that the true Sharpe ratio is above what the luckiest of so"
    " many trials without skill would show (Bailey and López de Prado 2014). Failed, pruned and"
    " earlier trials on the same locked data count too.",
    "Probability of overfitting": "How often the trial that was best in one half of the data falls"
    " into the worse half in the other (CSCV; Bailey, Borwein, López de Prado and Zhu 2017)."
    " Choosing among pure noise gives one half.",
    "Neighbourhood": "The trials nearest to the winner in the search space keep at least half of"
    " its lead over the lower quartile of all.",
    "Paths": "Combinatorial purged cross-validation (López de Prado 2018, chapter 12): every path"
    " covers the whole history once, each stretch by a choice that has not seen it.",
    "Locked segment": "The last stretch of the data. It is opened only to judge; each opening is"
    " counted, and after a few it is spent.",
    "Importance": "PED-ANOVA (Watanabe, Bansal and Hutter 2023). The mark is what shuffled"
    " objectives reach in one of twenty.",
    "Intervals": "Percentiles of 2,000 resamples by the stationary block bootstrap (Politis and"
    " Romano 1994), block length by Politis and White (2004, corrected 2009).",
}


def _reading(view: StudyView) -> str:
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in _GLOSSARY.items())
    notes = "".join(f"<li>{escape(note)}</li>" for note in view.notes)
    return (
        f'<h2>How to read this</h2><div class="panel"><dl>{items}</dl></div>'
        + (f"<h3>Notes</h3><ul>{notes}</ul>" if notes else "")
        + "<footer>Returns are after costs. What was good on past prices says little about the"
        " future and is no advice.</footer>"
    )
