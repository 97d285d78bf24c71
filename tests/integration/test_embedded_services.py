"""PostgreSQL, Valkey and Ray as we start them: ready, private, recovered, and gone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from cluster.embedded_postgres import EmbeddedPostgres
from cluster.embedded_valkey import EmbeddedValkey
from cluster.home import Home
from cluster.processes import (
    Process,
    ServiceError,
    find_processes,
    marker,
    pss_mb,
    spawn,
    terminate_home,
    wait_until,
)
from cluster.ray_head import RayHead
from cluster.service_user import NOBODY, ServiceUser
from data.errors import InputError

pytestmark = pytest.mark.integration


@pytest.fixture
def own_home(tmp_path: Path) -> Iterator[Home]:
    """A home of this test alone, with a blank in its path; no process outlives the test."""
    home = Home(tmp_path / "own home").create()
    yield home
    assert terminate_home(home.hash, 0.5, 3.0) == []
    shutil.rmtree(home.runtime_dir())


def mark(home: Home) -> dict[str, str]:
    return marker(home.hash, "test")


def rows(url: str) -> list[tuple[int]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT n FROM t ORDER BY n").fetchall()


def write(url: str, number: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS t (n int)")
        connection.execute("INSERT INTO t VALUES (%s)", [number])


def test_postgres_is_durable_private_and_gone_after_stop(own_home: Home) -> None:
    server = EmbeddedPostgres(own_home, mark(own_home))
    url = server.start()
    with psycopg.connect(url) as connection:
        shown = {
            name: connection.execute(f"SHOW {name}").fetchone()[0]  # type: ignore[index]
            for name in ("fsync", "listen_addresses", "password_encryption", "server_encoding")
        }
    assert shown == {
        "fsync": "on",
        "listen_addresses": "127.0.0.1",
        "password_encryption": "scram-sha-256",
        "server_encoding": "UTF8",
    }
    found = find_processes(own_home.hash, "postgres")
    # The backends, which overwrite their environment, are found too.
    assert len(found) >= 5
    assert pss_mb(found) < 80
    password = own_home.secret("postgres")
    assert password not in Path(f"/proc/{server.pid}/cmdline").read_text()
    assert password not in server.log_path.read_text()
    assert server.data.stat().st_mode & 0o077 == 0
    before = time.monotonic()
    server.stop()
    assert time.monotonic() - before < 3
    assert find_processes(own_home.hash) == []
    with pytest.raises(ServiceError, match="not started"):
        _ = server.url


def test_postgres_wants_the_password_everywhere(postgres: EmbeddedPostgres, home: Home) -> None:
    wrong = postgres.url.replace(home.secret("postgres"), "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)
    socket = f"host={home.runtime_dir() / 'pg'} port={postgres.port} user=postgres dbname=postgres"
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(socket + " password=wrong")
    with psycopg.connect(socket + f" password={home.secret('postgres')}") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_postgres_keeps_rows_over_kill_and_a_stale_pid_file(own_home: Home) -> None:
    first = EmbeddedPostgres(own_home, mark(own_home))
    write(first.start(), 1)
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    pid_file = own_home.path / "postgres" / "postmaster.pid"
    wait_until(lambda: find_processes(own_home.hash) == [], 10.0, "death of all backends")
    # As after a reboot: the pid in the file now belongs to somebody else, who lives.
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getppid()), *lines[1:]]) + "\n")
    second = EmbeddedPostgres(own_home, mark(own_home))
    assert rows(second.start()) == [(1,)]
    second.stop()


def test_postgres_replaces_a_server_left_by_a_killed_run(own_home: Home) -> None:
    left = EmbeddedPostgres(own_home, mark(own_home))
    url = left.start()
    write(url, 7)
    client = psycopg.connect(url)  # An open client must not hold the stop up.
    assert left.pid is not None
    leftover = Process.of(left.pid)
    assert leftover is not None
    server = EmbeddedPostgres(own_home, mark(own_home))
    assert rows(server.start()) == [(7,)]
    assert not leftover.alive()
    assert server.pid != left.pid
    client.close()
    server.stop()


def test_postgres_redoes_a_half_made_data_directory(own_home: Home) -> None:
    program = (
        "import sys; from cluster.home import Home; from cluster.processes import marker;"
        "from cluster.embedded_postgres import EmbeddedPostgres; home = Home(sys.argv[1]);"
        "EmbeddedPostgres(home, marker(home.hash, 'x')).start()"
    )
    command = subprocess.Popen([sys.executable, "-c", program, own_home.path])
    half = own_home.path / "postgres.new" / "data" / "base"
    wait_until(half.exists, 30.0, "initdb at work")
    command.kill()
    command.wait()
    assert terminate_home(own_home.hash, 0.0, 3.0) == []
    assert half.exists()
    assert not (own_home.path / "postgres").exists()
    server = EmbeddedPostgres(own_home, mark(own_home))
    write(server.start(), 1)
    assert list(own_home.path.glob("postgres.new*")) == []
    server.stop()


def test_postgres_start_that_fails_says_why_and_leaves_nothing(own_home: Home) -> None:
    server = EmbeddedPostgres(own_home, mark(own_home))
    server.start()
    server.stop()
    (own_home.path / "postgres" / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(ServiceError, match="no_such_setting"):
        server.start(10.0)
    assert find_processes(own_home.hash) == []


def test_postgres_start_is_bounded(own_home: Home) -> None:
    server = EmbeddedPostgres(own_home, mark(own_home))
    before = time.monotonic()
    with pytest.raises(ServiceError, match="initdb: not ready after"):
        server.start(0.05)
    assert time.monotonic() - before < 5
    assert terminate_home(own_home.hash, 0.0, 3.0) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop to another user")
def test_postgres_as_root_without_namespaces_drops_to_nobody() -> None:
    # Not below tmp_path, which pytest closes to other users.
    path = Path(f"/var/tmp/sapphire-test-{os.getpid()}")  # noqa: S108
    home = Home(path).create()
    try:
        server = EmbeddedPostgres(home, mark(home), user=ServiceUser(user=NOBODY))
        try:
            write(server.start(), 5)
            status = Path(f"/proc/{server.pid}/status").read_text()
            assert f"Uid:\t{NOBODY}\t" in status
            server.stop()
            assert rows(server.start()) == [(5,)]
        finally:
            server.stop()
            assert terminate_home(home.hash, 0.0, 3.0) == []
            shutil.rmtree(home.runtime_dir())
    finally:
        shutil.rmtree(home.path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop to another user")
def test_unreachable_directory_is_one_clear_line(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    home = Home(closed / "home").create()
    server = EmbeddedPostgres(home, mark(home), user=ServiceUser(user=NOBODY))
    with pytest.raises(InputError, match="run sapphire as a normal user") as caught:
        server.start()
    assert "\n" not in str(caught.value)


def test_valkey_answers_only_to_its_password_and_stays_small(own_home: Home) -> None:
    server = EmbeddedValkey(own_home, mark(own_home))
    client = redis.Redis.from_url(server.start())
    assert client.ping()
    assert client.config_get("maxmemory") == {"maxmemory": str(64 << 20)}
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}
    # Fill it over the brim: old keys go, writes never fail.
    block = b"x" * 1_000_000
    for number in range(90):
        client.set(f"key{number}", block)
    assert 30 < client.dbsize() <= 67
    assert client.get("key89") == block
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=server.port).ping()
    (process,) = find_processes(own_home.hash, "valkey")
    assert own_home.secret("valkey") not in Path(f"/proc/{process.pid}/cmdline").read_text()
    server.stop()
    assert find_processes(own_home.hash) == []
    assert not list(server.directory.glob("*.rdb"))


def test_valkey_replaces_a_server_left_by_a_killed_run(own_home: Home) -> None:
    left = EmbeddedValkey(own_home, mark(own_home))
    left.start()
    assert left.pid is not None
    leftover = Process.of(left.pid)
    assert leftover is not None
    server = EmbeddedValkey(own_home, mark(own_home))
    assert redis.Redis.from_url(server.start()).ping()
    assert not leftover.alive()
    server.stop()


def test_stop_is_bounded_when_a_server_hangs(own_home: Home) -> None:
    servers = EmbeddedPostgres(own_home, mark(own_home)), EmbeddedValkey(own_home, mark(own_home))
    for server in servers:
        server.start()
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
    before = time.monotonic()
    for server in servers:
        server.stop(1.0)
    assert time.monotonic() - before < 10
    assert find_processes(own_home.hash) == []


DRIVER = """
import time
import ray
ray.init(log_to_driver=False, logging_level="ERROR")

