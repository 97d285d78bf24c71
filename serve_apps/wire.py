"""What travels over HTTP between a trader and the coordinator (JSON, version 1).

Prices are decimal strings in the session's currency and must be whole ticks; ``ts`` is UTC
nanoseconds at the bar's close. ``serve_apps.arrow_wire`` has the same in Arrow.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
PROBLEM = "application/problem+json"

MAX_BODY_BYTES = 4 << 20
MAX_JSON_BARS = 1_024
MAX_ARROW_ROWS = 4_096

# Printable ASCII: they stand in logs, in the database's text columns and in headers.
SessionId = Annotated[str, Meta(pattern="^[ -~]+$", max_length=128)]
RequestId = Annotated[str, Meta(pattern="^[ -~]+$", max_length=256)]
SymbolName = Annotated[str, Meta(min_length=1, max_length=64)]
Price = Annotated[str, Meta(min_length=1, max_length=64)]


class BarIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One bar as its sender knows it; None = not known to the feed."""

    symbol: SymbolName
    ts: int
    open: Price
    high: Price
    low: Price
    close: Price
    volume: int
    buy_volume: int | None = None
    trades: int | None = None
    bid: Price | None = None
    ask: Price | None = None
    bid_size: int | None = None
    ask_size: int | None = None


class DecideRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All bars of one moment that the sender has. The same request_id gets the same answer."""

    session_id: SessionId
    request_id: RequestId
    bars: list[BarIn]
    quarantined: list[str] = []  # symbols whose bar of this moment was refused at the door


class VerdictOut(msgspec.Struct, frozen=True, kw_only=True):
    """One decision, from the journal."""

    symbol: str
    ts: int
    p: list[float]  # pooled (down, flat, up); zeros when no voter was awake
    dissent: float
    agents_awake: int
    verdict: str
    code: str
    side: int
    lots: int
    limit: str  # decimal price; zero without an order
    net_lots: int


class DecideResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The recorded decisions for the bars of a request."""

    session_id: str
    request_id: str
    round: int
    epoch: int
    verdicts: list[VerdictOut]
    weights: dict[str, float]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An error (RFC 9457 problem details)."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    code: str = ""  # a stable reason, in snake case


class Refused(Exception):
    """A request that is answered with a Problem."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        retry_after: int = 0,
        code: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.problem = Problem(title=title, status=status, detail=detail, code=code)
        self.retry_after = retry_after
        self.headers = headers or {}


request_decoder = msgspec.json.Decoder(DecideRequest)
response_decoder = msgspec.json.Decoder(DecideResponse)
