"""Proof of a session from its journal: hash chains, books, and a reason for every order.

Everything is recomputed from the records; the tables beside them must say the same. The first
violation found is raised; nothing is repaired.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import psycopg
from psycopg import IsolationLevel
from psycopg.pq import TransactionStatus

from actors.checks import TradingState
from actors.limits import RiskLimits, recorded_limits
from actors.registry import AGENTS
from cloud_trader.account_records import DECISION, ORDER, OrderEntry
from cloud_trader.book_check import BookCheck
from cloud_trader.operations_log import OperationsLog
from cloud_trader.violation import Violation, require
from data.bars import Bars
from data.journal import (
    GENESIS,
    OPERATIONS,
    Head,
    Record,
    account_chain,
    broken_link,
    cell_chain,
    read_chain,
)
from data.model_changes import model_with_params
from data.records import (
    Decision,
    RoundOutput,
    SessionConfig,
    input_decoder,
    output_decoder,
)
from data.sessions import load_model
from serve_apps.model_changes import ModelChanges, model_names


@dataclass
class Findings:
    """What was checked, in numbers."""

    records: dict[str, int] = field(default_factory=dict)
    rounds: int = 0
    orders: int = 0
    fills: int = 0
    refused: list[str] = field(default_factory=list)
    refused_changes: list[str] = field(default_factory=list)  # of models: flawed, never in force
    # chain -> its highest number that any record of another chain had seen, and which record
    seen: dict[str, tuple[int, str]] = field(default_factory=dict)


def verify_session(connection: psycopg.Connection, config: SessionConfig) -> Findings:
    """Checks everything, in one snapshot; Violation names the first thing that is wrong."""
    idle = connection.info.transaction_status == TransactionStatus.IDLE
    if idle and connection.isolation_level != IsolationLevel.REPEATABLE_READ:
        # Else a session that is running would differ from its own tables.
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
    with connection.transaction():
        return _verify(connection, config)


def _verify(connection: psycopg.Connection, config: SessionConfig) -> Findings:
    findings = Findings()
    operations = OperationsLog(config.cell, config.account)
    models = ModelChanges(config, AGENTS, lambda name: model_with_params(connection, name))
    for record in _chain(connection, OPERATIONS, findings):
        operations.add(record)
        models.take([record], record.seq)
    for name in model_names(config):
        _check_model(connection, name)
    findings.refused_changes = [f"operation {seq}: {why}" for seq, why in models.refused]
    decisions = _check_rounds(connection, config, models, findings)
    _check_approvals(connection, config, decisions)
    limits = recorded_limits(config.limits)
    books = BookCheck(config)
    chain = account_chain(config.account)
    for record in _chain(connection, chain, findings):
        books.apply(record)
        if record.kind == ORDER:
            order = msgspec.json.decode(record.payload, type=OrderEntry)
            _check_order(limits, record, order, decisions, operations, books)
    for name, (seq, where) in findings.seen.items():
        count = findings.records.get(name)
        require(count is None or seq <= count, name, f"{where} saw {seq}, the last is {count}")
    books.compare(connection)
    operations.compare(connection)
    findings.orders, findings.fills = len(books.orders), books.fills
    findings.refused = books.refused
    return findings


def _chain(connection: psycopg.Connection, chain: str, findings: Findings) -> Iterable[Record]:
    """The chain's records, each checked against its predecessor and the identity table."""
    identities = {
        int(seq): bytes(digest)
        for seq, digest in connection.execute(
            "SELECT seq, hash FROM journal_identity WHERE chain = %s", (chain,)
        )
    }
    before = Head(0, GENESIS)
    for record in read_chain(connection, chain):
        where = f"{chain} record {record.seq} ({record.kind})"
        fault = broken_link(record, before)
        require(fault is None, where, fault or "")
        require(
            identities.get(record.seq) == record.hash, where, "its identity row has another hash"
        )
        before = record.head
        for name, seq in msgspec.json.decode(record.seen).items():
            findings.seen[name] = max(findings.seen.get(name, (0, "")), (seq, where))
        yield record
    require(
        len(identities) == before.seq,
        chain,
        f"{len(identities)} identities, {before.seq} records: records are missing",
    )
    findings.records[chain] = before.seq


def _check_model(connection: psycopg.Connection, name: str) -> None:
    try:
        load_model(connection, name)
    except (LookupError, ValueError) as error:
        raise Violation(f"model {name[:12]}", str(error)) from error


