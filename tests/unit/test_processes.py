"""Process hygiene, on real processes: found by their mark, stopped for certain."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster import processes
from cluster.processes import (
    Clock,
    Process,
    ServiceError,
    find_by_directory,
    find_processes,
    free_ports,
    last_lines,
    marker,
    port_free,
    ports_free,
    pss_mb,
    spawn,
    terminate_all,
    terminate_home,
    wait_for_port,
    wait_until,
)
from data.errors import InputError

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""
# A daemon: it leaves its parent, its session and its process group.
DAEMON = """
import os, subprocess, sys
child = subprocess.Popen(["sleep", "60"], start_new_session=True)
print(child.pid, flush=True)
os.kill(os.getpid(), 9)
"""
# It hides its environment, as PostgreSQL's backends do, and has a child that does not carry the
# mark either: both are found through their parent.
HIDDEN = """
import subprocess, time
child = subprocess.Popen(["env", "-i", "sleep", "60"])
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def home_hash() -> Iterator[str]:
    """The hash of a home of this test alone; its processes end with the test."""
    name = uuid.uuid4().hex[:12]
    yield name
    assert terminate_home(name, 0.0, 2.0) == []


Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(home_hash: str, tmp_path: Path) -> Iterator[Start]:
    """Start a marked python program; wait for ``lines`` lines of output in ``tmp_path/log``."""
    started: list[subprocess.Popen[bytes]] = []

    def run(program: str, lines: int = 1, part: str = "") -> subprocess.Popen[bytes]:
        log = tmp_path / f"log{len(started)}"
        env = {"PATH": os.environ["PATH"], **marker(home_hash, "run", part)}
        process = spawn([sys.executable, "-c", program], env, log)
        started.append(process)
        wait_until(lambda: log.read_bytes().count(b"\n") >= lines, 10.0, "child")
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def test_marked_process_is_found_with_instance_and_part(home_hash: str, start: Start) -> None:
    child = start(STUBBORN, part="ray")
    (found,) = find_processes(home_hash)
    assert (found.pid, found.instance, found.part) == (child.pid, f"{home_hash}:run", "ray")
    assert find_processes(home_hash, "ray") == [found]
    assert find_processes(home_hash, "postgres") == []
    assert find_processes(home_hash[:-1]) == []


def test_daemon_of_a_killed_parent_is_found_and_stopped(
    home_hash: str, start: Start, tmp_path: Path
) -> None:
    parent = start(DAEMON)
    parent.wait()
    daemon = int((tmp_path / "log0").read_text())
    (found,) = find_processes(home_hash)
    assert found.pid == daemon
    assert os.getsid(daemon) != parent.pid
    assert terminate_home(home_hash) == []
    assert not found.alive()


def test_descendant_that_hides_its_environment_is_found(
    home_hash: str, start: Start, tmp_path: Path
) -> None:
    parent = start(HIDDEN)
    child = int((tmp_path / "log0").read_text())
    assert [found.pid for found in find_processes(home_hash)] == sorted([parent.pid, child])
    assert terminate_home(home_hash) == []
    assert Process.of(child) is None


def test_own_process_is_never_found(home_hash: str, tmp_path: Path) -> None:
    program = f"from cluster.processes import find_processes as f; print(f({home_hash!r}))"
    output = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **marker(home_hash, "x")},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert output.stdout == "[]\n"


def test_kill_follows_a_bounded_grace(home_hash: str, start: Start) -> None:
    child = start(STUBBORN)
    found = find_processes(home_hash)
    before = time.monotonic()
    assert terminate_all(found, grace_seconds=0.3, kill_after=2.0) == []
    assert 0.3 <= time.monotonic() - before < 1.5
    assert child.wait(1) == -signal.SIGKILL


def test_sigterm_suffices_for_the_willing(home_hash: str, start: Start) -> None:
    child = start("import time; print(1, flush=True); time.sleep(60)")
    before = time.monotonic()
    assert terminate_all(find_processes(home_hash), 5.0, 2.0) == []
    assert time.monotonic() - before < 2.0
    assert child.wait(1) == -signal.SIGTERM


