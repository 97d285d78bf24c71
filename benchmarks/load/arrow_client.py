"""Batches of bars over Arrow, from a process of its own: the warm-up and the Arrow measurement.

    python -m benchmarks.load.arrow_client FILE

FILE is private and holds a Job; the answer is one line of JSON, a Report. Each connection owns its
symbols and has one request in flight; a raw asyncio stream, because a whole HTTP client would take
more of the machine than what it measures.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import numpy as np
import pyarrow as pa

from benchmarks.load.market import Market
from data.records import SessionConfig
from serve_apps.client import arrow_call
from serve_apps.wire import ARROW

ANSWER_S = 60.0
SECOND_NS = 1_000_000_000


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """``moments`` of history before ``first_ts`` (the warm-up) or ``seconds`` of bars of now."""

    url: str
    token: str
    config: SessionConfig
    run: str
    connections: int
    moments: int = 0
    seconds: float = 0.0
    seed: int = 0
    state_path: str  # read before and written after, as decide.lua does
    fresh: bool = False  # the market begins here


class Report(msgspec.Struct, kw_only=True):
    """What came back. Latencies in ms, one a request."""

    bars: int = 0
    requests: int = 0
    wrong: int = 0
    replayed: int = 0
    failed: int = 0
    seconds: float = 0.0
    latencies_ms: list[float] = []
    said: str = ""


class Connection:
    """One HTTP/1.1 connection that posts Arrow streams."""

    def __init__(self, job: Job) -> None:
        parts = urlsplit(job.url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._head = (
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Authorization: Bearer {job.token}\r\nContent-Type: {ARROW}\r\n"
            "x-request-disconnect-disabled: ?1\r\nContent-Length: "
        )

    async def open(self) -> None:
        """Connects."""
        self._reader, self._writer = await asyncio.open_connection(
            self._host, self._port, limit=1 << 22
        )

    async def post(self, body: bytes) -> tuple[int, bool, bytes]:
        """Status, whether the answer was replayed, and the answer's body."""
        self._writer.write(f"{self._head}{len(body)}\r\n\r\n".encode() + body)
        async with asyncio.timeout(ANSWER_S):
            head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            answer = await self._reader.readexactly(length)
        return int(head[9:12]), b"idempotency-replayed" in head, answer

    def close(self) -> None:
        """Closes."""
        self._writer.close()


def mistake(answer: bytes, request_id: str, symbols: list[str], ts: int) -> str:
    """What is wrong with an answer to these symbols at ``ts``; empty when nothing is."""
    with pa.ipc.open_stream(answer) as stream:
        table = stream.read_all()
    if (table.schema.metadata or {}).get(b"request_id") != request_id.encode():
        return "another request_id"
    if table.column("symbol").to_pylist() != symbols:
        return "other symbols"
    if not bool((table.column("ts").to_numpy() == ts).all()):
        return "another ts"
    return ""


async def _sender(job: Job, number: int, market: Market, begin: float, report: Report) -> None:
    count = len(job.config.symbols) // job.connections
    mine = np.arange(number * count, (number + 1) * count)
    symbols = [job.config.symbols[i] for i in mine]
    connection = Connection(job)
    await connection.open()
    turn = 0
    while True:
        if job.moments:
            if turn == job.moments:
                break
            ts = job.config.first_traded - (job.moments - turn + 1) * SECOND_NS
        else:
            if time.monotonic() - begin >= job.seconds:
                break
            ts = time.time_ns()
        request_id = f"{job.run}-{number}-{turn}"
        bars = market.bars(mine, ts)
        call = arrow_call(bars, job.config.symbols, job.config.session_id, request_id)
        sent = time.monotonic()
        status, replayed, answer = await connection.post(call.body or b"")
        turn += 1
        report.requests += 1
        if status != 200:
            report.failed += 1
            report.said = report.said or f"{status} {answer[:300]!r}"
            if job.moments:
                break
            continue
        report.latencies_ms.append(1e3 * (time.monotonic() - sent))
        report.replayed += replayed
        why = mistake(answer, request_id, symbols, ts)
        report.wrong += bool(why)
        report.said = report.said or why
        report.bars += count
    connection.close()


async def run(job: Job) -> Report:
    """Does the job."""
    market = Market(job.config.symbols, job.seed)
    if not job.fresh:
        market.take(Path(job.state_path))
    report = Report()
    begin = time.monotonic()
    await asyncio.gather(
        *[_sender(job, number, market, begin, report) for number in range(job.connections)]
    )
    report.seconds = time.monotonic() - begin
    Path(job.state_path).write_text("\n".join(market.lines()) + "\n")
    return report


def main() -> int:
    """Entry point of the process."""
    job = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Job)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(run(job))) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
