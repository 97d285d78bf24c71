"""The risk gate: judges every intent of a round on the account's committed view. Fails closed.

One gate per cell holds the cell's epoch. Its output record (votes, weights, forecasts, verdicts)
and the approvals are one commit; nothing is answered before it stands.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import numpy as np
import psycopg
import structlog

from actors.checks import Code, Verdict
from actors.costs import CostModel
from actors.gate_store import (
    AccountView,
    Holding,
    commit_output,
    read_view,
    take_epoch,
    view_transaction,
)
from actors.judge import INTENT, judge_table
from actors.limits import RiskLimits, recorded_limits
from actors.sizing import SizingParams
from data.journal import (
    OPERATIONS,
    Head,
    Record,
    account_chain,
    cell_chain,
    next_record,
    read_record,
)
from data.records import RoundOutput, SessionConfig, encode, output_decoder
from data.round_output import DECISION
from data.sessions import load_session
from data.store import connect

log = structlog.get_logger("gate")

NO_HOLDING = Holding(0, 0, False)


class GateClosed(RuntimeError):
    """A newer gate of this cell has started: this one judges nothing any more."""


class Rules:
    """A session's limits, sizing and costs as the compiled functions take them."""

    def __init__(self, config: SessionConfig) -> None:
        self.config = config
        self.limits = recorded_limits(config.limits).record()
        self.sizing = SizingParams(**config.sizing).record()
        self.costs = CostModel(**config.costs).record()


def judge_round(rules: Rules, pooled: RoundOutput, view: AccountView) -> RoundOutput:
    """The round with verdicts, all from the one account view, under the view's epoch. Pure.

    Without an account or without its trader's lease everything is denied.
    """
    config = rules.config
    table = np.frombuffer(pooled.table, DECISION).copy()
    held = [
        view.holdings.get(config.symbols[symbol], NO_HOLDING) for symbol in table["symbol"].tolist()
    ]
    net_lots = np.array([holding.lots + holding.open_lots for holding in held], np.int64)
    if view.equity_micro is None or not view.trader_leased:
        table["net_lots"] = net_lots
        table["verdict"], table["code"] = int(Verdict.DENIED), int(Code.NO_LEASE)
    else:
        judge_table(
            rules.limits,
            rules.costs,
            rules.sizing,
            table,
            net_lots,
            np.array([holding.locked for holding in held], np.int64),
            np.zeros(1, INTENT),
            np.zeros(3),
            pooled.clock_ns,
            config.first_traded,
            config.micro_per_tick,
            view.equity_micro,
            view.state,
            view.orders_last_minute,
        )
    return msgspec.structs.replace(pooled, epoch=view.epoch or 0, table=table.tobytes())


def prewarm() -> None:
    """Loads the compiled judgement, so that the first round does not wait for it."""
    judge_table(
        RiskLimits().record(),
        CostModel().record(),
        SizingParams().record(),
        np.zeros(1, DECISION),
        np.zeros(1, np.int64),
        np.zeros(1, np.int64),
        np.zeros(1, INTENT),
        np.zeros(3),
        *(0, 1, 1, 1, 0, 0),
    )


class Judged(msgspec.Struct, frozen=True, array_like=True):
    """A committed output record as the gate tells it: what the coordinator did not know."""

    epoch: int
    clock_ns: int  # that it was judged by
    votes: bytes  # data.round_output.RoundOutput.votes_digest
    table: bytes  # data.round_output.DECISION with verdicts
    seq: int  # the record's place in the cell's chain, and its hash
    hash: bytes
    operations_seq: int  # last number of the operations chain that the gate saw


judged_decoder = msgspec.msgpack.Decoder(Judged)


class Gate:
    """One cell's gate over its own database connection."""

    def __init__(
        self,
        url: str,
        cell: int,
        holder: str,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.cell = cell
        self.epoch = 0
        self.closed = True
        self._url = url
        self._holder = holder
        self._clock_ns = clock_ns
        self._connection: psycopg.Connection | None = None
        self._rules: Rules | None = None

    def take_epoch(self) -> int:
        """Opens the gate under a new epoch, which voids all earlier approvals."""
        self.epoch = take_epoch(self._open(), self.cell, self._holder)
        self.closed = False
        return self.epoch

    def judge(self, pooled: bytes, input_seq: int, input_hash: bytes) -> bytes:
        """Judges a round and commits its output record; returns an encoded ``Judged``.

        ``pooled`` is a RoundOutput with neutral verdicts, ``input_seq`` and ``input_hash`` the
        head of the chain. A round that has an output gets that one again. GateClosed under a
        newer epoch; psycopg errors leave the round open.
        """
        if self.closed:
            raise GateClosed(f"the gate of cell {self.cell} is closed")
        given = output_decoder.decode(pooled)
        connection = self._open()
        try:
            rules = self._rules_of(connection, given.session_id)
            with view_transaction(connection):
                view = read_view(
                    connection, self.cell, rules.config.account, given.round, given.clock_ns
                )
                if view.recorded is not None:
                    return _recorded(connection, self.cell, view.recorded)
                self._check_epoch(view)
                return self._commit(connection, rules, view, given, Head(input_seq, input_hash))
        except psycopg.OperationalError:
            connection.close()
            raise

    def _check_epoch(self, view: AccountView) -> None:
        if view.epoch != self.epoch:
            self.closed = True
            log.error("gate closed", epoch=self.epoch, newer=view.epoch)
            raise GateClosed(f"epoch {view.epoch} has replaced {self.epoch}")

    def _commit(
        self,
        connection: psycopg.Connection,
        rules: Rules,
        view: AccountView,
        given: RoundOutput,
        after: Head,
    ) -> bytes:
        config = rules.config
        output = judge_round(rules, given, view)
        table = np.frombuffer(output.table, DECISION)
        record = next_record(
            after,
            chain=cell_chain(self.cell),
            kind="output",
            session_id=given.session_id,
            ts=int(table["ts"].max()),
            written_ns=self._clock_ns(),
            payload=encode(output),
            seen={
                account_chain(config.account): view.account_seq,
                OPERATIONS: view.operations_seq,
            },
        )
        approved = table[table["lots"] > 0]
        commit_output(connection, record, config, given.round, self.epoch, approved)
        return _judged(output, record)

    def _rules_of(self, connection: psycopg.Connection, session_id: str) -> Rules:
        if self._rules is None or self._rules.config.session_id != session_id:
            self._rules = Rules(load_session(connection, session_id))
        return self._rules

    def _open(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._url, name=f"sapphire-gate-{self.cell}")
        return self._connection


def _recorded(connection: psycopg.Connection, cell: int, seq: int) -> bytes:
    record = read_record(connection, cell_chain(cell), seq)
    return _judged(output_decoder.decode(record.payload), record)


def _judged(output: RoundOutput, record: Record) -> bytes:
    seen = record.seen_of(OPERATIONS)
    return msgspec.msgpack.encode(
        Judged(
            output.epoch,
            output.clock_ns,
            output.votes_digest(),
            output.table,
            record.seq,
            record.hash,
            seen,
        )
    )
