"""Migrations and roles on a real server: who can write what, exactly."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from support import House, migrated

from cluster.bring_up import given_database
from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from data.store import (
    LOCK_TIMEOUT_MS,
    ROLES,
    STATEMENT_TIMEOUT_MS,
    connect,
    migrate,
    schema_is_current,
    with_user,
)

pytestmark = pytest.mark.integration

# Written from the architecture page, not from the migration: who appends and who may change.
INSERTS = {
    "sapphire_read": set(),
    "sapphire_coordinator": {
        "journal", "journal_identity", "round_input", "round_output", "request_identity",
        "decision_identity", "news_item", "news_round",
    },
    "sapphire_gate": {
        "journal", "journal_identity", "round_output", "approval", "gate_lease", "snapshot",
    },
    "sapphire_trader": {
        "journal", "journal_identity", "trader_lease", "account", "position", "orders", "fill",
        "trading_state", "session_end",
    },
    "sapphire_ops": {
        "journal", "journal_identity", "trading_state", "session", "session_end", "model",
        "api_token", "study", "study_trial", "study_event", "segment_opening", "champion",
        "champion_proposal", "retune_run", "retune_end",
    },
}  # fmt: skip
UPDATES = {
    "sapphire_read": set(),
    "sapphire_coordinator": set(),
    "sapphire_gate": {"gate_lease"},
    "sapphire_trader": {"trader_lease", "account", "position", "orders", "trading_state"},
    "sapphire_ops": {"trading_state"},
}
MIGRATIONS = sorted(
    path.name for path in (Path(__file__).resolve().parents[2] / "data/migrations").glob("*.sql")
)


@pytest.fixture
def house(postgres: EmbeddedPostgres, home: Home) -> Iterator[House]:
    with migrated(postgres, home) as made:
        yield made


def granted(house: House, right: str) -> dict[str, set[str]]:
    with house.connect() as connection:
        rows = connection.execute(
            "SELECT r, c.relname FROM unnest(%s::text[]) AS r CROSS JOIN pg_class c"
            " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')"
            " AND has_table_privilege(r, c.oid, %s)",
            (list(ROLES), right),
        ).fetchall()
    found: dict[str, set[str]] = {role: set() for role in ROLES}
    for role, table in rows:
        found[role].add(table)
    return found


def test_each_role_writes_its_own_tables_and_no_others(house: House) -> None:
    assert granted(house, "INSERT") == INSERTS
    assert granted(house, "UPDATE") == UPDATES
    nobody: dict[str, set[str]] = {role: set() for role in ROLES}
    # A snapshot is a cache of the log: older ones go.
    assert granted(house, "DELETE") == nobody | {"sapphire_gate": {"snapshot"}}
    assert granted(house, "TRUNCATE") == nobody


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("coordinator", "UPDATE journal SET payload = ''"),
        ("coordinator", "DELETE FROM journal"),
        ("coordinator", "DELETE FROM journal_default"),
        ("coordinator", "UPDATE journal_identity SET hash = ''"),
        ("coordinator", "INSERT INTO gate_lease VALUES (0, 9, 'x')"),
        ("gate", "UPDATE approval SET max_lots = 2 * max_lots"),
        ("gate", "UPDATE account SET cash_micro = 0"),
        ("gate", "INSERT INTO orders (client_order_id) VALUES ('x')"),
        ("trader", "INSERT INTO approval (session_id) VALUES ('x')"),
        ("trader", "UPDATE gate_lease SET epoch = 1"),
        ("trader", "UPDATE fill SET price_ticks = 1"),
        ("trader", "INSERT INTO model (model_id) VALUES ('x')"),
        ("ops", "UPDATE session SET config = ''"),
        ("ops", "UPDATE account SET cash_micro = 0"),
        ("coordinator", "UPDATE news_item SET text = ''"),
        ("coordinator", "INSERT INTO api_token (token_id) VALUES ('x')"),
        ("coordinator", "UPDATE api_token SET revoked_at = NULL"),
        ("ops", "UPDATE api_token SET scopes = '{operate}'"),
        ("ops", "UPDATE api_token SET secret_hash = ''"),
        ("ops", "DELETE FROM api_token"),
        ("read", "INSERT INTO journal (chain) VALUES ('x')"),
        ("read", "UPDATE trading_state SET state = 'ACTIVE'"),
        ("read", "CREATE TABLE mine (n int)"),
        ("ops", "CREATE TABLE mine (n int)"),
        ("trader", "ALTER ROLE sapphire_trader SUPERUSER"),
        ("gate", "SET ROLE sapphire_trader"),
        ("trader", "DROP TABLE journal"),
    ],
)
def test_a_role_that_reaches_further_is_refused(shared: House, role: str, statement: str) -> None:
    url = getattr(shared.roles, role)
    with (
        connect(url, name="test") as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


@pytest.fixture(scope="module")
def shared(postgres: EmbeddedPostgres, home: Home) -> Iterator[House]:
    with migrated(postgres, home) as made:
        yield made


def test_every_role_reads_everything(shared: House) -> None:
    for role in ("read", "coordinator", "gate", "trader", "ops"):
        with connect(getattr(shared.roles, role), name="test") as connection:
            for table in (
                "journal",
                "orders",
                "approval",
                "account",
                "model",
                "session",
                "api_token",
            ):
                assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_migrations_apply_once(database_url: str, shared: House) -> None:
    assert migrate(database_url) == MIGRATIONS
    assert migrate(database_url) == []
    assert schema_is_current(database_url)
    with connect(database_url, name="test") as connection:
        connection.execute("DELETE FROM schema_migration")
    assert not schema_is_current(database_url)
    # A failing migration leaves nothing half-done.
    with pytest.raises(psycopg.errors.DuplicateTable):
        migrate(database_url)
    assert not schema_is_current(database_url)


def test_two_processes_that_migrate_at_once_do_not_collide(
    database_url: str, shared: House
) -> None:
    applied: list[list[str]] = []
    barrier = threading.Barrier(3)

    def work() -> None:
        barrier.wait()
        applied.append(migrate(database_url))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(applied) == [[], [], MIGRATIONS]


def test_a_given_database_gets_roles_and_schema(database_url: str) -> None:
    found = given_database(database_url)
    assert found.trader == found.read == database_url
    assert schema_is_current(database_url)


def test_connections_wait_for_nothing_for_ever(shared: House) -> None:
    with connect(shared.roles.trader, name="test") as connection:
        shown = [
            connection.execute(f"SHOW {name}").fetchone()
            for name in ("statement_timeout", "lock_timeout", "transaction_isolation")
        ]
    assert shown == [
        (f"{STATEMENT_TIMEOUT_MS // 1000}s",),
        (f"{LOCK_TIMEOUT_MS // 1000}s",),
        ("read committed",),
    ]


def test_with_user_changes_the_login_alone() -> None:
    url = "postgresql://root:a%40b@host:5/name?x=1"
    assert with_user(url, "me", "p@/:") == "postgresql://me:p%40%2F%3A@host:5/name?x=1"
