"""The HTTP surface over a real engine, gate and database: every route, and what it refuses."""

# longer than 400 lines because: one served session, dear to set up, answers for every route.

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import pyarrow as pa
import pytest
from api_support import Hosted, feed, hosted_api, make_token
from support import (
    Account,
    Cell,
    GateInProcess,
    House,
    TableLog,
    Voters,
    by_moment,
    limits,
    migrated,
    open_gate,
    open_session,
    random_bars,
    request_body,
    save_models,
)

from actors.registry import AGENTS
from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from cluster.processes import ServiceError
from cluster.why import read_story, why
from data.errors import InputError
from data.records import SessionConfig
from data.tokens import Scope
from serve_apps import request_parts
from serve_apps.arrow_wire import RESPONSE_COLUMNS, bars_batch
from serve_apps.client import (
    AsyncCoordinatorClient,
    CoordinatorClient,
    CoordinatorError,
    arrow_call,
)
from serve_apps.news_desk import NewsPost
from serve_apps.reading_records import (
    AgentDetail,
    AgentsReading,
    DecisionReading,
    GateReading,
    SessionReading,
    WeightsReading,
)
from serve_apps.story import DecisionId
from serve_apps.wire import ARROW, JSON, MAX_BODY_BYTES, DecideResponse, request_decoder

LOOSE = limits(min_weight_share=0.2)
MOMENTS = by_moment(random_bars(190))
DECIDED = 170


@dataclass
class Surface:
    """A served session whose first DECIDED moments are decided, and a client of it."""

    hosted: Hosted
    house: House
    config: SessionConfig
    http: httpx.Client
    account: Account
    next: int = DECIDED

    def get(self, path: str, kind: Any = dict, **query: Any) -> Any:
        answer = self.http.get(path, params=query, headers=self.hosted.headers())
        assert answer.status_code == 200, answer.text
        return msgspec.json.decode(answer.content, type=kind)

    def decide(self, body: bytes, kind: str = JSON, **headers: str) -> httpx.Response:
        sent = self.hosted.headers(Scope.DECIDE) | {"content-type": kind} | headers
        return self.http.post("/v1/decide", content=body, headers=sent)

    def fresh(self) -> Any:
        """The bars of the next moment."""
        self.next += 1
        return MOMENTS[self.next - 1]


@pytest.fixture(scope="module")
def surface(postgres: EmbeddedPostgres, home: Home) -> Iterator[Surface]:
    with migrated(postgres, home) as house:
        config = open_session(house, risk=LOOSE, models=save_models(house))
        cell = Cell(house, Voters(TableLog(house.roles.read)), GateInProcess(open_gate(house)))
        with (
            Account(house, config) as account,
            hosted_api(house, cell) as hosted,
            httpx.Client(base_url=hosted.url, timeout=30) as http,
        ):
            made = Surface(hosted, house, config, http, account)
            feed(hosted, config, MOMENTS[:DECIDED])
            yield made


def request_stream(config: SessionConfig, bars: Any, request_id: str) -> bytes:
    body = arrow_call(bars, config.symbols, config.session_id, request_id).body
    assert body is not None
    return body


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["status"] == answer.status_code
    assert told["title"]
    assert told["type"]
    return told["status"], told["code"]


# -- decide ---------------------------------------------------------------------------------


def test_json_and_arrow_give_one_decision(surface: Surface) -> None:
    bars = surface.fresh()
    first = surface.decide(request_stream(surface.config, bars, "arrow-1"), ARROW)
    assert first.headers["content-type"] == ARROW
    assert "idempotency-replayed" not in first.headers
    with pa.ipc.open_stream(first.content) as stream:
        table = stream.read_all()
    assert tuple(table.column_names) == RESPONSE_COLUMNS
    again = surface.decide(request_body(surface.config, bars, "json-1"))
    assert again.headers["idempotency-replayed"] == "true"
    told = msgspec.json.decode(again.content, type=DecideResponse)
    assert [v.p for v in told.verdicts] == [
        [row["p_down"], row["p_flat"], row["p_up"]] for row in table.to_pylist()
    ]
    assert [v.verdict for v in told.verdicts] == table["verdict"].to_pylist()


def test_the_answers_type_can_be_asked_for(surface: Surface) -> None:
    body = request_body(surface.config, MOMENTS[3])
    for accept, kind in ((ARROW, ARROW), (JSON, JSON), ("*/*", JSON), ("text/html", JSON)):
        assert surface.decide(body, Accept=accept).headers["content-type"] == kind
    stream = request_stream(surface.config, MOMENTS[3], "arrow-2")
    assert surface.decide(stream, ARROW, Accept=JSON).headers["content-type"] == JSON


