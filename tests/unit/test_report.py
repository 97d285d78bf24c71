"""The report: its verdict, its figures, and that it needs nothing from outside."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from html.parser import HTMLParser

import numpy as np
import pytest
from session_results import DAY, ROUNDS, START, WARM_UP, session

from tuning.performance import account_performance, drawdown_line
from tuning.report import report_json, write_report
from tuning.report_charts import MAX_POINTS, thin
from tuning.report_text import cash, number, percent, plural
from tuning.scoring import score
from tuning.session_result import REFUSED

KEYS = [
    "session_id",
    "bars",
    "dates",
    "decisions",
    "orders",
    "fills",
    "denied",
    "final_equity",
    "buy_and_hold_equity",
    "sharpe",
    "sharpe_ci",
    "max_drawdown",
    "pool_brier",
    "equal_weight_brier",
    "agents",
    "wall_seconds",
    "bars_per_second",
    "pss_mb",
    "report",
]


class Page(HTMLParser):
    """Visible text in order, and every attribute that could load something."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.loads: list[tuple[str, str]] = []
        self._hidden = 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self._hidden += tag in ("script", "style", "title")
        self.loads += [(tag, v) for k, v in attrs if k in ("src", "href", "srcset", "data")]

    def handle_endtag(self, tag):
        self._hidden -= tag in ("script", "style", "title")

    def handle_data(self, data):
        if not self._hidden and data.strip():
            self.texts.append(data.strip())


def read(result, tmp_path):
    path = tmp_path / "made" / "report.html"
    write_report(result, path)
    html = path.read_text(encoding="utf-8")
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    return html, Page(html)


def test_first_line_says_that_the_committee_lost_with_both_figures(tmp_path):
    _, page = read(session(), tmp_path)
    assert page.texts[0] == (
        "The committee lost to buy-and-hold after costs: $1,012,345.67 against $1,100,000.00."
    )


def test_first_line_of_a_win_and_of_a_tie(tmp_path):
    result = session()
    result.buy_and_hold_micro[-1] = 1_000_000_000_000
    assert "beat buy-and-hold after costs" in read(result, tmp_path)[1].texts[0]
    result.buy_and_hold_micro[-1] = result.equity_micro[-1]
    assert "level with buy-and-hold" in read(result, tmp_path)[1].texts[0]


def test_a_halt_stands_second_with_its_date(tmp_path):
    halted = session(halted_at=START + 50 * DAY, halt_reason="drawdown 26 % of 25 %")
    _, page = read(halted, tmp_path)
    assert "lost to buy-and-hold" in page.texts[0]
    assert page.texts[1].startswith("Trading was HALTED on 2001-02-21 (drawdown 26 % of 25 %)")


def test_the_page_loads_nothing_and_carries_plotly_once(tmp_path):
    html, page = read(session(), tmp_path)
    assert page.loads == []
    assert "default-src 'none'" in html
    assert len(re.findall(r"\* plotly\.js v", html)) == 1
    assert html.count("Plotly.newPlot(") == 3
    assert not re.search(r"@import|url\(\s*['\"]?https?:", html.split("<script>")[0])


def test_text_from_the_journal_is_escaped(tmp_path):
    result = session(notes=("<script>alert(1)</script>",), account="<b>")
    html, page = read(result, tmp_path)
    assert "<script>alert(1)" not in html
    assert "<script>alert(1)</script>" in page.texts
    assert "session-<1>" in page.texts


def test_tables_show_reasons_fills_and_quarantine(tmp_path):
    _, page = read(session(), tmp_path)
    text = "\n".join(page.texts)
    for expected in ("NO_EDGE", "CASH", "NAN", "$1,000.01", "$460.00", "$2.25", "no news 180"):
        assert expected in text, expected
    assert "1 order refused by the order transaction" in text
    assert "does not pay for the round trip" in text


