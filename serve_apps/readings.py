"""Everything the GETs answer, read from the journal: any replica tells the same.

A connection of its own, so that a question never waits behind a round. Every query reads a bounded
number of rows by an index.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import numpy as np
import psycopg
from numpy.typing import NDArray

from actors.contract import AgentSpec, Status
from actors.registry import AGENTS
from data.journal import cell_chain
from data.records import SessionConfig, input_decoder, output_decoder
from data.round_output import DECISION
from data.sessions import parse_session
from data.store import connect_async
from serve_apps.reading_records import (
    AgentDetail,
    AgentReading,
    AgentsReading,
    DecisionReading,
    GateReading,
    LastRound,
    LeaseReading,
    OpenApproval,
    TradingReading,
    VoteCounts,
    WeightsAt,
    WeightsReading,
)
from serve_apps.requests import EQUAL_WEIGHTS, SymbolTable
from serve_apps.story import DecisionId, Told, iso, tell
from serve_apps.wire import Refused

RECENT_ROUNDS = 32
MOST_ROUNDS = 64  # of the weights' history: each is an output record to read
DEFAULT_ROUNDS = 20
LARGEST_APPROVALS = 100
TIMEOUT_S = 5.0
STATEMENT_TIMEOUT_MS = 3_000
WAITING_LIMIT = 64
RETRY_AFTER_S = 1

_SESSION = """
SELECT s.config FROM session s LEFT JOIN session_end e USING (session_id)
WHERE s.cell = %s AND e.session_id IS NULL ORDER BY s.opened_at DESC LIMIT 1
"""
_CONFIG = "SELECT config FROM session WHERE session_id = %s"
_LAST = "SELECT round, session_id, seq FROM round_input WHERE cell = %s ORDER BY round DESC LIMIT 1"
_FIRST = "SELECT min(round) FROM round_input WHERE session_id = %s"
_OUTPUTS = """
SELECT j.payload
FROM (SELECT seq FROM round_output WHERE cell = %(cell)s AND kind = 'output'
      AND session_id = %(session_id)s AND round > %(last)s - 4 * %(count)s
      ORDER BY round DESC LIMIT %(count)s) o
