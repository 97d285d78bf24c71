"""A paced client of the coordinator that writes down every answer, and what must hold of them.

Each symbol has one request in flight at most and sends its next bar under a new id; a 503 is sent
again under the same id until the deadline. Nothing is dropped in silence: whatever came back, also
a broken connection, stands in the list.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import aiohttp
import numpy as np
import psycopg
from support import TableLog, Voters

from actors.checks import Code, Verdict
from actors.contract import OUT_FIXED, STATUS, Status
from data import round_log
from data.money import from_ticks
from data.records import RoundOutput, SessionConfig, input_decoder, output_decoder
from data.round_output import Decision

BROKEN = 0  # in place of a status: the connection broke, or no answer came in time
PAUSE_S = 0.2  # before the same request is sent again
WARM_UP = 320  # moments: more than the slowest agent needs
NS = 1_000_000_000
TICKS = 1_000_000  # a first price of 100.0000


@dataclass(frozen=True)
class Sent:
    """One request from its first try to its last answer."""

    symbol: str
    ts: int
    request_id: str
    began: float  # wall clock, seconds
    seconds: float
    slowest_try: float
    statuses: tuple[int, ...]
    answer: dict[str, Any]  # of the last try


@dataclass(frozen=True)
class Client:
    """Where to send, and how long a request may take."""

    url: str
    token: str
    config: SessionConfig
    deadline_s: float = 15.0
    try_s: float = 11.0  # a little more than the coordinator's own deadline

    def session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=self.try_s),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )

    async def send(self, http: aiohttp.ClientSession, request_id: str, bars: list[Any]) -> Sent:
        """Tries until there is an answer other than 503, or the deadline has passed."""
        request = {
            "session_id": self.config.session_id,
            "request_id": request_id,
            "bars": bars,
        }
        body = json.dumps(request).encode()
        began, clock = time.time(), time.monotonic()
        statuses: list[int] = []
        slowest, answer = 0.0, {}
        while True:
            tried = time.monotonic()
            try:
                async with http.post(f"{self.url}/v1/decide", data=body) as reply:
                    answer = json.loads(await reply.read())
                    statuses.append(reply.status)
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                answer = {"error": repr(error)}
                statuses.append(BROKEN)
            now = time.monotonic()
            slowest = max(slowest, now - tried)
            if statuses[-1] not in {503, BROKEN} or now - clock + PAUSE_S > self.deadline_s:
                break
            await asyncio.sleep(PAUSE_S)
        first = bars[0]
        return Sent(
            first["symbol"],
            first["ts"],
            request_id,
            began,
            now - clock,
            slowest,
            tuple(statuses),
            answer,
        )


class Prices:
    """A random walk in ticks for each symbol, equal for equal seeds."""

    def __init__(self, config: SessionConfig, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._ticks = dict.fromkeys(config.symbols, TICKS)
        self._tick = Decimal(config.tick)

    def bar(self, symbol: str, ts: int) -> dict[str, Any]:
        """The symbol's next bar."""
        before = self._ticks[symbol]
        steps = self._rng.integers(-800, 801, 3)
        close = max(before + int(steps[0]), 1_000)
        high = max(before, close) + abs(int(steps[1]))
        low = max(min(before, close) - abs(int(steps[2])), 1)
        self._ticks[symbol] = close
        prices = {"open": before, "high": high, "low": low, "close": close}
        return {
            "symbol": symbol,
            "ts": ts,
            "volume": int(self._rng.integers(10_000, 50_000)),
            **{name: str(from_ticks(ticks, self._tick)) for name, ticks in prices.items()},
        }


async def _await_token(client: Client, http: aiohttp.ClientSession) -> None:
    """A token is known to the coordinator a moment after it was made."""
    ends = time.monotonic() + 10.0
    while True:
        async with http.get(f"{client.url}/v1/rounds/last") as reply:
            if reply.status == 200:
                return
            assert time.monotonic() < ends, await reply.text()
        await asyncio.sleep(PAUSE_S)


