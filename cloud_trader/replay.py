"""Replay: a recorded session recomputed from its journal, and compared record by record.

Rounds go in the log's order through the agents, the pool and the gate; the account's chain is
carried along to the number that each output record says it saw. Taken as recorded, because they
are no function of the bars: bars, news and the wall clock of inputs, late and failed votes, whether
the trader held its lease, epochs, operators' actions, expired approvals. All else must come out the
same: to the bit on an equal fingerprint; on another one decisions, orders and fills exactly and
floats to 1e-9.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psycopg

from actors.agent import Agent, step_hash
from actors.checks import Code
from actors.contract import AgentSpec, Floats, Status, no_params
from actors.gate import Rules, judge_round
from actors.registry import AGENTS
from cloud_trader.difference import Difference, check_payload, compare
from cloud_trader.operations_log import OperationsLog
from cloud_trader.replay_account import AccountCounts, Moment, ReplayAccount
from data.journal import OPERATIONS, Record, account_chain, cell_chain, read_chain
from data.model_changes import model_with_params
from data.records import (
    RoundInput,
    RoundOutput,
    SessionConfig,
    encode,
    input_decoder,
    output_decoder,
)
from data.sessions import load_model
from serve_apps.model_changes import ModelChanges
from serve_apps.session_state import SessionState

_ABSENT = (int(Status.LATE), int(Status.FAILED))
_NO_LEASE = int(Code.NO_LEASE)
# Shown for what was never approved.
_WORDS = {int(Status.LATE): "late", int(Status.FAILED): "failed"}

Models = Callable[[str], Floats]


@dataclass
class Findings:
    """What was recomputed and equal, and what was taken as recorded."""

    rounds: int = 0
    aborted: int = 0
    votes: int = 0
    decisions: int = 0
    absent: Counter[str] = field(default_factory=Counter)  # "late" or "failed" -> agent rounds
    other_steps: Counter[str] = field(default_factory=Counter)  # agent -> rounds not recomputed
    epochs: list[int] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    unleased: int = 0
    account: AccountCounts = field(default_factory=AccountCounts)
    without_order: int = 0  # approvals that became neither an order nor a refusal
    unanswered: list[tuple[str, int]] = field(default_factory=list)  # those that should have


class Committee:
    """The six agents, fed with the log; an agent's state is a function of it alone."""

    def __init__(self, specs: Sequence[AgentSpec], models: Models) -> None:
        self._agents = [Agent(spec) for spec in specs]
        self._names = dict.fromkeys([spec.name for spec in specs], "")
        self._models = models

    def votes(self, given: RoundInput) -> dict[str, Floats | Status]:
        """Everybody's answer to the round."""
        bars = given.rows()
        answers: dict[str, Floats | Status] = {}
        for agent in self._agents:
            name = agent.spec.name
            wanted = given.models.get(name, "")
            if wanted != self._names[name]:
                agent.set_model(self._models(wanted) if wanted else no_params())
                self._names[name] = wanted
            answers[name] = agent.apply(bars, given.news)
        return answers


def replay_session(
    connection: psycopg.Connection, config: SessionConfig, *, exact: bool
) -> Findings:
    """Recomputes the session; Difference at the first record that comes out otherwise.

    ``connection`` reads one snapshot, in which the chains have been verified. What a session that
    still runs has open is left alone.
    """
    operations = OperationsLog(config.cell, config.account)
    models = ModelChanges(config, AGENTS, lambda name: model_with_params(connection, name))
    for record in read_chain(connection, OPERATIONS):
        operations.add(record)
        models.take([record], record.seq)
    chain = iter(list(read_chain(connection, account_chain(config.account))))
    account = ReplayAccount(config, operations, exact)
    committee = Committee(AGENTS, lambda name: load_model(connection, name))
    replay = _Replay(config, account, exact, committee, models)
    records = [r for r in read_chain(connection, cell_chain(config.cell))
               if r.session_id == config.session_id]  # fmt: skip
    for record in records:
        replay.take(record, chain)
    account.rounds_done = True
    account.advance(chain, None)
    return replay.findings()