JOIN journal j ON j.chain = %(chain)s AND j.seq = o.seq ORDER BY j.seq DESC
"""
_RECORD = "SELECT payload, ts FROM journal WHERE chain = %s AND seq = %s"
_IDENTITY = """
SELECT d.cell, d.round, s.config, i.seq, o.kind, o.seq
FROM decision_identity d JOIN session s USING (session_id)
JOIN round_input i ON i.cell = d.cell AND i.round = d.round
LEFT JOIN round_output o ON o.cell = d.cell AND o.round = d.round
WHERE d.session_id = %s AND d.symbol = %s AND d.ts = %s
"""
_APPROVAL = """
SELECT side, max_lots, limit_ticks, epoch, net_lots, expires_at FROM approval
WHERE session_id = %s AND symbol = %s AND ts = %s
"""
_ORDERS = """
SELECT client_order_id, side, lots, limit_ticks, status, filled_lots FROM orders
WHERE session_id = %s AND symbol = %s AND ts = %s AND origin = 'decision'
ORDER BY client_order_id LIMIT 10
"""
_FILLS = """
SELECT client_order_id, fill_id, ts, lots, price_ticks, fee_micro FROM fill
WHERE client_order_id = ANY(%s) ORDER BY seq LIMIT 200
"""
_GATE = "SELECT epoch, holder, taken_at FROM gate_lease WHERE cell = %s"
_STATES = """
SELECT scope, state, reason, since FROM trading_state WHERE scope IN ('*', %s)
ORDER BY scope <> '*'
"""
_LEASE = """
SELECT epoch, holder, expires_at, expires_at > clock_timestamp() FROM trader_lease
WHERE account = %s
"""
_OPEN = """
SELECT a.symbol, a.ts, a.side, a.max_lots, coalesce(sum(o.lots), 0), a.limit_ticks, a.expires_at
FROM unnest(%(symbols)s::text[], %(times)s::bigint[]) AS k(symbol, ts)
JOIN approval a ON a.session_id = %(session_id)s AND a.symbol = k.symbol AND a.ts = k.ts
LEFT JOIN orders o ON o.session_id = a.session_id AND o.symbol = a.symbol AND o.ts = a.ts
WHERE a.epoch = %(epoch)s AND a.expires_at > clock_timestamp()
GROUP BY a.session_id, a.symbol, a.ts
HAVING coalesce(sum(o.lots), 0) < a.max_lots ORDER BY a.ts DESC, a.symbol
"""


class _Head(msgspec.Struct, frozen=True):
    """What of an output record is read here; votes and evidence are skipped."""

    session_id: str
    round: int
    clock_ns: int
    agents: list[str]
    weights: list[float]
    stepped: bool
    status: bytes
    table: bytes


_head_decoder = msgspec.msgpack.Decoder(_Head)


class Readings:
    """Questions to the journal about one cell. Refused 404 where there is nothing to tell."""

    def __init__(self, url: str, cell: int, specs: Sequence[AgentSpec] = AGENTS) -> None:
        self._url = url
        self._cell = cell
        self._chain = cell_chain(cell)
        self._specs = {spec.name: spec for spec in specs}
        self._connection: psycopg.AsyncConnection | None = None
        self._lock = asyncio.Lock()
        self._waiting = 0

    async def close(self) -> None:
        """Closes the connection; the next question opens a new one."""
        if self._connection is not None:
            await self._connection.close()

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        """One question at a time, each with a time-out; 503 when too many wait."""
        if self._waiting >= WAITING_LIMIT:
            detail = f"{WAITING_LIMIT} questions wait"
            raise Refused(503, "Overloaded", detail, RETRY_AFTER_S, "overloaded")
        self._waiting += 1
        try:
            async with asyncio.timeout(TIMEOUT_S), self._lock:
                yield
        except TimeoutError:
            detail = f"no answer in {TIMEOUT_S:.0f} s"
            raise Refused(503, "No journal", detail, RETRY_AFTER_S, "no_journal") from None
        finally:
            self._waiting -= 1

    async def _rows(self, query: str, values: Any) -> list[tuple[Any, ...]]:
        if self._connection is None or self._connection.closed:
            self._connection = await connect_async(self._url, name=f"readings-{self._cell}")
            await self._connection.execute(f"SET statement_timeout = {STATEMENT_TIMEOUT_MS}")
        cursor = await self._connection.execute(query, values)
        return await cursor.fetchall()

    # -- questions --------------------------------------------------------------------------

    async def open_session(self) -> SessionConfig | None:
        """The cell's session that was opened last and has not ended."""
        async with self._asking():
            rows = await self._rows(_SESSION, (self._cell,))
        return parse_session(bytes(rows[0][0])) if rows else None

    async def last_ts(self, session_id: str) -> int:
        """The time of the last round's latest bar, ns UTC; 0 when it is another session's."""
        async with self._asking():
            last = await self._last()
            if last is None or last[1] != session_id:
                return 0
            return int((await self._rows(_RECORD, (self._chain, last[2])))[0][1])

    async def last_round(self) -> LastRound:
        """Number and session of the cell's last round."""
        async with self._asking():
            last = await self._last()
        return LastRound(round=0) if last is None else LastRound(round=last[0], session_id=last[1])

    async def decision(self, name: DecisionId) -> DecisionReading:
        """One decision's story; 404 ``unknown_decision``."""
        async with self._asking():
            found = await self._rows(_IDENTITY, (name.session_id, name.symbol, name.ts))
            if not found:
                detail = f"{name} is not in the journal"
                raise Refused(404, "Unknown decision", detail, code="unknown_decision")
            cell, number, config, input_seq, kind, output_seq = found[0]
            chain = cell_chain(int(cell))
            ((given, _),) = await self._rows(_RECORD, (chain, input_seq))
            output = None
            if kind == "output":
                ((payload, _),) = await self._rows(_RECORD, (chain, output_seq))
                output = output_decoder.decode(payload)
            key = (name.session_id, name.symbol, name.ts)
            approvals = await self._rows(_APPROVAL, key)
            orders = await self._rows(_ORDERS, key)
            fills = await self._rows(_FILLS, ([row[0] for row in orders],)) if orders else []
        told = Told(
            parse_session(bytes(config)),
            int(cell),
            int(number),
            input_decoder.decode(given),
            kind,
            output,
            approvals[0] if approvals else None,
            orders,
            fills,
        )
        return tell(name, told, self._specs)

    async def agents(self) -> AgentsReading:
        """Every agent at the cell's last round."""
        async with self._asking():
            last = await self._last()
            heads = await self._heads(last, RECENT_ROUNDS)
            rounds, versions = 0, {}
            if last is not None:
                first = await self._rows(_FIRST, (last[1],))
                rounds = last[0] - int(first[0][0]) + 1
                ((given, _),) = await self._rows(_RECORD, (self._chain, last[2]))
                versions = input_decoder.decode(given).versions
        weights = _weights(heads[0]) if heads else {}
        names = heads[0].agents if heads else list(self._specs)
        return AgentsReading(
            cell=self._cell,
            session_id=last[1] if last else None,
            round=last[0] if last else 0,
            rounds=rounds,
            recent_rounds=len(heads),
            agents=[
                self._agent(name, weights.get(name), heads, versions.get(name, ""))
                for name in names
            ],
        )

    def _agent(
        self, name: str, weight: float | None, heads: list[_Head], version: str
    ) -> AgentReading:
        spec = self._specs.get(name)
        return AgentReading(
            name=name,
            title=spec.title if spec else name,
            weight=weight,
            last=_count(heads[:1], name),
            recent=_count(heads, name),
            version=version,
            warm_up=spec.warm_up if spec else 0,
            evidence=list(spec.evidence) if spec else [],
        )

    async def agent(self, name: str) -> AgentDetail:
        """One agent; 404 ``unknown_agent``."""
        told = await self.agents()
        for agent in told.agents:
            if agent.name == name:
                return AgentDetail(
                    cell=told.cell,
                    session_id=told.session_id,
                    round=told.round,
                    rounds=told.rounds,
                    recent_rounds=told.recent_rounds,
                    agent=agent,
                )
        known = ", ".join(agent.name for agent in told.agents)
        raise Refused(
            404, "Unknown agent", f"{name[:64]!r} is none of {known}", code="unknown_agent"
        )

    async def weights(self, rounds: int = DEFAULT_ROUNDS) -> WeightsReading:
        """The weights of the last ``rounds`` rounds (1 to MOST_ROUNDS), newest first."""
        async with self._asking():
            last = await self._last()
            heads = await self._heads(last, rounds)
        history = [
            WeightsAt(
                round=head.round,
                clock_ns=head.clock_ns,
                stepped=head.stepped,
                weights=_weights(head),
            )
            for head in heads
        ]
        return WeightsReading(
            cell=self._cell, session_id=last[1] if last else None, history=history
        )

    async def gate(self) -> GateReading:
        """Epoch, holder, trading state, the trader's lease and the approvals still open."""
        async with self._asking():
            last = await self._last()
            config = None
            if last is not None:
                ((blob,),) = await self._rows(_CONFIG, (last[1],))
                config = parse_session(bytes(blob))
            gates = await self._rows(_GATE, (self._cell,))
            epoch, holder, taken_at = gates[0] if gates else (0, "", None)
            account = config.account if config else "*"
            states = await self._rows(_STATES, (account,))
            leases = await self._rows(_LEASE, (account,))
            heads = await self._heads(last, RECENT_ROUNDS)
            approvals = await self._open(config, heads, int(epoch)) if config else []
        lease = None
        if leases:
            number, trader, expires, held = leases[0]
            lease = LeaseReading(
                account=account,
                epoch=int(number),
                holder=trader,
                expires_at=iso(expires),
                held=bool(held),
            )
        return GateReading(
            cell=self._cell,
            epoch=int(epoch),
            holder=holder,
            taken_at=iso(taken_at) if taken_at else None,
            session_id=config.session_id if config else None,
            trading=[
                TradingReading(scope=scope, state=state, reason=reason, since=iso(since))
                for scope, state, reason, since in states
            ],
            lease=lease,
            approvals=approvals,
        )

    # -- parts ------------------------------------------------------------------------------

    async def _last(self) -> tuple[int, str, int] | None:
        rows = await self._rows(_LAST, (self._cell,))
        return (int(rows[0][0]), str(rows[0][1]), int(rows[0][2])) if rows else None

    async def _heads(self, last: tuple[int, str, int] | None, count: int) -> list[_Head]:
        """The last outputs of the last round's session, newest first."""
        if last is None:
            return []
        values = {
            "cell": self._cell,
            "session_id": last[1],
            "last": last[0],
            "count": count,
            "chain": self._chain,
        }
        return [_head_decoder.decode(row[0]) for row in await self._rows(_OUTPUTS, values)]

    async def _open(
        self, config: SessionConfig, heads: list[_Head], epoch: int
    ) -> list[OpenApproval]:
        tables = [np.frombuffer(head.table, DECISION) for head in heads]
        wanted = [(d["symbol"], d["ts"]) for table in tables for d in table[table["side"] != 0]]
        wanted = wanted[:LARGEST_APPROVALS]
        if not wanted:
            return []
        values = {
            "session_id": config.session_id,
            "symbols": [config.symbols[int(symbol)] for symbol, _ in wanted],
            "times": [int(ts) for _, ts in wanted],
            "epoch": epoch,
        }
        price = SymbolTable(config).price
        return [
            OpenApproval(
                decision=str(DecisionId(config.session_id, symbol, int(ts))),
                side=int(side),
                max_lots=int(most),
                ordered_lots=int(ordered),
                limit=price(int(limit)),
                expires_at=iso(expires),
            )
            for symbol, ts, side, most, ordered, limit, expires in await self._rows(_OPEN, values)
        ]


def _weights(head: _Head) -> dict[str, float]:
    return dict(zip((*head.agents, EQUAL_WEIGHTS), head.weights, strict=True))


def _count(heads: list[_Head], name: str) -> VoteCounts:
    """The statuses of an agent's votes in these outputs."""
    counts: NDArray[np.int64] = np.zeros(len(Status), np.int64)
    for head in heads:
        if name in head.agents:
            status = np.frombuffer(head.status, np.uint8).reshape(-1, len(head.agents))
            column = status[:, head.agents.index(name)]
            counts += np.bincount(column, minlength=len(Status))
    return VoteCounts(**{s.name.lower(): int(counts[s]) for s in Status})
