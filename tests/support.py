"""A migrated database for each test, small sessions, and the real parts put together without Ray.

Only the transport is absent: ``Voters`` and ``GateInProcess`` call the real voters and the real
gate directly, where a cluster sends the same calls to Ray actors.
"""

# longer than 400 lines because: the real parts put together without Ray, once for all.

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import psycopg
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from actors import strategy_optimization
from actors.contract import AgentSpec, Floats, Status
from actors.costs import CostModel
from actors.gate import Gate, GateClosed, judged_decoder
from actors.limits import RiskLimits
from actors.registry import AGENTS
from actors.voter import Voter
from cloud_trader.account_store import AccountStore
from cloud_trader.broker import PaperBroker
from cloud_trader.lease import TraderLease
from cloud_trader.order_desk import OrderDesk
from cloud_trader.trader import Trader
from cluster.bring_up import Database, open_database
from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from cluster.plan import session_config
from cluster.processes import free_port
from data import round_log
from data.bars import Bars, empty_bars
from data.cache import RecentBars
from data.feed import Feed
from data.journal import GENESIS, cell_chain, head, read_chain, record_hash
from data.money import from_ticks
from data.records import (
    Decision,
    RoundInput,
    RoundOutput,
    SessionConfig,
    encode,
    input_decoder,
    output_decoder,
    rows_to_bars,
)
from data.round_output import packed_decisions
from data.sessions import load_model, save_model, save_session
from data.store import connect
from data.tokens import Scope, secret_hash
from serve_apps.api import Api
from serve_apps.auth import Authenticator
from serve_apps.client import CoordinatorClient
from serve_apps.coordinator import Health
from serve_apps.decider import Decider
from serve_apps.decision_log import DecisionLog
from serve_apps.engine import Engine
from serve_apps.link import Link
from serve_apps.log_reader import DatabaseLog
from serve_apps.lookout import Lookout
from serve_apps.meter import Meter
from serve_apps.news_desk import NewsDesk
from serve_apps.rate_limit import RateLimiter
from serve_apps.readings import Readings
from serve_apps.round_ports import GateLost
from serve_apps.round_store import RoundStore
from serve_apps.rounds import Rounds
from serve_apps.upgrade import AgentUpgrade
from serve_apps.wire import BarIn, DecideRequest, DecideResponse

DAY_NS = 86_400_000_000_000
START = int(np.datetime64("2001-01-02T21:00", "ns").astype(np.int64))
CELL = 0


# -- databases ------------------------------------------------------------------------------


@dataclass(frozen=True)
class House:
    """One migrated database: the superuser's address and the roles'."""

    superuser: str
    roles: Database

    def connect(self) -> psycopg.Connection:
        """As the superuser, with the house's time-outs."""
        return connect(self.superuser, name="test")


_templates: dict[str, str] = {}  # server address -> name of its migrated template


@contextmanager
def migrated(server: EmbeddedPostgres, home: Home) -> Iterator[House]:
    """A fresh migrated database, dropped afterwards; copied from a template, which is fast."""
    base = server.url.rpartition("/")[0]
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        if server.url not in _templates:
            template = f"template_{secrets.token_hex(6)}"
            connection.execute(f'CREATE DATABASE "{template}"')
            open_database(home, f"{base}/{template}")
            _templates[server.url] = template
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{_templates[server.url]}"')
    try:
        yield House(f"{base}/{name}", open_database(home, f"{base}/{name}"))
    finally:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


# -- sessions and bars ----------------------------------------------------------------------


def limits(**changes: Any) -> RiskLimits:
    """The default limits with some changed."""
    return RiskLimits(**changes)


def plain_config(
    symbols: tuple[str, ...] = ("AAA", "BBB"),
    risk: RiskLimits | None = None,
    models: dict[str, str] | None = None,
    **changes: Any,
) -> SessionConfig:
    """A session's configuration with the house's defaults, not recorded."""
    feed = Feed(symbols, empty_bars(0), (), (), "test", "")
    config = session_config(feed, models or {}, risk or limits(), datetime.now(UTC), "historical")
    return msgspec.structs.replace(config, **changes)


def open_session(house: House, **arguments: Any) -> SessionConfig:
    """The same, recorded."""
    config = plain_config(**arguments)
    with connect(house.roles.ops, name="test") as connection:
        save_session(connection, config)
    return config


