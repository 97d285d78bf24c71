"""``sapphire down`` over real processes: a holder of the lock, what a killed one left, nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.down import down
from cluster.home import Home, Instance
from cluster.processes import PART, find_processes, marker, spawn, wait_until

pytestmark = pytest.mark.integration

HOLDER = """
import sys, time
from cluster.home import Home
with Home(sys.argv[1]).lock():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("SAPPHIRE_HOME", str(tmp_path / "home"))
    return Home(tmp_path / "home")


def sleeper(home: Home, part: str) -> subprocess.Popen[bytes]:
    env = {"PATH": os.environ["PATH"], **marker(home.hash, "run"), PART: part}
    return spawn(["sleep", "60"], env, home.logs / "sleep.log")


def test_nothing_runs_is_no_error(own_home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert down() == 0
    assert "nothing runs" in capsys.readouterr().out
    assert not own_home.path.exists()


def test_what_a_killed_command_left_is_stopped_and_named(
    own_home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    own_home.create()
    own_home.write_instance(Instance(pid=1, instance_id="run"))
    left = [sleeper(own_home, part) for part in ("postgres", "valkey", "")]
    wait_until(lambda: len(find_processes(own_home.hash)) == 3, 5.0, "sleepers")
    assert down() == 0
    out = capsys.readouterr().out
    assert "stopped the cloud trader, Valkey, PostgreSQL (3 processes)" in out
    assert "left behind by a killed command" in out
    assert [process.wait(1.0) for process in left] == [-15, -15, -15]
    assert own_home.read_instance() is None


def test_the_command_that_holds_the_home_is_asked_to_stop(
    own_home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    own_home.create()
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            HOLDER,
            own_home.path,
        ],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    with holder.stdout as told:
        assert told.readline() == b"held\n"
        assert own_home.holder() == holder.pid
        assert down() == 0
    assert holder.wait(1.0) == -15
    assert "stopped the command in" in capsys.readouterr().out
    assert own_home.holder() is None
