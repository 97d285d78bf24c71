"""Who asks, and may they: bearer tokens (RFC 6750) checked against a cache of all live ones.

The cache is read again in the background every second, so a revocation holds within about two. A
request touches neither database nor disk. When the tokens cannot be read the cache is honoured for
GRACE_S, then every request is refused: an unreadable revocation must not live for ever.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import psycopg
import structlog

from data.tokens import MAX_LIVE, Scope, Token, secret_hash, split_token
from serve_apps.wire import Refused

log = structlog.get_logger("auth")

REFRESH_S = 1.0
LOAD_TIMEOUT_S = 3.0
GRACE_S = 30.0
READ_AGAIN_S = 0.2  # between two looks for an unknown token
RETRY_AFTER_S = 1
REALM = 'Bearer realm="sapphire"'

_NOBODY = bytes(32)  # compared in an unknown token's place; no secret hashes to it


@dataclass(frozen=True)
class Caller:
    """Whose request it is."""

    token_id: str
    name: str
    scopes: frozenset[Scope]
    rate_per_s: int


class Limiter(Protocol):
    """The rate limit of each token."""

    async def take(self, token_id: str, rate_per_s: int) -> bool:
        """Whether the token has one more request in this second."""


class Authenticator:
    """Checks the Authorization header. ``load`` gives all live tokens; ``clock`` is monotonic."""

    def __init__(
        self,
        load: Callable[[], Awaitable[Sequence[Token]]],
        limiter: Limiter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._limiter = limiter
        self._clock = clock
        self._known: dict[str, tuple[bytes, Caller]] = {}
        self._loaded_at = float("-inf")
        self._read_again_at = float("-inf")
        self._failing = ""
        self._task: asyncio.Task[None] | None = None

    @property
    def fault(self) -> str | None:
        """Why every request is refused now, for a readiness answer; None when none is."""
        if self._clock() - self._loaded_at <= GRACE_S:
            return None
        ended = self._task is not None and self._task.done()
        why = self._failing or ("the refresh ended" if ended else "not read yet")
        return f"the access tokens cannot be read: {why}"

    def knows(self, token_id: str) -> bool:
        """Whether the token was live when the tokens were last read."""
        return token_id in self._known

    async def start(self) -> None:
        """Reads the tokens once, then goes on in the background. Raises nothing: see ``fault``."""
        await self.refresh()
        self._task = asyncio.create_task(self._refresh_for_ever())

    async def stop(self) -> None:
        """Ends the background task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=LOAD_TIMEOUT_S)
            self._task = None

    async def refresh(self) -> None:
        """Reads the tokens; the old ones stay when they cannot be read within LOAD_TIMEOUT_S."""
        asked_at = self._clock()
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_S):
                tokens = await self._load()
        except (psycopg.Error, OSError, TimeoutError) as error:
            self._fail(type(error).__name__)
            return
        if len(tokens) > MAX_LIVE:
            self._fail(f"more than {MAX_LIVE} are live")
            return
        self._known = {
            token.token_id: (
                token.secret_hash,
                Caller(token.token_id, token.name, frozenset(token.scopes), token.rate_per_s),
            )
            for token in tokens
            if token.revoked_at is None
        }
        self._loaded_at = asked_at
        self._failing = ""

    def check(self, header: str | None, scope: Scope) -> Caller:
        """The caller behind an Authorization header.

        Refused 401 ``no_token`` or ``bad_token``, 403 ``missing_scope``, 503 ``tokens_unreadable``.
        """
        if self._clock() - self._loaded_at > GRACE_S:
            raise Refused(
                503, "Not ready", str(self.fault), RETRY_AFTER_S, code="tokens_unreadable"
            )
        kind, _, text = (header or "").partition(" ")
        if kind.lower() != "bearer":
            raise Refused(
                401,
                "No token",
                "send the header 'Authorization: Bearer TOKEN'",
                code="no_token",
                headers={"WWW-Authenticate": REALM},
            )
        parts = split_token(text.strip())
        if parts is None:
            raise _bad_token()
        token_id, secret = parts
        known = self._known.get(token_id)
        # An unknown id costs what a wrong secret costs: one hash, one comparison.
        expected = known[0] if known is not None else _NOBODY
        same = hmac.compare_digest(secret_hash(secret), expected)
        if known is None or not same:
            raise _bad_token()
        caller = known[1]
        if scope not in caller.scopes:
            raise Refused(
                403,
                "Missing scope",
                f"token {token_id} has not the scope {scope}",
                code="missing_scope",
                headers={
                    "WWW-Authenticate": f'{REALM}, error="insufficient_scope", scope="{scope}"'
                },
            )
        return caller

    async def admit(self, header: str | None, scope: Scope) -> Caller:
        """``check``, and one request off the token's rate; Refused 429 ``rate_limited``.

        A token that is not known is looked for once more: it may have been made a moment ago.
        """
        try:
            caller = self.check(header, scope)
        except Refused as refused:
            if refused.problem.code != "bad_token" or not await self._read_again():
                raise
            caller = self.check(header, scope)
        if not await self._limiter.take(caller.token_id, caller.rate_per_s):
            raise Refused(
                429,
                "Rate limited",
                f"token {caller.token_id} has {caller.rate_per_s} requests a second",
                RETRY_AFTER_S,
                code="rate_limited",
            )
        return caller

    async def _read_again(self) -> bool:
        """Whether the tokens were read anew, which strangers can make us do only so often."""
        asked_at = self._clock()
        if asked_at - self._read_again_at < READ_AGAIN_S:
            return False
        self._read_again_at = asked_at
        await self.refresh()
        return self._loaded_at >= asked_at

    async def _refresh_for_ever(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            await self.refresh()

    def _fail(self, why: str) -> None:
        if why != self._failing:
            log.warning("access tokens cannot be read", why=why, grace_s=GRACE_S)
        self._failing = why


def _bad_token() -> Refused:
    return Refused(
        401,
        "Bad token",
        "the token is not known here, or was revoked",
        code="bad_token",
        headers={"WWW-Authenticate": f'{REALM}, error="invalid_token"'},
    )