def random_bars(count: int, symbols: int = 2, seed: int = 1, volatility: float = 0.02) -> Bars:
    """``count`` daily bars of each symbol, log-normal closes round 100, in (ts, symbol) order."""
    rng = np.random.default_rng(seed)
    bars = empty_bars(count * symbols).reshape(count, symbols)
    moves = rng.normal(0, volatility, (count, symbols))
    close = np.rint(1e6 * np.exp(np.cumsum(moves, axis=0))).astype(np.int64)
    open_ = np.concatenate([np.full((1, symbols), 1_000_000), close[:-1]])
    bars["open"] = np.rint(open_ * np.exp(rng.normal(0, 0.003, open_.shape)))
    bars["close"] = close
    bars["high"] = np.maximum(bars["open"], close) + rng.integers(0, 5000, close.shape)
    bars["low"] = np.minimum(bars["open"], close) - rng.integers(0, 5000, close.shape)
    bars["volume"] = rng.integers(1_000_000, 3_000_000, close.shape)
    bars["ts"] = (START + DAY_NS * np.arange(count))[:, None]
    bars["symbol"] = np.arange(symbols)
    return bars.reshape(-1)


def by_moment(bars: Bars) -> list[Bars]:
    """The bars of each ts."""
    _, starts = np.unique(bars["ts"], return_index=True)
    return np.split(bars, starts[1:])


def save_models(house: House, trained_until: int = 0) -> dict[str, str]:
    """Hand-made models under which three agents vote loudly, agree, and change their minds.

    One slope on each agent's first feature: trend rule, imbalance and flow all follow the price.
    """
    slope = 1.5
    champion = {
        "rule": "ema_cross", "fast": 5, "slow": 20, "trend_taste": 0.0, "vol_taste": 0.0,
        "link": [0.0, -slope, -0.5, 0.0, 0.0, slope],
    }  # fmt: skip
    params = {
        "strategy_optimization": strategy_optimization.pack([champion]),
        "volume_microstructure": _first_slope(7, 0.5 * slope),
        "vpin_hft": np.concatenate([[1.0, 0.966], _first_slope(3, 0.5 * slope)]),
    }
    with connect(house.roles.ops, name="test") as connection:
        return {
            agent: save_model(connection, agent, 5, trained_until, row)
            for agent, row in params.items()
        }


def _first_slope(features: int, slope: float) -> Floats:
    link = np.zeros((3, features + 1))
    link[:, 1] = (-slope, 0.0, slope)
    link[1, 0] = -0.5
    return link.ravel()


# -- an account without a coordinator -------------------------------------------------------


class Account:
    """A trader's own side of one account: connection, lease, books, desk, paper broker."""

    def __init__(self, house: House, config: SessionConfig, lease_ttl_s: float = 60.0) -> None:
        self.config = config
        self.house = house
        self.connection = connect(house.roles.trader, name="test-trader")
        self.lease = TraderLease(house.roles.trader, config.account, lease_ttl_s)
        self.store = AccountStore(self.connection, config)
        self.desk = self.another_desk(self.connection)
        self.broker = PaperBroker(config, CostModel(**config.costs).record())

    def another_desk(self, connection: psycopg.Connection) -> OrderDesk:
        """A desk of the same trader on another connection."""
        return OrderDesk(
            AccountStore(connection, self.config),
            connection,
            self.config,
            RiskLimits(**self.config.limits).record(),
            CostModel(**self.config.costs).record(),
            self.lease.holder,
        )

    def __enter__(self) -> Account:
        assert self.lease.acquire()
        self.store.open(self.lease.holder)
        return self

    def __exit__(self, *_: object) -> None:
        self.lease.release()
        self.connection.close()

    def moment(self, bars: Bars, locked: tuple[int, ...] = ()) -> None:
        """Fills and marks at the bars of one ts."""
        events = self.broker.on_bars(bars)
        self.store.mark(int(bars["ts"][0]), bars, events, locked, self.lease.holder)

    def place(self, symbol: str, ts: int) -> bool:
        """Whether the decision became an order; it is at the broker then."""
        order = self.desk.place(symbol, ts)
        if order is not None:
            self.broker.submit(order)
        return order is not None

    def refusals(self) -> list[str]:
        """Codes of all refused approvals, in order."""
        rows = self.connection.execute(
            "SELECT payload FROM journal WHERE chain = %s AND kind = 'refused' ORDER BY seq",
            (f"account/{self.config.account}",),
        )
        return [msgspec.json.decode(row[0])["code"] for row in rows]


