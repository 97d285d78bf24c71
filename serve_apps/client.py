"""Clients of the coordinator, synchronous and asynchronous.

Both retry only with the same request id, honour Retry-After, and give up at a deadline. One answer
belongs to a request id, so sending it again is safe whatever became of the first try.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec
import pyarrow as pa

from data.bars import Bars
from serve_apps.arrow_wire import bars_batch, stream_of
from serve_apps.news_desk import NewsPost
from serve_apps.reading_records import (
    AgentsReading,
    DecisionReading,
    GateReading,
    SessionReading,
    WeightsReading,
)
from serve_apps.wire import ARROW, JSON, DecideRequest, DecideResponse, Problem

CALL_TIMEOUT_S = 15.0
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
_RETRIED = frozenset({429, 500, 502, 503, 504})

T = TypeVar("T")


class CoordinatorError(RuntimeError):
    """The coordinator refused the request, or gave no answer before the deadline.

    ``status`` and ``code`` are the problem's; None and "" when nothing answered.
    """

    def __init__(self, detail: str, status: int | None = None, code: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Call:
    """One request, the same at every try."""

    method: str
    path: str
    body: bytes | None = None
    media: str = JSON

    def headers(self) -> dict[str, str]:
        """Content-Type of the body, and the answer's type."""
        sent = {"content-type": self.media} if self.body is not None else {}
        return sent | {"accept": self.media}


class Tries:
    """How long to go on, shared by both clients. Times are monotonic seconds."""

    def __init__(self, deadline_s: float, now: float) -> None:
        self._deadline_s = deadline_s
        self._give_up = now + deadline_s
        self._pause = FIRST_PAUSE_S

    def timeout(self, now: float) -> float:
        """Of the next try."""
        return min(CALL_TIMEOUT_S, max(self._give_up - now, FIRST_PAUSE_S))

    def pause(self, now: float, failure: CoordinatorError, answer: httpx.Response | None) -> float:
        """How long to wait before the next try; raises the failure when it is final."""
        if answer is not None and answer.status_code not in _RETRIED:
            raise failure
        pause = max(self._pause, _retry_after(answer))
        if now + pause > self._give_up:
            detail = f"no answer in {self._deadline_s:.0f} s ({failure})"
            raise CoordinatorError(detail, failure.status, failure.code)
        self._pause = min(2 * self._pause, LONGEST_PAUSE_S)
        return pause


def _retry_after(answer: httpx.Response | None) -> float:
    """Seconds that the answer asks to wait; 0 when it asks for none."""
    text = "" if answer is None else answer.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0


def _failure(answer: httpx.Response) -> CoordinatorError:
    status = answer.status_code
    try:
        problem = msgspec.json.decode(answer.content, type=Problem)
    except msgspec.DecodeError:
        return CoordinatorError(f"HTTP {status}", status)
    return CoordinatorError(
        f"HTTP {status} {problem.title}: {problem.detail}", status, problem.code
    )


def _unanswered(error: httpx.TransportError) -> CoordinatorError:
    return CoordinatorError(f"{type(error).__name__}: {error}")


def _read(answer: httpx.Response, kind: type[T]) -> T:
    """The body as ``kind``; CoordinatorError when it is something else."""
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except msgspec.DecodeError as error:
        raise CoordinatorError(f"an answer that is no {kind.__name__}: {error}") from error


def _table(answer: httpx.Response) -> pa.Table:
    try:
        with pa.ipc.open_stream(answer.content) as stream:
            return stream.read_all()
    except (pa.ArrowException, ValueError, OSError) as error:
        raise CoordinatorError(f"an answer that is no Arrow stream: {error}") from error


def _authorization(token: str | None) -> dict[str, str]:
    return {} if token is None else {"authorization": f"Bearer {token}"}


# -- the calls ------------------------------------------------------------------------------


def decide_call(request: DecideRequest) -> Call:
    """POST /v1/decide with JSON."""
    return Call("POST", "/v1/decide", msgspec.json.encode(request))


def arrow_call(
    bars: pa.Table | Bars,
    symbols: Sequence[str],
    session_id: str,
    request_id: str,
    quarantined: Sequence[str] = (),
) -> Call:
    """POST /v1/decide with Arrow.

    ``bars``: a table with the columns of ``serve_apps.arrow_wire``, or BAR rows (n,) whose symbol
    numbers are places in ``symbols`` (a table names its symbols itself: give none).
    """
    if isinstance(bars, pa.Table):
        batches = bars.combine_chunks().to_batches()
        if len(batches) != 1:
            raise ValueError("the table has no rows")
        batch = batches[0]
    else:
        batch = bars_batch(bars, symbols)
    metadata = {
        "session_id": session_id,
        "request_id": request_id,
        "quarantined": msgspec.json.encode(list(quarantined)),
    }
    body = stream_of(batch.replace_schema_metadata(metadata))
    return Call("POST", "/v1/decide", body, ARROW)


def _decision_path(name: str) -> str:
    return f"/v1/decisions/{quote(name, safe=':')}"


