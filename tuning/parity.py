"""Parity: a backtest over the bars of a recorded session gives what the session gave, bit for bit.

The session's journal supplies bars, news, models, limits and costs; the compiled loop makes
everything else anew. It holds for sessions without late votes or faults: what the loop cannot know
(a new epoch, an operator's halt) shows as the first difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import psycopg

from actors.checks import Code
from actors.contract import OUT_FIXED, Floats
from actors.costs import CostModel
from actors.limits import recorded_limits
from actors.pool_state import PoolParams
from actors.registry import AGENTS
from actors.sizing import SizingParams
from cloud_trader.account_records import (
    BAR,
    CANCELLED,
    DECISION,
    ORDER,
    REFUSED,
    BarEntry,
    CancelledEntry,
    OrderEntry,
    RefusedEntry,
)
from cloud_trader.difference import compare
from data import round_log
from data.journal import Record, account_chain, read_chain
from data.records import (
    RoundInput,
    RoundOutput,
    SessionConfig,
    input_decoder,
    output_decoder,
)
from data.sessions import load_model
from tuning.backtest_result import Result
from tuning.backtesting import BacktestParams, backtest
from tuning.loop_state import (
    AWAKE_WEIGHT,
    CODE,
    DECISION_ORDER,
    DELTA,
    DISSENT,
    LIMIT,
    NET,
    ORIGINS,
    OUT_STARTS,
    SIGMA,
    STATUSES,
    TARGET,
    TOXICITY,
    VERDICT,
)
from tuning.loop_state import REFUSED as REFUSED_STATUS


class NotComparable(Exception):
    """The session is of a kind that no backtest can be compared with; says why."""


EVERYTHING = ("orders", "weights", "decisions", "votes", "evidence")


@dataclass
class Counts:
    """What was compared and equal."""

    rounds: int = 0
    decisions: int = 0
    orders: int = 0
    fills: int = 0
    moments: int = 0


@dataclass(frozen=True)
class Recorded:
    """The session's rounds, decoded."""

    inputs: list[RoundInput]
    outputs: list[RoundOutput]


def check_parity(connection: psycopg.Connection, config: SessionConfig) -> Counts:
    """Backtests the session and compares; cloud_trader.difference.Difference at the first."""
    recorded = _recorded(connection, config)
    result = session_backtest(connection, config, recorded.inputs)
    counts = Counts()
    _compare_rounds(config, recorded, result, counts)
    _compare_account(config, read_chain(connection, account_chain(config.account)), result, counts)
    return counts


def session_backtest(
    connection: psycopg.Connection, config: SessionConfig, inputs: list[RoundInput]
) -> Result:
    """The backtest of what a session was given, its models as its rounds name them.

    That those are the right ones is for replay and verification to say.
    """
    params = BacktestParams(
        symbols=tuple(config.symbols),
        models=model_sets(inputs, lambda name: load_model(connection, name)),
        first_traded=config.first_traded,
        pool=PoolParams(**config.pool),
        sizing=SizingParams(**config.sizing),
        opening_micro=config.opening_micro,
        micro_per_tick=config.micro_per_tick,
        locks=[(given.ts, symbol) for given in inputs for symbol in given.locked],
        news=[item for given in inputs for item in given.news],
        keep=EVERYTHING,
    )
    bars = np.concatenate([given.rows() for given in inputs])
    return backtest(bars, params, recorded_limits(config.limits), CostModel(**config.costs))


def model_sets(
    inputs: Iterable[RoundInput], read: Callable[[str], Floats]
) -> list[tuple[int, dict[str, Floats]]]:
    """(least ts of the first round, params) of each stretch of rounds that name the same models.

    By a round's least ts its models are decided: ``data.models_in_force``.
    """
    params: dict[str, Floats] = {}
    sets: list[tuple[int, dict[str, Floats]]] = []
    before: dict[str, str] = {}
    for given in inputs:
        if given.models != before:
            for name in given.models.values():
                if name not in params:
                    params[name] = read(name)
            since = int(given.rows()["ts"].min())
            sets.append((since, {a: params[name] for a, name in given.models.items()}))
            before = given.models
    return sets