def test_json_has_exactly_the_agreed_keys_and_survives_json():
    report = report_json(session(), "out/report.html")
    assert list(report) == KEYS
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_json_figures():
    result = session()
    report = report_json(result, "out/report.html")
    assert Decimal(report["final_equity"]) == Decimal("1012345.67")
    assert report["final_equity"] == "1012345.670000"
    assert report["buy_and_hold_equity"] == "1100000.000000"
    assert (report["bars"], report["dates"], report["decisions"]) == (240, ROUNDS, 240)
    assert (report["orders"], report["fills"]) == (2, 2)
    assert report["denied"] == {"CASH": 1, "WARMING_UP": 2 * WARM_UP}
    assert report["bars_per_second"] == 60.0
    assert report["report"] == "out/report.html"
    returns = result.equity_micro[WARM_UP - 1 :].astype(float)
    returns = returns[1:] / returns[:-1] - 1
    expected = returns.mean() / returns.std(ddof=1) * 252**0.5
    assert report["sharpe"] == pytest.approx(expected)
    assert report["sharpe_ci"][0] < expected < report["sharpe_ci"][1]
    assert report["max_drawdown"] == pytest.approx(
        drawdown_line(result.equity_micro[WARM_UP - 1 :]).min()
    )
    agents = report["agents"]
    assert list(agents) == ["trend_momentum", "financial_sentiment"]
    assert agents["trend_momentum"] == {
        "votes": 180,
        "abstentions": 0,
        "brier": score(result).agents[0].brier,
        "weight": 0.3,
    }
    assert agents["financial_sentiment"]["brier"] is None


def test_undefined_figures_are_null_and_still_make_a_page(tmp_path):
    flat = session(wall_seconds=float("nan"), pss_mb=float("nan"), orders=(), fills=())
    flat.equity_micro[:] = 10**12
    flat.d_status[:] = 1
    flat.d_reason[:] = 3
    report = report_json(flat, "r.html")
    for key in (
        "sharpe",
        "sharpe_ci",
        "pool_brier",
        "equal_weight_brier",
        "wall_seconds",
        "bars_per_second",
        "pss_mb",
    ):
        assert report[key] is None, key
    assert report["max_drawdown"] == 0.0
    _, page = read(flat, tmp_path)
    assert "it made no trade" in page.texts[0]
    assert "Its Sharpe ratio is undefined" in page.texts[1]
    assert page.texts[2] == "No forecast could be scored."


def test_an_account_worth_nothing_has_no_ratios_and_says_so(tmp_path):
    ruined = session()
    ruined.equity_micro[60:] = -1_000_000
    report = report_json(ruined, "r.html")
    assert report["final_equity"] == "-1.000000"
    assert report["sharpe"] is None
    assert report["max_drawdown"] is None
    assert "−$1.00" in read(ruined, tmp_path)[1].texts[0]


def test_a_session_that_ended_in_its_warm_up(tmp_path):
    short = session(first_traded=START + 1000 * DAY, orders=(), fills=())
    _, page = read(short, tmp_path)
    assert page.texts[0].startswith("Nothing was traded")
    assert report_json(short, "r.html")["sharpe"] is None


def test_the_same_session_gives_the_same_bytes(tmp_path):
    first, _ = read(session(), tmp_path / "a")
    second, _ = read(session(), tmp_path / "b")
    assert first == second


def test_a_report_that_cannot_be_written_leaves_nothing(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(OSError, match="file"):
        write_report(session(), blocked / "report.html")
    assert list(tmp_path.iterdir()) == [blocked]


def test_orders_refused_are_not_orders():
    result = session()
    refused = [row for row in result.orders if row.status == REFUSED]
    assert len(refused) == 1
    assert report_json(result, "r")["orders"] == len(result.orders) - 1


def test_performance_of_the_traded_period_by_hand():
    result = session()
    result.equity_micro[:] = 10**12
    result.equity_micro[60:] = 800_000_000_000
    figures = account_performance(result)
    assert figures.periods == ROUNDS - WARM_UP == 90
    assert figures.gain == pytest.approx(-0.2)
    assert figures.max_drawdown == pytest.approx(-0.2)
    assert figures.cagr == pytest.approx(0.8 ** (252 / 90) - 1)


def test_thin_keeps_ends_and_extremes():
    line = np.sin(np.arange(50_000) / 900.0)
    line[12_345], line[40_001] = 9.0, -9.0
    keep = thin(line)
    assert len(keep) <= MAX_POINTS + 2
    assert {0, 12_345, 40_001, 49_999} <= set(keep.tolist())
    assert (np.diff(keep) > 0).all()


def test_figures_for_people():
    assert cash(-1_234_567_890_000, "USD") == "−$1,234,567.89"
    assert cash(5_000, "CHF") == "CHF 0.00"
    assert (percent(0.12345), percent(-0.5, 0), percent(float("nan"))) == ("12.3 %", "−50 %", "–")
    assert (number(-0.0001), number(1234.5, 1), number(0.5, 1, True)) == ("0.00", "1,234.5", "+0.5")
    assert (plural(1, "order"), plural(2000, "order")) == ("1 order", "2,000 orders")
