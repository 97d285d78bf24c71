"""What the routes read of a request besides its path: media types, deadline, body; bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.requests import Request

from serve_apps.engine import DEADLINE_S
from serve_apps.wire import ARROW, JSON, MAX_BODY_BYTES, Refused

BODY_TIMEOUT_S = 10.0
DEADLINE_HEADER = b"sapphire-deadline-ms"
LONGEST_DEADLINE_MS = 60_000

Headers = Mapping[bytes, bytes]


def deadline_s(headers: Headers) -> float:
    """How long the sender waits: Sapphire-Deadline-Ms, or the house's own deadline; Refused 422."""
    text = headers.get(DEADLINE_HEADER)
    if text is None:
        return DEADLINE_S
    if not (text.isdigit() and len(text) <= 6 and 1 <= int(text) <= LONGEST_DEADLINE_MS):
        detail = f"Sapphire-Deadline-Ms: give 1 to {LONGEST_DEADLINE_MS}"
        raise Refused(422, "Bad deadline", detail, code="bad_deadline")
    return int(text) / 1e3


def content_type(headers: Headers, allowed: tuple[str, ...]) -> str:
    """The body's media type; Refused 415 for another one, or for an encoded body."""
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding != b"identity":
        detail = "send the body as it is, without a Content-Encoding"
        raise Refused(415, "Encoded body", detail, code="content_encoding")
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
    if kind not in allowed:
        detail = f"Content-Type: send {' or '.join(allowed)}"
        accept = {"Accept": ", ".join(allowed)}
        raise Refused(415, "Unsupported media type", detail, code="media_type", headers=accept)
    return kind


def wanted(headers: Headers, sent: str) -> str:
    """The media type of the answer: the request's own unless Accept asks for the other alone."""
    accept = headers.get(b"accept", b"*/*").lower()
    if b"*/*" in accept or sent.encode() in accept:
        return sent
    other = JSON if sent == ARROW else ARROW
    return other if other.encode() in accept else sent


async def read_body(request: Request, headers: Headers) -> bytes:
    """The whole body, at most MAX_BODY_BYTES and within BODY_TIMEOUT_S; Refused 413, 408, 400."""
    announced = headers.get(b"content-length", b"0")
    if not announced.isdigit() or len(announced) > 18 or int(announced) > MAX_BODY_BYTES:
        raise too_large()
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while True:
                message = await request.receive()
                if message["type"] != "http.request":
                    raise Refused(400, "Gone", "the sender closed the connection", code="gone")
                part = message.get("body", b"")
                size += len(part)
                if size > MAX_BODY_BYTES:
                    raise too_large()
                if not message.get("more_body"):
                    return b"".join((*parts, part)) if parts else part
                parts.append(part)
    except TimeoutError:
        detail = f"the body did not come within {BODY_TIMEOUT_S:.0f} s"
        raise Refused(408, "Slow body", detail, code="slow_body") from None


def too_large() -> Refused:
    detail = f"a body holds at most {MAX_BODY_BYTES} bytes"
    return Refused(413, "Too large", detail, code="too_large")
