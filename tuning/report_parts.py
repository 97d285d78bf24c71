"""What every section of a session report is made of: a chart in its panel."""

from __future__ import annotations

import plotly.graph_objects as go
import plotly.io


def chart(figure: go.Figure, name: str) -> str:
    """A Plotly figure as HTML in a panel; ``name`` is unique within the page."""
    html = plotly.io.to_html(
        figure,
        include_plotlyjs=False,
        full_html=False,
        div_id=name,
        config={"displaylogo": False, "responsive": True, "displayModeBar": False},
    )
    return f'<div class="panel">{html}</div>'
