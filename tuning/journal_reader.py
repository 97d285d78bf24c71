"""A finished session, read back from its journal into arrays. The journal is all it looks at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import psycopg

from actors.contract import Status
from actors.costs import CostModel
from cloud_trader.account_records import (
    BAR,
    CANCELLED,
    ORDER,
    REFUSED,
    BarEntry,
    CancelledEntry,
    OrderEntry,
    RefusedEntry,
)
from data import round_log
from data.bars import Bars
from data.door import Quarantined
from data.journal import OPERATIONS, account_chain, read_chain
from data.money import from_micro, from_ticks
from data.records import SessionConfig, input_decoder, output_decoder
from data.round_output import OutputArrays
from tuning.benchmark import RULE, buy_and_hold
from tuning.cost_breakdown import split_fills
from tuning.session_result import (
    REFUSED as REFUSED_STATUS,
)
from tuning.session_result import (
    EpochRow,
    FillRow,
    OrderRow,
    QuarantinedRow,
    SessionResult,
)


@dataclass
class _Account:
    """What the account's chain tells."""

    equity: dict[int, int] = field(default_factory=dict)
    orders: list[OrderRow] = field(default_factory=list)
    fills: list[FillRow] = field(default_factory=list)


def read_session(
    connection: psycopg.Connection,
    config: SessionConfig,
    quarantined: Iterable[Quarantined] = (),
    wall_seconds: float = float("nan"),
    pss_mb: float = float("nan"),
) -> SessionResult:
    """The session's result; ValueError when it has no closed round."""
    ts: list[int] = []
    weights: list[list[float]] = []
    decided: list[OutputArrays] = []
    epochs: list[EpochRow] = []
    parts: list[Bars] = []
    for logged in round_log.rounds(connection, config.cell, config.session_id):
        parts.append(input_decoder.decode(logged.input).rows())
        if logged.kind != "output" or logged.output is None:
            continue
        output = output_decoder.decode(logged.output)
        arrays = output.arrays()
        moment = int(arrays.table["ts"].max())
        ts.append(moment)
        weights.append(output.weights)
        decided.append(arrays)
        agents = output.agents
        if not epochs or epochs[-1].epoch != output.epoch:
            cause = "session start" if not epochs else "the gate was restarted"
            epochs.append(EpochRow(output.epoch, moment, cause))
    if not ts:
        raise ValueError(f"session {config.session_id} has no closed round")
    account = _read_account(connection, config)
    halted_at, reason = _halt(connection, config)
    bars, costs = np.concatenate(parts), CostModel(**config.costs)
    tick = Decimal(config.tick)
    moments, held = buy_and_hold(
        bars,
        config.first_traded,
        config.opening_micro,
        config.micro_per_tick,
        costs,
    )
    curve = dict(zip(moments.tolist(), held.tolist(), strict=True))
    return SessionResult(
        session_id=config.session_id,
        account=config.account,
        mode=config.mode,
        symbols=tuple(config.symbols),
        agents=tuple(agents),
        first_traded=config.first_traded,
        horizon=config.horizon,
        ts=np.array(ts, np.int64),
        equity_micro=np.array([account.equity.get(t, config.opening_micro) for t in ts], np.int64),
        buy_and_hold_micro=np.array([curve[t] for t in ts], np.int64),
        weights=np.array(weights),
        **_decision_arrays(decided),
        orders=tuple(account.orders),
        fills=tuple(split_fills(account.fills, bars, config.symbols, costs, tick)),
        quarantined=tuple(QuarantinedRow(q.when, q.symbol, q.flaw.value) for q in quarantined),
        epochs=tuple(epochs),
        halted_at=halted_at,
        halt_reason=reason,
        late_votes=sum(int((part.status == Status.LATE).sum()) for part in decided),
        bars=len(bars),
        wall_seconds=wall_seconds,
        pss_mb=pss_mb,
        currency=config.currency,
        periods_per_year=float(config.bars_per_year),
        buy_and_hold_rule=RULE,
    )


def _decision_arrays(decided: list[OutputArrays]) -> dict[str, Any]:
    table = np.concatenate([part.table for part in decided])
    return {
        "d_ts": table["ts"],
        "d_symbol": table["symbol"],
        "d_close": table["close"],
        "d_p": table["p"],
        "d_votes": np.concatenate([part.votes for part in decided]),
        "d_status": np.concatenate([part.status for part in decided]).astype(np.int64),
        "d_reason": np.concatenate([part.reason for part in decided]).astype(np.int64),
        "d_verdict": table["verdict"],
        "d_code": table["code"],
    }


def _read_account(connection: psycopg.Connection, config: SessionConfig) -> _Account:
    account = _Account()
    tick = Decimal(config.tick)
    lot = from_micro(config.micro_per_tick) / tick
    orders: dict[str, OrderEntry] = {}
    closed: dict[str, str] = {}
    for record in read_chain(connection, account_chain(config.account)):
        if record.kind == BAR:
            entry = msgspec.json.decode(record.payload, type=BarEntry)
            account.equity[entry.ts] = entry.equity_micro
            closed.update({c.client_order_id: c.status for c in entry.closed})
            account.fills.extend(
                FillRow(
                    entry.ts,
                    fill.symbol,
                    fill.side,
                    fill.lots,
                    from_ticks(fill.price_ticks, tick),
                    from_micro(fill.fee_micro),
                    lot=lot,
                )
                for fill in entry.fills
            )
        elif record.kind == ORDER:
            order = msgspec.json.decode(record.payload, type=OrderEntry)
            orders[order.client_order_id] = order
        elif record.kind == CANCELLED:
            taken_back = msgspec.json.decode(record.payload, type=CancelledEntry)
            closed[taken_back.client_order_id] = "cancelled"
        elif record.kind == REFUSED:
            refused = msgspec.json.decode(record.payload, type=RefusedEntry)
            account.orders.append(
                OrderRow(
                    refused.ts,
                    refused.symbol,
                    refused.side,
                    refused.lots,
                    REFUSED_STATUS,
                    refused.code,
                    "decision",
                )
            )
    account.orders.extend(
        OrderRow(o.ts, o.symbol, o.side, o.lots, closed.get(key, "open"), o.code, o.origin)
        for key, o in orders.items()
    )
    account.orders.sort(key=lambda row: (row.ts, row.symbol))
    return account


def _halt(connection: psycopg.Connection, config: SessionConfig) -> tuple[int | None, str]:
    """Event time and reason of the account's halt, when a limit gave it."""
    for record in read_chain(connection, OPERATIONS):
        if record.kind == "state" and record.session_id == config.session_id:
            body = msgspec.json.decode(record.payload)
            if body["state"] == "HALTED" and body["scope"] == config.account:
                return record.ts, str(body["reason"])
    return None, ""