def test_what_must_not_come_in(surface: Surface) -> None:
    body = request_body(surface.config, MOMENTS[3])
    assert problem(surface.decide(body, "text/plain")) == (415, "media_type")
    gzip = surface.decide(body, **{"Content-Encoding": "gzip"})
    assert problem(gzip) == (415, "content_encoding")
    assert problem(surface.decide(b" " * (MAX_BODY_BYTES + 1))) == (413, "too_large")
    assert problem(surface.decide(b"{}")) == (422, "bad_request")
    assert problem(surface.decide(body[:-3])) == (422, "bad_json")
    assert problem(surface.decide(body, ARROW)) == (422, "arrow_malformed")
    changed = MOMENTS[3].copy()
    changed["volume"] += 1
    other = request_body(surface.config, changed, "other")
    assert problem(surface.decide(other)) == (409, "changed_bar")
    same_id = request_body(surface.config, changed)
    assert problem(surface.decide(same_id)) == (409, "another_body")
    unknown = request_body(surface.config, MOMENTS[3], session_id="nobody")
    assert problem(surface.decide(unknown)) == (404, "unknown_session")
    late = MOMENTS[3].copy()
    late["ts"] += 1
    assert problem(surface.decide(request_body(surface.config, late, "l"))) == (409, "out_of_order")


def test_a_body_without_a_length_is_bounded_too(surface: Surface) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(6):
            yield b" " * (1 << 20)

    headers = surface.hosted.headers(Scope.DECIDE) | {"content-type": JSON}
    answer = surface.http.post("/v1/decide", content=parts(), headers=headers)
    assert problem(answer) == (413, "too_large")


