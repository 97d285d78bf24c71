"""The report: its verdict, its figures, and that it needs nothing from outside."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from decimal import Decimal
from html.parser import HTMLParser

import numpy as np
import pytest
from session_results import DAY, ROUNDS, START, WARM_UP, session

from tuning.analysis import analyse
from tuning.performance import account_performance, drawdown_line
from tuning.report import report_json, write_report
from tuning.report_charts import MAX_POINTS, dates, thin
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
    "growth_difference",
    "growth_difference_ci",
    "growth_difference_p",
    "sharpe_difference",
    "sharpe_difference_ci",
    "sharpe_difference_p",
    "calibration",
    "costs",
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
    assert html.count("Plotly.newPlot(") == 4
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
        "sharpe_difference",
        "sharpe_difference_ci",
        "calibration",
        "wall_seconds",
        "bars_per_second",
        "pss_mb",
    ):
        assert report[key] is None, key
    assert report["max_drawdown"] == 0.0
    _, page = read(flat, tmp_path)
    assert "it made no trade" in page.texts[0]
    assert "less than buy-and-hold" in page.texts[1]
    assert "Its Sharpe ratio is undefined" in page.texts[2]
    assert page.texts[3] == "No forecast could be scored."


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


def test_thin_keeps_the_peak_and_the_fall_of_every_stretch_of_every_line():
    rng = np.random.default_rng(1)
    lines = rng.normal(size=(3, 100_003)).cumsum(axis=1)
    lines[2, 40_000:60_000] = np.nan
    keep = thin(*lines)
    assert len(keep) <= MAX_POINTS + 2
    width = -(-100_003 // (MAX_POINTS // 6))  # two points a line and stretch
    for line in lines[:2]:
        for begin in range(0, 100_003, width):
            inside = keep[(keep >= begin) & (keep < begin + width)]
            assert np.ptp(line[inside]) == np.ptp(line[begin : begin + width])
    assert np.nanmax(lines[2]) == np.nanmax(lines[2][keep])


def test_dates_are_as_short_as_the_times_allow():
    day, minute = 86_400_000_000_000, 60_000_000_000
    at = START - START % day
    assert dates(np.array([at, at + day])) == ["2001-01-02", "2001-01-03"]
    assert dates(np.array([at, at + minute]))[1] == "2001-01-02T00:01"
    assert dates(np.array([at, at + 10**9]))[1] == "2001-01-02T00:00:01"
    assert dates(np.array([at, at + 10**6]))[1] == "2001-01-02T00:00:00.001"


def test_the_difference_stands_in_the_verdict_the_cards_and_the_table(tmp_path):
    result = session()
    found = analyse(result)
    _, page = read(result, tmp_path)
    growth = found.difference.growth
    assert page.texts[1].startswith(f"It grew {percent(abs(growth.value), 2)} a year ")
    assert page.texts[1].endswith("chance alone could explain that.")
    text = "\n".join(page.texts)
    assert "Committee minus buy-and-hold" in text
    assert percent(growth.value, 2, True) in text
    report = report_json(result, "r", found)
    assert report["growth_difference_ci"] == [growth.low, growth.high]
    assert report["sharpe_difference_p"] == found.difference.sharpe.below_zero
    ours, theirs = result.equity_micro[WARM_UP - 1 :], result.buy_and_hold_micro[WARM_UP - 1 :]
    logs = np.log(ours[-1] / ours[0]) - np.log(theirs[-1] / theirs[0])
    assert report["growth_difference"] == pytest.approx(logs * 252 / 90)


def test_a_sure_loss_is_called_more_than_chance(tmp_path):
    result = session()
    result.equity_micro[WARM_UP:] = result.buy_and_hold_micro[WARM_UP:] * (
        1 - 0.002 * np.arange(1, 91)
    )
    _, page = read(result, tmp_path)
    assert page.texts[1].endswith("more than chance alone would explain.")


def test_calibration_in_page_and_json(tmp_path):
    result = session()
    report = report_json(result, "r")
    text = "\n".join(read(result, tmp_path)[1].texts)
    assert "Did the probabilities mean what they said?" in text
    assert f"Of the pool's Brier loss of {report['pool_brier']:.4f}" in text
    parts = report["calibration"]
    assert parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts[
        "within_variance"
    ] - parts["within_covariance"] == pytest.approx(report["pool_brier"], rel=1e-12)
    assert list(parts["bins"]) == ["down", "flat", "up"]
    assert sum(row["count"] for row in parts["bins"]["up"]) == parts["scored"] == 170


def test_costs_in_page_and_json(tmp_path):
    known = [
        replace(fill, reference=fill.price - fill.side * Decimal("0.0101"), half_spread=Decimal(1))
        for fill in session().fills
    ]
    split = [replace(fill, slippage=Decimal(0), impact=Decimal("0.2")) for fill in known]
    result = session(fills=tuple(split))
    costs = report_json(result, "r")["costs"]
    assert Decimal(costs["total"]["amount"]) == Decimal("2.25") + Decimal("0.0101") * 140
    assert Decimal(costs["rounding"]["amount"]) == Decimal("1.414") - Decimal("2.4")
    assert costs["total"]["bps_of_notional"] == pytest.approx(3.664 / 1460.01 * 1e4)
    text = "\n".join(read(result, tmp_path)[1].texts)
    for expected in ("What trading cost", "$3.66", "Half spread", "$2.00", "25.10", "−$0.99"):
        assert expected in text, expected
    unknown = report_json(session(), "r")["costs"]
    assert unknown["commission"]["amount"] == "2.25"
    assert unknown["total"] is None
    assert "What their prices cost is not known" in "\n".join(read(session(), tmp_path)[1].texts)


def test_figures_for_people():
    assert cash(-1_234_567_890_000, "USD") == "−$1,234,567.89"
    assert cash(5_000, "CHF") == "CHF 0.00"
    assert (percent(0.12345), percent(-0.5, 0), percent(float("nan"))) == ("12.3 %", "−50 %", "–")
    assert (number(-0.0001), number(1234.5, 1), number(0.5, 1, True)) == ("0.00", "1,234.5", "+0.5")
    assert (plural(1, "order"), plural(2000, "order")) == ("1 order", "2,000 orders")