async def _warm_up(client: Client, prices: Prices, moments: int) -> None:
    start = client.config.first_traded - (moments + 1) * NS
    async with client.session() as http:
        await _await_token(client, http)
        for k in range(moments):
            ts = start + k * NS
            bars = [prices.bar(symbol, ts) for symbol in client.config.symbols]
            sent = await client.send(http, f"warm-{client.config.session_id}-{k}", bars)
            assert sent.statuses[-1] == 200, sent


def warm_up(client: Client, prices: Prices, moments: int = WARM_UP) -> None:
    """Bars before the opening, all symbols at once. The first may have to wait for compilers."""
    asyncio.run(_warm_up(replace(client, deadline_s=150.0), prices, moments))


async def _symbol(
    client: Client,
    http: aiohttp.ClientSession,
    prices: Prices,
    symbol: str,
    due: float,
    interval: float,
    ends: float,
    sent: list[Sent],
) -> None:
    while due < ends:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        ts = time.time_ns()
        request_id = f"{client.config.session_id}-{symbol}-{ts}"
        sent.append(await client.send(http, request_id, [prices.bar(symbol, ts)]))
        # What an outage made late is left out: no burst after it.
        due = max(due + interval, time.monotonic())


async def _load(
    client: Client,
    prices: Prices,
    rate: float,
    seconds: float,
    after_s: float,
    fault: Callable[[], None],
) -> tuple[list[Sent], float]:
    symbols = client.config.symbols
    interval = len(symbols) / rate
    sent: list[Sent] = []
    begins = time.monotonic() + 0.1
    async with client.session() as http:
        tasks = [
            asyncio.create_task(
                _symbol(
                    client,
                    http,
                    prices,
                    symbol,
                    begins + i / rate,
                    interval,
                    begins + seconds,
                    sent,
                )
            )
            for i, symbol in enumerate(symbols)
        ]
        await asyncio.sleep(after_s)
        struck = time.time()
        await asyncio.to_thread(fault)
        await asyncio.gather(*tasks)
    return sent, struck


def load(
    client: Client,
    prices: Prices,
    rate: float,
    seconds: float,
    after_s: float,
    fault: Callable[[], None],
) -> tuple[list[Sent], float]:
    """``rate`` requests a second for ``seconds``, ``fault`` in their midst; (answers, its time)."""
    return asyncio.run(_load(client, prices, rate, seconds, after_s, fault))


# -- what must hold --------------------------------------------------------------------------------


def was_aborted(each: Sent) -> bool:
    """Whether its last answer says that its round was closed without verdicts."""
    clean = set(each.statuses[:-1]) <= {503}
    return clean and each.statuses[-1] == 409 and each.answer.get("code") == "round_aborted"


def check_answers(sent: Sequence[Sent], client: Client) -> None:
    """Only 200 and clean 503; no try and no request longer than its deadline.

    A request whose round a crash left open too long learns that by 409 ``round_aborted``.
    """
    statuses = Counter(status for each in sent for status in each.statuses)
    wrong = [each for each in sent if set(each.statuses) - {200, 503} and not was_aborted(each)]
    assert not wrong, (statuses, wrong[:3])
    for each in sent:
        if each.statuses[-1] == 503:
            assert each.answer.get("status") == 503, each
            assert each.answer.get("title"), each
    assert max(each.slowest_try for each in sent) < client.try_s
    assert max(each.seconds for each in sent) < client.deadline_s + client.try_s


def outputs_of(
    connection: psycopg.Connection, config: SessionConfig
) -> list[tuple[bytes, RoundOutput, float]]:
    """The session's closed rounds: input payload, output, time of commit (wall seconds)."""
    moments = dict(
        connection.execute(
            "SELECT o.round, extract(epoch FROM j.committed_at)::float8 FROM round_output o"
            " JOIN journal j ON j.chain = 'cell/' || o.cell AND j.seq = o.seq"
            " WHERE o.session_id = %s",
            (config.session_id,),
        ).fetchall()
    )
    return [
        (each.input, output_decoder.decode(each.output or b""), moments[each.round])
        for each in round_log.rounds(connection, config.cell, config.session_id)
        if each.kind == "output"
    ]


