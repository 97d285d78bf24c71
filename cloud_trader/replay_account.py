"""An account recomputed from its chain: every fill, mark, order and refusal, compared as it comes.

What is not a function of the rounds is taken from the records and counted: that an approval had
expired (a clock reading, and a plausible one), that an operator's halt or the session's end took
open orders back, and the bars of the last moment when its round never came to be. What a limit
demands is demanded: a drawdown at its limit must be followed by the halt and by the closing orders.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
import numpy as np

from actors.checks import Code, TradingState
from actors.costs import CostModel
from actors.gate_store import MINUTE_NS, AccountView, Holding
from actors.limits import recorded_limits
from cloud_trader.account_records import (
    BAR,
    CANCELLED,
    DECISION,
    ENDED,
    OPENED,
    ORDER,
    REFUSED,
    BarEntry,
    CancelledEntry,
    EndedEntry,
    Opened,
    OrderEntry,
    RefusedEntry,
)
from cloud_trader.account_step import POSITION, hold_open, let_go, opened_books
from cloud_trader.broker import DoneEvent, PaperBroker, broker_order
from cloud_trader.difference import Difference, check_payload, compare
from cloud_trader.drawdown_watch import NEVER, DrawdownWatch
from cloud_trader.moment import settle_moment
from cloud_trader.operations_log import OperationsLog
from cloud_trader.order_rules import Approval, OrderRules, refusal
from data.bars import BAR as BAR_ROW
from data.bars import Bars
from data.journal import OPERATIONS, Record
from data.records import Decision, SessionConfig, rows_to_bars

# The reasons that a trader gives when it takes an order back.
HALTED_WHY, ENDED_WHY = "halted", "the session ended"
# Trader, gate and database read clocks of their own.
CLOCK_SLACK_S = 1.0

Entry = TypeVar("Entry", Opened, BarEntry, OrderEntry, RefusedEntry, CancelledEntry, EndedEntry)


@dataclass(frozen=True)
class Moment:
    """The bars of one round, and the symbols that were locked with it."""

    ts: int
    bars: Bars
    locked: list[int]


@dataclass
class AccountCounts:
    """What was recomputed, and what was taken as recorded."""

    moments: int = 0
    orders: int = 0
    fills: int = 0
    refused: int = 0
    cancelled: int = 0
    expired: int = 0
    unlocked: int = 0
    unlogged_moments: int = 0  # their round never came to be


@dataclass(frozen=True)
class Approved:
    """A decision that may become an order, the epoch it was approved in, and when, wall clock."""

    decision: Decision
    epoch: int
    written_ns: int


@dataclass
class ReplayAccount:
    """The account of one session; ``advance`` it along its chain."""

    config: SessionConfig
    operations: OperationsLog
    exact: bool
    counts: AccountCounts = field(default_factory=AccountCounts)
    opened: bool = False
    seq: int = 0
    ended: str | None = None
    approved: dict[tuple[str, int], Approved] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config = self.config
        limits, costs = recorded_limits(config.limits).record(), CostModel(**config.costs).record()
        self._rules = OrderRules(config, limits, costs)
        self._broker = PaperBroker(config, costs)
        self._books = opened_books(config.opening_micro)
        self._positions = np.zeros(len(config.symbols), POSITION)
        self._numbers = {name: index for index, name in enumerate(config.symbols)}
        self._waiting: list[Moment] = []
        self._open: dict[str, OrderEntry] = {}
        self._order_ts: list[int] = []
        self._ordered: set[tuple[str, int]] = set()
        self._answered: set[tuple[str, int]] = set()
        self._unlocks = iter(self.operations.unlocks)
        self._next_unlock = next(self._unlocks, None)
        self._watch = DrawdownWatch(self.operations, int(limits["max_drawdown_ppm"]))
        self._ending = False
        self._marked = NEVER
        self.rounds_done = False

    def take_moment(self, moment: Moment) -> None:
        """A round's bars, in the order of the log; they wait for their record."""
        self._waiting.append(moment)

    def approve(self, decisions: Iterable[Decision], epoch: int, written_ns: int) -> None:
        """The approved decisions of a round, and when its record was written."""
        for decision in decisions:
            if decision.lots > 0:
                key = (self.config.symbols[decision.symbol], decision.ts)
                self.approved[key] = Approved(decision, epoch, written_ns)

    def advance(self, records: Iterator[Record], until: int | None) -> None:
        """Applies records up to number ``until`` (to the end when None)."""
        while until is None or self.seq < until:
            record = next(records, None)
            if record is None:
                return
            self.apply(record)

    def view(self, clock_ns: int, operations_seq: int, *, leased: bool) -> AccountView:
        """What the gate saw, when it had read the operations chain up to that number."""
        self._unlock_until(operations_seq)
        holdings = {
            name: Holding(
                int(row["lots"]),
                int(row["open_buys"] - row["open_sells"]),
                bool(row["locked"]),
            )
            for name, row in zip(self.config.symbols, self._positions, strict=True)
        }
        recent = len(self._order_ts) - bisect_right(self._order_ts, clock_ns - MINUTE_NS)
        return AccountView(
            epoch=self.operations.epoch_at(operations_seq),
            equity_micro=int(self._books["equity_micro"]) if self.opened else None,
            state=int(self.operations.state_at(operations_seq)),
            trader_leased=leased,
            orders_last_minute=recent,
            account_seq=self.seq,
            operations_seq=operations_seq,
            recorded=None,
            holdings=holdings,
        )

    # -- records ----------------------------------------------------------------------------

    def apply(self, record: Record) -> None:
        """Recomputes one record; Difference when it says something else."""
        self.seq = record.seq
        where = f"{record.chain} record {record.seq} ({record.kind})"
        seen = record.seen_of(OPERATIONS)
        self._unlock_until(seen)
        self._books["state"] = int(self.operations.state_at(seen))
        closing = record.kind in (CANCELLED, ENDED)
        if self._ending and not closing:
            raise Difference(where, "kind", record.kind, "the session's end")
        if record.kind == OPENED:
            opened = self._decode(where, record, Opened)
            compare(where, opened.opening_micro, self.config.opening_micro, exact=True)
            self.opened = True
        elif record.kind == BAR:
            self._watch.settled(where, self._rules, self._positions, self._open.values())
            self._bar(where, self._decode(where, record, BarEntry))
        elif record.kind == ORDER:
            self._order(where, self._decode(where, record, OrderEntry), seen)
        elif record.kind == REFUSED:
            self._refused(where, self._decode(where, record, RefusedEntry), seen, record.written_ns)
        elif record.kind == CANCELLED:
            self._cancelled(where, self._decode(where, record, CancelledEntry), seen)
        elif record.kind == ENDED:
            ended = self._decode(where, record, EndedEntry)
            if ended.status != "failed":
                self._watch.settled(where, self._rules, self._positions, self._open.values())
            self.ended = self.ended or ended.status
        else:
            raise Difference(where, "kind", record.kind, "a kind that this version knows")

    def _decode(self, where: str, record: Record, kind: type[Entry]) -> Entry:
        """The payload; Difference when it holds more than its fields."""
        entry = msgspec.json.decode(record.payload, type=kind)
        if self.exact:
            check_payload(where, record.payload, entry)
        return entry

    def _bar(self, where: str, recorded: BarEntry) -> None:
        bars, locked = self._moment_of(where, recorded)
        events = self._broker.on_bars(bars)
        done = [event.order.client_order_id for event in events if isinstance(event, DoneEvent)]
        freed = 0
        for order_id in done:
            order = self._open.pop(order_id)
            freed += order.reserved_micro
            let_go(self._positions[self._numbers[order.symbol]], order.side, order.lots)
        again = settle_moment(
            self.config, self._books, self._positions, recorded.ts, bars, events, locked, freed
        )
        compare(where, recorded, again, exact=self.exact)
        self._marked = recorded.ts
        self._watch.marked(self._books, recorded.ts)
        self.counts.moments += 1
        self.counts.fills += len(again.fills)

    def _moment_of(self, where: str, recorded: BarEntry) -> tuple[Bars, list[int]]:
        """The bars of the record's ts; those of the warm-up, which has no records, are learnt."""
        while self._waiting and self._waiting[0].ts < recorded.ts:
            skipped = self._waiting.pop(0)
            if skipped.ts >= self.config.first_traded or self._broker.on_bars(skipped.bars):
                raise Difference(where, "ts", recorded.ts, skipped.ts)
        if self._waiting and self._waiting[0].ts == recorded.ts:
            moment = self._waiting.pop(0)
            return moment.bars, moment.locked
        if not self.rounds_done or self.counts.unlogged_moments or recorded.ts <= self._marked:
            raise Difference(where, "ts", recorded.ts, "no round of this moment")
        # The trader died before it asked for this moment's round: its marks are all there is.
        self.counts.unlogged_moments += 1
        met = rows_to_bars(recorded.met) if recorded.met else np.zeros(0, BAR_ROW)
        for name, ticks in recorded.marks.items():
            self._positions[self._numbers[name]]["mark_ticks"] = ticks
        return met, [self._numbers[name] for name in recorded.locked]

    def _order(self, where: str, recorded: OrderEntry, seen: int) -> None:
        if recorded.origin == DECISION:
            self._watch.settled(where, self._rules, self._positions, self._open.values())
            again = self._decided(where, recorded.symbol, recorded.ts, seen, fresh=True)
        else:
            self._watch.closes(
                where, recorded.symbol, self._rules, self._positions, self._open.values()
            )
            again = self._rules.close(
                recorded.symbol, recorded.ts, recorded.code, self._books, self._positions
            )
        compare(where, recorded, again, exact=True)
        position = self._positions[self._numbers[recorded.symbol]]
        hold_open(self._books, position, recorded.side, recorded.lots, recorded.reserved_micro)
        self._open[recorded.client_order_id] = recorded
        self._order_ts.append(recorded.ts)
        self._broker.submit(broker_order(recorded))
        self.counts.orders += 1

    def _refused(self, where: str, recorded: RefusedEntry, seen: int, written_ns: int) -> None:
        again: OrderEntry | RefusedEntry
        key = (recorded.symbol, recorded.ts)
        if recorded.code == Code.NO_APPROVAL.name and recorded.lots == 0:
            if key in self.approved:
                raise Difference(where, "code", recorded.code, "there is an approval")
            again = refusal(recorded.symbol, recorded.ts, 0, 0, Code.NO_APPROVAL, 0, 0)
        elif recorded.epoch == 0:  # Of no approval: an operator's order.
            self._watch.closes(
                where, recorded.symbol, self._rules, self._positions, self._open.values()
            )
            again = self._rules.close(
                recorded.symbol, recorded.ts, "", self._books, self._positions
            )
        else:
            self._watch.settled(where, self._rules, self._positions, self._open.values())
            expired = recorded.code == Code.EXPIRED.name
            if expired:
                self._check_expired(where, key, written_ns)
            again = self._decided(where, recorded.symbol, recorded.ts, seen, fresh=not expired)
        compare(where, recorded, again, exact=True)
        self.counts.refused += 1

    def _check_expired(self, where: str, key: tuple[str, int], written_ns: int) -> None:
        """An approval may only have expired when its time had passed, by the writers' clocks."""
        found = self.approved.get(key)
        waited_s = (written_ns - found.written_ns) / 1e9 if found else 0.0
        if waited_s < self.config.approval_ttl_s - CLOCK_SLACK_S:
            raise Difference(where, "code", "EXPIRED", f"{waited_s:.1f} s after its approval")
        self.counts.expired += 1

    def _decided(
        self, where: str, symbol: str, ts: int, seen: int, *, fresh: bool
    ) -> OrderEntry | RefusedEntry:
        """What the order transaction makes of the decision's approval."""
        found = self.approved.get((symbol, ts))
        if found is None:
            raise Difference(where, "approval", f"{symbol} {ts}", "no such approval")
        decision = found.decision
        approval = Approval(
            account=self.config.account,
            symbol=symbol,
            ts=ts,
            side=decision.side,
            lots=decision.lots,
            limit_ticks=decision.limit_ticks,
            net_lots=decision.net_lots,
            epoch=found.epoch,
            epoch_in_force=self.operations.epoch_at(seen),
            fresh=fresh,
            ordered=(symbol, ts) in self._ordered,
        )
        entry = self._rules.decide(approval, self._books, self._positions)
        self._answered.add((symbol, ts))
        if isinstance(entry, OrderEntry):
            self._ordered.add((symbol, ts))
        return entry

    def _cancelled(self, where: str, recorded: CancelledEntry, seen: int) -> None:
        order = self._open.pop(recorded.client_order_id, None)
        if order is None or not self._broker.cancel(recorded.client_order_id):
            raise Difference(where, "order", recorded.client_order_id, "no open order")
        halted = self.operations.state_at(seen) == TradingState.HALTED
        if recorded.why == HALTED_WHY and not halted:
            raise Difference(where, "why", recorded.why, "trading was not halted")
        if recorded.why not in (HALTED_WHY, ENDED_WHY):
            raise Difference(where, "why", recorded.why, f"{HALTED_WHY} or {ENDED_WHY}")
        self._ending = self._ending or recorded.why == ENDED_WHY
        let_go(self._positions[self._numbers[order.symbol]], order.side, order.lots)
        self._books["reserved_micro"] -= order.reserved_micro
        self.counts.cancelled += 1

    def _unlock_until(self, operations_seq: int) -> None:
        while self._next_unlock is not None and self._next_unlock[0] <= operations_seq:
            self._positions[self._numbers[self._next_unlock[1]]]["locked"] = 0
            self.counts.unlocked += 1
            self._next_unlock = next(self._unlocks, None)

    def unanswered(self) -> list[tuple[str, int]]:
        """Approved decisions of moments that the trader closed, which became nothing.

        A trader without a feed marks no moment; one that failed may have left its last one open.
        """
        last = self._marked if self.ended == "failed" else self._marked + 1
        open_ = self.approved.keys() - self._answered
        return sorted(key for key in open_ if key[1] < last)

    @property
    def without_order(self) -> int:
        """Approved decisions that became neither an order nor a refusal."""
        return len(self.approved.keys() - self._answered)