def forecast(
    config: SessionConfig, number: int, bars: Bars, up: float = 0.8, **changes: Any
) -> bytes:
    """An encoded RoundOutput with neutral verdicts, as the coordinator sends it to the gate."""
    decisions = [
        msgspec.structs.replace(
            Decision(
                symbol=int(bar["symbol"]), ts=int(bar["ts"]), close=int(bar["close"]),
                volume=int(bar["volume"]), votes=[[0.0] * 3] * 6, status=[0] * 6, reason=[0] * 6,
                evidence=[[]] * 6, p=[0.9 - up, 0.1, up], dissent=0.0, sigma=0.01, agents_awake=6,
                awake_weight=1.0, toxicity=0.0, verdict=0, code=0, side=0, lots=0, target_lots=0,
                limit_ticks=0, net_lots=0,
            ),
            **changes,
        )
        for bar in bars
    ]  # fmt: skip
    return encode(
        RoundOutput(
            session_id=config.session_id, cell=CELL, round=number, epoch=0,
            clock_ns=int(bars["ts"].max()), agents=[spec.name for spec in AGENTS],
            widths=[0] * 6, **packed_decisions(decisions, [0] * 6),
            weights=[1 / 12] * 6 + [0.5], stepped=False, window={},
        )
    )  # fmt: skip


def judge(house: House, gate: Gate, pooled: bytes) -> list[Decision]:
    """One judgement at the chain's present head."""
    with house.connect() as connection:
        last = head(connection, cell_chain(gate.cell))
    judged = judged_decoder.decode(gate.judge(pooled, last.seq, last.hash))
    output = output_decoder.decode(pooled)
    return msgspec.structs.replace(output, table=judged.table).decisions


def open_gate(house: House, holder: str = "test") -> Gate:
    """A gate under a new epoch."""
    gate = Gate(house.roles.gate, CELL, holder)
    gate.take_epoch()
    return gate


# -- the engine without Ray -----------------------------------------------------------------


class TableLog:
    """The voters' log over one connection that stays open."""

    def __init__(self, url: str) -> None:
        self.connection = connect(url, name="test-voters")

    def inputs(self, cell: int, session_id: str, after: int, before: int) -> Iterator[bytes]:
        """See actors.voter.Log."""
        return round_log.inputs(self.connection, cell, session_id, after, before)

    def model(self, model_id: str) -> Floats:
        """See actors.voter.Log."""
        return load_model(self.connection, model_id)

    def snapshot(self, cell: int, session_id: str, at_most: int) -> bytes | None:
        """See actors.voter.Log; these voters live through everything."""
        return None


class Crash(SystemExit):
    """The process dies here: no handler of ours may catch it, and its thread ends in silence."""


class Voters:
    """The engine's Agents: all voters in this process. ``faults`` says who is late or breaks."""

    def __init__(self, log: TableLog, specs: tuple[AgentSpec, ...] = AGENTS) -> None:
        self._log = log
        self._specs = specs
        self.voters = {spec.name: Voter(spec, log) for spec in specs}
        self.faults: dict[str, Status] = {}
        self.crash_next = False
        self.hold: threading.Event | None = None
        self.payloads: list[bytes] = []

    def kill(self, name: str) -> None:
        """The agent starts again with empty memory, as a restarted actor does."""
        (spec,) = [spec for spec in self._specs if spec.name == name]
        self.voters[name] = Voter(spec, self._log)

    def versions(self) -> dict[str, str]:
        """See serve_apps.round_ports.Agents."""
        return {}

    def out(self) -> dict[str, str]:
        """See serve_apps.coordinator.Leaves."""
        return {name: status.name.lower() for name, status in self.faults.items()}

    def votes(
        self, given: RoundInput, payload: bytes, config: SessionConfig
    ) -> Mapping[str, Floats | Status]:
        """See serve_apps.round_ports.Agents."""
        if self.hold is not None:
            assert self.hold.wait(20)
        if self.crash_next:
            raise Crash
        self.payloads.append(payload)
        return {
            name: self.faults.get(name) or voter.vote(payload)
            for name, voter in self.voters.items()
        }