class _Replay:
    """The rounds of one session, in the order of the log."""

    def __init__(
        self,
        config: SessionConfig,
        account: ReplayAccount,
        exact: bool,
        committee: Committee,
        models: ModelChanges,
    ) -> None:
        self._config = config
        self._account = account
        self._exact = exact
        self._state = SessionState(config, AGENTS)
        self._committee = committee
        self._models = models
        self._rules = Rules(config)
        self._steps = {spec.name: step_hash(spec) for spec in AGENTS}
        self._given: RoundInput | None = None
        self._found = Findings(account=account.counts)
        self._digest = hashlib.sha256()

    def take(self, record: Record, chain: Iterator[Record]) -> None:
        """One record of the cell's chain."""
        where = f"{record.chain} record {record.seq} ({record.kind})"
        if record.kind == "input":
            self._given = self._input(where, record)
            return
        given, self._given = self._given, None
        if given is None:
            raise Difference(where, "round", record.kind, "no input record is open")
        if record.kind == "aborted":
            self._committee.votes(given)
            self._state.skip(given)
            self._found.aborted += 1
            return
        self._output(f"round {given.round}", given, record, chain)

    def _input(self, where: str, record: Record) -> RoundInput:
        """The record; what of it follows from the session and the bars must do so."""
        given = input_decoder.decode(record.payload)
        if self._exact:
            check_payload(where, record.payload, given)
        bars = given.rows()
        models = self._models.models(int(bars["ts"].min()), record.seen_of(OPERATIONS))
        compare(f"{where}, models", given.models, models, exact=True)
        compare(f"{where}, ts", given.ts, int(bars["ts"].max()), exact=True)
        if self._config.mode == "historical":
            compare(f"{where}, clock_ns", given.clock_ns, given.ts, exact=True)
        self._digest.update(bars.tobytes())
        self._account.take_moment(Moment(given.ts, bars, given.locked))
        return given

    def _output(
        self, where: str, given: RoundInput, record: Record, chain: Iterator[Record]
    ) -> None:
        recorded = output_decoder.decode(record.payload)
        if self._exact:
            check_payload(where, record.payload, recorded)
        self._account.advance(chain, record.seen_of(account_chain(self._config.account)))
        answers = self._as_recorded(where, recorded, self._committee.votes(given))
        self._take_other_versions(given, recorded, answers)
        clock_ns = self._clock(where, given, recorded)
        pooled = self._state.pool_votes(given, answers, clock_ns)
        seen = record.seen_of(OPERATIONS)
        unleased = bool((recorded.arrays().table["code"] == _NO_LEASE).all())
        self._found.unleased += unleased
        view = self._account.view(clock_ns, seen, leased=not unleased)
        again = judge_round(self._rules, pooled, view)
        if encode(recorded) != encode(again):
            compare(where, _named(recorded, self._config), _named(again, self._config),
                    exact=self._exact)  # fmt: skip
        self._account.approve(again.decisions, again.epoch, record.written_ns)
        self._count(again)

    def _clock(self, where: str, given: RoundInput, recorded: RoundOutput) -> int:
        """The clock that the gate judged by: the input's, or a later one of a round that a crash
        left open and a later coordinator completed.
        """
        if self._config.mode == "historical" or recorded.clock_ns < given.clock_ns:
            compare(f"{where}, clock_ns", recorded.clock_ns, given.clock_ns, exact=True)
        return recorded.clock_ns

    def _take_other_versions(
        self, given: RoundInput, recorded: RoundOutput, answers: dict[str, Floats | Status]
    ) -> None:
        """Votes of a step that is not this code's cannot be recomputed: they stand as recorded."""
        arrays = recorded.arrays()
        for k, name in enumerate(recorded.agents):
            other = given.versions.get(name, self._steps[name]) != self._steps[name]
            if other and not isinstance(answers[name], Status):
                fixed = (
                    arrays.votes[:, k],
                    arrays.status[:, k : k + 1],
                    arrays.reason[:, k : k + 1],
                )
                answers[name] = np.concatenate([*fixed, arrays.evidence[k]], axis=1, dtype=float)
                self._found.other_steps[name] += 1

    def _as_recorded(
        self, where: str, recorded: RoundOutput, answers: dict[str, Floats | Status]
    ) -> dict[str, Floats | Status]:
        """The answers, with what came late or failed as the record says it did."""
        recorded_status = recorded.arrays().status
        for k, name in enumerate(recorded.agents):
            statuses = set(recorded_status[:, k].tolist())
            absent = statuses & set(_ABSENT)
            if absent and len(statuses) > 1:
                raise Difference(where, f"status of {name}", sorted(statuses), "one for the round")
            for status in absent:
                answers[name] = Status(status)
                self._found.absent[_WORDS[status]] += 1
        return answers

    def _count(self, output: RoundOutput) -> None:
        found = self._found
        found.rounds += 1
        status = output.arrays().status
        found.decisions += len(status)
        found.votes += int((status == Status.VOTED).sum())
        if not found.epochs or found.epochs[-1] != output.epoch:
            found.epochs.append(output.epoch)

    def findings(self) -> Findings:
        """The counts, and the approvals that nothing became of in a session that has ended."""
        found, account = self._found, self._account
        found.states = [f"{state} ({scope})" for _, scope, state in account.operations.states]
        found.without_order = account.without_order
        if account.ended is not None:
            found.unanswered = account.unanswered()
        if account.ended == "finished" and self._config.data_hash:
            compare("bars, hash", self._config.data_hash, self._digest.hexdigest(), exact=True)
        return found


def _named(output: RoundOutput, config: SessionConfig) -> dict[str, Any]:
    """The record with its decisions keyed by symbol, so that a difference names it."""
    fields = output.readable()
    rows = fields.pop("decisions")
    fields["decisions"] = {config.symbols[row["symbol"]]: row for row in rows}
    return fields
