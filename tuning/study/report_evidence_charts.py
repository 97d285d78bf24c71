"""The charts of what a winner is worth: equity, overfitting, paths, its neighbourhood."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go

from actors.space import Space
from tuning.report_charts import dates, thin
from tuning.study.contract import Floats
from tuning.study.overfitting import Overfitting
from tuning.study.plateau import Plateau
from tuning.study.report_page import style
from tuning.study.report_words import objective_title
from tuning.study.selection import PathSelection
from tuning.study.view import StudyView, growth

BLUE, GREY, WINNER, GREEN, BAD = "#2B8CC4", "#8A94A3", "#D55E00", "#009E73", "#C8553D"
_BENCHMARK_PENS = (
    ("#8A94A3", "solid"),
    ("#CC79A7", "dash"),
    ("#E69F00", "dot"),
    ("#56B4E9", "dashdot"),
)
MOST_POINTS = 2_000
BINS = 40


def equity_chart(view: StudyView) -> go.Figure:
    """What one unit became: over the test folds, then, where opened, over the locked segment."""
    figure = go.Figure()
    best = view.winning
    lines: dict[str, Floats] = {}
    # Where folds test a moment several times, its first test is drawn.
    rows = view.first_tests()
    if best is not None and len(best.returns) == len(view.test_ts):
        lines["Winner"] = growth(best.returns[rows])
    lines |= {name: growth(returns[rows]) for name, returns in view.benchmarks.items()}
    pens = _pens(list(view.benchmarks))
    if lines and len(rows):
        keep = thin(*lines.values())
        x = dates(view.test_ts[rows][keep])
        for name, line in lines.items():
            _line(figure, x, line[keep], name, pens[name])
    locked = view.locked
    if locked is not None and len(locked.ts):
        after = {"Winner": growth(locked.winner), "Incumbent": growth(locked.incumbent)}
        keep = thin(*after.values())
        x = dates(locked.ts[keep])
        drawn = {name.lower(): name for name in pens}
        for name, line in after.items():
            known = drawn.get(name.lower(), name)
            pen = pens.get(known, _BENCHMARK_PENS[1])
            _line(figure, x, line[keep], known, pen, legend=known not in lines)
        figure.add_vrect(
            x0=x[0],
            x1=x[-1],
            fillcolor=GREEN,
            opacity=0.10,
            line_width=0,
            layer="below",
            annotation={"text": "locked segment", "font": {"size": 12}},
            annotation_position="top right",
        )
    style(figure, 400, ".3f")
    figure.update_yaxes(title_text="What 1 became")
    return figure


def logit_chart(found: Overfitting) -> go.Figure:
    """Logits of the chosen trial's out-of-sample rank; at 0 or less it was in the worse half."""
    logits = found.logits[np.isfinite(found.logits)]
    reach = max(float(np.abs(logits).max(initial=0.0)), 0.5)
    # An edge lies on 0, so that no bar belongs to both sides.
    edges = np.linspace(-reach * 1.0001, reach * 1.0001, BINS + 1)
    # A logit of 0 is in the worse half: bars are closed above.
    counts, _ = np.histogram(-logits, edges)
    counts = counts[::-1]
    middle = (edges[1:] + edges[:-1]) / 2
    figure = go.Figure()
    for name, mask, color in (
        ("Worse half out of sample", middle < 0.0, BAD),
        ("Better half", middle > 0.0, BLUE),
    ):
        figure.add_bar(
            x=middle[mask],
            y=counts[mask] / max(len(logits), 1),
            width=float(edges[1] - edges[0]) * 0.92,
            marker={"color": color},
            name=name,
            hovertemplate="logit %{x:.2f}: %{y:.1%}<extra></extra>",
        )
    figure.add_vline(x=0.0, line={"color": GREY, "width": 1.5, "dash": "dash"})
    style(figure, 320)
    figure.update_xaxes(title_text="Logit of the rank out of sample")
    figure.update_yaxes(title_text="Share of splits", tickformat=".0%")
    figure.update_layout(hovermode="closest", barmode="overlay")
    return figure


def degradation_chart(found: Overfitting, periods_per_year: float) -> go.Figure:
    """Annualised Sharpe ratio of the trial chosen in sample: there, and out of sample."""
    year = math.sqrt(periods_per_year)
    known = np.flatnonzero(np.isfinite(found.in_sample) & np.isfinite(found.out_of_sample))
    if len(known) > MOST_POINTS:
        known = known[np.linspace(0, len(known) - 1, MOST_POINTS).astype(int)]
    x, y = found.in_sample[known] * year, found.out_of_sample[known] * year
    figure = go.Figure()
    figure.add_scatter(
        x=x,
        y=y,
        mode="markers",
        marker={"color": BLUE, "size": 5, "opacity": 0.4},
        name="Split",
        hovertemplate="in %{x:.2f}, out %{y:.2f}<extra></extra>",
    )
    if len(x) and not math.isnan(found.slope):
        ends = np.array([x.min(), x.max()])
        # The line of least squares goes through the means.
        figure.add_scatter(
            x=ends,
            y=y.mean() + found.slope * (ends - x.mean()),
            mode="lines",
            line={"color": WINNER, "width": 2},
            name=f"Slope {found.slope:+.2f}".replace("-", "−"),
            hoverinfo="skip",
        )
    figure.add_hline(y=0.0, line={"color": GREY, "width": 1.5, "dash": "dash"})
    style(figure, 320)
    figure.update_xaxes(title_text="Sharpe ratio in sample, annualised")
    figure.update_yaxes(title_text="Out of sample")
    figure.update_layout(hovermode="closest")
    return figure


