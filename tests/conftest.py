"""Fixtures of the whole run: one real embedded PostgreSQL, started when a test first asks."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from cluster.processes import marker

_STATUS = pytest.StashKey[int]()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Keeps what the run came to."""
    session.config.stash[_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends the process where Ray was in it: its native threads can crash an interpreter that ends.

    Everything is reported and taken down by now; the exit code is the run's.
    """
    if "ray" in sys.modules and _STATUS in config.stash:
        import ray

        ray.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash[_STATUS])


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A temporary installation of this run."""
    made = Home(tmp_path_factory.mktemp("home")).create()
    yield made
    shutil.rmtree(made.runtime_dir())


@pytest.fixture(scope="session")
def postgres(home: Home) -> Iterator[EmbeddedPostgres]:
    """A real PostgreSQL server, shared by the run."""
    server = EmbeddedPostgres(home, marker(home.hash, secrets.token_hex(4)))
    server.start(60.0)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def database_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """An empty database of its own for one test: the superuser's address."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    yield postgres.url.rpartition("/")[0] + f"/{name}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the sources."""
    return Path(__file__).resolve().parent.parent
