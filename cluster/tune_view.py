"""What a person sees of studies on the terminal: progress, tables, one study's result."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from rich import box
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from tuning.champions import HistoryEntry
from tuning.study.contract import FAILED, PRUNED, StudyRun, Trial
from tuning.study.executors import Watch
from tuning.study.progress import Progress as Pace
from tuning.study.progress import State
from tuning.study.rules import PASSED, Reason
from tuning.study.store import StudyRow
from tuning.study.view import StudyView, failure_reasons

EVERY_S = 0.25
LINE_EVERY_S = 10.0  # where nobody watches a terminal


@contextmanager
def progress(
    console: Console, name: str, already: int, clock: Callable[[], float] = time.monotonic
) -> Iterator[Watch]:
    """Yields what an executor calls after each result; shows trials/s, best so far, time left."""
    pace, shown = Pace(already, clock()), [-math.inf]
    if not console.is_terminal:

        def line(run: StudyRun) -> None:
            now = clock()
            if now - shown[0] >= LINE_EVERY_S or run.finished:
                shown[0] = now
                console.print(f"{name}: {_words(pace.look(run, now))}", highlight=False)

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=None, words="starting workers")

        def draw(run: StudyRun) -> None:
            now = clock()
            if now - shown[0] >= EVERY_S or run.finished:
                shown[0] = now
                state = pace.look(run, now)
                bar.update(task, total=state.total, completed=state.done, words=_words(state))

        yield draw


def _words(state: State) -> str:
    parts = [f"{state.done:,} of {state.total:,} trials"]
    if math.isfinite(state.rate):
        parts += [f"{state.rate:,.1f} trials/s", f"{_seconds(state.left_s)} left"]
    if state.best_number >= 0:
        parts.append(f"best {state.best:.4g} (trial {state.best_number})")
    if state.failed:
        parts.append(f"{state.failed:,} failed")
    return ", ".join(parts)


def _seconds(seconds: float) -> str:
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7_200 else f"{whole // 3600} h {whole // 60 % 60} min"


def listing(rows: Sequence[tuple[StudyRow, str]]) -> RenderableType:
    """Studies, a table for each place where they are kept."""
    places: dict[str, list[StudyRow]] = {}
    for row, where in rows:
        places.setdefault(where, []).append(row)
    parts: list[RenderableType] = []
    for where, kept in places.items():
        parts += [Text(f"kept in {where}", overflow="fold"), _listed(kept)]
    return Group(*parts)


def _listed(rows: Sequence[StudyRow]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("study", "target", "searcher", "trials", "state", "begun"):
        table.add_column(name, justify="right" if name == "trials" else "left", overflow="fold")
    for row in rows:
        begun = datetime.fromtimestamp(row.created_ns / 1e9, UTC)
        table.add_row(
            row.spec.name,
            row.spec.target,
            f"{row.spec.searcher}, {row.spec.scheduler}"
            if row.spec.scheduler != "none"
            else row.spec.searcher,
            f"{row.trials:,} of {row.spec.trials:,}",
            "finished" if row.finished else "open",
            f"{begun:%Y-%m-%d}",
        )
    return table


def outcome(view: StudyView, sentence: str, best: int = 5) -> RenderableType:
    """The sentence, the winner's figures and the best trials."""
    parts: list[RenderableType] = [Text(sentence, style="bold")]
    if view.evidence is not None:
        parts.append(_figures(view))
    ranked = sorted(view.complete, key=lambda trial: _rank(view, trial))[:best]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("trial", justify="right")
    for objective in view.spec.objectives:
        table.add_column(objective, justify="right")
    table.add_column("configuration")
    for trial in ranked:
        config = ", ".join(f"{key} {_value(value)}" for key, value in trial.config.items())
        table.add_row(str(trial.number), *(f"{value:.4g}" for value in trial.values), config)
    parts.append(table)
    return Group(*parts)