def _recorded(connection: psycopg.Connection, config: SessionConfig) -> Recorded:
    inputs, outputs = [], []
    for logged in round_log.rounds(connection, config.cell, config.session_id):
        if logged.kind == "output" and logged.output is not None:
            inputs.append(input_decoder.decode(logged.input))
            outputs.append(output_decoder.decode(logged.output))
    if not inputs:
        raise NotComparable(f"session {config.session_id} has no closed round")
    stamps = [set(given.rows()["ts"].tolist()) for given in inputs]
    if _versions_change(inputs):
        raise NotComparable(
            f"an agent's version changed within session {config.session_id}, and a backtest knows"
            " one version of each: 'sapphire replay' checks it"
        )
    moments = [given.ts for given in inputs]
    plain = all(len(ts) == 1 for ts in stamps) and all(a < b for a, b in pairwise(moments))
    if config.mode != "historical" or not plain:
        raise NotComparable(
            f"session {config.session_id} is no run over recorded bars, one round a moment:"
            " 'sapphire replay' checks it"
        )
    return Recorded(inputs, outputs)


def _versions_change(inputs: Iterable[RoundInput]) -> bool:
    seen: dict[str, str] = {}
    for given in inputs:
        if any(seen.get(name, step) != step for name, step in given.versions.items()):
            return True
        seen |= given.versions
    return False


def _compare_rounds(
    config: SessionConfig, recorded: Recorded, result: Result, counts: Counts
) -> None:
    first = 0
    for number, output in enumerate(recorded.outputs):
        where = f"round {output.round}"
        weights = result.kept.weights[number].tolist()
        compare(f"{where}, weights", output.weights, weights, exact=True)
        decisions = output.decisions
        for i, decision in enumerate(decisions):
            name = config.symbols[decision.symbol]
            theirs = msgspec.to_builtins(decision)
            ours = decision_of(result, first + i)
            compare(f"{where}, {name}", {key: theirs[key] for key in ours}, ours, exact=True)
        first += len(decisions)
        counts.rounds += 1
        counts.decisions += len(decisions)


def decision_of(result: Result, d: int) -> dict[str, Any]:
    """Decision ``d`` in the fields of ``data.records.Decision`` that the loop makes."""
    kept = result.kept
    judged, numbers = kept.judged[d], kept.numbers[d]
    approved = judged[VERDICT] <= 1 and judged[DELTA] != 0
    return {
        "symbol": int(result.d_symbol[d]),
        "ts": int(result.d_ts[d]),
        "votes": kept.votes[d].tolist(),
        "status": kept.status[d].tolist(),
        "reason": kept.reason[d].tolist(),
        "evidence": [
            kept.outs[d, OUT_STARTS[k] + OUT_FIXED : OUT_STARTS[k + 1]].tolist()
            for k in range(len(AGENTS))
        ],
        "p": kept.p[d].tolist(),
        "dissent": float(numbers[DISSENT]),
        "sigma": float(numbers[SIGMA]),
        "agents_awake": int(kept.awake[d]),
        "awake_weight": float(numbers[AWAKE_WEIGHT]),
        "toxicity": float(numbers[TOXICITY]),
        "verdict": int(judged[VERDICT]),
        "code": int(judged[CODE]),
        "side": int(np.sign(judged[DELTA])) if approved else 0,
        "lots": abs(int(judged[DELTA])) if approved else 0,
        "target_lots": int(judged[TARGET]),
        "limit_ticks": int(judged[LIMIT]) if approved else 0,
        "net_lots": int(judged[NET]),
    }


def _compare_account(
    config: SessionConfig, records: Iterable[Record], result: Result, counts: Counts
) -> None:
    """Orders and refusals in their order, how each order ended, fills, equity of every moment."""
    account = _read_account(records)
    for where, ours, theirs in (
        ("orders and refusals", _orders_of(config, result), account.orders),
        ("fills", _fills_of(config, result), account.fills),
    ):
        for i, (recorded, again) in enumerate(zip(theirs, ours, strict=False)):
            compare(f"{where}, number {i + 1}", recorded, again, exact=True)
        compare(f"number of {where}", len(theirs), len(ours), exact=True)
    traded = result.ts >= config.first_traded
    equity = dict(
        zip(result.ts[traded].tolist(), result.equity_micro[traded].tolist(), strict=True)
    )
    for ts in sorted(equity.keys() | account.equity.keys()):
        compare(f"moment {ts}, equity_micro", account.equity.get(ts), equity.get(ts), exact=True)
    compare("books at the end", account.books, _books_of(config, result), exact=True)
    counts.orders = sum("status" in order for order in account.orders)
    counts.fills, counts.moments = len(account.fills), len(account.equity)


