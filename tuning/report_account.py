"""The account in a session report: equity, ratios, the difference to buy-and-hold, costs."""

from __future__ import annotations

import math
from html import escape

from tuning import report_charts as charts
from tuning import report_tables as tables
from tuning.analysis import Analysis
from tuning.bootstrap import BenchmarkDifference
from tuning.cost_breakdown import LINES, Costs
from tuning.report_parts import chart
from tuning.report_text import MISSING, amount, interval, number, percent, plural
from tuning.session_result import SessionResult

COST_NAMES = {
    "commission": ("Commission", "the fees of the fills"),
    "half_spread": ("Half spread", "from the middle to the quote that was taken"),
    "slippage": ("Slippage", "declared, for what moves between decision and fill"),
    "impact": ("Market impact", "square root of the share of the bar's volume"),
    "rounding": ("Rounding", "the price moves by whole ticks"),
    "total": ("Total", ""),
}


def account_section(result: SessionResult, found: Analysis) -> str:
    """Equity chart, ratios and the difference to buy-and-hold; '' when nothing was traded."""
    if found.account.periods == 0:
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
        for name, x in (("Committee", found.account), ("Buy-and-hold", found.benchmark))
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
        + chart(charts.equity_chart(result), "equity")
        + tables.table(heads, rows, left=1)
        + _difference(found.difference)
    )


def _difference(difference: BenchmarkDifference) -> str:
    growth, sharpe = difference.growth, difference.sharpe
    if math.isnan(growth.low):
        return ""
    rows = (
        (
            "Log growth per year",
            percent(growth.value, 2, True),
            f"{percent(growth.low, 2, True)} to {percent(growth.high, 2, True)}",
            percent(growth.below_zero),
        ),
        (
            "Sharpe ratio",
            number(sharpe.value, 2, True),
            MISSING
            if math.isnan(sharpe.low)
            else f"{number(sharpe.low, 2, True)} to {number(sharpe.high, 2, True)}",
            percent(sharpe.below_zero),
        ),
    )
    spans = {
        "daily": "daily returns (equity at the end of each UTC day)",
        "per round": "returns, one a round,",
    }.get(difference.sampling, f"returns of {difference.sampling}")
    return (
        "<h3>Committee minus buy-and-hold</h3>"
        f'<p class="note">Both accounts resampled together, {difference.returns:,} {spans} in '
        f"blocks of {number(difference.block, 1)} on average, so that luck common to both "
        "cancels.</p>"
        + tables.table(("", "Difference", "95 % interval", "Resamples at or below 0"), rows, left=1)
    )


def costs_section(costs: Costs, currency: str) -> str:
    """What trading cost, line by line; '' without fills."""
    if not costs.fills:
        return ""
    head = f"<h2>What trading cost</h2><p>{_cost_sentence(costs, currency)}</p>"
    if costs.total is None:
        return head
    top = max((abs(a) for name in LINES if (a := costs.line(name)) is not None), default=0)
    rows = []
    for name in (*LINES, "total"):
        title, why = COST_NAMES[name]
        paid = costs.line(name)
        width = 0.0 if paid is None or not top or name == "total" else float(abs(paid) / top)
        kind = "cost" if paid is None or paid > 0 else "gain"
        bar = (
            f'<span class="bar {kind}" style="width:{100.0 * width:.2f}%"></span>' if width else ""
        )
        rows.append(
            (
                title,
                tables.Raw(f'<td class="l wrap">{escape(why)}</td>'),
                MISSING if paid is None else amount(paid, currency),
                number(costs.basis_points(name)),
                percent(costs.share_of_gross(name)),
                tables.Raw(f'<td class="track">{bar}</td>'),
            )
        )
    heads = ("", "", "Paid", "Basis points of notional", "Share of gross profit", "")
    return f"<h2>What trading cost</h2><p>{_cost_sentence(costs, currency)}</p>" + tables.table(
        heads, rows, left=2, total=True
    )


def _cost_sentence(costs: Costs, currency: str) -> str:
    turnover = f"{plural(costs.fills, 'fill')} over {amount(costs.notional, currency)} of notional"
    if costs.total is None or costs.gross_profit is None:
        fees = amount(costs.commission, currency)
        return f"{turnover} paid {fees} in fees. What their prices cost is not known."
    text = (
        f"{turnover} cost {amount(costs.total, currency)}, measured from the open of the bar that "
        f"filled each: {number(costs.basis_points('total'))} basis points. "
    )
    earned = amount(costs.gross_profit, currency)
    if costs.gross_profit > 0:
        share = percent(costs.share_of_gross("total"))
        return text + f"That is {share} of the {earned} that it earned before costs."
    return text + f"Before costs the account made {earned}: no profit to pay them from."