def _check_rounds(
    connection: psycopg.Connection,
    config: SessionConfig,
    models: ModelChanges,
    findings: Findings,
) -> dict[tuple[str, int], tuple[Decision, RoundOutput]]:
    """Inputs and outputs alternate; the round tables and identities point at them."""
    inputs = _table(connection, "round_input", "seq", config)
    outputs = _table(connection, "round_output", "seq, kind, epoch", config)
    decisions: dict[tuple[str, int], tuple[Decision, RoundOutput]] = {}
    asked: set[tuple[str, int, bytes, int]] = set()
    requests: set[tuple[str, int]] = set()
    open_round, last = None, 0
    for record in _chain(connection, cell_chain(config.cell), findings):
        if record.session_id != config.session_id:
            continue
        where = f"{record.chain} record {record.seq} ({record.kind})"
        if record.kind == "input":
            require(open_round is None, where, f"round {open_round} before it was not closed")
            given = input_decoder.decode(record.payload)
            require(given.round > last, where, f"round {given.round} follows round {last}")
            require(inputs.pop(given.round, None) == (record.seq,), where, "no row in round_input")
            open_round = last = given.round
            number = given.round
            bars = given.rows()
            wanted = models.models(int(bars["ts"].min()), record.seen_of(OPERATIONS))
            require(given.models == wanted, where, f"its models are not those in force: {wanted}")
            for i, (ts, symbol) in enumerate(
                zip(bars["ts"].tolist(), bars["symbol"].tolist(), strict=True)
            ):
                asked.add((config.symbols[symbol], ts, _bar_hash(bars[i : i + 1]), number))
            requests |= {(request_id, number) for request_id in given.requests}
            continue
        output = output_decoder.decode(record.payload) if record.kind == "output" else None
        number = output.round if output else int(msgspec.json.decode(record.payload)["round"])
        require(number == open_round, where, f"closes round {number}, open is {open_round}")
        row = (record.seq, record.kind, output.epoch if output else 0)
        require(outputs.pop(number, None) == row, where, "no row in round_output says so")
        open_round = None
        findings.rounds += 1
        if output is not None:
            for decision in output.decisions:
                key = (config.symbols[decision.symbol], decision.ts)
                require(key not in decisions, where, f"{key} is decided twice")
                decisions[key] = (decision, output)
    require(not inputs and not outputs, "round tables", "rows without a record in the journal")
    _check_identities(connection, config, asked, requests)
    return decisions


def _check_identities(
    connection: psycopg.Connection,
    config: SessionConfig,
    asked: set[tuple[str, int, bytes, int]],
    requests: set[tuple[str, int]],
) -> None:
    known = {
        (str(symbol), int(ts), bytes(digest), int(number))
        for symbol, ts, digest, number in connection.execute(
            "SELECT symbol, ts, bar_hash, round FROM decision_identity WHERE session_id = %s",
            (config.session_id,),
        )
    }
    require(known == asked, "decision_identity", "differs from the bars of the input records")
    rows = connection.execute(
        "SELECT r.request_id, r.round FROM request_identity r"
        " JOIN round_input i USING (cell, round) WHERE i.cell = %s AND i.session_id = %s",
        (config.cell, config.session_id),
    )
    answered = {(str(request_id), int(number)) for request_id, number in rows}
    require(answered == requests, "request_identity", "differs from the input records' requests")


def _bar_hash(bar: Bars) -> bytes:
    return hashlib.sha256(bar.tobytes()).digest()


def _table(
    connection: psycopg.Connection, table: str, columns: str, config: SessionConfig
) -> dict[int, tuple[object, ...]]:
    query = f"SELECT round, {columns} FROM {table} WHERE cell = %s AND session_id = %s"
    rows = connection.execute(query, (config.cell, config.session_id))
    return {int(number): tuple(values) for number, *values in rows}


def _check_approvals(
    connection: psycopg.Connection,
    config: SessionConfig,
    decisions: dict[tuple[str, int], tuple[Decision, RoundOutput]],
) -> None:
    """The approval rows are the approved decisions of the output records, no more and no less."""
    expected = {
        (symbol, ts): (config.account, d.side, d.lots, d.limit_ticks, d.net_lots, o.epoch, o.round)
        for (symbol, ts), (d, o) in decisions.items()
        if d.lots > 0
    }
    rows = connection.execute(
        "SELECT symbol, ts, account, side, max_lots, limit_ticks, net_lots, epoch, round"
        " FROM approval WHERE session_id = %s",
        (config.session_id,),
    )
    for symbol, ts, *values in rows:
        where = f"approval {symbol} {ts}"
        wanted = expected.pop((symbol, int(ts)), None)
        require(wanted is not None, where, "the output record approved nothing")
        require(tuple(values) == wanted, where, f"says {values}, the record {wanted}")
        early = int(ts) < config.first_traded
        require(not early, where, "it lies before the first traded date")
    missing = sorted(expected)
    require(not missing, "approval", f"rows are missing for {missing[:3]}")


def _check_order(
    limits: RiskLimits,
    record: Record,
    order: OrderEntry,
    decisions: dict[tuple[str, int], tuple[Decision, RoundOutput]],
    operations: OperationsLog,
    books: BookCheck,
) -> None:
    """A decision order needs decision, quorum, approval, epoch and an active state."""
    where = f"order {order.client_order_id}"
    if order.origin != DECISION:
        require(books.last_order_reduced, where, "an operator's order must reduce a position")
        return
    found = decisions.get((order.symbol, order.ts))
    if found is None:
        raise Violation(where, "there is no such decision")
    decision, output = found
    require(decision.lots > 0, where, "the decision was not approved")
    require(
        (order.side, order.limit_ticks) == (decision.side, decision.limit_ticks),
        where,
        "side or limit is not the approval's",
    )
    require(order.lots <= decision.lots, where, "more lots than approved")
    quorum = (
        decision.agents_awake >= limits.min_agents
        and decision.awake_weight >= limits.min_weight_share
    )
    require(quorum, where, "its decision had no quorum")
    seen = record.seen_of(OPERATIONS)
    in_force = operations.epoch_at(seen)
    require(
        order.epoch == output.epoch == in_force,
        where,
        f"epoch {order.epoch}, approved under {output.epoch}, in force {in_force}",
    )
    state = operations.state_at(seen)
    allowed = state == TradingState.ACTIVE or (
        state == TradingState.REDUCING and books.last_order_reduced
    )
    require(allowed, where, f"trading was {state.name}")