def failures(view: StudyView, most: int = 3) -> str:
    """Why no trial completed, the commonest reasons first; empty when one did, or none ran."""
    if view.complete or not view.trials:
        return ""
    counts = view.counts
    if not counts[FAILED]:
        return f"all {len(view.trials):,} trials were pruned: none completed"
    reasons = failure_reasons(view)
    said = [f"{why} ({len(numbers):,})" for why, numbers in reasons[:most]]
    if len(reasons) > most:
        said.append(f"{len(reasons) - most:,} other reasons")
    pruned = f" ({counts[PRUNED]:,} others were pruned)" if counts[PRUNED] else ""
    lead = "all " if not pruned else ""
    return f"{lead}{counts[FAILED]:,} trials failed{pruned}: {', '.join(said)}"


def _rank(view: StudyView, trial: Trial) -> tuple[float, int]:
    value = trial.values[0]
    return (-value if view.is_up() else value, trial.number)


def _figures(view: StudyView) -> Table:
    found = view.evidence
    table = Table(box=None, show_header=False, pad_edge=False)
    if found is None:
        return table
    counts = view.counts
    rows = [
        (
            "trials",
            (
                f"{sum(counts.values()):,} ({counts['complete']:,} complete, {counts['pruned']:,}"
                f" pruned, {counts['failed']:,} failed), worth"
                f" {found.effective.by_mean_correlation:,.1f} independent ones"
            ),
        ),
        (
            "Sharpe ratio",
            (
                f"{found.annual_sharpe:.2f} a year [{found.annual_sharpe_low:.2f} .."
                f" {found.annual_sharpe_high:.2f}] over {found.years:.1f} years out of sample"
            ),
        ),
        ("deflated Sharpe", f"{found.deflated.probability:.3f}"),
        ("overfitting (PBO)", f"{found.pbo:.2f}"),
    ]
    rows += [
        (f"against {name}", f"{lead.growth.value:+.1%} log growth a year")
        for name, lead in found.leads.items()
    ]
    for label, text in rows:
        table.add_row(Text(label, style="dim"), text)
    return table


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def reasons(rows: Sequence[Reason]) -> Table:
    """The rules of a promotion, and what became of each."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("rule", "outcome", "found"):
        table.add_column(name)
    for row in rows:
        style = "green" if row.outcome == PASSED else "red"
        table.add_row(row.rule, Text(row.outcome, style=style), row.text)
    return table


def history(rows: Sequence[HistoryEntry]) -> RenderableType:
    """Changes of models, the newest first."""
    return Group(*(Text(str(row)) for row in reversed(rows))) if rows else Text("no change yet")


def side_by_side(views: Sequence[tuple[StudyView, str]]) -> Table:
    """Studies beside each other."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for view, _ in views:
        table.add_column(view.spec.name)

    def row(label: str, cells: Sequence[str]) -> None:
        table.add_row(Text(label, style="dim"), *cells)

    specs = [view.spec for view, _ in views]
    row("target", [spec.target for spec in specs])
    row("searcher", [f"{spec.searcher}, {spec.scheduler}" for spec in specs])
    row("data", [spec.data_hash[:12] for spec in specs])
    row("trials", [f"{len(view.trials):,}" for view, _ in views])
    row("objective", [spec.objectives[0] for spec in specs])
    row(
        "best",
        [_shown(w.values[0], ".4g") if (w := view.winning) else "no winner" for view, _ in views],
    )
    found = [view.evidence for view, _ in views]
    row("Sharpe a year", [_shown(e.annual_sharpe, ".2f") if e else "–" for e in found])
    row("deflated Sharpe", [_shown(e.deflated.probability, ".3f") if e else "–" for e in found])
    row("PBO", [_shown(e.pbo, ".2f") if e else "–" for e in found])
    row("plateau", [_plateau(e.plateau.holds) if e else "–" for e in found])
    row("to be believed?", [_believed(view, said) for view, said in views])
    return table


def _shown(value: float, form: str) -> str:
    return "–" if math.isnan(value) else format(value, form)


def _believed(view: StudyView, sentence: str) -> str:
    return "no winner" if view.winning is None else sentence.partition(":")[0]


def _plateau(holds: bool | None) -> str:
    return "unknown" if holds is None else "holds" if holds else "fails"
