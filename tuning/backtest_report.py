"""A backtest in the form that scoring and reports take: the same report as a session's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from actors.checks import Code
from actors.costs import CostModel
from actors.registry import AGENTS
from data.bars import Bars
from data.money import from_micro, from_ticks
from tuning.backtest_result import Result
from tuning.benchmark import RULE, buy_and_hold
from tuning.cost_breakdown import with_split
from tuning.loop_state import OPERATOR_ORDER, ORIGINS, STATUSES
from tuning.loop_state import REFUSED as REFUSED_STATUS
from tuning.session_result import REFUSED, FillRow, OrderRow, QuarantinedRow, SessionResult

# What ``BacktestParams.keep`` needs for a report.
REPORTED = ("orders", "weights", "decisions", "votes")
HALT_REASON = "MAX_DRAWDOWN"


def session_result(
    result: Result,
    bars: Bars,
    costs: CostModel,
    *,
    name: str,
    tick: Decimal,
    lot: Decimal,
    currency: str,
    bars_per_year: float,
    quarantined: Sequence[QuarantinedRow] = (),
    wall_seconds: float = math.nan,
    notes: tuple[str, ...] = (),
) -> SessionResult:
    """The backtest as a finished session. ValueError when it kept less than REPORTED."""
    missing = [what for what in REPORTED if what not in result.params.keep]
    if missing:
        raise ValueError(f"a report needs keep={REPORTED}: {', '.join(missing)} was not kept")
    params, kept = result.params, result.kept
    _, held = buy_and_hold(
        bars, params.first_traded, params.opening_micro, params.micro_per_tick, costs
    )
    return SessionResult(
        session_id=name,
        account=f"backtest {name}",
        mode="backtest",
        symbols=params.symbols,
        agents=tuple(spec.name for spec in AGENTS),
        first_traded=params.first_traded,
        horizon=params.pool.horizon,
        ts=result.ts,
        equity_micro=kept.equity,
        buy_and_hold_micro=held,
        weights=kept.weights,
        d_ts=result.d_ts,
        d_symbol=result.d_symbol,
        d_close=result.d_close,
        d_p=kept.p,
        d_votes=kept.votes,
        d_status=kept.status,
        d_reason=kept.reason,
        d_verdict=kept.verdict,
        d_code=kept.code,
        orders=tuple(_order_row(params.symbols, order) for order in result.orders),
        fills=tuple(_fill_row(params.symbols, fill, costs, tick, lot) for fill in result.fills),
        quarantined=tuple(quarantined),
        halted_at=result.halted_at,
        halt_reason=HALT_REASON if result.halted_at is not None else "",
        bars=len(bars),
        wall_seconds=wall_seconds,
        currency=currency,
        periods_per_year=bars_per_year,
        buy_and_hold_rule=RULE,
        notes=notes,
    )


def _order_row(symbols: Sequence[str], order: np.void) -> OrderRow:
    refused = order["status"] == REFUSED_STATUS
    operator = order["origin"] == OPERATOR_ORDER
    code = HALT_REASON if operator and not refused else Code(int(order["code"])).name
    return OrderRow(
        ts=int(order["ts"]),
        symbol=symbols[int(order["symbol"])],
        side=int(order["side"]),
        lots=int(order["lots"]),
        status=REFUSED if refused else STATUSES[int(order["status"])],
        code=code,
        origin=ORIGINS[int(order["origin"])],
    )


def _fill_row(
    symbols: Sequence[str], fill: np.void, costs: CostModel, tick: Decimal, lot: Decimal
) -> FillRow:
    row = FillRow(
        ts=int(fill["ts"]),
        symbol=symbols[int(fill["symbol"])],
        side=int(fill["side"]),
        lots=int(fill["lots"]),
        price=from_ticks(int(fill["price_ticks"]), tick),
        fee=from_micro(int(fill["fee_micro"])),
        lot=lot,
    )
    return with_split(
        row,
        costs,
        int(fill["open_ticks"]),
        int(fill["volume"]),
        float(fill["spread_bps"]),
        float(fill["sigma"]),
        tick,
    )