def test_a_body_that_does_not_come_is_given_up(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_parts, "BODY_TIMEOUT_S", 0.2)
    host, port = surface.hosted.url.removeprefix("http://").split(":")
    token = surface.hosted.tokens[Scope.DECIDE]
    head = (
        f"POST /v1/decide HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: {JSON}\r\nContent-Length: 100\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), 10) as link:
        link.sendall(head.encode() + b"{")
        assert b"HTTP/1.1 408" in link.recv(4096)


# -- who may --------------------------------------------------------------------------------


def test_tokens_and_scopes(surface: Surface) -> None:
    http, hosted = surface.http, surface.hosted
    assert problem(http.get("/v1/agents")) == (401, "no_token")
    bad = http.get("/v1/agents", headers={"Authorization": "Bearer sph_x"})
    assert problem(bad) == (401, "bad_token")
    assert bad.headers["www-authenticate"].startswith("Bearer")
    wrong = http.get("/v1/agents", headers=hosted.headers(Scope.DECIDE))
    assert problem(wrong) == (403, "missing_scope")
    body = request_body(surface.config, MOMENTS[3])
    sent = hosted.headers(Scope.READ) | {"content-type": JSON}
    assert problem(http.post("/v1/decide", content=body, headers=sent)) == (403, "missing_scope")
    for path in ("/healthz", "/readyz", "/metrics"):
        assert http.get(path).status_code == 200


def test_a_token_has_its_rate(surface: Surface) -> None:
    token = make_token(surface.house, Scope.READ, rate_per_s=1)
    headers = {"Authorization": f"Bearer {token}"}
    deadline = time.monotonic() + 20
    seen: set[int] = set()
    while 429 not in seen and time.monotonic() < deadline:  # it is known within a second or two
        answer = surface.http.get("/v1/rounds/last", headers=headers)
        seen.add(answer.status_code)
    assert problem(answer) == (429, "rate_limited")
    assert int(answer.headers["retry-after"]) >= 1
    assert 200 in seen


def test_unknown_paths_and_methods(surface: Surface) -> None:
    http = surface.http
    assert problem(http.get("/v1/nothing")) == (404, "not_found")
    assert problem(http.get("/v1/agents/")) == (404, "not_found")
    answer = http.get("/v1/decide")
    assert problem(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"
    assert http.delete("/v1/decisions/x").headers["allow"] == "GET"


# -- readings -------------------------------------------------------------------------------


def test_a_decisions_story(surface: Surface) -> None:
    bars = MOMENTS[DECIDED - 1]
    ts = int(bars["ts"][0])
    name = f"{surface.config.session_id}:AAA:{ts}"
    story = surface.get(f"/v1/decisions/{name}", DecisionReading)
    assert story == surface.get(
        "/v1/decisions", DecisionReading, session_id=surface.config.session_id, symbol="AAA", ts=ts
    )
    assert (story.id, story.state, story.round, story.epoch) == (name, "decided", DECIDED, 1)
    assert story.bar.volume == int(bars["volume"][0])
    assert [vote.agent for vote in story.votes] == [spec.name for spec in AGENTS]
    awake = [vote for vote in story.votes if vote.status == "voted"]
    assert awake
    assert all(vote.p is not None and sum(vote.p) == pytest.approx(1) for vote in awake)
    asleep = [vote for vote in story.votes if vote.status == "abstained"]
    assert asleep
    assert all(vote.p is None and vote.reason != "none" for vote in asleep)
    for vote, spec in zip(story.votes, AGENTS, strict=True):
        assert tuple(vote.evidence) == spec.evidence
    assert story.equal_weight is not None
    total = sum(vote.weight for vote in story.votes) + story.equal_weight
    assert total == pytest.approx(1)
    assert story.judgement is not None
    assert story.judgement.agents_awake == len(awake)


def test_an_approval_its_order_and_its_fill_are_told(surface: Surface) -> None:
    with surface.house.connect() as link:
        row = link.execute(
            "SELECT symbol, ts, side, max_lots FROM approval ORDER BY ts DESC LIMIT 1"
        ).fetchone()
    assert row is not None
    symbol, ts, side, lots = row
    moments = [int(bars["ts"][0]) for bars in MOMENTS]
    surface.account.moment(MOMENTS[moments.index(ts)])
    assert surface.account.place(symbol, ts), surface.account.refusals()
    surface.account.moment(MOMENTS[moments.index(ts) + 1])
    story = surface.get(f"/v1/decisions/{surface.config.session_id}:{symbol}:{ts}", DecisionReading)
    assert story.approval is not None
    assert (story.approval.side, story.approval.max_lots) == (side, lots)
    (order,) = story.orders
    assert order.side == side
    assert sum(fill.lots for fill in order.fills) == order.filled_lots > 0
    assert all("." in fill.price for fill in order.fills)


def test_sapphire_why_tells_the_same_without_a_coordinator(
    surface: Surface, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = DecisionId(surface.config.session_id, "BBB", int(MOMENTS[DECIDED - 1]["ts"][0]))
    url = surface.house.roles.read
    assert read_story(url, name) == surface.get(f"/v1/decisions/{name}", DecisionReading)
    monkeypatch.setenv("DATABASE_URL", url)
    assert why(str(name)) == 0
    assert "The verdict." in capsys.readouterr().out
    with pytest.raises(InputError, match="not recorded"):
        why(str(name._replace(ts=5)))
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:9/x")
    with pytest.raises(ServiceError, match="journal"):
        why(str(name))


def test_decisions_that_are_none(surface: Surface) -> None:
    http, headers = surface.http, surface.hosted.headers()
    unknown = str(DecisionId(surface.config.session_id, "AAA", 5))
    assert problem(http.get(f"/v1/decisions/{unknown}", headers=headers)) == (
        404, "unknown_decision",
    )  # fmt: skip
    for name in ("x", "a:b:c", "a:b:99999999999999999999", "a:%00:5", "%00:b:5"):
        answer = http.get(f"/v1/decisions/{name}", headers=headers)
        assert problem(answer) == (422, "bad_decision_id")
    assert problem(http.get("/v1/decisions", headers=headers)) == (422, "bad_query")


def test_agents_weights_and_gate(surface: Surface) -> None:
    agents = surface.get("/v1/agents", AgentsReading)
    assert agents.session_id == surface.config.session_id
    assert agents.rounds == agents.round >= DECIDED
    assert [agent.name for agent in agents.agents] == [spec.name for spec in AGENTS]
    for agent in agents.agents:
        recent = agent.recent
        assert recent.voted + recent.abstained == agents.recent_rounds * 2
    name = AGENTS[0].name
    one = surface.get(f"/v1/agents/{name}", AgentDetail)
    assert one.agent == surface.get("/v1/agents", AgentsReading).agents[0]
    missing = surface.http.get("/v1/agents/nobody", headers=surface.hosted.headers())
    assert problem(missing) == (404, "unknown_agent")

    weights = surface.get("/v1/weights", WeightsReading, rounds=5)
    numbers = [at.round for at in weights.history]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == 5
    assert all(sum(at.weights.values()) == pytest.approx(1) for at in weights.history)
    for rounds in ("0", "65", "x", "٣", "-1"):
        answer = surface.http.get(
            "/v1/weights", params={"rounds": rounds}, headers=surface.hosted.headers()
        )
        assert problem(answer) == (422, "bad_query")

    gate = surface.get("/v1/gate", GateReading)
    assert (gate.epoch, gate.holder) == (1, "test")
    assert gate.lease is not None
    assert gate.lease.held
    assert gate.lease.account == surface.config.account


def test_the_session_and_the_last_round(surface: Surface) -> None:
    session = surface.get("/v1/session", SessionReading)
    assert session.symbols == surface.config.symbols
    last = surface.get("/v1/rounds/last")
    assert last["session_id"] == surface.config.session_id
    assert session.clock_ns == int(MOMENTS[surface.next - 1]["ts"][0])
    assert "state" in surface.get("/v1/status")


def test_news_travel_with_the_next_round(surface: Surface) -> None:
    bars = surface.fresh()
    item = {
        "session_id": surface.config.session_id, "id": "n1", "symbol": "BBB",
        "ts": int(bars["ts"][0]) - 1, "text": "Record profit",
    }  # fmt: skip
    headers = surface.hosted.headers(Scope.DECIDE)
    assert surface.http.post("/v1/news", json=item, headers=headers).status_code == 202
    assert surface.http.post("/v1/news", json=item, headers=headers).status_code == 200
    changed = surface.http.post("/v1/news", json=item | {"text": "No"}, headers=headers)
    assert problem(changed) == (409, "changed_news")
    assert surface.decide(request_body(surface.config, bars)).status_code == 200
    ts = int(bars["ts"][1])
    story = surface.get(f"/v1/decisions/{surface.config.session_id}:BBB:{ts}", DecisionReading)
    assert [(n.id, n.text) for n in story.news] == [("n1", "Record profit")]


def test_answers_are_counted_by_route(surface: Surface) -> None:
    surface.http.get("/v1/nothing")
    text = surface.http.get("/metrics").text
    assert 'route="decide",status="200"' in text
    assert 'route="unmatched",status="404"' in text
    assert "/v1/nothing" not in text


# -- clients --------------------------------------------------------------------------------


def test_both_clients_read_the_whole_surface(surface: Surface) -> None:
    config, hosted = surface.config, surface.hosted
    bars = surface.fresh()
    ts = int(bars["ts"][0])
    name = f"{config.session_id}:AAA:{ts}"
    item = NewsPost(session_id=config.session_id, id="c1", symbol="AAA", ts=ts - 1, text="Loss")
    names = {"session_id": config.session_id, "request_id": "client-1"}
    request = request_decoder.decode(request_body(config, bars, "client-2"))
    sender = CoordinatorClient(hosted.url, 20.0, token=hosted.tokens[Scope.DECIDE])
    reader = CoordinatorClient(hosted.url, 20.0, token=hosted.tokens[Scope.READ])
    sender.news(item)
    table = sender.decide_arrow(bars, config.symbols, **names)
    answer = sender.decide(request)
    assert table["lots"].to_pylist() == [v.lots for v in answer.verdicts]
    told = (
        reader.decision(name), reader.agents(), reader.weights(3), reader.gate(),
        reader.session(),
    )  # fmt: skip
    assert [item.id for item in told[0].news] == ["c1"]
    with pytest.raises(CoordinatorError) as caught:
        reader.decide(request)
    assert (caught.value.status, caught.value.code) == (403, "missing_scope")
    assert sender.retries == reader.retries == 0
    sender.close()
    reader.close()

    async def again() -> None:
        async with (
            AsyncCoordinatorClient(hosted.url, 20.0, token=hosted.tokens[Scope.DECIDE]) as sender,
            AsyncCoordinatorClient(hosted.url, 20.0, token=hosted.tokens[Scope.READ]) as reader,
        ):
            assert await reader.ready()
            await sender.news(item)
            columns = pa.Table.from_batches([bars_batch(bars, config.symbols)])
            assert (await sender.decide_arrow(columns, **names)).equals(table)
            assert await sender.decide(request) == answer
            assert told == (
                await reader.decision(name), await reader.agents(), await reader.weights(3),
                await reader.gate(), await reader.session(),
            )  # fmt: skip

    asyncio.run(again())