@ray.remote(num_cpus=0)
class Actor:
    def ping(self):
        return "pong"

actors = [Actor.options(name=f"actor{n}").remote() for n in range(2)]
assert ray.get([actor.ping.remote() for actor in actors]) == ["pong", "pong"]
print("ready", flush=True)
time.sleep(100)
"""


def listening(pids: set[int]) -> set[str]:
    """Local addresses that any of ``pids`` listens on, beyond loopback."""
    inodes = set()
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = os.readlink(entry)
            except FileNotFoundError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            address = fields[1].partition(":")[0]
            if fields[3] == "0A" and fields[9] in inodes and not address.endswith("0100007F"):
                found.add(fields[1])
    return found


@pytest.mark.slow
def test_ray_is_on_loopback_found_whole_and_gone_in_three_seconds(own_home: Home) -> None:
    base = {"PATH": os.environ["PATH"]}
    head = RayHead(own_home, mark(own_home), base)
    head.start()
    env = {**base, **mark(own_home), **head.client_env}
    log = own_home.logs / "driver.log"
    driver = spawn([sys.executable, "-c", DRIVER], env, log)
    reaper = threading.Thread(target=driver.wait)
    reaper.start()
    wait_until(lambda: b"ready" in log.read_bytes(), 60.0, "driver", log_path=log)
    found = find_processes(own_home.hash)
    names = {process.name for process in found}
    assert {"gcs_server", "raylet", "ray::Actor"} <= names
    # Every process bears the mark itself, so none is lost when its parent is killed.
    for process in found:
        environment = Path(f"/proc/{process.pid}/environ").read_bytes()
        assert f"SAPPHIRE_INSTANCE={own_home.hash}:test".encode() in environment, process
    assert listening({process.pid for process in found}) == set()
    assert pss_mb(found) < 1100

    (raylet,) = [process for process in found if process.name == "raylet"]
    raylet.send(signal.SIGKILL)
    wait_until(lambda: not raylet.alive(), 5.0, "death of the raylet")
    assert "raylet" in head.missing()
    before = time.monotonic()
    assert terminate_home(own_home.hash, 1.5, 1.5) == []
    assert time.monotonic() - before < 3
    assert [process for process in found if process.alive()] == []
    reaper.join(5)
    head.stop()
