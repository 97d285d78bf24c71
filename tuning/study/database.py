"""One small face for the two databases that studies live in: PostgreSQL, or a SQLite file.

Statements are written once, with ``%s`` for values. Errors of both come out as ``DatabaseError``
with one line; a broken uniqueness as ``Taken``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import psycopg

from data.store import connect

LOCK_WAIT_S = 30.0
SCHEMA = ("0007_studies.sql",)
STUDY_LOCK_CLASS = 7304  # advisory; others in data.store


class DatabaseError(RuntimeError):
    """The database refused or could not be reached; nothing of the transaction stands."""


class Taken(DatabaseError):
    """A row of this key is there already."""


class Database(Protocol):
    """What studies need of a database."""

    where: str  # for people

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Runs one statement; its rows, if it has any."""

    def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Runs one statement for each row."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; writers are serialised among themselves."""

    def close(self) -> None:
        """Ends the connection."""


class Postgres:
    """A PostgreSQL whose migrations have been applied (data.store.migrate)."""

    def __init__(self, url: str) -> None:
        self.where = "PostgreSQL"
        try:
            self.connection = connect(url, name="sapphire-tune")
        except psycopg.Error as error:
            raise DatabaseError(_line(error)) from error

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See Database."""
        with _postgres_errors():
            cursor = self.connection.execute(sql, tuple(values))
            return cursor.fetchall() if cursor.description else []

    def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """See Database."""
        with _postgres_errors(), self.connection.cursor() as cursor:
            cursor.executemany(sql, [tuple(row) for row in rows])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See Database."""
        with _postgres_errors(), self.connection.transaction():
            self.connection.execute("SELECT pg_advisory_xact_lock(%s, 0)", (STUDY_LOCK_CLASS,))
            yield

    def close(self) -> None:
        """See Database."""
        self.connection.close()


class Sqlite:
    """A file, made with its tables when it is not there."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None)
            # Every commit reaches the disk before it returns, also at a power cut.
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            with self.transaction():
                self._make_tables()
        except (sqlite3.Error, OSError) as error:
            raise DatabaseError(f"{path}: {_line(error)}") from error

    def _make_tables(self) -> None:
        self._connection.execute("CREATE TABLE IF NOT EXISTS schema_migration (name text UNIQUE)")
        done = {row[0] for row in self._connection.execute("SELECT name FROM schema_migration")}
        for name in SCHEMA:
            if name not in done:
                script = (resources.files("data") / "migrations" / name).read_text()
                for statement in _statements(script):
                    self._connection.execute(statement)
                self._connection.execute("INSERT INTO schema_migration VALUES (?)", (name,))

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See Database."""
        with self._errors():
            return self._connection.execute(sql.replace("%s", "?"), tuple(values)).fetchall()

    def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """See Database."""
        with self._errors():
            self._connection.executemany(sql.replace("%s", "?"), [tuple(row) for row in rows])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See Database."""
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """See Database."""
        self._connection.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError as error:
            raise Taken(f"{self.where}: {_line(error)}") from error
        except sqlite3.Error as error:
            raise DatabaseError(f"{self.where}: {_line(error)}") from error


def _statements(script: str) -> list[str]:
    lines = [line.partition("--")[0] for line in script.splitlines()]
    return [part.strip() for part in "\n".join(lines).split(";") if part.strip()]


@contextmanager
def _postgres_errors() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.UniqueViolation as error:
        raise Taken(_line(error)) from error
    except psycopg.Error as error:
        raise DatabaseError(_line(error)) from error


def _line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
