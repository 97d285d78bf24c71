"""The sections of a study's report on how it searched."""

from __future__ import annotations

from html import escape

from tuning.report_parts import chart
from tuning.report_text import plural
from tuning.study import report_evidence_charts as evidence_charts
from tuning.study import report_search_charts as search_charts
from tuning.study import report_tables as tables
from tuning.study.importance import BEST_SHARE, FEWEST_BEST, FEWEST_TRIALS, Importances
from tuning.study.view import StudyView, pareto


def search_section(view: StudyView, found: Importances) -> str:
    if not view.complete:
        return "<h2>The search</h2><p>No trial was completed.</p>"
    clipped = " A few far worse values lie outside the axis." if _is_clipped(view) else ""
    drawn = (
        f'<p class="note">A line per trial{_drawn(view)}. Where the good ones bundle, the parameter'
        " matters.</p>"
    )
    parts = [
        f"<h2>The search</h2><p>Each trial, and the best until then.{clipped}</p>",
        chart(search_charts.convergence_chart(view), "convergence"),
        "<h3>Parallel coordinates</h3>",
        drawn,
        chart(search_charts.parallel_chart(view), "parallel"),
        "<h3>Which parameters matter</h3>",
        _importance(found),
    ]
    if found.parameters:
        parts.append(chart(search_charts.importance_chart(found), "importance"))
    names = [row.parameter for row in found.parameters] or view.parameters()
    shown = names[: search_charts.MOST_SLICES]
    rest = f" The first {len(shown)} of {len(names)}." if len(names) > len(shown) else ""
    parts += [
        "<h3>Slices</h3>",
        f'<p class="note">The objective over one parameter at a time.{rest}</p>',
        chart(search_charts.slice_chart(view, shown), "slices"),
    ]
    if view.space is not None and view.evidence is not None and view.winning is not None:
        plateau = view.evidence.plateau
        figure = evidence_charts.neighbours_chart(view, view.space, plateau)
        parts.append(
            "<h3>The winner's neighbourhood</h3>"
            '<p class="note">A hill holds when its parameters are a little wrong, a spike does not:'
            f" {escape(plateau.why)}.</p>{chart(figure, 'neighbours')}"
        )
    return "".join(parts)


def _is_clipped(view: StudyView) -> bool:
    for i in range(len(view.spec.objectives)):
        low, high = search_charts.value_range(view, i)
        values = view.values(i)
        if ((values < low) | (values > high)).any():
            return True
    return False


def _drawn(view: StudyView) -> str:
    total = len(view.complete)
    if total <= search_charts.MOST_LINES:
        return ""
    return f"; the best and an even choice of the rest, {search_charts.MOST_LINES} of {total:,}"


def _importance(found: Importances) -> str:
    if not found.parameters:
        return f'<p class="note">Not computed: {escape(found.why_none)}.</p>'
    thin_ = (
        f" With fewer than {round(FEWEST_BEST / BEST_SHARE)} complete trials it is a hint at most."
        if found.trials * BEST_SHARE < FEWEST_BEST
        else ""
    )
    return (
        f'<p class="note">PED-ANOVA: how far a parameter\'s values among the best {found.best} of'
        f" {found.trials:,} trials differ from those of all. Bars that do not pass the mark of"
        f" chance (grey) mean nothing, nor does any with fewer than {FEWEST_TRIALS} trials.{thin_}"
        " Searchers that look where it was good blur it.</p>"
    )


def front_section(view: StudyView) -> str:
    if len(view.spec.objectives) < 2 or not view.complete:
        return ""
    count = plural(len(pareto(view)), "trial is", "trials are")
    return (
        f"<h2>Pareto front</h2><p>{count} beaten by no other in all objectives at once.</p>"
        f"{chart(search_charts.pareto_chart(view), 'front')}{tables.front(view)}"
    )
