"""The trading service: one session, one account, one moment after the other.

At each ts, in this order: fills of earlier orders, marks and account limits (one transaction);
the decision request; the order transactions in (ts, symbol) order, each committed before the next
ts is sent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from decimal import Decimal
from types import TracebackType

import numpy as np
import psycopg
import structlog

from actors.costs import CostModel
from actors.limits import recorded_limits
from cloud_trader.account_store import AccountStore, Marked, NotHolder, trading_active
from cloud_trader.api import Server, application
from cloud_trader.broker import PaperBroker
from cloud_trader.control import set_state
from cloud_trader.lease import TraderLease
from cloud_trader.order_desk import OrderDesk
from data.bars import UNKNOWN, Bars
from data.cache import RecentBars
from data.money import from_ticks
from data.records import SessionConfig
from data.sessions import load_session
from data.store import Connection, connect
from serve_apps.client import CoordinatorClient
from serve_apps.wire import BarIn, DecideRequest, DecideResponse

log = structlog.get_logger("trader")

LOOPBACK = "127.0.0.1"
RISK = "risk"  # who acts when a limit does


class LeaseLost(RuntimeError):
    """Another trader holds the account, or the lease could not be renewed."""


class Trader:
    """Owns the account of one session for as long as it holds its lease."""

    def __init__(
        self,
        config: SessionConfig,
        connection: Connection,
        database_url: str,
        lease: TraderLease,
        client: CoordinatorClient,
        cache: RecentBars,
        port: int,
    ) -> None:
        costs = CostModel(**config.costs)
        limits = recorded_limits(config.limits).record()
        self.config = config
        self._connection = connection
        self._database_url = database_url
        self._lease = lease
        self._client = client
        self._cache = cache
        self._accounts = AccountStore(connection, config)
        self._desk = OrderDesk(
            self._accounts, connection, config, limits, costs.record(), lease.holder
        )
        self._broker = PaperBroker(config, costs.record())
        self._server = Server(application(self.readiness), LOOPBACK, port)
        self._tick = Decimal(config.tick)
        self._halted = False
        self._ended = False

    def __enter__(self) -> Trader:
        if not self._lease.acquire():
            raise LeaseLost(f"another trader holds {self.config.account}")
        self._accounts.open(self._lease.holder)
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and not self._ended:
            self._end_failed(error)
        self._server.stop()
        self._client.close()
        self._lease.release()
        self._connection.close()

    def readiness(self) -> dict[str, bool]:
        """What trading needs, and whether it is there now. Opens a connection of its own."""
        return {
            "lease": self._lease.held(),
            "session_open": not self._ended,
            "coordinator": self._client.ready(),
            "trading_active": self._trading_active(),
        }

    def _trading_active(self) -> bool:
        # A connection of its own: the loop's may be inside a transaction.
        try:
            with connect(self._database_url, name="trader-readiness") as connection:
                return trading_active(connection, self.config.account)
        except psycopg.Error:
            return False

    def end(self, status: str, detail: str) -> None:
        """Records how the session ended: finished, stopped or failed."""
        self._accounts.end(status, detail, self._lease.holder)
        self._ended = True

    def _end_failed(self, error: BaseException) -> None:
        """Records the failure if that can be done; the error itself goes on its way."""
        try:
            self.end("failed", f"{type(error).__name__}: {error}")
        except (NotHolder, psycopg.Error) as second:
            log.error("the failure could not be recorded", why=type(second).__name__)

    def run(
        self,
        bars: Bars,
        locks: Sequence[tuple[int, int]],
        dates_per_second: float,
        stop: threading.Event,
    ) -> int:
        """Runs the session over ``bars`` in (ts, symbol) order; returns the exit code."""
        moments, starts = np.unique(bars["ts"], return_index=True)
        ends = [*starts[1:], len(bars)]
        waiting = sorted(locks)
        for ts, start, end in zip(moments.tolist(), starts, ends, strict=True):
            if stop.is_set():
                self._close(ts, "stopped", "asked to stop")
                return 0
            locked: list[int] = []
            while waiting and waiting[0][0] <= ts:
                locked.append(waiting.pop(0)[1])
            began = time.monotonic()
            self._moment(ts, bars[start:end], locked)
            if dates_per_second and ts >= self.config.first_traded:
                stop.wait(max(0.0, 1.0 / dates_per_second - (time.monotonic() - began)))
        self._close(int(moments[-1]), "finished", f"{len(moments)} dates")
        return 0

    def _close(self, ts: int, status: str, detail: str) -> None:
        """Takes back the orders that no bar will meet any more, and ends the session."""
        self._cancel_open(ts, "the session ended", decisions_only=False)
        self.end(status, detail)

    # -- one moment -------------------------------------------------------------------------

    def _moment(self, ts: int, bars: Bars, locked: list[int]) -> None:
        if not self._lease.held():
            raise LeaseLost(f"the lease of {self.config.account} ran out")
        self._cancel_if_halted(ts)
        if ts >= self.config.first_traded:
            events = self._broker.on_bars(bars)
            marked = self._accounts.mark(ts, bars, events, locked, self._lease.holder)
            self._watch_drawdown(ts, marked)
        else:
            self._broker.on_bars(bars)
        answer = self._client.decide(self._request(ts, bars, locked))
        self._place_orders(answer)
        self._cache.push(self.config.session_id, [self._cached(bar) for bar in bars])

    def _watch_drawdown(self, ts: int, marked: Marked) -> None:
        if self._halted:
            # The market may have left the collar of the orders before. Not after a resume.
            if marked.halted:
                self._flatten(ts, "MAX_DRAWDOWN: what was left open")
            return
        if not marked.limit_reached:
            return
        reason = f"MAX_DRAWDOWN: equity is {marked.drawdown:.2%} below its peak"
        log.warning("trading halted", reason=reason)
        set_state(
            self._connection,
            self.config.account,
            "HALTED",
            reason,
            RISK,
            session_id=self.config.session_id,
            ts=ts,
        )
        self._halted = True
        self._cancel_open(ts, "halted", decisions_only=True)
        self._flatten(ts, reason)

    def _flatten(self, ts: int, reason: str) -> None:
        for order in self._desk.flatten(ts, reason):
            self._broker.submit(order)

    def _cancel_if_halted(self, ts: int) -> None:
        """A halt takes back the decisions' orders in flight before they meet the next bar."""
        in_flight = any(order.from_decision for order in self._broker.open_orders())
        if in_flight and self._accounts.halted():
            self._cancel_open(ts, "halted", decisions_only=True)

    def _cancel_open(self, ts: int, why: str, *, decisions_only: bool) -> None:
        for order in self._broker.open_orders():
            if order.from_decision or not decisions_only:
                self._broker.cancel(order.client_order_id)
                self._desk.cancelled(order.client_order_id, ts, why)

    def _place_orders(self, answer: DecideResponse) -> None:
        for verdict in answer.verdicts:
            if verdict.lots > 0:
                order = self._desk.place(verdict.symbol, verdict.ts)
                if order is not None:
                    self._broker.submit(order)

    def _request(self, ts: int, bars: Bars, locked: list[int]) -> DecideRequest:
        return DecideRequest(
            session_id=self.config.session_id,
            request_id=f"{self.config.session_id}/{ts}",
            bars=[self._wire(bar) for bar in bars],
            quarantined=[self.config.symbols[symbol] for symbol in locked],
        )

    def _price(self, ticks: int) -> str:
        return str(from_ticks(ticks, self._tick))

    def _wire(self, bar: np.void) -> BarIn:
        def known(name: str) -> int | None:
            return None if bar[name] == UNKNOWN else int(bar[name])

        def quote(name: str) -> str | None:
            return None if bar[name] == UNKNOWN else self._price(int(bar[name]))

        return BarIn(
            symbol=self.config.symbols[int(bar["symbol"])],
            ts=int(bar["ts"]),
            open=self._price(int(bar["open"])),
            high=self._price(int(bar["high"])),
            low=self._price(int(bar["low"])),
            close=self._price(int(bar["close"])),
            volume=int(bar["volume"]),
            buy_volume=known("buy_volume"),
            trades=known("trades"),
            bid=quote("bid"),
            ask=quote("ask"),
            bid_size=known("bid_size"),
            ask_size=known("ask_size"),
        )

    def _cached(self, bar: np.void) -> tuple[str, dict[str, object]]:
        symbol = self.config.symbols[int(bar["symbol"])]
        body = {"ts": int(bar["ts"]), "close": self._price(int(bar["close"]))}
        return symbol, {**body, "volume": int(bar["volume"])}


def build_trader(
    *,
    session_id: str,
    database_url: str,
    redis_url: str,
    coordinator_url: str,
    token: str,
    port: int,
    lease_ttl_s: float,
    answer_deadline_s: float,
) -> Trader:
    """A trader for a recorded session; UnknownSession when there is none."""
    connection = connect(database_url, name="sapphire-trader")
    config = load_session(connection, session_id)
    return Trader(
        config,
        connection,
        database_url,
        TraderLease(database_url, config.account, lease_ttl_s),
        CoordinatorClient(coordinator_url, answer_deadline_s, token=token),
        RecentBars(redis_url),
        port,
    )