@dataclass
class GateInProcess:
    """The rounds' GatePort. What breaks a gate reaches the engine as a lost call, as from Ray."""

    gate: Gate
    lose_next: bool = False  # the answer is lost after the commit
    away: bool = False  # no call arrives
    calls: int = 0
    errors: list[BaseException] = field(default_factory=list)

    def judge(self, pooled: bytes, input_seq: int, input_hash: bytes) -> bytes:
        """See serve_apps.round_ports.GatePort."""
        self.calls += 1
        if self.away:
            raise GateLost("nobody is there")
        try:
            answer = self.gate.judge(pooled, input_seq, input_hash)
        except (psycopg.Error, GateClosed) as error:
            self.errors.append(error)
            raise GateLost(str(error)) from error
        if self.lose_next:
            self.lose_next = False
            raise GateLost("the connection broke")
        return answer


class Cell:
    """One coordinator's engine with its store, over given voters and gate."""

    def __init__(
        self,
        house: House,
        voters: Voters,
        gate: GateInProcess,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.url = house.roles.coordinator
        self.store = RoundStore(self.url, CELL)
        self.log = DecisionLog(self.url, CELL)
        self.reader = DatabaseLog(self.url, CELL)
        self.desk = NewsDesk(Link(self.url, "test-news"))
        self.agents = voters
        stopping = threading.Event()
        self.rounds = Rounds(
            CELL, AGENTS, self.store, voters, gate, self.reader, clock_ns, stopping, self.desk
        )
        self.engine = Engine(self.rounds, stopping)
        self.engine.entered = self.desk.load
        self.decider = Decider(self.engine, self.log, clock_ns)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Engine]:
        """The engine, started, its thread running; both end with the block."""
        try:
            await self.engine.start()
            yield self.engine
        finally:
            await self.engine.stop()
            self.store.close()
            await self.log.close()


def request_body(
    config: SessionConfig, bars: Bars, request_id: str | None = None, **changes: Any
) -> bytes:
    """The HTTP body for the bars of one moment."""
    tick = Decimal(config.tick)

    def price(ticks: int) -> str:
        return str(from_ticks(int(ticks), tick))

    wire = [
        BarIn(
            symbol=config.symbols[int(bar["symbol"])],
            ts=int(bar["ts"]),
            open=price(bar["open"]),
            high=price(bar["high"]),
            low=price(bar["low"]),
            close=price(bar["close"]),
            volume=int(bar["volume"]),
        )
        for bar in bars
    ]
    request = DecideRequest(
        session_id=config.session_id,
        request_id=request_id or f"{config.session_id}/{int(bars['ts'][0])}",
        bars=wire,
    )
    return msgspec.json.encode(msgspec.structs.replace(request, **changes))


# -- a whole session: trader and coordinator over HTTP --------------------------------------


def token_of(house: House) -> str:
    """An access token with every scope; not journalled: the operations keep their numbers."""
    token_id, secret = secrets.token_hex(6), secrets.token_hex(32)
    with house.connect() as connection:
        connection.execute(
            "INSERT INTO api_token (token_id, name, secret_hash, scopes, rate_per_s, created_by)"
            " VALUES (%s, 'test', %s, %s, 100000, 'test')",
            (token_id, secret_hash(secret), [str(scope) for scope in Scope]),
        )
    return f"sph_{token_id}_{secret}"


class Beside:
    """What runs beside a coordinator's routes."""

    def __init__(self, *parts: Authenticator | Lookout) -> None:
        self._parts = parts

    async def start(self) -> None:
        """All of it."""
        for part in self._parts:
            await part.start()

    async def stop(self) -> None:
        """All of it."""
        for part in self._parts:
            await part.stop()


def surface(cell: Cell) -> tuple[Api, Beside]:
    """The coordinator's routes over an engine of ours, in place of its Ray deployment."""
    url, engine = cell.url, cell.engine
    authenticator = Authenticator(Link(url, "test").tokens, RateLimiter("redis://127.0.0.1:9/0"))
    lookout = Lookout(Link(url, "test-lookout"), CELL, lambda: engine.account)
    meter = Meter(lambda: engine.min_agents, lambda: engine.waiting, lambda: engine.shed)
    engine.listener = meter
    api = Api(
        cell.decider,
        Readings(url, CELL),
        authenticator,
        cell.desk,
        meter,
        Health(engine, authenticator, cell.agents, meter, lookout),
        AgentUpgrade(CELL, engine, cell.agents, url),
    )
    return api, Beside(authenticator, lookout)


