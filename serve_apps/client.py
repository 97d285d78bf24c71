"""A synchronous client of the coordinator: retries only with the same request id, to a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import msgspec

from serve_apps.wire import DecideRequest, DecideResponse, Problem, response_decoder

CALL_TIMEOUT_S = 15.0
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
_RETRIED = frozenset({500, 502, 503, 504})


class CoordinatorError(RuntimeError):
    """The coordinator refused the request, or gave no answer before the deadline."""

    def __init__(self, detail: str, status: int | None = None) -> None:
        super().__init__(detail)
        self.status = status


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
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=base_url, headers=headers)
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
        body = msgspec.json.encode(request)
        give_up = self._clock() + self._deadline_s
        pause = FIRST_PAUSE_S
        while True:
            why, status = "", None
            left = max(give_up - self._clock(), FIRST_PAUSE_S)
            try:
                answer = self._http.post(
                    "/v1/decide",
                    content=body,
                    headers={"content-type": "application/json"},
                    timeout=min(CALL_TIMEOUT_S, left),
                )
                if answer.status_code == httpx.codes.OK:
                    return response_decoder.decode(answer.content)
                why, status = _reason(answer), answer.status_code
                if answer.status_code not in _RETRIED:
                    raise CoordinatorError(why, status)
            except httpx.TransportError as error:
                why = f"{type(error).__name__}: {error}"
            if self._clock() + pause > give_up:
                raise CoordinatorError(f"no answer in {self._deadline_s:.0f} s ({why})", status)
            self.retries += 1
            self._pause(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)


def _reason(answer: httpx.Response) -> str:
    try:
        problem = msgspec.json.decode(answer.content, type=Problem)
    except msgspec.DecodeError:
        return f"HTTP {answer.status_code}"
    return f"HTTP {answer.status_code} {problem.title}: {problem.detail}"
