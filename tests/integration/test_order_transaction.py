"""The order transaction on a real PostgreSQL, raced by real connections in real threads.

A race is many rounds: both sides are released by a barrier, one of them a little later each round,
so that every interleaving of their statements comes up.
"""

# longer than 400 lines because: every way to lose one transaction's race, on shared fixtures.

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg
import pytest
from support import (
    Account,
    House,
    by_moment,
    forecast,
    judge,
    limits,
    migrated,
    open_gate,
    open_session,
    random_bars,
)

from actors.gate import Gate, GateClosed
from cloud_trader.account_store import NotHolder
from cloud_trader.broker import Order
from cloud_trader.control import EVERYWHERE, set_state
from cloud_trader.lease import TraderLease
from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from data.bars import Bars
from data.store import ACCOUNT_LOCK_CLASS, TRADING_LOCK, connect

pytestmark = pytest.mark.integration

ROUNDS = 40


@pytest.fixture
def house(postgres: EmbeddedPostgres, home: Home) -> Iterator[House]:
    with migrated(postgres, home) as made:
        yield made


class Desk:
    """One account over generated bars, with a gate that approves what it is told to want."""

    def __init__(self, house: House, account: Account, gate: Gate, bars: list[Bars]) -> None:
        self.house = house
        self.account = account
        self.gate = gate
        self.each = bars
        self.round = 0
        self._superuser = house.connect()

    @property
    def bars(self) -> Bars:
        """The present moment's bars."""
        return self.each[self.round - 1]

    @property
    def ts(self) -> int:
        return int(self.bars["ts"][0])

    def next(self, up: float = 0.8, gate: Gate | None = None) -> None:
        """Fills, marks and judges the next moment; its approvals stand afterwards."""
        self.round += 1
        self.account.moment(self.bars)
        pooled = forecast(self.account.config, self.round, self.bars, up)
        judge(self.house, gate or self.gate, pooled)

    def drop(self, order: Order | None) -> None:
        """Takes an order back, so that the next round finds the same books."""
        if order is not None:
            self.account.desk.cancelled(order.client_order_id, self.ts, "test")

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """As the superuser."""
        return self._superuser.execute(query, values).fetchall()

    def close(self) -> None:
        self._superuser.close()


@pytest.fixture
def desk(house: House) -> Iterator[Desk]:
    with open_desk(house) as made:
        yield made


@contextmanager
def open_desk(house: House, symbols: int = 1, **changes: Any) -> Iterator[Desk]:
    names = ("AAA", "BBB", "CCC", "DDD")[:symbols]
    config = open_session(house, symbols=names, **changes)
    with Account(house, config) as account:
        bars = by_moment(random_bars(ROUNDS + 10, symbols, volatility=0.001))
        desk = Desk(house, account, open_gate(house), bars)
        yield desk
        desk.close()


def race(*sides: Callable[[], Any], delays: tuple[float, ...]) -> list[Any]:
    """Runs all sides at once, each after its delay in seconds; their results or exceptions."""
    barrier = threading.Barrier(len(sides))

    def run(side: Callable[[], Any], delay: float) -> Any:
        barrier.wait(10)
        if delay > 0:
            time.sleep(delay)
        return side()

    with ThreadPoolExecutor(len(sides)) as pool:
        futures = [pool.submit(run, *pair) for pair in zip(sides, delays, strict=True)]
        return [future.exception(20) or future.result() for future in futures]


def delays(number: int) -> tuple[float, float]:
    """Which side starts later in a race's round, and by how much: from -6 to +6 ms."""
    lead = (number - ROUNDS / 2) * 0.0003
    return max(lead, 0.0), max(-lead, 0.0)


# -- the plain path -------------------------------------------------------------------------