@dataclass
class _Account:
    """An account's chain in plain rows."""

    orders: list[dict[str, Any]] = field(default_factory=list)
    fills: list[dict[str, Any]] = field(default_factory=list)
    equity: dict[int, int] = field(default_factory=dict)
    books: dict[str, Any] = field(default_factory=dict)  # after the last moment


def _books_of(config: SessionConfig, result: Result) -> dict[str, Any]:
    books, held = result.state.books[0], result.state.positions
    names = ("cash_micro", "equity_micro", "peak_micro", "day", "day_open_micro")
    return {
        **{name: int(books[name]) for name in names},
        "positions": {
            symbol: int(row["lots"])
            for symbol, row in sorted(zip(config.symbols, held, strict=True), key=lambda x: x[0])
            if row["lots"]
        },
    }


def _read_account(records: Iterable[Record]) -> _Account:
    account = _Account()
    by_id: dict[str, dict[str, Any]] = {}
    for record in records:
        if record.kind == ORDER:
            order = msgspec.json.decode(record.payload, type=OrderEntry)
            row = msgspec.to_builtins(order)
            del row["client_order_id"], row["epoch"]
            if order.origin != DECISION:
                del row["code"]  # The action that it serves, in words.
            by_id[order.client_order_id] = row | {"status": "open", "filled_lots": 0}
            account.orders.append(by_id[order.client_order_id])
        elif record.kind == REFUSED:
            refused = msgspec.json.decode(record.payload, type=RefusedEntry)
            row = msgspec.to_builtins(refused)
            del row["epoch"], row["epoch_in_force"]
            account.orders.append(row)
        elif record.kind == CANCELLED:
            cancelled = msgspec.json.decode(record.payload, type=CancelledEntry)
            by_id[cancelled.client_order_id]["status"] = "cancelled"
        elif record.kind == BAR:
            entry = msgspec.json.decode(record.payload, type=BarEntry)
            account.equity[entry.ts] = entry.equity_micro
            account.books = {
                "cash_micro": entry.cash_micro,
                "equity_micro": entry.equity_micro,
                "peak_micro": entry.peak_micro,
                "day": entry.day,
                "day_open_micro": entry.day_open_micro,
                "positions": entry.positions,
            }
            for closed in entry.closed:
                by_id[closed.client_order_id] |= {
                    "status": closed.status,
                    "filled_lots": closed.filled_lots,
                }
            for fill in entry.fills:
                row = msgspec.to_builtins(fill)
                del row["fill_id"], row["client_order_id"]
                account.fills.append({"ts": entry.ts, **row})
    return account


def _orders_of(config: SessionConfig, result: Result) -> list[dict[str, Any]]:
    rows = []
    for order in result.orders:
        row = {
            "symbol": config.symbols[int(order["symbol"])],
            "ts": int(order["ts"]),
            "side": int(order["side"]),
            "lots": int(order["lots"]),
            "code": Code(int(order["code"])).name,
        }
        if order["status"] != REFUSED_STATUS:
            row |= {
                "origin": ORIGINS[int(order["origin"])],
                "limit_ticks": int(order["limit_ticks"]),
                "reserved_micro": int(order["reserved_micro"]),
                "status": STATUSES[int(order["status"])],
                "filled_lots": int(order["filled_lots"]),
            }
            if order["origin"] != DECISION_ORDER:
                del row["code"]
        rows.append(row)
    return rows


def _fills_of(config: SessionConfig, result: Result) -> list[dict[str, Any]]:
    return [
        {
            "ts": int(fill["ts"]),
            "symbol": config.symbols[int(fill["symbol"])],
            "side": int(fill["side"]),
            "lots": int(fill["lots"]),
            "price_ticks": int(fill["price_ticks"]),
            "fee_micro": int(fill["fee_micro"]),
        }
        for fill in result.fills
    ]
