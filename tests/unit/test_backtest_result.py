"""What a backtest gives, as tables: the arrays' numbers under names."""

from __future__ import annotations

import numpy as np
import pytest
from loop_support import DAY, FREE, LIMITS, a_case, made_bars, whole_bars

from actors.checks import Code
from actors.limits import RiskLimits
from tuning.backtesting import BacktestParams, backtest


def test_tables_show_the_arrays() -> None:
    case = a_case(made_bars(4, 300, 3))
    result, tables = case.run(), case.run().tables()
    assert set(tables) == {"equity", "orders", "fills", "decisions"}
    assert tables["equity"]["equity"].to_list() == (result.equity_micro / 1e6).tolist()
    assert tables["equity"]["ts"].cast(int).to_list() == result.ts.tolist()
    orders = tables["orders"]
    assert orders["lots"].to_list() == result.orders["lots"].tolist()
    assert set(orders["status"]) <= {"open", "filled", "expired", "cancelled", "refused"}
    first = orders.row(0, named=True)
    assert first["symbol"] == case.params.symbols[result.orders["symbol"][0]]
    assert first["code"] == Code(result.orders["code"][0]).name
    assert first["limit"] == pytest.approx(result.orders["limit_ticks"][0] * 1e-4)
    fills = tables["fills"]
    assert fills["price"].to_numpy() == pytest.approx(result.fills["price_ticks"] * 1e-4)
    assert fills["fee"].to_numpy() == pytest.approx(result.fills["fee_micro"] / 1e6)
    decisions = tables["decisions"]
    assert decisions["p_up"].to_list() == result.kept.p[:, 2].tolist()
    assert decisions["code"].to_list() == result.kept.code.tolist()
    pandas = result.to_pandas()
    assert {name: len(frame) for name, frame in pandas.items()} == {
        name: len(frame) for name, frame in tables.items()
    }
    assert pandas["orders"]["side"].tolist() == result.orders["side"].tolist()


def test_tables_of_a_run_in_which_nothing_happened() -> None:
    result = backtest(
        whole_bars(5),
        BacktestParams(symbols=("A", "B"), keep=(), keep_equity=False),
        RiskLimits(),
        FREE,
    )
    tables = result.tables()
    assert {name: len(frame) for name, frame in tables.items()} == {
        "equity": 5,
        "orders": 0,
        "fills": 0,
    }
    assert tables["equity"].columns == ["ts"]
    assert len(result.to_pandas()["orders"]) == 0


def test_the_halt_and_the_last_equity() -> None:
    case = a_case(made_bars(5, 340, 3), LIMITS["small drawdown"])
    result = case.run()
    assert result.final_equity_micro == result.equity_micro[-1]
    assert result.halted_at in result.ts
    operators = result.orders[result.orders["origin"] == 1]
    assert operators["ts"].min() == result.halted_at
    calm = a_case(whole_bars(30)).run()
    assert calm.halted_at is None
    assert np.diff(calm.ts).tolist() == [DAY] * 29
