"""The closing summary says what the report dict says."""

from __future__ import annotations

import io
from dataclasses import replace
from decimal import Decimal

import pytest
from rich.cells import cell_len
from rich.console import Console
from session_results import DAY, START, session

from cluster.summary import summary_table
from tuning.report import report_json


def drawn(result, with_result=True, width=80, **changes):
    report = {**report_json(result, "out/report.html"), **changes}
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(summary_table(report, result if with_result else None))
    return console.export_text()


def test_figures_verdict_and_paths():
    text = drawn(session())
    lines = text.splitlines()
    assert lines[0].startswith("The committee lost to buy-and-hold after costs: $1,012,345.67")
    assert max(map(cell_len, lines)) <= 80
    for expected in (
        "1,012,345.67",
        "1,100,000.00",
        "240 on 120 dates, 2 orders, 2 fills",
        "warming up 60, cash 1",
        "nan 1",
        "4.0 s, 60 bars/s, 1,500 MB",
        "out/report.html",
        "session-<1>",
    ):
        assert expected in text, expected


def test_the_silent_agent_has_a_dash_for_its_score():
    row = next(line for line in drawn(session()).splitlines() if "financial sentiment" in line)
    assert row.split()[2:] == ["0", "180", "–", "20.0%"]


def test_a_halt_is_told():
    text = drawn(session(halted_at=START + 50 * DAY, halt_reason="drawdown"))
    assert "Trading was HALTED on 2001-02-21 (drawdown)" in text


def test_without_the_result_the_dict_is_enough():
    text = drawn(session(), with_result=False)
    assert "1,012,345.67" in text
    assert "quarantined" not in text


@pytest.mark.parametrize("missing", ["sharpe", "max_drawdown", "pool_brier", "pss_mb"])
def test_an_undefined_figure_is_a_dash(missing):
    changed = drawn(session(), **{missing: None})
    assert changed.count("–") == drawn(session()).count("–") + 1


def test_the_difference_and_the_costs_are_told_where_they_are_known():
    known = [replace(f, reference=f.price - f.side * Decimal("0.01")) for f in session().fills]
    text = drawn(session(fills=tuple(known)), with_result=False)
    assert "against buy-and-hold" in text
    assert "% a year (log)  95 % [" in text
    assert "trading costs         3.65, 25.00 basis points of notional" in text
    silent = drawn(session(), with_result=False, growth_difference_ci=None)
    assert "against buy-and-hold" not in silent
    assert "trading costs" not in silent
