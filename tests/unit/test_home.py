"""The home directory: who may enter, what is private, what survives."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cluster.home import Home, Instance, write_private
from data.errors import InputError

HOLD = """
import sys, time
from cluster.home import Home
lock = Home(sys.argv[1]).lock()
print("held", flush=True)
time.sleep(60)
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def hold(home: Home) -> subprocess.Popen[str]:
    """Another process that holds the lock of ``home``."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home.path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_creates_a_private_directory(tmp_path: Path) -> None:
    home = Home(tmp_path / "deep" / "with blank").create()
    assert mode(home.path) == 0o700
    assert mode(home.logs) == 0o700


def test_closes_a_directory_that_was_open_to_others(tmp_path: Path) -> None:
    path = tmp_path / "open"
    path.mkdir()
    path.chmod(0o777)
    Home(path).create()
    assert mode(path) & 0o066 == 0


def test_a_file_in_its_place_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(InputError, match=r"not writable.*SAPPHIRE_HOME") as caught:
        Home(path).create()
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_unwritable_place_is_one_clear_line() -> None:
    # /proc refuses even root, whom permissions do not stop.
    with pytest.raises(InputError, match="/proc/sapphire: not writable"):
        Home("/proc/sapphire").create()


def test_hash_names_the_directory(tmp_path: Path) -> None:
    assert Home(tmp_path / "a").hash == Home(tmp_path / "b" / ".." / "a").hash
    assert Home(tmp_path / "a").hash != Home(tmp_path / "b").hash
    assert len(Home(tmp_path / "a").hash) == 12


def test_second_command_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    home = Home(tmp_path / "h").create()
    assert not home.is_locked()
    holder = hold(home)
    try:
        assert home.is_locked()
        with pytest.raises(InputError, match=rf"another sapphire runs .*\(pid {holder.pid}\)"):
            home.lock()
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()


def test_lock_of_a_killed_command_is_free_again(tmp_path: Path) -> None:
    home = Home(tmp_path / "h").create()
    holder = hold(home)
    holder.kill()
    holder.communicate()
    with home.lock():
        assert home.is_locked()
        assert (home.path / "lock").read_text().strip() == str(os.getpid())
    assert not home.is_locked()


def test_a_child_does_not_inherit_the_lock(tmp_path: Path) -> None:
    home = Home(tmp_path / "h").create()
    lock = home.lock()
    child = subprocess.Popen(["sleep", "30"], close_fds=False)
    try:
        lock.release()
        assert not home.is_locked()
    finally:
        child.kill()
        child.wait()


def test_instance_round_trip(tmp_path: Path) -> None:
    home = Home(tmp_path / "h").create()
    assert home.read_instance() is None
    told = Instance(pid=7, instance_id="x", ports={"trader": 8080}, addresses={"a": "b"})
    home.write_instance(told)
    assert home.read_instance() == told
    assert mode(home.path / "instance.json") == 0o600
    home.remove_instance()
    assert home.read_instance() is None


def test_damaged_instance_file_says_what_to_do(tmp_path: Path) -> None:
    home = Home(tmp_path / "h").create()
    (home.path / "instance.json").write_text('{"pid": ')
    with pytest.raises(InputError, match=r"instance\.json: damaged .*delete it"):
        home.read_instance()


def test_secrets_are_private_distinct_and_kept(tmp_path: Path) -> None:
    home = Home(tmp_path / "h").create()
    first, second = home.secret("postgres"), home.secret("valkey")
    assert first != second
    assert len(first) == 48
    assert Home(home.path).secret("postgres") == first
    assert mode(home.path / "secrets.json") == 0o600
    assert set(json.loads((home.path / "secrets.json").read_bytes())) == {"postgres", "valkey"}


def test_damaged_secrets_are_never_overwritten(tmp_path: Path) -> None:
    home = Home(tmp_path / "h").create()
    (home.path / "secrets.json").write_text("{")
    with pytest.raises(InputError, match=r"secrets\.json: damaged"):
        home.secret("postgres")
    assert (home.path / "secrets.json").read_text() == "{"


def test_runtime_dir_is_short_private_and_stable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / ("long" * 30)).create()
    runtime = home.runtime_dir()
    try:
        assert mode(runtime) == 0o700
        # What HAProxy and Ray put below it must fit into a socket address.
        assert len(f"{runtime}/haproxy/{'n' * 56}/admin.sock") <= 97
        assert Home(home.path).runtime_dir() == runtime
    finally:
        runtime.rmdir()


def test_runtime_dir_refuses_a_planted_link(tmp_path: Path) -> None:
    home = Home(tmp_path / "h").create()
    runtime = home.runtime_dir()
    runtime.rmdir()
    runtime.symlink_to(tmp_path)
    try:
        with pytest.raises(InputError, match="not a directory of this user"):
            home.runtime_dir()
    finally:
        runtime.unlink()


def test_readers_never_see_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [b"a" * 200_000, b"b" * 200_000]
    write_private(path, contents[0])
    seen: list[bytes] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(40):
        write_private(path, contents[turn % 2])
    done.set()
    reader.join()
    assert len(seen) > 5
    assert set(seen) <= set(contents)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
