"""Epochs, trading states and unlocks as they stood at each number of the operations chain."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import psycopg

from actors.checks import TradingState
from cloud_trader.control import EVERYWHERE
from cloud_trader.violation import require
from data.journal import Record


@dataclass
class OperationsLog:
    """What one cell and account can see of the operations chain; ``add`` its records in order."""

    cell: int
    account: str
    epochs: list[tuple[int, int]] = field(default_factory=list)
    states: list[tuple[int, str, str]] = field(default_factory=list)
    unlocks: list[tuple[int, str]] = field(default_factory=list)
    limit_halts: set[int] = field(default_factory=set)  # ts at which a limit halted the account

    def add(self, record: Record) -> None:
        """One record."""
        body = msgspec.json.decode(record.payload)
        if record.kind == "gate_epoch" and body["cell"] == self.cell:
            self.epochs.append((record.seq, int(body["epoch"])))
        if record.kind == "state" and body["scope"] in (EVERYWHERE, self.account):
            self.states.append((record.seq, str(body["scope"]), str(body["state"])))
            if body["scope"] == self.account and body["state"] == "HALTED":
                self.limit_halts.add(record.ts)
        if record.kind == "unlock" and body["account"] == self.account:
            self.unlocks.append((record.seq, str(body["symbol"])))

    def epoch_at(self, seq: int) -> int:
        """The epoch in force; 0 before the first."""
        return max((epoch for number, epoch in self.epochs if number <= seq), default=0)

    def state_at(self, seq: int) -> TradingState:
        """The strictest state of any scope that concerns the account."""
        last = {scope: TradingState[state] for n, scope, state in self.states if n <= seq}
        return max(last.values(), default=TradingState.ACTIVE)

    def compare(self, connection: psycopg.Connection) -> None:
        """The tables that trading reads say what the last records say."""
        row = connection.execute(
            "SELECT epoch FROM gate_lease WHERE cell = %s", (self.cell,)
        ).fetchone()
        last = self.epochs[-1][1] if self.epochs else None
        require((row[0] if row else None) == last, "gate_lease", f"says {row}, the records {last}")
        table = {
            scope: (int(seq), str(state))
            for scope, state, seq in connection.execute(
                "SELECT scope, state, seq FROM trading_state WHERE scope IN (%s, %s)",
                (EVERYWHERE, self.account),
            )
        }
        states = {scope: (seq, state) for seq, scope, state in self.states}
        require(table == states, "trading_state", f"says {table}, the records {states}")
