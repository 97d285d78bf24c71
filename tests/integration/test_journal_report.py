"""A real session in its database, read back: costs to the tick, and the report made of it."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from support import (
    GateInProcess,
    limits,
    migrated,
    open_gate,
    open_session,
    random_bars,
    run_session,
    save_models,
)

from actors.checks import Code, Verdict
from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from data.money import from_micro
from data.records import SessionConfig
from tuning.cost_breakdown import LINES, cost_breakdown
from tuning.journal_reader import read_session
from tuning.report import report_json, write_report
from tuning.session_result import SessionResult

pytestmark = pytest.mark.integration

WARM, LENGTH = 150, 175
BARS = random_bars(LENGTH)


@pytest.fixture(scope="module")
def finished(
    postgres: EmbeddedPostgres, home: Home
) -> Iterator[tuple[SessionConfig, SessionResult, list[tuple[int, ...]]]]:
    """The configuration, what the journal tells, and the fill table beside it."""
    stamps = np.unique(BARS["ts"]).tolist()
    with migrated(postgres, home) as house:
        config = open_session(
            house,
            risk=limits(min_weight_share=0.2),
            models=save_models(house),
            first_traded=stamps[WARM],
        )
        run_session(house, config, BARS, GateInProcess(open_gate(house)))
        with house.connect() as link:
            result = read_session(link, config)
            table = link.execute("SELECT count(*), sum(lots), sum(fee_micro) FROM fill").fetchall()
        yield config, result, table


def test_every_fill_meets_the_open_of_its_bar_and_splits_to_the_tick(finished) -> None:
    config, result, table = finished
    assert len(result.fills) == table[0][0] > 5
    tick = Decimal(config.tick)
    opens = {
        (int(bar["ts"]), config.symbols[bar["symbol"]]): int(bar["open"]) * tick for bar in BARS
    }
    for fill in result.fills:
        assert fill.reference == opens[fill.ts, fill.symbol]
        assert fill.lot * tick == from_micro(config.micro_per_tick)
        terms = fill.half_spread + fill.slippage + fill.impact
        assert abs(fill.price_cost - terms) <= fill.lots * fill.lot * tick / 2 + Decimal("2e-6")
        assert fill.impact > 0


def test_costs_are_the_difference_to_trading_at_the_open(finished) -> None:
    """Equity in the journal, against the same lots bought and sold at the opens without fees."""
    config, result, table = finished
    costs = cost_breakdown(result)
    assert sum(costs.line(name) for name in LINES) == costs.total > 0
    assert costs.commission == from_micro(int(table[0][2]))
    marks = {symbol: Decimal(0) for symbol in config.symbols}
    for bar in BARS:
        marks[config.symbols[bar["symbol"]]] = int(bar["close"]) * Decimal(config.tick)
    free = sum(
        fill.side * fill.lots * fill.lot * (marks[fill.symbol] - fill.reference)
        for fill in result.fills
    )
    assert costs.gross_profit == free


def test_the_report_of_a_journal(finished, tmp_path: Path) -> None:
    _, result, _ = finished
    assert set(result.verdict_names) <= {verdict.name.lower() for verdict in Verdict}
    assert set(result.code_names) <= {code.name for code in Code}
    report = report_json(result, "r")
    assert Decimal(report["costs"]["total"]["amount"]) == cost_breakdown(result).total
    write_report(result, tmp_path / "r.html")
    assert "What trading cost" in (tmp_path / "r.html").read_text(encoding="utf-8")