def paths_chart(found: PathSelection, winner: float, periods_per_year: float) -> go.Figure:
    """Annualised Sharpe ratios of the procedure's paths, in order, beside the winner's own."""
    ratios = np.sort(found.sharpes) * math.sqrt(periods_per_year)
    figure = go.Figure()
    figure.add_bar(
        x=list(range(1, len(ratios) + 1)),
        y=[None if math.isnan(ratio) else ratio for ratio in ratios],
        marker={"color": [BAD if ratio <= 0.0 else BLUE for ratio in ratios]},
        name="Path",
        hovertemplate="path %{x}: %{y:.2f}<extra></extra>",
        showlegend=False,
    )
    for value, name, dash in (
        (winner, "The winner's own", "solid"),
        (float(np.median(ratios)) if len(ratios) else math.nan, "Median path", "dash"),
    ):
        if not math.isnan(value):
            figure.add_scatter(
                x=[0.5, len(ratios) + 0.5],
                y=[value, value],
                mode="lines",
                line={"color": WINNER if dash == "solid" else GREY, "width": 2, "dash": dash},
                name=name,
                hovertemplate=f"{name}: %{{y:.2f}}<extra></extra>",
            )
    style(figure, 320)
    figure.update_xaxes(title_text="Path, from the worst", dtick=1)
    figure.update_yaxes(title_text="Sharpe ratio, annualised")
    figure.update_layout(hovermode="closest")
    return figure


def neighbours_chart(view: StudyView, space: Space, found: Plateau) -> go.Figure:
    """The first objective over the distance from the winner; its neighbours stand out."""
    best = view.winning
    figure = go.Figure()
    others = [t for t in view.complete if best is not None and t.number != best.number]
    if best is not None and others:
        centre = space.unit(best.config)
        points = np.array([space.unit(trial.config) for trial in others])
        distance = np.sqrt(np.mean((points - centre) ** 2, axis=1))
        values = np.array([trial.values[0] for trial in others])
        near = (distance > 0.0) & (distance <= found.distance)
        keep = np.zeros(len(others), np.bool_)
        keep[np.linspace(0, len(others) - 1, min(len(others), MOST_POINTS)).astype(int)] = True
        for mask, name, marker in (
            (keep & ~near, "Trial", {"color": GREY, "size": 5, "opacity": 0.45}),
            (near, "Neighbour", {"color": BLUE, "size": 8, "symbol": "circle"}),
        ):
            figure.add_scatter(
                x=distance[mask],
                y=values[mask],
                mode="markers",
                marker=marker,
                name=name,
                text=[others[i].number for i in np.flatnonzero(mask)],
                hovertemplate="distance %{x:.2f}: %{y:.4g}<extra>trial %{text}</extra>",
            )
        figure.add_scatter(
            x=[0.0],
            y=[best.values[0]],
            mode="markers",
            marker={"color": WINNER, "size": 14, "symbol": "star"},
            name="Winner",
            hovertemplate="%{y:.4g}<extra>winner</extra>",
        )
        if not math.isnan(found.median):
            sign = 1.0 if view.is_up() else -1.0
            figure.add_scatter(
                x=[0.0, found.distance],
                y=[sign * found.median] * 2,
                mode="lines",
                line={"color": WINNER, "width": 2, "dash": "dash"},
                name="Median of the neighbours",
                hovertemplate="%{y:.4g}<extra>median of the neighbours</extra>",
            )
    style(figure, 340)
    figure.update_xaxes(title_text="Distance from the winner in the search space, each axis 0 to 1")
    figure.update_yaxes(title_text=objective_title(view.spec.objectives[0]))
    figure.update_layout(hovermode="closest")
    return figure


def _pens(benchmarks: list[str]) -> dict[str, tuple[str, str]]:
    pens = {name: _BENCHMARK_PENS[i % len(_BENCHMARK_PENS)] for i, name in enumerate(benchmarks)}
    return {"Winner": (WINNER, "solid"), **pens}


def _line(
    figure: go.Figure,
    x: list[str],
    y: Floats,
    name: str,
    pen: tuple[str, str],
    legend: bool = True,
) -> None:
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines",
        name=name,
        line={"color": pen[0], "dash": pen[1], "width": 2.2 if name.startswith("Winner") else 1.6},
        showlegend=legend,
    )