def test_a_later_owner_of_the_pid_is_not_signalled(start: Start, home_hash: str) -> None:
    child = start(STUBBORN)
    (found,) = find_processes(home_hash)
    earlier = Process(found.pid, found.started - 1)
    assert not earlier.alive()
    earlier.send(signal.SIGKILL)
    earlier._send_by_pid(signal.SIGKILL)
    time.sleep(0.1)
    assert child.poll() is None


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen(["sleep", "60"])
    process = Process.of(child.pid)
    assert process is not None
    assert process.alive()
    child.kill()
    deadline = time.monotonic() + 5
    while process.alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not process.alive()
    assert Process.of(child.pid) is None
    child.wait()


def test_find_by_directory(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    child = subprocess.Popen(["sleep", "60"], cwd=place)
    try:
        assert [found.pid for found in find_by_directory(place, "sleep")] == [child.pid]
        assert find_by_directory(place, "postgres") == []
        assert find_by_directory(tmp_path, "sleep") == []
    finally:
        child.kill()
        child.wait()


def test_pss_counts_shared_pages_once() -> None:
    # 64 MB touched before the fork belong to both; PSS must see about 64, RSS would see 128.
    program = (
        "import os, sys, time; block = bytearray(64_000_000); child = os.fork();"
        "print(child, flush=True) if child else None; time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        pids = [parent.pid, int(parent.stdout.readline())]
        both = [process for pid in pids if (process := Process.of(pid))]
        assert len(both) == 2
        assert 64 < pss_mb(both) < 100
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        parent.communicate()


def test_spawn_gives_only_the_named_environment_and_its_own_session(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = spawn(["/usr/bin/env"], {"ONLY": "this"}, log)
    session = child.pid
    assert child.wait(5) == 0
    assert log.read_text() == "ONLY=this\n"
    assert os.stat(log).st_mode & 0o077 == 0
    sleeper = spawn(["/bin/sleep", "60"], {}, log)
    try:
        assert os.getsid(sleeper.pid) == sleeper.pid != session
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_long_log_is_moved_aside_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_LOG_LIMIT", 10)
    log = tmp_path / "service.log"
    for text in ("first run, long", "second run, long", "third"):
        assert spawn(["/bin/echo", text], {}, log).wait(5) == 0
    assert log.read_text() == "third\n"
    assert (tmp_path / "service.log.1").read_text() == "second run, long\n"
    assert len(list(tmp_path.iterdir())) == 2


def test_wait_ends_when_the_process_dies_and_shows_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = spawn([sys.executable, "-c", "raise SystemExit('no such port')"], {}, log)
    before = time.monotonic()
    with pytest.raises(ServiceError, match=r"thing: process ended with code 1: no such port"):
        wait_until(lambda: False, 30.0, "thing", child, log)
    assert time.monotonic() - before < 10


def test_wait_is_bounded_by_the_given_clock() -> None:
    times = [0.0]
    clock = Clock(now=lambda: times[0], sleep=lambda seconds: times.append(times.pop() + seconds))
    with pytest.raises(ServiceError, match="thing: not ready after 5 s"):
        wait_until(lambda: False, 5.0, "thing", clock=clock)
    assert times[0] == pytest.approx(5.0, abs=0.05)


def test_wait_for_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        wait_for_port(port, 1.0, "server")
    with pytest.raises(ServiceError, match=f"server on port {port}: not ready"):
        wait_for_port(port, 0.1, "server")


def test_taken_port_names_itself_and_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        free = free_ports(1)[0]
        assert not port_free(port)
        with pytest.raises(InputError, match=rf"port {port} .*set COORDINATOR_PORT to a free"):
            ports_free({"TRADER_PORT": free, "COORDINATOR_PORT": port})
    ports_free({"TRADER_PORT": free, "COORDINATOR_PORT": port})


def test_port_in_time_wait_counts_as_free() -> None:
    # A restart right after a stop must not be refused.
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    client = socket.create_connection(("127.0.0.1", port))
    accepted, _ = server.accept()
    accepted.close()
    client.close()
    server.close()
    assert port_free(port)


def test_free_ports_differ() -> None:
    assert len(set(free_ports(20))) == 20


def test_last_lines_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_lines(log) == "no log"
    log.write_text("")
    assert last_lines(log) == "empty log"
    log.write_text("x" * 10_000 + "\none\n\ntwo\n")
    assert last_lines(log, 3) == "one | two"
