"""The report of a finished session or backtest: one HTML file for people.

The dict for programs is ``tuning.report_json``'s, exported here too.
The page is self-contained: Plotly's script is inlined once and a content policy forbids the
browser to load anything from anywhere. Its first line is the verdict, the bad news first.
"""

from __future__ import annotations

import math
import os
from html import escape
from pathlib import Path

from plotly.offline import get_plotlyjs

from tuning import report_tables as tables
from tuning.analysis import Analysis, analyse
from tuning.report_account import account_section, costs_section
from tuning.report_forecasts import forecasts_section
from tuning.report_json import report_json
from tuning.report_style import page
from tuning.report_text import (
    amount,
    cash,
    day,
    interval,
    number,
    percent,
    plural,
    verdict,
)
from tuning.scoring import UNIFORM_BRIER
from tuning.session_result import REFUSED, SessionResult

__all__ = ["report_json", "write_report"]


def write_report(result: SessionResult, path: Path, analysis: Analysis | None = None) -> None:
    """Writes the HTML report to ``path``, whole or not at all; OSError when it cannot.

    ``analysis`` is ``analyse(result)`` where it is at hand.
    """
    found = analyse(result) if analysis is None else analysis
    sentences = verdict(
        result, found.account, found.benchmark, found.scores, found.difference.growth
    )
    body = "\n".join(
        (
            _verdict(result, found, sentences),
            _cards(result, found),
            account_section(result, found),
            costs_section(found.costs, result.currency),
            forecasts_section(result, found),
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


def _verdict(result: SessionResult, found: Analysis, sentences: list[str]) -> str:
    account, benchmark = found.account, found.benchmark
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


def _cards(result: SessionResult, found: Analysis) -> str:
    account, benchmark, scores = found.account, found.benchmark, found.scores
    growth, costs, unit = found.difference.growth, found.costs, result.currency
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
            "Growth against buy-and-hold",
            f"{percent(growth.value, 2, True)}",
            f"log; 95 % interval {interval(growth.low * 100, growth.high * 100, 0)} %"
            if not math.isnan(growth.low)
            else "no interval: too few returns",
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
            f"cost {amount(costs.total, unit)}, {number(costs.basis_points('total'))} basis points"
            if costs.total is not None and costs.fills
            else f"{plural(scores.decisions, 'decision')} in the traded period",
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
    "Difference to buy-and-hold": "Percentiles of 2,000 paired resamples by the stationary block "
    "bootstrap (Politis and Romano 1994), block length by Politis and White (2004, corrected "
    "2009).",
    "Reliability, resolution": "The parts of a Brier loss (Murphy 1973; within bins Stephenson "
    "and others 2008). From few decisions both look larger than they are, by about nine times the "
    "uncertainty over the number of decisions.",
    "Costs": "Fees, and fill price against the open of the filling bar, split by the declared "
    "cost model. Impact is Y times volatility times the square root of the share of volume.",
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