@contextmanager
def hosted(cell: Cell) -> Iterator[str]:
    """Serves the cell on a loopback port from a thread; yields the address."""
    port = free_port()
    started, stop = threading.Event(), threading.Event()

    async def main() -> None:
        async with cell.running():
            api, beside = surface(cell)
            await beside.start()

            async def endpoint(request: Request) -> Response:
                return await api.handle(request)

            app = Starlette(routes=[Route("/{path:path}", endpoint, methods=["GET", "POST"])])
            config = uvicorn.Config(app, "127.0.0.1", port, log_level="error", lifespan="off")
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server.serve())
            while not server.started:
                await asyncio.sleep(0.01)
            started.set()
            await asyncio.to_thread(stop.wait)
            server.should_exit = True
            await serving
            await beside.stop()

    thread = threading.Thread(target=asyncio.run, args=(main(),), name="coordinator")
    thread.start()
    assert started.wait(10)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


Hook = Callable[[int], None]


class HookedClient(CoordinatorClient):
    """The trader's client; ``before`` and ``after`` run round each decision, given its ts."""

    def __init__(self, url: str, token: str, before: Hook, after: Hook) -> None:
        super().__init__(url, 30.0, token=token)
        self._before = before
        self._after = after

    def decide(self, request: DecideRequest) -> DecideResponse:
        """See CoordinatorClient."""
        ts = request.bars[0].ts
        self._before(ts)
        answer = super().decide(request)
        self._after(ts)
        return answer


def nothing(_: int) -> None:
    """The hook that does nothing."""


def run_session(
    house: House,
    config: SessionConfig,
    bars: Bars,
    gate: GateInProcess,
    before: Hook = nothing,
    after: Hook = nothing,
    voters: Voters | None = None,
    locks: Sequence[tuple[int, int]] = (),
) -> None:
    """A real trader takes ``bars`` through a hosted coordinator. There is no Redis."""
    cell = Cell(house, voters or Voters(TableLog(house.roles.read)), gate)
    token = token_of(house)
    with hosted(cell) as url:
        trader = Trader(
            config,
            connect(house.roles.trader, name="test-trader"),
            house.roles.trader,
            TraderLease(house.roles.trader, config.account, 60.0),
            HookedClient(url, token, before, after),
            RecentBars("redis://127.0.0.1:9/0"),
            free_port(),
        )
        with trader:
            assert trader.run(bars, locks, 0.0, threading.Event()) == 0


# -- forgeries ------------------------------------------------------------------------------

Edit = Callable[[dict[str, Any]], Any]


def forged(kind: str, payload: bytes, edit: Edit) -> bytes:
    """The payload after ``edit`` of its plain fields; bars are rows of integers there."""
    if kind == "output":
        body = output_decoder.decode(payload).readable()
        edit(body)
        return encode(RoundOutput.from_readable(body))
    if kind == "input":
        body = msgspec.to_builtins(input_decoder.decode(payload))
        body["bars"] = [list(row) for row in input_decoder.decode(payload).rows().tolist()]
        edit(body)
        body["bars"] = rows_to_bars(body["bars"]).tobytes()
        return msgspec.msgpack.encode(body)
    body = msgspec.json.decode(payload)
    edit(body)
    return msgspec.json.encode(body)


def rechain(link: psycopg.Connection, chain: str, seq: int, edit: Edit) -> None:
    """Edits the payload of one record and gives it and all that follow new hashes."""
    before, identities, records = GENESIS, [], []
    for record in list(read_chain(link, chain)):
        payload = record.payload
        if record.seq == seq:
            payload = forged(record.kind, payload, edit)
        digest = record_hash(
            before, chain, record.seq, record.kind, record.session_id, record.ts,
            record.written_ns, record.seen, payload,
        )  # fmt: skip
        if digest != record.hash:
            records.append((payload, before, digest, chain, record.seq))
            identities.append((digest, chain, record.seq))
        before = digest
    assert records
    with link.cursor() as cursor:
        cursor.executemany(
            "UPDATE journal SET payload = %s, prev_hash = %s, hash = %s"
            " WHERE chain = %s AND seq = %s",
            records,
        )
        cursor.executemany(
            "UPDATE journal_identity SET hash = %s WHERE chain = %s AND seq = %s", identities
        )
