"""Access tokens in PostgreSQL: made, listed and revoked by the operator's role.

A token reads ``sph_<token_id>_<secret>``: 12 and 64 hex digits. The secret is 256 random bits, so
a plain SHA-256 is kept of it: no list of likely secrets exists that a slow hash would defend
against (NIST SP 800-63B asks for salt and stretching for secrets that people choose).
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import psycopg

from data.errors import InputError
from data.journal import append_operation
from data.store import TRADING_LOCK

PREFIX = "sph_"
ID_LENGTH = 12
TOKEN_LENGTH = len(PREFIX) + ID_LENGTH + 1 + 64
MAX_LIVE = 1_000  # every replica holds all of them and reads them again each second
LARGEST_RATE = 1_000_000  # requests a second

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}")
_ID = re.compile(r"[0-9a-f]{12}")
_LIVE = """
SELECT token_id, name, secret_hash, scopes, rate_per_s, created_at, created_by, revoked_at
FROM api_token WHERE revoked_at IS NULL LIMIT %s
"""
_ALL = """
SELECT token_id, name, secret_hash, scopes, rate_per_s, created_at, created_by, revoked_at
FROM api_token WHERE %(id)s::text IS NULL OR token_id = %(id)s ORDER BY created_at, token_id
"""
_INSERT = """
INSERT INTO api_token (token_id, name, secret_hash, scopes, rate_per_s, created_by)
VALUES (%s, %s, %s, %s, %s, %s)
"""


class Scope(StrEnum):
    """What a token may be used for. No scope contains another."""

    READ = "read"
    DECIDE = "decide"
    OPERATE = "operate"


@dataclass(frozen=True)
class Token:
    """One row of api_token; the secret itself is kept nowhere."""

    token_id: str
    name: str
    secret_hash: bytes
    scopes: tuple[Scope, ...]
    rate_per_s: int
    created_at: datetime
    created_by: str
    revoked_at: datetime | None


def secret_hash(secret: str) -> bytes:
    """SHA-256 (FIPS 180-4) of the secret's characters."""
    return hashlib.sha256(secret.encode()).digest()


def split_token(text: str) -> tuple[str, str] | None:
    """(token id, secret) of a token's text; None when it has not a token's form."""
    if len(text) != TOKEN_LENGTH or not text.startswith(PREFIX) or not text.isascii():
        return None
    token_id, separator, secret = text[len(PREFIX) :].partition("_")
    return (token_id, secret) if separator and len(token_id) == ID_LENGTH else None


def create_token(
    connection: psycopg.Connection,
    name: str,
    scopes: Iterable[Scope],
    rate_per_s: int,
    actor: str,
) -> str:
    """Makes and journals a token; returns its text, which is kept nowhere.

    InputError for a bad name, no scope, a rate outside 1 to LARGEST_RATE, or too many live tokens.
    """
    wanted = tuple(scope for scope in Scope if scope in set(scopes))
    if not _NAME.fullmatch(name):
        raise InputError(f"token name {name!r}: give 1 to 64 letters, digits, spaces or ._@-")
    if not wanted:
        raise InputError(f"a token needs a scope: {', '.join(Scope)}")
    if not 1 <= rate_per_s <= LARGEST_RATE:
        raise InputError(f"rate {rate_per_s}: give 1 to {LARGEST_RATE} requests a second")
    token_id, secret = secrets.token_hex(ID_LENGTH // 2), secrets.token_hex(32)
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", TRADING_LOCK)
        row = connection.execute(
            "SELECT count(*) FROM api_token WHERE revoked_at IS NULL"
        ).fetchone()
        if row is None or row[0] >= MAX_LIVE:
            raise InputError(f"{MAX_LIVE} tokens are live: revoke one that nobody uses")
        connection.execute(
            _INSERT, (token_id, name, secret_hash(secret), list(wanted), rate_per_s, actor)
        )
        body = {
            "token_id": token_id,
            "name": name,
            "scopes": list(wanted),
            "rate_per_s": rate_per_s,
            "actor": actor,
        }
        append_operation(connection, "token_created", body)
    return f"{PREFIX}{token_id}_{secret}"


def revoke_token(connection: psycopg.Connection, token_id: str, actor: str) -> bool:
    """Revokes and journals; False when it was revoked before. InputError for an unknown id."""
    if not _ID.fullmatch(token_id):
        # Not repeated: somebody may have pasted the whole token.
        raise InputError("that is no token id: give the 12 hex digits of 'sapphire token list'")
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", TRADING_LOCK)
        known = load_token(connection, token_id)
        if known is None:
            raise InputError(f"token {token_id} is not known: see 'sapphire token list'")
        if known.revoked_at is not None:
            return False
        connection.execute(
            "UPDATE api_token SET revoked_at = clock_timestamp() WHERE token_id = %s", (token_id,)
        )
        body = {"token_id": token_id, "name": known.name, "actor": actor}
        append_operation(connection, "token_revoked", body)
    return True


def list_tokens(connection: psycopg.Connection) -> list[Token]:
    """All tokens, revoked ones too, oldest first."""
    return [_token(row) for row in connection.execute(_ALL, {"id": None})]


def load_token(connection: psycopg.Connection, token_id: str) -> Token | None:
    """One token, revoked or not."""
    row = connection.execute(_ALL, {"id": token_id}).fetchone()
    return _token(row) if row else None


async def load_live(connection: psycopg.AsyncConnection) -> list[Token]:
    """The tokens that are not revoked, MAX_LIVE + 1 at most: an authenticator's cache."""
    cursor = await connection.execute(_LIVE, (MAX_LIVE + 1,))
    return [_token(row) for row in await cursor.fetchall()]


def _token(row: Sequence[Any]) -> Token:
    token_id, name, digest, scopes, rate, created_at, created_by, revoked_at = row
    return Token(
        token_id,
        name,
        bytes(digest),
        tuple(Scope(scope) for scope in scopes),
        int(rate),
        created_at,
        created_by,
        revoked_at,
    )
