"""The charts of a session report, as Plotly figures over a ``SessionResult``.

Colours are those of Okabe and Ito (2008), distinguishable with any colour vision; reference lines
are also dashed, so that nothing depends on colour alone.
"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from tuning.performance import drawdown_line
from tuning.scoring import Scores
from tuning.session_result import Floats, Ints, SessionResult

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C6D1F", "#5F6B7A")
ACCOUNT, BENCHMARK, INK, MUTED, GRID = "#0072B2", "#8A94A3", "#1B2430", "#5F6B7A", "#E6EAF0"
FONT = "Inter, 'Segoe UI', system-ui, -apple-system, Roboto, 'Helvetica Neue', Arial, sans-serif"
MAX_POINTS = 4000  # a line has no more pixels than this


def agent_color(index: int) -> str:
    """The colour of one agent, the same in every chart and table."""
    return PALETTE[index % len(PALETTE)]


def title(name: str) -> str:
    """trend_momentum -> Trend momentum; VPIN and HFT stay in capitals."""
    text = name.replace("_", " ")
    text = text[:1].upper() + text[1:]
    return " ".join(w.upper() if w.lower() in ("vpin", "hft") else w for w in text.split(" "))


def thin(*lines: Floats) -> NDArray[np.int64]:
    """Indices to draw of equally long lines: all, or at most MAX_POINTS and both ends.

    The lines are cut into equal stretches, and of each stretch the lowest and the highest point of
    every line stay: no peak and no fall is lost. nan counts as neither.
    """
    count = len(lines[0])
    if count <= MAX_POINTS:
        return np.arange(count)
    stretches = max(MAX_POINTS // (2 * len(lines)), 1)
    width = -(-count // stretches)
    base = np.arange(0, count, width)
    keep = [np.array([0, count - 1])]
    for line in lines:
        for missing, extreme in ((np.inf, np.argmin), (-np.inf, np.argmax)):
            padded = np.full(len(base) * width, missing)
            padded[:count] = np.where(np.isnan(line), missing, line)
            keep.append(base + extreme(padded.reshape(-1, width), axis=1))
    # Of an all-nan stretch at the end the first place may lie in the padding.
    return np.unique(np.minimum(np.concatenate(keep), count - 1)).astype(np.int64)


def dates(ts: Ints) -> list[str]:
    """Times for an axis: plain dates while every time has a date of its own."""
    stamps = ts.astype("datetime64[ns]")
    days = stamps.astype("datetime64[D]")
    if len(np.unique(days)) == len(days):
        return [str(x) for x in days]
    for unit in ("m", "s"):
        coarse = stamps.astype(f"datetime64[{unit}]")
        if (coarse == stamps).all():
            return [str(x) for x in coarse]
    return [str(x) for x in stamps.astype("datetime64[ms]")]


def style(figure: go.Figure, height: int, hover_digits: str | None = None) -> go.Figure:
    """The look that all charts share; returns ``figure``."""
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 76, "r": 16, "t": 36, "b": 48},
        font={"family": FONT, "size": 13, "color": INK},
        hovermode="x unified",
        hoverlabel={"bgcolor": "white", "bordercolor": GRID, "font": {"size": 12}},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "font": {"size": 12}},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    figure.update_xaxes(
        showgrid=False, linecolor=GRID, ticks="outside", tickcolor=GRID, color=MUTED
    )
    figure.update_yaxes(
        gridcolor=GRID, zeroline=False, color=MUTED, title_font={"size": 12}, title_standoff=12
    )
    if hover_digits:
        figure.update_yaxes(hoverformat=hover_digits)
    return figure


def _mark_halt(figure: go.Figure, result: SessionResult, x: list[str], ts: Ints) -> None:
    if result.halted_at is None or not len(ts):
        return
    at = x[min(int(np.searchsorted(ts, result.halted_at)), len(x) - 1)]
    figure.add_vline(x=at, line={"color": "#B42318", "width": 1.5, "dash": "dot"})
    figure.add_annotation(
        x=at,
        y=1.0,
        yref="paper",
        text="HALTED",
        showarrow=False,
        xanchor="left",
        xshift=5,
        yanchor="top",
        font={"color": "#B42318", "size": 12, "weight": 700},
    )


WIDE_RATIO = 4.0  # from here on equity is drawn on a log scale


def equity_chart(result: SessionResult) -> go.Figure:
    """Equity and its drawdown, account against buy-and-hold, over the traded rounds."""
    part = result.traded_rounds
    lines = {
        "Committee, after costs": (result.equity_micro[part], ACCOUNT, "solid", 2.2),
        "Buy-and-hold": (result.buy_and_hold_micro[part], BENCHMARK, "solid", 1.6),
    }
    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, row_heights=[0.7, 0.3], vertical_spacing=0.07
    )
    equities = [micro / 1e6 for micro, *_ in lines.values()]
    keep = thin(*equities, *(drawdown_line(micro) for micro, *_ in lines.values()))
    ts = result.ts[part][keep]
    x = dates(ts)
    for name, (micro, color, dash, width) in lines.items():
        pen = {"color": color, "dash": dash, "width": width}
        figure.add_scatter(
            x=x, y=(micro / 1e6)[keep], name=name, mode="lines", line=pen, row=1, col=1
        )
        figure.add_scatter(
            x=x,
            y=drawdown_line(micro)[keep],
            name=name,
            mode="lines",
            line={**pen, "width": width * 0.7},
            fill="tozeroy" if color == ACCOUNT else None,
            fillcolor="rgba(0,114,178,.12)",
            showlegend=False,
            hovertemplate="%{y:.1%}",
            row=2,
            col=1,
        )
    style(figure, 520)
    lowest = min(float(line.min()) for line in equities)
    # Where one line outgrows the other, equal distances should mean equal growth.
    wide = lowest > 0.0 and max(float(line.max()) for line in equities) > WIDE_RATIO * lowest
    figure.update_yaxes(
        title_text=f"Equity, {result.currency}{' (log scale)' if wide else ''}",
        type="log" if wide else "linear",
        dtick="D2" if wide else None,
        tickformat="~s",
        hoverformat=",.2f",
        row=1,
        col=1,
    )
    figure.update_yaxes(title_text="Drawdown", tickformat=".0%", row=2, col=1)
    figure.update_layout(hoversubplots="axis")
    _mark_halt(figure, result, x, ts)
    return figure


def score_chart(result: SessionResult, scores: Scores) -> go.Figure:
    """Cumulative Brier advantage over the uniform forecast: agents, pool and equal weights."""
    keep = thin(scores.pool_advantage, *scores.agent_advantage.T)
    ts = scores.ts[keep]
    x = dates(ts)
    figure = go.Figure()
    for j, name in enumerate(result.agents):
        if scores.agents[j].scored == 0:
            continue
        figure.add_scatter(
            x=x,
            y=scores.agent_advantage[keep, j],
            name=title(name),
            mode="lines",
            line={"color": agent_color(j), "width": 1.6},
        )
    for name, line, dash in (
        ("Pool", scores.pool_advantage, "solid"),
        ("Equal weights", scores.equal_weight_advantage, "dot"),
    ):
        figure.add_scatter(
            x=x,
            y=line[keep],
            name=name,
            mode="lines",
            line={"color": INK, "width": 2, "dash": dash},
        )
    figure.add_hline(y=0.0, line={"color": MUTED, "width": 1})
    style(figure, 420, "+.2f")
    figure.update_yaxes(title_text="Brier advantage, summed")
    return figure


def weight_chart(result: SessionResult) -> go.Figure:
    """Weights in force in each round, warm-up shaded; the equal-weight expert dotted."""
    keep = thin(*result.weights.T)
    ts = result.ts[keep]
    x = dates(ts)
    figure = go.Figure()
    for j, name in enumerate(result.agents):
        figure.add_scatter(
            x=x,
            y=result.weights[keep, j],
            name=title(name),
            mode="lines",
            line={"color": agent_color(j), "width": 1.6},
        )
    figure.add_scatter(
        x=x,
        y=result.weights[keep, -1],
        name="Equal weights",
        mode="lines",
        line={"color": INK, "width": 2, "dash": "dot"},
    )
    style(figure, 380, ".1%")
    figure.update_yaxes(title_text="Weight", tickformat=".0%", rangemode="tozero")
    begin = int(np.searchsorted(ts, result.first_traded))
    if 0 < begin < len(x):
        figure.add_vrect(
            x0=x[0],
            x1=x[begin],
            fillcolor=GRID,
            opacity=0.55,
            line_width=0,
            layer="below",
            annotation={"text": "warm-up", "font": {"color": MUTED, "size": 12}},
            annotation_position="bottom left",
        )
    return figure
