"""PostgreSQL: connections with time-outs, roles, and migrations."""

from __future__ import annotations

from importlib import resources
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

ROLES = (
    "sapphire_read",
    "sapphire_coordinator",
    "sapphire_gate",
    "sapphire_trader",
    "sapphire_ops",
)

CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_MS = 30_000
LOCK_TIMEOUT_MS = 5_000

# Advisory lock keys (class, object). The trading lock is held shared by every order transaction
# and exclusively by whatever changes who may trade: halt, resume, the start of a gate.
TRADING_LOCK = (7301, 0)
ACCOUNT_LOCK_CLASS = 7302
MIGRATION_LOCK = (7303, 0)

Connection = psycopg.Connection[tuple[object, ...]]


def options() -> str:
    """Connection options: no statement and no lock waits for ever."""
    return f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS}"


def connect(url: str, *, name: str, autocommit: bool = True) -> psycopg.Connection:
    """A READ COMMITTED connection; raises psycopg.OperationalError after CONNECT_TIMEOUT_S."""
    return psycopg.connect(
        url,
        autocommit=autocommit,
        connect_timeout=CONNECT_TIMEOUT_S,
        application_name=name,
        options=options(),
    )


async def connect_async(url: str, *, name: str) -> psycopg.AsyncConnection:
    """The same for asyncio code."""
    return await psycopg.AsyncConnection.connect(
        url,
        autocommit=True,
        connect_timeout=CONNECT_TIMEOUT_S,
        application_name=name,
        options=options(),
    )


def with_user(url: str, user: str, password: str) -> str:
    """The same server and database, as another role."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(
        parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{host}")
    )


def ensure_roles(url: str, passwords: dict[str, str]) -> None:
    """Creates the roles that are missing and sets the passwords given (scram)."""
    with connect(url, name="sapphire-roles") as connection:
        known = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
        for role in ROLES:
            if role not in known:
                connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
            if role in passwords:
                connection.execute(
                    sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(
                        sql.Identifier(role), sql.Literal(passwords[role])
                    )
                )


def migrate(url: str) -> list[str]:
    """Applies the migrations that this database has not had; returns their names."""
    applied: list[str] = []
    with connect(url, name="sapphire-migrate", autocommit=False) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", MIGRATION_LOCK)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migration (name text PRIMARY KEY,"
            " applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
        )
        done = {row[0] for row in connection.execute("SELECT name FROM schema_migration")}
        folder = resources.files("data") / "migrations"
        for script in sorted(folder.iterdir(), key=lambda entry: entry.name):
            if script.name.endswith(".sql") and script.name not in done:
                connection.execute(script.read_bytes())
                connection.execute(
                    "INSERT INTO schema_migration (name) VALUES (%s)", (script.name,)
                )
                applied.append(script.name)
    return applied


def schema_is_current(url: str) -> bool:
    """Whether every migration of this code has been applied."""
    folder = resources.files("data") / "migrations"
    wanted = {entry.name for entry in folder.iterdir() if entry.name.endswith(".sql")}
    with connect(url, name="sapphire-schema") as connection:
        done = {row[0] for row in connection.execute("SELECT name FROM schema_migration")}
    return wanted <= done
