"""The report of a finished session: one HTML file for people, one dict for programs.

The page is self-contained: Plotly's script is inlined once and a content policy forbids the
browser to load anything from anywhere. Its first line is the verdict, the bad news first.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import plotly.io
from plotly.offline import get_plotlyjs

from tuning import report_charts as charts
from tuning import report_tables as tables
from tuning.performance import Performance, account_performance, benchmark_performance
from tuning.report_style import page
from tuning.report_text import (
    cash,
    day,
    interval,
    number,
    percent,
    plural,
    verdict,
)
from tuning.scoring import UNIFORM_BRIER, Scores, score
from tuning.session_result import REFUSED, SessionResult, money


def write_report(result: SessionResult, path: Path) -> None:
    """Writes the HTML report to ``path``, whole or not at all; OSError when it cannot."""
    scores, account = score(result), account_performance(result)
    benchmark = benchmark_performance(result)
    sentences = verdict(result, account, benchmark, scores)
    body = "\n".join(
        (
            _verdict(result, account, benchmark, sentences),
            _cards(result, account, benchmark, scores),
            _account(result, account, benchmark),
            _forecasts(result, scores),
            _decisions(result),
            _orders(result),
            _data(result),
            _reading(result),
        )
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(page(sentences[0], body, get_plotlyjs()), encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def report_json(result: SessionResult, report_path: Path | str) -> dict[str, Any]:
    """The session as one JSON object.

    ``final_equity`` and ``buy_and_hold_equity`` are decimal STRINGS with six places, so that no
    float stands for money. ``dates`` counts UTC dates. ``decisions`` counts all decisions of the
    log, the warm-up included. ``orders`` counts accepted orders; ``denied`` counts, by reason code,
    decisions denied by the gate plus orders refused by their order transaction. ``sharpe`` is
    annualised, ``sharpe_ci`` its 95 % interval, ``max_drawdown`` a negative fraction; Brier losses,
    votes and abstentions are of the traded period, weights of the last round. A figure that is not
    defined is null, never 0.
    """
    scores, account = score(result), account_performance(result)
    benchmark = benchmark_performance(result)
    denied = Counter(
        code for name, code in zip(result.d_verdict, result.d_code, strict=True) if name == "denied"
    )
    denied.update(row.code for row in result.orders if row.status == REFUSED)
    speed = result.bars / result.wall_seconds if result.wall_seconds > 0.0 else math.nan
    low, high = account.sharpe_ci
    return {
        "session_id": result.session_id,
        "bars": result.bars,
        "dates": len(np.unique(result.ts.astype("datetime64[ns]").astype("datetime64[D]"))),
        "decisions": len(result.d_ts),
        "orders": sum(row.status != REFUSED for row in result.orders),
        "fills": len(result.fills),
        "denied": dict(sorted(denied.items())),
        "final_equity": str(money(account.final_micro)),
        "buy_and_hold_equity": str(money(benchmark.final_micro)),
        "sharpe": _figure(account.sharpe),
        "sharpe_ci": None if math.isnan(low) else [low, high],
        "max_drawdown": _figure(account.max_drawdown),
        "pool_brier": _figure(scores.pool_brier),
        "equal_weight_brier": _figure(scores.equal_weight_brier),
        "agents": {
            agent.name: {
                "votes": agent.votes,
                "abstentions": agent.abstentions,
                "brier": _figure(agent.brier),
                "weight": agent.weight,
            }
            for agent in scores.agents
        },
        "wall_seconds": _figure(result.wall_seconds),
        "bars_per_second": _figure(speed),
        "pss_mb": _figure(result.pss_mb),
        "report": str(report_path),
    }


def _figure(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _chart(figure: go.Figure, name: str) -> str:
    html = plotly.io.to_html(
        figure,
        include_plotlyjs=False,
        full_html=False,
        div_id=name,
        config={"displaylogo": False, "responsive": True, "displayModeBar": False},
    )
    return f'<div class="panel">{html}</div>'


def _verdict(
    result: SessionResult, account: Performance, benchmark: Performance, sentences: list[str]
) -> str:
    halted = result.halted_at is not None
    won = account.final_micro > benchmark.final_micro
    kind = "halted" if halted else "won" if won else "lost"
    lines = [f"<h1>{escape(sentences[0])}</h1>"]
    for i, sentence in enumerate(sentences[1:]):
        alarm = ' class="alarm"' if halted and i == 0 else ""
        lines.append(f"<p{alarm}>{escape(sentence)}</p>")
    facts = {
        "session": result.session_id,
        "account": f"{result.account} ({result.mode})",
        "symbols": ", ".join(result.symbols),
        "traded": f"{day(max(result.first_traded, int(result.ts[0])))} to {day(result.ts[-1])}",
    }
    meta = " · ".join(f"{key} <b>{escape(text)}</b>" for key, text in facts.items())
    lines.append(f'<p class="meta">{meta}</p>')
    return f'<header class="verdict {kind}">{"".join(lines)}</header>'


def _cards(
    result: SessionResult, account: Performance, benchmark: Performance, scores: Scores
) -> str:
    unit = result.currency
    cards = (
        (
            "Equity, after costs",
            cash(account.final_micro, unit),
            f"{percent(account.gain, 1, True)} from {cash(account.start_micro, unit)}",
        ),
        (
            "Buy-and-hold",
            cash(benchmark.final_micro, unit),
            percent(benchmark.gain, 1, True),
        ),
        (
            "Growth per year",
            percent(account.cagr, 2, True),
            f"buy-and-hold {percent(benchmark.cagr, 2, True)}",
        ),
        (
            "Sharpe ratio",
            number(account.sharpe),
            f"95 % interval {interval(*account.sharpe_ci)}",
        ),
        (
            "Deepest drawdown",
            percent(account.max_drawdown),
            f"buy-and-hold {percent(benchmark.max_drawdown)}",
        ),
        (
            "Volatility per year",
            percent(account.volatility),
            f"buy-and-hold {percent(benchmark.volatility)}",
        ),
        (
            "Brier loss, pool",
            number(scores.pool_brier, 4),
            (
                f"equal weights {number(scores.equal_weight_brier, 4)}, "
                f"uniform {number(UNIFORM_BRIER, 4)}"
            ),
        ),
        (
            "Trades",
            plural(len(result.fills), "fill"),
            f"{plural(scores.decisions, 'decision')} in the traded period",
        ),
    )
    return (
        '<div class="cards">'
        + "".join(
            f'<div class="card"><div class="k">{escape(key)}</div>'
            f'<div class="v">{escape(value)}</div><div class="s">{escape(small)}</div></div>'
            for key, value, small in cards
        )
        + "</div>"
    )


def _account(result: SessionResult, account: Performance, benchmark: Performance) -> str:
    if account.periods == 0:
        return ""
    rows = [
        (
            name,
            percent(x.cagr, 2, True),
            percent(x.volatility),
            number(x.sharpe),
            interval(*x.sharpe_ci),
            number(x.sortino),
            number(x.calmar),
            percent(x.max_drawdown),
            percent(x.psr),
            number(x.record_needed, 1),
        )
        for name, x in (("Committee", account), ("Buy-and-hold", benchmark))
    ]
    heads = (
        "",
        "Growth per year",
        "Volatility",
        "Sharpe",
        "95 % interval",
        "Sortino",
        "Calmar",
        "Deepest drawdown",
        "P(Sharpe\u00a0>\u00a00)",
        "Years needed to be 95 % sure",
    )
    return (
        "<h2>The account</h2><p>Equity marked at every round of the traded period, and how far it "
        f"stood below its peak. Buy-and-hold is {escape(result.buy_and_hold_rule)}.</p>"
        + _chart(charts.equity_chart(result), "equity")
        + tables.table(heads, rows, left=1)
    )


def _forecasts(result: SessionResult, scores: Scores) -> str:
    down, flat, up = scores.outcomes
    chart = _chart(charts.score_chart(result, scores), "scores") if scores.scored else ""
    return (
        "<h2>The forecasts</h2><p>Every agent forecasts down, flat or up over the next "
        f"{plural(result.horizon, 'bar')} of a symbol. {plural(scores.scored, 'decision')} could "
        f"be scored: {down:,} went down, {flat:,} stayed flat, {up:,} went up. A rising line has "
        "forecast better than knowing nothing; a level one has not spoken."
        f"{_against_equal_weights(scores)}</p>"
        f"{chart}<h3>Weight of each agent</h3>"
        '<p class="note">The pool raises the weight of who forecasts well. Half of the weight '
        "starts with the plain average of all agents.</p>"
        + _chart(charts.weight_chart(result), "weights")
        + tables.agents(scores)
    )


def _against_equal_weights(scores: Scores) -> str:
    gain, low, high = scores.pool_gain
    if math.isnan(low):
        return ""
    side = "lower" if gain > 0.0 else "higher"
    return (
        f" The pool's loss was {number(abs(gain), 5)} {side} than that of equal weights "
        f"(equal weights minus pool: 95 % interval {interval(low, high, 5)})."
    )


def _decisions(result: SessionResult) -> str:
    inside = int(result.in_traded_period().sum())
    before = len(result.d_ts) - inside
    shown = tables.verdicts(result) if inside else ""
    return (
        "<h2>The gate</h2><p>What became of every decision of the traded period, by reason. "
        f"{plural(before, 'decision')} of the warm-up could not trade and "
        f"{'is' if before == 1 else 'are'} not counted here.</p>{shown}"
    )


def _orders(result: SessionResult) -> str:
    refused = [row for row in result.orders if row.status == REFUSED]
    operator = [row for row in result.orders if row.origin == "operator"]
    accepted = len(result.orders) - len(refused)
    counts = (
        f"{plural(accepted, 'order')} accepted, {plural(len(refused), 'order')} refused by the "
        f"order transaction, {plural(len(result.fills), 'fill')}."
    )
    parts = [f"<h2>Orders and fills</h2><p>{counts}</p>", tables.fills(result)]
    if refused:
        parts += ["<h3>Refused orders, by reason</h3>", tables.refusals(refused)]
        parts.append(f"<details><summary>Each of them</summary>{tables.orders(refused)}</details>")
    if operator:
        parts += ["<h3>Orders of the operator or of a halt</h3>", tables.orders(operator)]
    if result.epochs:
        parts += [
            "<h3>Starts of the gate</h3>",
            '<p class="note">Each start voids every approval that came before it.</p>',
            tables.epochs(result),
        ]
    return "".join(parts)


def _data(result: SessionResult) -> str:
    if result.quarantined:
        count = plural(len(result.quarantined), "row")
        text = f"{count} of the data failed the checks at the door and never reached an agent."
        return f"<h2>The data</h2><p>{text}</p>{tables.quarantined(result)}"
    return "<h2>The data</h2><p>Every row passed the checks at the door.</p>"


_GLOSSARY = {
    "Brier loss": "The squared distance between a forecast (down, flat, up) and what happened: 0 "
    "is perfect, 2 the worst, and the uniform forecast always scores 0.6667 (Brier 1950).",
    "Flat": "A move of at most 0.43 standard deviations over the horizon, by volatility known at "
    "the decision, so that the three outcomes are about equally likely.",
    "Sharpe ratio": "Mean over standard deviation of the returns, annualised, risk-free rate zero. "
    "Its interval takes skewness and fat tails into account (Mertens 2002), but not serial "
    "correlation.",
    "P(Sharpe\u00a0>\u00a00)": "The probabilistic Sharpe ratio of Bailey and Lopez de Prado "
    "(2012). It knows of one trial only: strategies picked from many need a stricter test.",
    "Sortino, Calmar": "Mean return over downside deviation; growth per year over the deepest "
    "drawdown.",
    "Intervals of Brier losses": "Means per event time, with Newey and West (1987) errors over the "
    "overlap of the horizons.",
}


def _reading(result: SessionResult) -> str:
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in _GLOSSARY.items())
    notes = "".join(f"<li>{escape(note)}</li>" for note in result.notes)
    speed = (
        f" in {number(result.wall_seconds, 1)} s"
        f" ({number(result.bars / result.wall_seconds, 0)} bars a second)"
        if result.wall_seconds > 0.0
        else ""
    )
    memory = "" if math.isnan(result.pss_mb) else f", {number(result.pss_mb, 0)} MB of memory"
    late = f", {plural(result.late_votes, 'late vote')}" if result.late_votes else ""
    return (
        f'<h2>How to read this</h2><div class="panel"><dl>{items}</dl></div>'
        + (f"<h3>Notes</h3><ul>{notes}</ul>" if notes else "")
        + f"<footer>{plural(result.bars, 'bar')}{speed}{memory}{late}. Paper trading on past "
        "prices says little about the future and is no advice.</footer>"
    )
