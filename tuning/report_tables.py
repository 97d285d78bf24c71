"""The tables of a session report, as HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from html import escape

import numpy as np

from actors.checks import MEANING, Code
from tuning.report_charts import agent_color, title
from tuning.report_text import amount, day, moment, number, percent, words
from tuning.scoring import Scores
from tuning.session_result import CODES, REFUSED, VERDICTS, FillRow, OrderRow, SessionResult

MAX_ROWS = 40


class Raw(str):
    """A cell that is HTML already; every other cell is escaped."""


def table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], left: int, total: bool = False
) -> str:
    """An HTML table whose first ``left`` columns are text; ``total`` sets off the last row."""

    def cells(row: Sequence[str], tag: str) -> str:
        out = []
        for i, cell in enumerate(row):
            text = cell if isinstance(cell, Raw) else escape(cell)
            kind = ' class="l"' if i < left else ""
            out.append(text if text.startswith(("<td", "<th")) else f"<{tag}{kind}>{text}</{tag}>")
        return "".join(out)

    body = [cells(row, "td") for row in rows]
    lines = [
        f'<tr class="total">{row}</tr>' if total and i == len(body) - 1 else f"<tr>{row}</tr>"
        for i, row in enumerate(body)
    ]
    return (
        f'<div class="panel"><table><thead><tr>{cells(heads, "th")}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def meaning(code: str) -> str:
    """The one-line meaning of a reason code, '' for one that this version does not know."""
    return MEANING[Code[code]] if code in Code.__members__ else ""


def _why(code: str) -> str:
    return "" if code == "NONE" else meaning(code)


def agents(scores: Scores) -> str:
    """Agents: what became of their votes, Brier loss beside the pool's, weight."""
    rows = []
    for j, agent in enumerate(scores.agents):
        reasons = ", ".join(f"{words(r)} {n:,}" for r, n in agent.abstained_for.items())
        rows.append(
            (
                Raw(
                    f'<span class="dot" style="background:{agent_color(j)}"></span>'
                    f"{escape(title(agent.name))}"
                ),
                f"{agent.votes:,}",
                f"{agent.abstentions:,}",
                f"{agent.late:,}",
                f"{agent.failed:,}",
                number(agent.brier, 4),
                number(agent.pool_brier, 4),
                percent(agent.weight),
                Raw(f'<td class="l wrap">{escape(reasons)}</td>'),
            )
        )
    heads = (
        "Agent",
        "Votes",
        "Abstained",
        "Late",
        "Failed",
        "Brier loss",
        "Pool, same decisions",
        "Weight at the end",
        Raw('<th class="l">Abstained for</th>'),
    )
    return table(heads, rows, left=1)


def verdicts(result: SessionResult) -> str:
    """Verdicts of the traded period by reason code, with bars."""
    traded = result.in_traded_period()
    both = result.verdicts[traded].astype(np.int64) * len(CODES) + result.codes[traded]
    counts = {
        (VERDICTS[pair // len(CODES)], CODES[pair % len(CODES)]): count
        for pair, count in enumerate(np.bincount(both).tolist())
        if count
    }
    total, top = sum(counts.values()), max(counts.values(), default=1)
    order = {name: i for i, name in enumerate(VERDICTS)}
    rows = []
    for (name, code), count in sorted(counts.items(), key=lambda x: (order[x[0][0]], -x[1])):
        bar = f'<span class="bar {name}" style="width:{100.0 * count / top:.2f}%"></span>'
        rows.append(
            (
                Raw(f'<span class="chip {name}">{words(name)}</span>'),
                Raw(f"<code>{escape(code)}</code>" if code != "NONE" else ""),
                Raw(f'<td class="l wrap">{escape(_why(code))}</td>'),
                f"{count:,}",
                percent(count / total),
                Raw(f'<td class="track">{bar}</td>'),
            )
        )
    return table(("Verdict", "Reason", "Meaning", "Decisions", "Share", ""), rows, left=3)


def fills(result: SessionResult) -> str:
    """Fills per symbol with a total; money after quantisation, fees apart."""
    own: dict[str, list[FillRow]] = {symbol: [] for symbol in result.symbols}
    for fill in result.fills:
        own[fill.symbol].append(fill)
    sums = {symbol: _sums(rows) for symbol, rows in own.items()}
    rows = [
        _fill_row(result, symbol, sums[symbol], f"{sum(f.side * f.lots for f in own[symbol]):,}")
        for symbol in result.symbols
    ]
    rows.append(_fill_row(result, "All", _sums(result.fills), ""))
    heads = ("Symbol", "Buys", "Sells", "Bought for", "Sold for", "Fees", "Lots held at the end")
    return table(heads, rows, left=1, total=True)


Sums = tuple[int, int, Decimal, Decimal, Decimal]  # buys, sells, bought, sold, fees


def _sums(fills: Sequence[FillRow]) -> Sums:
    buys = [fill.notional for fill in fills if fill.side > 0]
    sells = [fill.notional for fill in fills if fill.side < 0]
    zero = Decimal(0)
    fees = sum((fill.fee for fill in fills), zero)
    return len(buys), len(sells), sum(buys, zero), sum(sells, zero), fees


def _fill_row(
    result: SessionResult,
    name: str,
    sums: Sums,
    held: str,
) -> tuple[str, ...]:
    buys, sells, *amounts = sums
    return (name, f"{buys:,}", f"{sells:,}", *(amount(a, result.currency) for a in amounts), held)


def orders(rows: Sequence[OrderRow]) -> str:
    """Single orders, the first MAX_ROWS of them, with their codes."""
    shown = [
        (
            moment(row.ts),
            row.symbol,
            "buy" if row.side > 0 else "sell",
            row.origin,
            words(row.status),
            row.code if row.code != "NONE" else "",
            Raw(f'<td class="l wrap">{escape(_why(row.code))}</td>'),
            f"{row.lots:,}",
        )
        for row in rows[:MAX_ROWS]
    ]
    heads = ("Time, UTC", "Symbol", "Side", "Origin", "Status", "Reason", "Meaning", "Lots")
    more = len(rows) - len(shown)
    tail = f'<p class="note">and {more:,} more, all in the journal.</p>' if more else ""
    return table(heads, shown, left=7) + tail


def refusals(rows: Sequence[OrderRow]) -> str:
    """Orders that their order transaction refused, by reason."""
    counts = Counter(row.code for row in rows if row.status == REFUSED)
    return table(
        ("Reason", "Meaning", "Orders"),
        [
            (
                Raw(f"<code>{escape(code)}</code>"),
                Raw(f'<td class="l wrap">{escape(meaning(code))}</td>'),
                f"{count:,}",
            )
            for code, count in counts.most_common()
        ],
        left=2,
    )


def quarantined(result: SessionResult) -> str:
    """Rows stopped at the door, by reason and symbol."""
    counts = Counter((row.reason, row.symbol) for row in result.quarantined)
    first = {(row.reason, row.symbol): row.ts for row in reversed(result.quarantined)}
    return table(
        ("Reason", "Symbol", "First", "Rows"),
        [
            (Raw(f"<code>{escape(reason)}</code>"), symbol, first[(reason, symbol)], f"{count:,}")
            for (reason, symbol), count in counts.most_common()
        ],
        left=3,
    )


def epochs(result: SessionResult) -> str:
    """Starts of the gate."""
    return table(
        ("Epoch", "From", "Cause"),
        [(f"{row.epoch:,}", day(row.ts), row.cause) for row in result.epochs],
        left=3,
    )
