"""The wrk script against a small server that writes down every request, and answers as told."""

from __future__ import annotations

import json
import shutil
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.load.market import Market, names
from benchmarks.load.wrk import Outcome, Phase, Target, run

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is no Python package"),
]

Change = Callable[[int, dict[str, Any]], tuple[int, dict[str, Any], bool]]


def right(number: int, answer: dict[str, Any]) -> tuple[int, dict[str, Any], bool]:
    return 200, answer, False


class Server(socketserver.ThreadingTCPServer):
    """HTTP/1.1 with keep-alive, POST alone. ``change`` gives status, answer and replayed."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.seen: list[dict[str, Any]] = []
        self.flying: Counter[str] = Counter()
        self.overtaken = 0
        self.headers: set[str] = set()
        self.change: Change = right
        self.pause_s = 0.0


class Handler(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        while True:
            head = ""
            while not head.endswith("\r\n\r\n"):
                try:
                    line = self.rfile.readline().decode()
                except ConnectionError:
                    return  # wrk hangs up at its end
                if not line:
                    return
                head += line
            length = int(head.lower().partition("content-length:")[2].partition("\r\n")[0])
            self.answer(head, json.loads(self.rfile.read(length)))

    def answer(self, head: str, request: dict[str, Any]) -> None:
        server, bar = self.server, request["bars"][0]
        with server.lock:
            server.overtaken += server.flying[bar["symbol"]]
            server.flying[bar["symbol"]] += 1
            server.seen.append(request)
            server.headers.add(head)
            number = len(server.seen)
        time.sleep(server.pause_s)
        said = {
            "session_id": request["session_id"],
            "request_id": request["request_id"],
            "round": number,
            "epoch": 1,
            "verdicts": [{"symbol": bar["symbol"], "ts": bar["ts"], "p": [0.2, 0.3, 0.5]}],
        }
        status, answer, replayed = server.change(number, said)
        body = json.dumps(answer, separators=(",", ":")).encode()
        more = "Idempotency-Replayed: true\r\n" if replayed else ""
        with server.lock:
            server.flying[bar["symbol"]] -= 1
        reply = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode()
        self.wfile.write(reply + body)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def load(server: Server, folder: Path, phase: Phase, market: Market | None = None) -> Outcome:
    url = f"http://127.0.0.1:{server.server_address[1]}/v1/decide"
    target = Target(url, "secret", "p-1", 4)
    return run(phase, target, market or Market(names(100), 1), folder, 1)


def test_a_paced_run_sends_each_symbols_bars_in_order_under_new_ids(
    server: Server, tmp_path: Path
) -> None:
    market = Market(names(100), 1)
    before = dict(zip(market.symbols, market.close.tolist(), strict=True))
    server.pause_s = 0.02
    outcome = load(server, tmp_path, Phase("paced", 200, 2.0, 8), market)
    assert (outcome.failed, outcome.wrong, outcome.replayed, outcome.lost) == (0, 0, 0, 0)
    assert outcome.sent == 200 * 3  # the second that is not counted goes before
    assert outcome.answered == 200 * 2
    assert outcome.success == 1.0
    assert outcome.quantile_ms(0.01) >= 20.0
    assert server.overtaken == 0
    assert all("Authorization: Bearer secret\r\n" in head for head in server.headers)
    ids = [request["request_id"] for request in server.seen]
    assert len(ids) == len(set(ids)) == outcome.sent
    last: dict[str, int] = {}
    for request in server.seen:
        (bar,) = request["bars"]
        symbol = bar["symbol"]
        ticks = {k: round(float(bar[k]) * 10_000) for k in ("open", "high", "low", "close")}
        assert bar["ts"] > last.get(symbol, 0)
        assert ticks["open"] == before[symbol]
        assert ticks["low"] <= min(ticks["open"], ticks["close"])
        assert ticks["high"] >= max(ticks["open"], ticks["close"])
        assert len(bar["close"].partition(".")[2]) == 4
        last[symbol], before[symbol] = bar["ts"], ticks["close"]
    assert dict(zip(market.symbols, market.close.tolist(), strict=True)) == before


def test_latency_is_counted_from_the_due_moment(server: Server, tmp_path: Path) -> None:
    """Two connections at 50 ms each carry 40/s: of 80/s due, each second puts off half a second."""
    server.pause_s = 0.05
    outcome = load(server, tmp_path, Phase("late", 80, 2.0, 2))
    assert outcome.achieved < 0.6
    assert outcome.quantile_ms(0.95) > 500.0
    assert outcome.wrk_p50_ms < 500.0


def test_every_kind_of_wrong_answer_is_counted(server: Server, tmp_path: Path) -> None:
    def change(number: int, answer: dict[str, Any]) -> tuple[int, dict[str, Any], bool]:
        verdict = answer["verdicts"][0]
        if number == 10:
            return 503, {"status": 503, "title": "Overloaded"}, False
        if number == 20:
            answer["verdicts"] = [verdict | {"symbol": "OTHER"}]
        if number == 30:
            answer["verdicts"] = [verdict | {"ts": verdict["ts"] - 1}]
        if number == 40:
            answer["session_id"] = "p-2"
        if number == 50:
            answer["request_id"] += "0"
        return 200, answer, number == 60

    server.change = change
    outcome = load(server, tmp_path, Phase("wrong", 0, 1.0, 4))
    assert outcome.sent > 60
    assert (outcome.failed, outcome.wrong, outcome.replayed) == (1, 4, 1)
    assert outcome.statuses[503] == 1
    assert "Overloaded" in outcome.said
    assert not (tmp_path / "wrk_state").exists()  # it holds the token


def test_the_noop_takes_the_same_body(server: Server, tmp_path: Path) -> None:
    server.change = lambda number, answer: (200, {}, False)
    outcome = load(server, tmp_path, Phase("noop", 0, 1.0, 4, "noop"))
    assert outcome.wrong == outcome.failed == 0
    assert outcome.arrived > 0
    assert {len(request["bars"]) for request in server.seen} == {1}
