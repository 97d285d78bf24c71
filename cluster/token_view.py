"""What ``sapphire token`` does and prints."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC

import msgspec
import psycopg
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cluster.database import database
from cluster.home import Home
from cluster.processes import ServiceError
from cluster.settings import load_cluster
from data.errors import InputError
from data.store import connect
from data.tokens import PREFIX, Scope, Token, create_token, list_tokens, revoke_token


def create(name: str, scopes: list[str], rate_per_s: int) -> None:
    """Makes a token: its text alone on stdout, for scripts; what it is for people on stderr."""
    try:
        wanted = sorted({Scope(word) for word in scopes})
    except ValueError as error:
        raise InputError(f"--scope: {error}; give {', '.join(Scope)}") from error
    with _operations("ops") as connection:
        text = create_token(connection, name, wanted, rate_per_s, getpass.getuser())
    token_id = text.removeprefix(PREFIX).partition("_")[0]
    Console(stderr=True, highlight=False, soft_wrap=True).print(
        f"token {token_id} of {escape(name)}: {', '.join(wanted)}; {rate_per_s} requests a second."
        " Keep it: it is not shown again."
    )
    print(text)


def show(as_json: bool) -> None:
    """All tokens as a table, or as one JSON object with the moments of revocation."""
    with _operations("read") as connection:
        tokens = list_tokens(connection)
    if as_json:
        print(msgspec.json.encode({"tokens": [_plain(token) for token in tokens]}).decode())
        return
    console = Console()
    if not tokens:
        console.print("no tokens yet: make one with 'sapphire token create'")
        return
    table = Table("id", "name", "scopes", "rate/s", "created", "by", "state", box=None)
    for token in tokens:
        table.add_row(
            token.token_id,
            escape(token.name),
            " ".join(token.scopes),
            str(token.rate_per_s),
            f"{token.created_at.astimezone(UTC):%Y-%m-%d %H:%MZ}",
            escape(token.created_by),
            "revoked" if token.revoked_at else "live",
        )
    console.print(table)


def revoke(token_id: str) -> None:
    """Revokes a token; one that was revoked before stays so."""
    with _operations("ops") as connection:
        now = revoke_token(connection, token_id, getpass.getuser())
    print(f"token {token_id} is revoked" if now else f"token {token_id} was revoked before")


@contextmanager
def _operations(role: str) -> Iterator[psycopg.Connection]:
    """A connection as ``role``; one clear line when there is no database, or no table in it."""
    settings = load_cluster()
    home = Home(settings.home)
    try:
        with database(settings, home, role) as url, connect(url, name="sapphire-token") as link:
            yield link
    except psycopg.errors.UndefinedTable as error:
        raise InputError(
            "the database has no tokens yet: start this version with 'sapphire up' first"
        ) from error
    except psycopg.Error as error:
        first = str(error).strip().partition("\n")[0]
        raise ServiceError(f"the database refused: {first or type(error).__name__}") from error


def _plain(token: Token) -> dict[str, object]:
    return {
        "token_id": token.token_id,
        "name": token.name,
        "scopes": list(token.scopes),
        "rate_per_s": token.rate_per_s,
        "created_at": token.created_at,
        "created_by": token.created_by,
        "revoked_at": token.revoked_at,
    }
