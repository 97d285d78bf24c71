"""PostgreSQL and Valkey started again in place after kill -9: same port, and what was committed."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from cluster.embedded_postgres import EmbeddedPostgres
from cluster.embedded_valkey import EmbeddedValkey
from cluster.home import Home
from cluster.processes import Process, marker, wait_until
from cluster.supervisor import Part, Supervisor

pytestmark = pytest.mark.integration


@pytest.fixture
def own_home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "home").create()
    yield made
    for path in sorted(made.runtime_dir().rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    made.runtime_dir().rmdir()


def kill(pid: int | None) -> None:
    process = Process.of(pid or 0)
    assert process is not None
    process.send(signal.SIGKILL)
    wait_until(lambda: not process.alive(), 5.0, "death")


def test_postgresql_comes_back_on_its_port_with_what_was_committed(own_home: Home) -> None:
    server = EmbeddedPostgres(own_home, marker(own_home.hash, secrets.token_hex(4)))
    url = server.start(60.0)
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
            supervisor = Supervisor(
                [
                    Part(
                        "PostgreSQL", server.alive, lambda: _none(server.restart()), server.log_path
                    )
                ],
                lambda _: None,
            )
            kill(server.pid)
            wait_until(lambda: not server.alive(), 5.0, "end of PostgreSQL")
            supervisor.look()
        assert server.url == url
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT value FROM kept").fetchone() == (7,)
    finally:
        server.stop()


def test_valkey_comes_back_on_its_port_and_empty(own_home: Home) -> None:
    server = EmbeddedValkey(own_home, marker(own_home.hash, secrets.token_hex(4)))
    url = server.start()
    try:
        with redis.Redis.from_url(url) as client:
            client.set("lost", 1)
            assert server.alive()
            kill(server.pid)
            # Its leader is a zombie at once, but it is gone when its other threads are.
            wait_until(lambda: not server.alive(), 5.0, "end of Valkey")
            assert server.restart() == url
            assert client.get("lost") is None
    finally:
        server.stop()


def _none(_: object) -> None:
    """Parts restart without an answer."""
