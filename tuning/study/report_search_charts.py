"""The charts of how a study searched: convergence, parallel coordinates, slices, front, importance.

Everything is drawn as SVG: Plotly's WebGL traces compile code at run time, which the page's content
policy forbids, and browsers without a graphics card do not show them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from actors.space import Choice, Parameter, Value
from tuning.study.contract import FAILED, PRUNED, Trial
from tuning.study.importance import Importances
from tuning.study.report_page import style
from tuning.study.report_words import objective_title, value_text
from tuning.study.view import StudyView, best_so_far, parameter_of, pareto

BLUE, GREY, WINNER, GREEN = "#2B8CC4", "#8A94A3", "#D55E00", "#009E73"
MOST_POINTS = 2_000
MOST_LINES = 300  # of parallel coordinates
# From the worst group of values to the best; to be told apart on light and on dark.
SHADES = ("#A9B4C0", "#9DB7CC", "#84B5DA", "#56A5DC", "#2B8CC4", "#0B6FB5")
MOST_SLICES = 6
OFF = -0.14  # where a parameter stands that has no meaning in a configuration


def convergence_chart(view: StudyView) -> go.Figure:
    """Each trial and the best so far, one row per objective; pruned and failed at the foot."""
    names = view.spec.objectives
    figure = make_subplots(rows=len(names), cols=1, shared_xaxes=True, vertical_spacing=0.06)
    complete = view.complete
    numbers = np.array([trial.number for trial in complete], np.int64)
    keep = _evenly(len(complete))
    for i, name in enumerate(names):
        values, best = view.values(i), best_so_far(view, i)
        low, high = value_range(view, i)
        at = {"row": i + 1, "col": 1}
        figure.add_scatter(
            x=numbers[keep],
            y=values[keep],
            name="Trial",
            mode="markers",
            marker={"color": BLUE, "size": 5, "opacity": 0.55},
            hovertemplate="trial %{x}: %{y:.4g}<extra></extra>",
            showlegend=i == 0,
            **at,
        )
        figure.add_scatter(
            x=numbers,
            y=best,
            name="Best so far",
            mode="lines",
            line={"color": WINNER, "width": 2, "shape": "hv"},
            hovertemplate="best to trial %{x}: %{y:.4g}<extra></extra>",
            showlegend=i == 0,
            **at,
        )
        for status, symbol, color in ((PRUNED, "line-ns-open", GREY), (FAILED, "x", "#B42318")):
            gone = [trial.number for trial in view.trials if trial.status == status]
            if gone:
                figure.add_scatter(
                    x=gone,
                    y=[low if view.is_up(i) else high] * len(gone),
                    name=status.capitalize(),
                    mode="markers",
                    marker={"symbol": symbol, "size": 7, "color": color},
                    hovertemplate=f"trial %{{x}} {status}<extra></extra>",
                    showlegend=i == 0,
                    **at,
                )
        _star(figure, view, i, at, i == 0)
        figure.update_yaxes(title_text=objective_title(name), range=[low, high], **at)
    style(figure, 300 + 130 * (len(names) - 1))
    figure.update_xaxes(title_text="Trial", row=len(names), col=1)
    figure.update_layout(hovermode="closest")
    return figure


def parallel_chart(view: StudyView) -> go.Figure:
    """A line per trial over one axis per parameter, coloured by the first objective.

    At most MOST_LINES: the best tenth whole, the rest evenly. A parameter that has no meaning in a
    configuration stands below its axis, at "off".
    """
    names = view.parameters()
    trials = _lines(view)
    values = np.array([trial.values[0] for trial in trials])
    rank = np.argsort(np.argsort(values if view.is_up() else -values, kind="stable"))
    group = rank * len(SHADES) // max(len(trials), 1)
    axes = {name: parameter_of(view, name) for name in names}

    def heights(trial: Trial) -> list[float]:
        return [_place(axes[name], trial.config.get(name)) for name in names]

    x = list(range(len(names)))
    figure = go.Figure()
    for shade, color in enumerate(SHADES):
        members = [trial for trial, g in zip(trials, group, strict=True) if g == shade]
        if members:
            figure.add_scatter(
                x=[at for _ in members for at in (*x, None)],
                y=[y for trial in members for y in (*heights(trial), None)],
                mode="lines",
                line={"color": color, "width": 0.8 + 0.12 * shade},
                opacity=0.35 + 0.1 * shade,
                name=_shade_name(shade),
                hoverinfo="skip",
            )
    if (best := view.winning) is not None:
        figure.add_scatter(
            x=x,
            y=heights(best),
            mode="lines+markers",
            name="Winner",
            line={"color": WINNER, "width": 3},
            marker={"symbol": "star", "size": 11},
            text=[f"{n} = {value_text(best.config[n])}" if n in best.config else "" for n in names],
            hovertemplate="%{text}<extra>winner</extra>",
        )
    style(figure, 400)
    for i, name in enumerate(names):
        figure.add_shape(
            type="line", x0=i, x1=i, y0=0, y1=1, line={"color": GREY, "width": 1}, layer="below"
        )
        marks = [(axes[name].unit(mark), value_text(mark)) for mark in axes[name].points(3)]
        if axes[name].when is not None:
            marks.append((OFF, "off"))
        for y, text in marks:
            figure.add_annotation(
                x=i,
                y=y,
                text=text,
                showarrow=False,
                xanchor="right",
                xshift=-5,
                font={"size": 11},
                bgcolor="rgba(255,255,255,0.8)",
            )
    figure.update_xaxes(
        tickvals=x, ticktext=list(names), range=[-0.5, len(names) - 0.6], side="top", showline=False
    )
    figure.update_yaxes(visible=False, range=[OFF - 0.06, 1.06])
    figure.update_layout(
        hovermode="closest", legend={"y": -0.02, "yanchor": "top"}, margin={"t": 44, "l": 40}
    )
    return figure


def slice_chart(view: StudyView, names: Sequence[str]) -> go.Figure:
    """The first objective over each of these parameters: a slope, a hill, or a spike."""
    shown = list(names)[:MOST_SLICES]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = make_subplots(
        rows=rows, cols=columns, shared_yaxes=True, horizontal_spacing=0.04, vertical_spacing=0.2
    )
    low, high = value_range(view)
    complete = view.complete
    for i, name in enumerate(shown):
        at = {"row": i // columns + 1, "col": i % columns + 1}
        having = [trial for trial in complete if name in trial.config]
        having = [having[k] for k in _evenly(len(having))]
        figure.add_scatter(
            x=[trial.config[name] for trial in having],
            y=[trial.values[0] for trial in having],
            mode="markers",
            marker={"color": BLUE, "size": 5, "opacity": 0.5},
            name="Trial",
            text=[trial.number for trial in having],
            hovertemplate="%{x}: %{y:.4g}<extra>trial %{text}</extra>",
            showlegend=i == 0,
            **at,
        )
        if (best := view.winning) is not None and name in best.config:
            figure.add_scatter(
                x=[best.config[name]],
                y=[best.values[0]],
                mode="markers",
                marker={"color": WINNER, "size": 13, "symbol": "star"},
                name="Winner",
                showlegend=i == 0,
                hovertemplate="%{x}: %{y:.4g}<extra>winner</extra>",
                **at,
            )
        figure.update_xaxes(
            title_text=name,
            **_scale(parameter_of(view, name)),
            title_standoff=4,
            **at,
        )
    style(figure, 60 + 230 * rows)
    figure.update_yaxes(range=[low, high])
    figure.update_yaxes(title_text=objective_title(view.spec.objectives[0]), col=1)
    figure.update_layout(hovermode="closest")
    return figure


def importance_chart(found: Importances) -> go.Figure:
    """A bar per parameter and, on it, what chance alone would show."""
    rows = list(reversed(found.parameters))
    figure = go.Figure()
    figure.add_bar(
        x=[row.share for row in rows],
        y=[row.parameter for row in rows],
        orientation="h",
        marker={"color": [BLUE if row.is_above_chance else "#B9C2CE" for row in rows]},
        name="Share of importance",
        hovertemplate="%{y}: %{x:.1%}<extra></extra>",
    )
    figure.add_scatter(
        x=[row.chance for row in rows],
        y=[row.parameter for row in rows],
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 18, "color": WINNER, "line": {"width": 2}},
        name="What chance reaches in 1 of 20 shuffles",
        hovertemplate="chance: %{x:.1%}<extra></extra>",
    )
    style(figure, 110 + 34 * len(rows))
    figure.update_xaxes(tickformat=".0%", rangemode="tozero", showgrid=True)
    figure.update_yaxes(showgrid=False, automargin=True)
    figure.update_layout(hovermode="closest")
    return figure


def pareto_chart(view: StudyView) -> go.Figure:
    """All complete trials over the first two objectives, and those that nobody beats in all."""
    front = pareto(view)
    complete = [view.complete[i] for i in _evenly(len(view.complete))]
    figure = go.Figure()
    for trials, name, marker in (
        (complete, "Trial", {"color": BLUE, "size": 5, "opacity": 0.45}),
        (front, "Pareto front", {"color": GREEN, "size": 10, "symbol": "diamond"}),
    ):
        figure.add_scatter(
            x=[trial.values[0] for trial in trials],
            y=[trial.values[1] for trial in trials],
            mode="markers",
            marker=marker,
            name=name,
            text=[trial.number for trial in trials],
            hovertemplate="%{x:.4g}, %{y:.4g}<extra>trial %{text}</extra>",
        )
    if (best := view.winning) is not None:
        figure.add_scatter(
            x=[best.values[0]],
            y=[best.values[1]],
            mode="markers",
            marker={"color": WINNER, "size": 15, "symbol": "star"},
            name="Winner",
            hovertemplate="%{x:.4g}, %{y:.4g}<extra>winner</extra>",
        )
    style(figure, 400)
    for axis, place in ((figure.update_xaxes, 0), (figure.update_yaxes, 1)):
        better = "more" if view.is_up(place) else "less"
        axis(title_text=f"{objective_title(view.spec.objectives[place])} ({better} is better)")
    figure.update_layout(hovermode="closest")
    return figure


def _scale(parameter: Parameter) -> dict[str, Any]:
    if isinstance(parameter, Choice):
        return {"type": "category"}
    if not parameter.log:
        return {"type": "linear"}
    # Plotly's own marks of a logarithmic axis are decades: few ranges hold two of them.
    marks = parameter.points(5)
    return {"type": "log", "tickvals": marks, "ticktext": [value_text(mark) for mark in marks]}


def _place(parameter: Parameter, value: Value | None) -> float:
    return OFF if value is None else parameter.unit(value)


def _shade_name(shade: int) -> str:
    if shade == len(SHADES) - 1:
        return "Best sixth"
    return "Worst sixth" if shade == 0 else f"{shade + 1}."


def _lines(view: StudyView) -> list[Trial]:
    """The trials to draw, the best ones last so that they lie on top."""
    sign = 1.0 if view.is_up() else -1.0
    known = [t for t in view.complete if math.isfinite(t.values[0])]
    ordered = sorted(known, key=lambda t: sign * t.values[0])
    if len(ordered) <= MOST_LINES:
        return ordered
    best = ordered[-MOST_LINES // 3 :]
    rest = ordered[: -len(best)]
    return [
        rest[i] for i in np.linspace(0, len(rest) - 1, MOST_LINES - len(best)).astype(int)
    ] + best


def _star(figure: go.Figure, view: StudyView, i: int, at: dict[str, int], legend: bool) -> None:
    if (best := view.winning) is not None:
        figure.add_scatter(
            x=[best.number],
            y=[best.values[i]],
            name="Winner",
            mode="markers",
            marker={"color": WINNER, "size": 14, "symbol": "star"},
            hovertemplate="trial %{x}: %{y:.4g}<extra>winner</extra>",
            showlegend=legend,
            **at,
        )


def _evenly(count: int) -> list[int]:
    """Indices of at most MOST_POINTS, both ends included."""
    if count <= MOST_POINTS:
        return list(range(count))
    return np.linspace(0, count - 1, MOST_POINTS).astype(int).tolist()


def value_range(view: StudyView, objective: int = 0) -> tuple[float, float]:
    """An axis for nearly all values: a few very bad ones must not flatten the rest."""
    values = view.values(objective)
    sign = 1.0 if view.is_up(objective) else -1.0
    finite = np.sort(sign * values[np.isfinite(values)])
    if not len(finite):
        return 0.0, 1.0
    worst, low, high = finite[0], finite[len(finite) // 50], finite[-1]
    low = max(worst, low - 0.5 * (high - low))
    margin = 0.08 * (high - low) or 1.0
    ends = sorted((sign * float(low - margin), sign * float(high + margin)))
    return ends[0], ends[1]