class CoordinatorClient:
    """``decide`` is idempotent: the coordinator gives one answer to a request id."""

    def __init__(
        self,
        base_url: str,
        deadline_s: float,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        token: str | None = None,
    ) -> None:
        self._http = httpx.Client(base_url=base_url, headers=_authorization(token))
        self._deadline_s = deadline_s
        self._clock = clock
        self._pause = pause
        self.retries = 0

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def ready(self) -> bool:
        """Whether the coordinator could serve a round now."""
        try:
            return self._http.get("/readyz", timeout=2.0).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def decide(self, request: DecideRequest) -> DecideResponse:
        """The recorded decisions; CoordinatorError when refused or not answered in time."""
        return _read(self._call(decide_call(request)), DecideResponse)

    def decide_arrow(
        self,
        bars: pa.Table | Bars,
        symbols: Sequence[str] = (),
        *,
        session_id: str,
        request_id: str,
        quarantined: Sequence[str] = (),
    ) -> pa.Table:
        """The same for many bars: see ``arrow_call`` and ``arrow_wire`` for the columns."""
        return _table(self._call(arrow_call(bars, symbols, session_id, request_id, quarantined)))

    def decision(self, name: str) -> DecisionReading:
        """The story of decision SESSION:SYMBOL:TS."""
        return _read(self._call(Call("GET", _decision_path(name))), DecisionReading)

    def news(self, item: NewsPost) -> None:
        """Hands in a text; the same id again is no error."""
        self._call(Call("POST", "/v1/news", msgspec.json.encode(item)))

    def agents(self) -> AgentsReading:
        """The agents at the last round."""
        return _read(self._call(Call("GET", "/v1/agents")), AgentsReading)

    def weights(self, rounds: int = 20) -> WeightsReading:
        """The weights of the last rounds, newest first."""
        return _read(self._call(Call("GET", f"/v1/weights?rounds={rounds}")), WeightsReading)

    def gate(self) -> GateReading:
        """The gate."""
        return _read(self._call(Call("GET", "/v1/gate")), GateReading)

    def session(self) -> SessionReading:
        """The open session."""
        return _read(self._call(Call("GET", "/v1/session")), SessionReading)

    def _call(self, call: Call) -> httpx.Response:
        tries = Tries(self._deadline_s, self._clock())
        while True:
            answer: httpx.Response | None = None
            try:
                answer = self._http.request(
                    call.method,
                    call.path,
                    content=call.body,
                    headers=call.headers(),
                    timeout=tries.timeout(self._clock()),
                )
                if answer.is_success:
                    return answer
                failure = _failure(answer)
            except httpx.TransportError as error:
                failure = _unanswered(error)
            pause = tries.pause(self._clock(), failure, answer)
            self.retries += 1
            self._pause(pause)


class AsyncCoordinatorClient:
    """The same for asyncio code."""

    def __init__(
        self,
        base_url: str,
        deadline_s: float,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        token: str | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(base_url=base_url, headers=_authorization(token))
        self._deadline_s = deadline_s
        self._clock = clock
        self._pause = pause
        self.retries = 0

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncCoordinatorClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def ready(self) -> bool:
        """See CoordinatorClient."""
        try:
            answer = await self._http.get("/readyz", timeout=2.0)
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK

    async def decide(self, request: DecideRequest) -> DecideResponse:
        """See CoordinatorClient."""
        return _read(await self._call(decide_call(request)), DecideResponse)

    async def decide_arrow(
        self,
        bars: pa.Table | Bars,
        symbols: Sequence[str] = (),
        *,
        session_id: str,
        request_id: str,
        quarantined: Sequence[str] = (),
    ) -> pa.Table:
        """See CoordinatorClient."""
        call = arrow_call(bars, symbols, session_id, request_id, quarantined)
        return _table(await self._call(call))

    async def decision(self, name: str) -> DecisionReading:
        """See CoordinatorClient."""
        return _read(await self._call(Call("GET", _decision_path(name))), DecisionReading)

    async def news(self, item: NewsPost) -> None:
        """See CoordinatorClient."""
        await self._call(Call("POST", "/v1/news", msgspec.json.encode(item)))

    async def agents(self) -> AgentsReading:
        """See CoordinatorClient."""
        return _read(await self._call(Call("GET", "/v1/agents")), AgentsReading)

    async def weights(self, rounds: int = 20) -> WeightsReading:
        """See CoordinatorClient."""
        return _read(await self._call(Call("GET", f"/v1/weights?rounds={rounds}")), WeightsReading)

    async def gate(self) -> GateReading:
        """See CoordinatorClient."""
        return _read(await self._call(Call("GET", "/v1/gate")), GateReading)

    async def session(self) -> SessionReading:
        """See CoordinatorClient."""
        return _read(await self._call(Call("GET", "/v1/session")), SessionReading)

    async def _call(self, call: Call) -> httpx.Response:
        tries = Tries(self._deadline_s, self._clock())
        while True:
            answer: Any = None
            try:
                answer = await self._http.request(
                    call.method,
                    call.path,
                    content=call.body,
                    headers=call.headers(),
                    timeout=tries.timeout(self._clock()),
                )
                if answer.is_success:
                    return answer
                failure = _failure(answer)
            except httpx.TransportError as error:
                failure = _unanswered(error)
            pause = tries.pause(self._clock(), failure, answer)
            self.retries += 1
            await self._pause(pause)
