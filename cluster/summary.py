"""The summary that closes a run: one table of figures, one of agents, and where the report is.

Everything comes from the report dict of ``tuning.report.report_json``, so that the table and the
JSON line cannot disagree; the session result adds what the dict does not hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tuning.analysis import Analysis, analyse
from tuning.report_text import verdict
from tuning.scoring import UNIFORM_BRIER
from tuning.session_result import SessionResult


def _figure(value: float | None, digits: int = 2, percent: bool = False) -> str:
    if value is None:
        return "–"
    return f"{value:.{digits}%}" if percent else f"{value:,.{digits}f}"


def _money(text: str) -> str:
    return f"{Decimal(text).quantize(Decimal('0.01'), rounding=ROUND_HALF_EVEN):,}"


def _counts(counts: Mapping[str, int], empty: str) -> str:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name.replace('_', ' ').lower()} {n:,}" for name, n in ranked) or empty


def _figures(report: Mapping[str, Any], result: SessionResult | None) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    sharpe_range = report["sharpe_ci"]
    span = "" if sharpe_range is None else f"  95 % [{sharpe_range[0]:.2f}, {sharpe_range[1]:.2f}]"
    table.add_row("final equity", _money(report["final_equity"]))
    table.add_row("buy-and-hold", _money(report["buy_and_hold_equity"]))
    growth, costs = report["growth_difference_ci"], report["costs"]["total"]
    if growth is not None:
        table.add_row(
            "against buy-and-hold",
            f"{report['growth_difference']:+.1%} a year (log)  "
            f"95 % [{growth[0]:+.1%}, {growth[1]:+.1%}]",
        )
    if costs is not None and report["fills"]:
        table.add_row(
            "trading costs",
            f"{_money(costs['amount'])}, {costs['bps_of_notional']:.2f} basis points of notional",
        )
    table.add_row("Sharpe ratio", _figure(report["sharpe"]) + span)
    table.add_row("max drawdown", _figure(report["max_drawdown"], 1, percent=True))
    table.add_row(
        "Brier loss",
        f"pool {_figure(report['pool_brier'], 4)}, equal weights "
        f"{_figure(report['equal_weight_brier'], 4)}, knowing nothing {UNIFORM_BRIER:.4f}",
    )
    table.add_row(
        "decisions",
        f"{report['decisions']:,} on {report['dates']:,} dates, {report['orders']:,} orders, "
        f"{report['fills']:,} fills",
    )
    table.add_row("denied", Text(_counts(report["denied"], "none")))
    if result is not None:
        reasons = Counter(row.reason for row in result.quarantined)
        table.add_row("quarantined rows", Text(_counts(reasons, "none")))
        if result.late_votes:
            table.add_row("late votes", f"{result.late_votes:,}")
    table.add_row(
        "run",
        f"{_figure(report['wall_seconds'], 1)} s, {_figure(report['bars_per_second'], 0)} bars/s, "
        f"{_figure(report['pss_mb'], 0)} MB",
    )
    return table


def _agents(report: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("agent", no_wrap=True)
    for name in ("votes", "abstentions", "Brier loss", "weight"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, agent in report["agents"].items():
        table.add_row(
            Text(name.replace("_", " ")),
            f"{agent['votes']:,}",
            f"{agent['abstentions']:,}",
            _figure(agent["brier"], 4),
            _figure(agent["weight"], 1, percent=True),
        )
    return table


def summary_table(
    report: Mapping[str, Any],
    result: SessionResult | None = None,
    analysis: Analysis | None = None,
) -> RenderableType:
    """What a person reads at the end of a run; with ``result`` the verdict stands above it.

    ``analysis`` is ``analyse(result)`` where it is at hand.
    """
    parts: list[RenderableType] = []
    if result is not None:
        found = analyse(result) if analysis is None else analysis
        sentences = verdict(
            result, found.account, found.benchmark, found.scores, found.difference.growth
        )
        for i, sentence in enumerate(sentences):
            alarm = i == 1 and result.halted_at is not None
            parts.append(Text(sentence, style="bold red" if alarm else "bold" if i == 0 else ""))
        parts.append(Text(""))
    parts += [_figures(report, result), _agents(report)]
    parts.append(Text.assemble(("report   ", "dim"), report["report"], overflow="fold"))
    parts.append(Text.assemble(("session  ", "dim"), report["session_id"], overflow="fold"))
    return Group(*parts)
