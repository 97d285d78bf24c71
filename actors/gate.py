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
    Approved,
    Holding,
    commit_output,
    lock_trading_shared,
    read_view,
    take_epoch,
)
from actors.judge import INTENT, judge_intent, set_account, set_forecast, set_market
from actors.limits import recorded_limits
from actors.sizing import SizingParams
from data.journal import OPERATIONS, Head, account_chain, cell_chain, next_record
from data.records import Decision, RoundOutput, SessionConfig, encode, output_decoder
from data.sessions import load_session
from data.store import connect

log = structlog.get_logger("gate")

NO_HOLDING = Holding(0, 0, False)
_APPROVED = (int(Verdict.APPROVED), int(Verdict.REDUCED))


class GateClosed(RuntimeError):
    """A newer gate of this cell has started: this one judges nothing any more."""


class Rules:
    """A session's limits, sizing and costs as the compiled functions take them."""

    def __init__(self, config: SessionConfig) -> None:
        self.config = config
        self.limits = recorded_limits(config.limits).record()
        self.sizing = SizingParams(**config.sizing).record()
        self.costs = CostModel(**config.costs).record()


def judge_round(rules: Rules, pooled: RoundOutput, view: AccountView) -> list[Decision]:
    """The round's decisions with verdicts, all from the one account view. Pure."""
    return [_judge(rules, decision, pooled.clock_ns, view) for decision in pooled.decisions]


def _judge(rules: Rules, decision: Decision, clock_ns: int, view: AccountView) -> Decision:
    config = rules.config
    holding = view.holdings.get(config.symbols[decision.symbol], NO_HOLDING)
    net_lots = holding.lots + holding.open_lots
    if view.equity_micro is None or not view.trader_leased:
        verdict, code, delta, target, limit = int(Verdict.DENIED), int(Code.NO_LEASE), 0, 0, 0
    else:
        verdict, code, delta, target, limit = judge_intent(
            rules.limits,
            rules.costs,
            rules.sizing,
            intent(config, decision, clock_ns, view, holding),
        )
    approved = int(verdict) in _APPROVED and delta != 0
    return msgspec.structs.replace(
        decision,
        verdict=int(verdict),
        code=int(code),
        side=int(np.sign(delta)) if approved else 0,
        lots=abs(int(delta)) if approved else 0,
        target_lots=int(target),
        limit_ticks=int(limit) if approved else 0,
        net_lots=net_lots,
    )


def intent(
    config: SessionConfig,
    decision: Decision,
    clock_ns: int,
    view: AccountView,
    holding: Holding,
) -> np.void:
    """One INTENT record: the decision's forecast beside the account's view."""
    row = np.zeros(1, INTENT)[0]
    set_forecast(
        row,
        np.array(decision.p),
        decision.dissent,
        decision.agents_awake,
        decision.awake_weight,
        decision.sigma,
        decision.toxicity,
    )
    set_market(
        row,
        clock_ns,
        decision.ts,
        config.first_traded,
        decision.close,
        decision.volume,
        decision.bid,
        decision.ask,
        config.micro_per_tick,
    )
    set_account(
        row,
        view.equity_micro,
        view.state,
        holding.lots + holding.open_lots,
        int(holding.locked),
        view.orders_last_minute,
    )
    return row


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
        """Judges a round and commits its output record; returns the record's payload.

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
            with connection.transaction():
                lock_trading_shared(connection)
                account = rules.config.account
                view = read_view(connection, self.cell, account, given.round, given.clock_ns)
                if view.recorded is not None:
                    return view.recorded
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
        decisions = judge_round(rules, given, view)
        output = msgspec.structs.replace(given, epoch=self.epoch, decisions=decisions)
        record = next_record(
            after,
            chain=cell_chain(self.cell),
            kind="output",
            session_id=given.session_id,
            ts=max(decision.ts for decision in decisions),
            written_ns=self._clock_ns(),
            payload=encode(output),
            seen={
                account_chain(config.account): view.account_seq,
                OPERATIONS: view.operations_seq,
            },
        )
        approved = [
            Approved(
                config.symbols[decision.symbol],
                decision.ts,
                decision.side,
                decision.lots,
                decision.limit_ticks,
                decision.net_lots,
            )
            for decision in decisions
            if decision.lots > 0
        ]
        commit_output(connection, record, config, given.round, self.epoch, approved)
        return record.payload

    def _rules_of(self, connection: psycopg.Connection, session_id: str) -> Rules:
        if self._rules is None or self._rules.config.session_id != session_id:
            self._rules = Rules(load_session(connection, session_id))
        return self._rules

    def _open(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._url, name=f"sapphire-gate-{self.cell}")
        return self._connection