def check_journal(
    sent: Sequence[Sent], rounds: Sequence[tuple[bytes, RoundOutput, float]], config: SessionConfig
) -> None:
    """Every 200 says what the journal's row says, field by field."""
    known: dict[tuple[str, int], tuple[RoundOutput, Decision]] = {}
    first = min(each.ts for each in sent)
    for _, output, _ in rounds:
        if int(output.arrays().table["ts"].max()) >= first:
            for decision in output.decisions:
                known[config.symbols[decision.symbol], decision.ts] = output, decision
    tick = Decimal(config.tick)
    answered = [each for each in sent if each.statuses[-1] == 200]
    assert answered
    for each in answered:
        output, row = known[each.symbol, each.ts]
        (said,) = each.answer["verdicts"]
        assert each.answer["request_id"] == each.request_id
        assert (each.answer["round"], each.answer["epoch"]) == (output.round, output.epoch)
        assert (said["symbol"], said["ts"]) == (each.symbol, each.ts)
        assert (said["p"], said["dissent"]) == (row.p, row.dissent)
        assert said["agents_awake"] == row.agents_awake
        assert said["verdict"] == Verdict(row.verdict).name.lower()
        assert said["code"] == Code(row.code).name.lower()
        assert (said["side"], said["lots"], said["net_lots"]) == (row.side, row.lots, row.net_lots)
        assert Decimal(said["limit"]) == from_ticks(row.limit_ticks, tick)


def missed(output: RoundOutput) -> int:
    """How many agents gave no answer in the round."""
    status = output.arrays().status
    return int(((status == Status.LATE) | (status == Status.FAILED)).any(axis=0).sum())


def recovery_s(
    rounds: Sequence[tuple[bytes, RoundOutput, float]], struck: float, gap_s: float = 1.0
) -> float:
    """Seconds from the fault until rounds follow each other again with all agents, to the end."""
    after = [(when, missed(output)) for _, output, when in rounds if when >= struck]
    assert after, "no round after the fault"
    assert after[-1][1] == 0, "agents are still missing at the end"
    well = after[-1][0]
    for (when, misses), (later, _) in zip(reversed(after[:-1]), reversed(after[1:]), strict=True):
        if misses or later - when > gap_s:
            break
        well = when
    return well - struck


def check_votes(url: str, rounds: Sequence[tuple[bytes, RoundOutput, float]]) -> tuple[int, int]:
    """Recorded votes equal those of agents that nothing ever disturbed, bit for bit.

    Returns how many votes were compared, and how many of them were more than an abstention.
    """
    log = TableLog(url)
    undisturbed = Voters(log)
    compared = voted = 0
    try:
        for payload, output, _ in rounds:
            arrays = output.arrays()
            given = input_decoder.decode(payload)
            assert [row["ts"] for row in given.rows()] == arrays.table["ts"].tolist()
            for k, name in enumerate(output.agents):
                out = undisturbed.voters[name].vote(payload)
                there = ~np.isin(arrays.status[:, k], (Status.LATE, Status.FAILED))
                votes, evidence = arrays.votes[there, k], arrays.evidence[k][there]
                # Only a vote has probabilities: those of an abstention are recorded as zeros.
                forecast = np.where(out[:, STATUS, None] == Status.VOTED, out[:, :3], 0.0)
                assert (arrays.status[there, k] == out[there, STATUS]).all(), name
                assert votes.tobytes() == forecast[there].tobytes(), name
                assert evidence.tobytes() == np.ascontiguousarray(out[there, OUT_FIXED:]).tobytes()
                compared += int(there.sum())
                voted += int((arrays.status[there, k] == Status.VOTED).sum())
    finally:
        log.connection.close()
    return compared, voted