def test_an_approval_becomes_one_order_with_its_cash_reserved(desk: Desk) -> None:
    desk.next()
    order = desk.account.desk.place("AAA", desk.ts)
    assert order is not None
    ((lots, limit, epoch, reserved, status, seq),) = desk.rows(
        "SELECT lots, limit_ticks, epoch, reserved_micro, status, seq FROM orders"
    )
    ((most, collar),) = desk.rows("SELECT max_lots, limit_ticks FROM approval")
    assert (order.lots, order.limit_ticks) == (lots, limit)
    assert (lots, limit, epoch, status) == (most, collar, 1, "open")
    notional = lots * limit * 100
    assert reserved == notional + -(-notional * 50 // 10**6)  # 50 ppm, rounded up
    assert desk.rows("SELECT reserved_micro FROM account") == [(reserved,)]
    ((payload, seen),) = desk.rows("SELECT payload, seen FROM journal WHERE kind = 'order'")
    assert msgspec.json.decode(payload)["lots"] == lots
    assert msgspec.json.decode(seen) == {"cell/0": 1, "operations": 1}
    assert seq == desk.rows("SELECT max(seq) FROM journal WHERE kind = 'order'")[0][0]
    # Once more: the quantity is used up.
    assert desk.account.desk.place("AAA", desk.ts) is None
    assert desk.account.refusals() == ["DUPLICATE"]
    assert len(desk.rows("SELECT 1 FROM orders")) == 1


def test_a_second_place_after_a_reduced_order_is_a_duplicate(house: House) -> None:
    """Also when the first order, cut to the cash at hand, has expired unfilled."""
    with open_desk(house, opening_micro=10**12) as desk:
        desk.next()
        with house.connect() as link:
            link.execute("UPDATE account SET cash_micro = 10000000000")
        order = desk.account.desk.place("AAA", desk.ts)
        assert order is not None
        assert order.lots < desk.rows("SELECT max_lots FROM approval")[0][0]
        ts = desk.ts
        assert desk.account.desk.place("AAA", ts) is None
        desk.drop(order)
        assert desk.account.desk.place("AAA", ts) is None
        assert desk.account.refusals() == ["DUPLICATE", "DUPLICATE"]


def test_no_approval_no_order(desk: Desk) -> None:
    desk.next(up=0.45)  # down and up weigh the same: nothing is wanted
    assert desk.rows("SELECT 1 FROM approval") == []
    assert desk.account.desk.place("AAA", desk.ts) is None
    assert desk.account.desk.place("ZZZ", desk.ts) is None
    assert desk.account.refusals() == ["NO_APPROVAL", "NO_APPROVAL"]


def test_another_accounts_approval_is_none(house: House) -> None:
    with open_desk(house) as desk:
        desk.next()
        with house.connect() as link:
            link.execute("UPDATE approval SET account = 'somebody-else'")
        assert desk.account.desk.place("AAA", desk.ts) is None
        assert desk.account.refusals() == ["NO_APPROVAL"]


def test_a_position_that_changed_after_the_judgement_is_a_stale_view(desk: Desk) -> None:
    desk.next()
    assert desk.account.place("AAA", desk.ts)
    first = desk.ts
    # Judged with the order open; then the order is taken back.
    pooled = forecast(desk.account.config, 2, desk.each[1], 0.1)
    judge(desk.house, desk.gate, pooled)
    second = int(desk.each[1]["ts"][0])
    assert desk.rows("SELECT side FROM approval WHERE ts = %s", second) == [(-1,)]
    desk.account.desk.cancelled(f"{desk.account.config.session_id}/AAA/{first}/d", first, "test")
    assert desk.account.desk.place("AAA", second) is None
    assert desk.account.refusals() == ["STALE_VIEW"]


# -- deadlines ------------------------------------------------------------------------------


def test_an_approval_that_expires_while_the_transaction_waits_is_refused(house: House) -> None:
    """now() is the transaction's start: it would still find the approval fresh."""
    with open_desk(house, approval_ttl_s=0.4) as desk:
        desk.next()
        with house.connect() as holder, ThreadPoolExecutor(1) as pool:
            holder.execute("SELECT pg_advisory_lock(%s, %s)", TRADING_LOCK)
            began = time.monotonic()
            waiting = pool.submit(desk.account.desk.place, "AAA", desk.ts)
            time.sleep(0.6)
            assert not waiting.done()
            holder.execute("SELECT pg_advisory_unlock(%s, %s)", TRADING_LOCK)
            assert waiting.result(10) is None
            assert time.monotonic() - began >= 0.6
        assert desk.account.refusals() == ["EXPIRED"]
        # The same wait within the time to live is harmless.
        desk.next()
        assert desk.account.desk.place("AAA", desk.ts) is not None


@pytest.mark.parametrize("lock", ["trading", "account"])
def test_no_lock_is_waited_for_for_ever(desk: Desk, lock: str) -> None:
    desk.next()
    desk.account.connection.execute("SET lock_timeout = '300ms'")
    with desk.house.connect() as holder:
        if lock == "trading":
            holder.execute("SELECT pg_advisory_lock(%s, %s)", TRADING_LOCK)
        else:
            holder.execute(
                "SELECT pg_advisory_lock(%s, hashtext(%s))",
                (ACCOUNT_LOCK_CLASS, desk.account.config.account),
            )
        before = time.monotonic()
        with pytest.raises(psycopg.errors.LockNotAvailable):
            desk.account.desk.place("AAA", desk.ts)
        assert 0.25 < time.monotonic() - before < 3
    assert desk.rows("SELECT 1 FROM orders") == []
    assert desk.account.desk.place("AAA", desk.ts) is not None


def test_halt_does_not_wait_for_ever_either(desk: Desk) -> None:
    with desk.house.connect() as holder, connect(desk.house.roles.ops, name="ops") as ops:
        holder.execute("SELECT pg_advisory_lock_shared(%s, %s)", TRADING_LOCK)
        ops.execute("SET lock_timeout = '300ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            set_state(ops, EVERYWHERE, "HALTED", "test", "test")
    assert desk.rows("SELECT 1 FROM trading_state") == []


# -- halt -----------------------------------------------------------------------------------


def test_after_a_halt_returned_no_decision_order_commits(desk: Desk) -> None:
    placed = refused = 0
    with connect(desk.house.roles.ops, name="ops") as ops:

        def halt() -> tuple[int, int]:
            """The halt's number, and how many orders stand when it has returned."""
            seq = set_state(ops, EVERYWHERE, "HALTED", "race", "test")
            row = ops.execute("SELECT count(*) FROM orders").fetchone()
            assert row is not None
            return seq, int(row[0])

        for number in range(ROUNDS):
            desk.next()
            ts = desk.ts
            order, answer = race(
                lambda: desk.account.desk.place("AAA", desk.ts), halt, delays=delays(number)
            )
            assert not isinstance(answer, Exception), answer
            assert order is None or isinstance(order, Order), order
            seq, standing = answer
            assert desk.rows("SELECT count(*) FROM orders") == [(standing,)]
            late = desk.rows(
                "SELECT seq FROM journal WHERE kind = 'order'"
                " AND (convert_from(seen, 'utf8')::json->>'operations')::bigint >= %s",
                seq,
            )
            if order is None:
                refused += 1
                assert desk.account.refusals()[-1] == "HALTED"
                assert late == []
            else:
                placed += 1
                ((seen,),) = desk.rows(
                    "SELECT (convert_from(seen, 'utf8')::json->>'operations')::bigint FROM journal"
                    " WHERE kind = 'order' AND ts = %s",
                    ts,
                )
                assert seen == seq - 1
            # Still halted: a fresh approval of the same epoch changes nothing.
            assert desk.account.desk.place("AAA", desk.ts) is None
            desk.drop(order)
            set_state(ops, EVERYWHERE, "ACTIVE", "race", "test")
    # Both sides won often enough for this to have been a race.
    assert placed >= 3
    assert refused >= 3


def test_a_halt_of_one_account_stops_that_account_alone(house: House) -> None:
    with open_desk(house) as desk:
        desk.next()
        with connect(house.roles.ops, name="ops") as ops:
            set_state(ops, "another-account", "HALTED", "test", "test")
            order = desk.account.desk.place("AAA", desk.ts)
            assert order is not None
            desk.drop(order)
            set_state(ops, desk.account.config.account, "HALTED", "test", "test")
            set_state(ops, EVERYWHERE, "ACTIVE", "test", "test")
        desk.next()
        assert desk.account.desk.place("AAA", desk.ts) is None
        assert desk.rows("SELECT 1 FROM approval WHERE ts = %s", desk.ts) == []


def test_while_reducing_only_reductions_pass(desk: Desk) -> None:
    desk.next()
    assert desk.account.place("AAA", desk.ts)
    desk.next()  # filled, and the wish to buy more is approved
    with connect(desk.house.roles.ops, name="ops") as ops:
        set_state(ops, EVERYWHERE, "REDUCING", "test", "test")
    held = desk.rows("SELECT lots FROM position")[0][0]
    assert held > 0
    assert desk.rows("SELECT side FROM approval WHERE ts = %s", desk.ts) == [(1,)]
    assert not desk.account.place("AAA", desk.ts)
    assert desk.account.refusals() == ["REDUCING_ONLY"]
    desk.next(up=0.1)
    assert desk.account.place("AAA", desk.ts)
    assert desk.rows("SELECT side, lots <= %s FROM orders WHERE ts = %s", held, desk.ts) == [
        (-1, True)
    ]


def test_flatten_works_while_halted_and_only_reduces(house: House) -> None:
    with open_desk(house, symbols=2) as desk:
        desk.next()
        assert desk.account.place("AAA", desk.ts)
        assert desk.account.place("BBB", desk.ts)
        desk.next()
        held = dict(desk.rows("SELECT symbol, lots FROM position"))
        assert min(held.values()) > 0
        with connect(house.roles.ops, name="ops") as ops:
            set_state(ops, EVERYWHERE, "HALTED", "test", "test")
        assert not desk.account.place("AAA", desk.ts)
        orders = desk.account.desk.flatten(desk.ts, "flatten by test")
        assert [(o.symbol, o.side, o.lots) for o in orders] == [
            ("AAA", -1, held["AAA"]),
            ("BBB", -1, held["BBB"]),
        ]
        assert desk.rows("SELECT DISTINCT origin, epoch FROM orders WHERE side = -1") == [
            ("operator", None)
        ]
        # Open orders count: a second flatten finds nothing left to close.
        assert desk.account.desk.flatten(desk.ts, "again") == []
        for order in orders:
            desk.account.broker.submit(order)
        desk.next()
        assert dict(desk.rows("SELECT symbol, lots FROM position")) == {"AAA": 0, "BBB": 0}


# -- epochs ---------------------------------------------------------------------------------


def test_a_new_epoch_voids_every_earlier_approval(desk: Desk) -> None:
    desk.next()
    newer = open_gate(desk.house, "newer")
    assert newer.epoch == 2
    assert desk.account.desk.place("AAA", desk.ts) is None
    assert desk.account.refusals() == ["EPOCH_VOID"]
    with pytest.raises(GateClosed):
        desk.next()
    desk.next(gate=newer)
    assert desk.account.desk.place("AAA", desk.ts) is not None


def test_order_and_new_epoch_raced(desk: Desk) -> None:
    gate = desk.gate
    placed = refused = 0
    for number in range(ROUNDS):
        desk.next(gate=gate)
        newer = Gate(desk.house.roles.gate, 0, f"gate {number}")
        newer._open()  # connecting takes longer than the race
        ts, old = desk.ts, gate.epoch
        order, epoch = race(
            lambda: desk.account.desk.place("AAA", desk.ts), newer.take_epoch, delays=delays(number)
        )
        assert epoch == old + 1, epoch
        ((epoch_record,),) = desk.rows("SELECT max(seq) FROM journal WHERE kind = 'gate_epoch'")
        if order is None:
            refused += 1
            assert desk.account.refusals()[-1] == "EPOCH_VOID"
        else:
            placed += 1
            ((seen, under),) = desk.rows(
                "SELECT (convert_from(j.seen, 'utf8')::json->>'operations')::bigint, o.epoch"
                " FROM orders o JOIN journal j ON j.kind = 'order' AND j.ts = o.ts"
                " WHERE o.ts = %s",
                ts,
            )
            assert (seen, under) == (epoch_record - 1, old)
        desk.drop(order)
        gate = newer
    assert placed >= 3
    assert refused >= 3


def test_two_gates_never_both_approve(desk: Desk) -> None:
    """Old and new gate judge at the same time: only one epoch's approvals are good."""
    pooled = forecast(desk.account.config, 1, desk.each[0], 0.8)
    desk.account.moment(desk.each[0])
    newer = Gate(desk.house.roles.gate, 0, "newer")

    def start_and_judge() -> object:
        newer.take_epoch()
        return judge(desk.house, newer, forecast(desk.account.config, 2, desk.each[1], 0.8))

    results = race(lambda: judge(desk.house, desk.gate, pooled), start_and_judge, delays=(0.0, 0.0))
    for symbol_ts in (int(desk.each[0]["ts"][0]), int(desk.each[1]["ts"][0])):
        order = desk.account.desk.place("AAA", symbol_ts)
        if order is not None:
            assert desk.rows("SELECT epoch FROM orders WHERE ts = %s", symbol_ts) == [(2,)]
    assert not desk.gate.closed or isinstance(results[0], Exception)


# -- leases ---------------------------------------------------------------------------------


def test_one_active_trader_per_account(desk: Desk) -> None:
    url, name = desk.house.roles.trader, desk.account.config.account
    second = TraderLease(url, name, 60.0)
    assert desk.account.lease.held()
    assert not second.acquire()
    assert not second.held()
    desk.next()
    with connect(url, name="second") as connection:
        account = desk.account
        other = Account.__new__(Account)
        other.config, other.house, other.lease = account.config, account.house, second
        with pytest.raises(NotHolder):
            other.another_desk(connection).place("AAA", desk.ts)
    # The lease runs out (a dead trader): the second takes it, the first can write nothing.
    with desk.house.connect() as link:
        link.execute("UPDATE trader_lease SET expires_at = clock_timestamp()")
    with pytest.raises(NotHolder):
        desk.account.desk.place("AAA", desk.ts)
    assert second.acquire()
    try:
        for write in (
            lambda: desk.account.desk.place("AAA", desk.ts),
            lambda: desk.account.desk.flatten(desk.ts, "test"),
            lambda: desk.account.moment(desk.bars),
        ):
            with pytest.raises(NotHolder):
                write()
        assert desk.rows("SELECT 1 FROM orders") == []
        assert desk.rows("SELECT epoch, holder FROM trader_lease") == [(2, second.holder)]
    finally:
        second.release()


def test_a_lease_is_believed_no_longer_than_it_was_confirmed(house: House) -> None:
    config = open_session(house)
    clock = [100.0]
    lease = TraderLease(house.roles.trader, config.account, 10.0, lambda: clock[0])
    assert not lease.held()
    assert lease.acquire()
    clock[0] = 109.9
    assert lease.held()
    clock[0] = 110.0
    assert not lease.held()
    lease.release()
    assert not lease.held()
    # Given back: the next one need not wait.
    follower = TraderLease(house.roles.trader, config.account, 10.0)
    assert follower.acquire()
    follower.release()


def test_a_lease_renews_itself_and_ends_when_it_is_lost(house: House) -> None:
    config = open_session(house)
    lease = TraderLease(house.roles.trader, config.account, 0.6)
    assert lease.acquire()
    time.sleep(1.2)
    assert lease.held()
    with house.connect() as link:
        link.execute("UPDATE trader_lease SET holder = 'thief', expires_at = 'infinity'")
    deadline = time.monotonic() + 3
    while lease.held() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not lease.held()
    lease.release()
    with house.connect() as link:
        assert link.execute("SELECT holder FROM trader_lease").fetchone() == ("thief",)


# -- cash -----------------------------------------------------------------------------------


def place_all(desk: Desk, links: list[psycopg.Connection]) -> list[Order | None]:
    """Places all symbols' approvals of the present moment at once, each on its connection."""
    barrier = threading.Barrier(len(links))

    def place(link: psycopg.Connection, symbol: str) -> Order | None:
        barrier.wait(10)
        return desk.account.another_desk(link).place(symbol, desk.ts)

    with ThreadPoolExecutor(len(links)) as pool:
        return list(pool.map(place, links, desk.account.config.symbols))


def test_concurrent_orders_of_one_account_never_reserve_more_than_its_cash(house: House) -> None:
    loose = limits(
        max_order_fraction=10, max_position_fraction=10, max_gross=10, max_drawdown=0.99,
        max_daily_loss=0.99,
    )  # fmt: skip
    with open_desk(house, symbols=4, risk=loose) as desk:
        links = [connect(house.roles.trader, name=f"test-{n}") for n in range(4)]
        refused = 0
        for _ in range(10):
            desk.next()
            ((wanted,),) = desk.rows(
                "SELECT sum(max_lots * limit_ticks * 100) FROM approval WHERE ts = %s", desk.ts
            )
            orders = place_all(desk, links)
            ((cash, reserved),) = desk.rows("SELECT cash_micro, reserved_micro FROM account")
            assert wanted > cash  # else nothing is tested
            assert 0 < reserved <= cash
            open_orders = "SELECT sum(reserved_micro) FROM orders WHERE status = 'open'"
            assert desk.rows(open_orders) == [(reserved,)]
            refused += orders.count(None)
            for order in orders:
                desk.drop(order)
        for link in links:
            link.close()
        assert refused > 0
        assert set(desk.account.refusals()) <= {"CASH", "MIN_NOTIONAL"}
        assert desk.rows("SELECT reserved_micro FROM account") == [(0,)]
