"""The reliability diagram: what was forecast against what came, one panel an outcome."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tuning.calibration import OUTCOMES, Calibration
from tuning.report_charts import MUTED, style

# Of the palette of Okabe and Ito; the panels are named, so that nothing depends on colour alone.
COLORS = {"down": "#D55E00", "flat": "#5F6B7A", "up": "#0072B2"}


def reliability_chart(found: Calibration) -> go.Figure:
    """Three panels on one scale, wide enough for every bin and its interval."""
    figure = make_subplots(
        rows=1, cols=3, subplot_titles=[name.capitalize() for name in OUTCOMES], shared_yaxes=True
    )
    ends = [x for rows in found.bins for row in rows for x in (row.forecast, row.low, row.high)]
    low, high = max(min(ends) - 0.02, 0.0), min(max(ends) + 0.02, 1.0)
    for col, (name, rows) in enumerate(zip(OUTCOMES, found.bins, strict=True), start=1):
        figure.add_scatter(
            x=[low, high],
            y=[low, high],
            mode="lines",
            line={"color": MUTED, "width": 1, "dash": "dash"},
            hoverinfo="skip",
            row=1,
            col=col,
        )
        figure.add_scatter(
            x=[row.forecast for row in rows],
            y=[row.observed for row in rows],
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [row.high - row.observed for row in rows],
                "arrayminus": [row.observed - row.low for row in rows],
                "thickness": 1.4,
                "width": 3,
            },
            mode="lines+markers",
            line={"color": COLORS[name], "width": 1.2},
            marker={"size": 7},
            customdata=[[row.count, row.low, row.high] for row in rows],
            hovertemplate=(
                "forecast %{x:.1%}<br>came %{y:.1%} (%{customdata[1]:.1%} to "
                "%{customdata[2]:.1%})<br>%{customdata[0]:,} decisions<extra></extra>"
            ),
            row=1,
            col=col,
        )
    style(figure, 340)
    figure.update_layout(showlegend=False, hovermode="closest")
    figure.update_layout(margin={"b": 60})
    figure.update_xaxes(
        range=[low, high],
        tickformat=".0%",
        nticks=6,
        title={"text": "Forecast", "font": {"size": 12}, "standoff": 10},
    )
    figure.update_yaxes(range=[low, high], tickformat=".0%", nticks=7)
    figure.update_yaxes(title_text="Came true", row=1, col=1)
    return figure
