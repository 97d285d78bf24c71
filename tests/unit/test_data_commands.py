"""``sapphire data`` as a person types it: exit codes, one-line errors, JSON."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import cli
from tests.unit.test_importing import csv, minute, wire


def sapphire(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command in this process."""
    monkeypatch.setattr(sys, "argv", ["sapphire", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAPPHIRE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_import_list_and_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    code, out, _ = sapphire(capsys, monkeypatch, "data", "list")
    assert (code, "no tables yet" in out) == (0, True)
    code, out, err = sapphire(capsys, monkeypatch, "data", "import", str(wire(tmp_path)))
    assert (code, err) == (0, "")
    assert "wire-1s: 10 1s bars added" in out
    assert "tick 0.01: the finest price seen" in out
    assert (home / "lake" / "wire-1s" / "manifest.json").exists()
    code, out, _ = sapphire(capsys, monkeypatch, "data", "list", "--json")
    (table,) = json.loads(out)["tables"]
    assert (table["name"], table["rows"], table["clock"]) == ("wire-1s", 10, "1s")
    code, out, _ = sapphire(capsys, monkeypatch, "data", "list")
    assert "wire-1s" in out
    assert "2024-08-09" in out
    code, out, _ = sapphire(capsys, monkeypatch, "data", "check", "wire-1s")
    assert (code, "clean" in out) == (0, True)
    again = sapphire(capsys, monkeypatch, "data", "import", str(wire(tmp_path)))
    assert "already in the lake, nothing to do" in again[1]


def test_a_broken_table_hides_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    path = csv(tmp_path, minute(0), minute(1))
    for name in ("good", "bad"):
        given = ["--clock", "1m", "--stamp", "open", "--name", name]
        assert sapphire(capsys, monkeypatch, "data", "import", str(path), *given)[0] == 0
    for file in (home / "lake" / "bad").rglob("part-*"):
        file.unlink()
    code, out, _ = sapphire(capsys, monkeypatch, "data", "list")
    assert code == 0
    assert "broken: table bad: symbol=A/day=2024-08-09" in out
    assert "good" in out
    code, _, err = sapphire(capsys, monkeypatch, "data", "check", "bad")
    assert (code, err.count("\n")) == (2, 1)
    given = ["--clock", "1m", "--stamp", "open", "--name", "bad", "--replace"]
    assert sapphire(capsys, monkeypatch, "data", "import", str(path), *given)[0] == 0


def test_a_bad_row_makes_check_exit_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = csv(tmp_path, minute(0), minute(0), minute(2))
    given = ["--clock", "1m", "--stamp", "close"]
    code, out, _ = sapphire(capsys, monkeypatch, "data", "check", str(path), *given)
    assert code == 1
    assert "wrong: 1 rows duplicate, to be quarantined" in out
    assert "duplicate: b.csv row 2 A" in out
    code, out, _ = sapphire(capsys, monkeypatch, "data", "check", str(path), *given, "--json")
    assert (code, json.loads(out)["flaws"]) == (1, {"duplicate": 1})
    code, out, _ = sapphire(
        capsys, monkeypatch, "data", "import", str(path), *given, "--name", "t", "--json"
    )
    assert code == 0
    (table,) = json.loads(out)["tables"]
    assert (table["added"], table["quarantined"]) == (2, {"duplicate": 1})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["import", "absent.parquet"], "absent.parquet"),
        (["import", "FILE"], "say how long one is with --clock"),
        (["import", "FILE", "--clock", "1m"], "say with --stamp"),
        (["import", "FILE", "--map", "close"], "write NAME=COLUMN"),
        (["import", "FILE", "--map", "close=last"], "has no column last that --map names"),
        (["import", "FILE", "--tick", "abc"], "--tick 'abc' is not a positive number"),
        (["import", "FILE", "--format", "xls"], "--format 'xls': use one of"),
        (["import", "FILE", "--bars-per-year", "-1"], "--bars-per-year -1.0: give a number above"),
        (["import", "CUT", "--clock", "1m", "--stamp", "close"], "cut.csv.gz: damaged gzip"),
        (["check", "CUT"], "cut.csv.gz: damaged gzip"),
        (["check", "BROKEN"], "broken.csv.gz: damaged gzip"),
        (["check", "FILE", "--timezone", "Mars/One"], "--timezone 'Mars/One' is not known"),
        (["check", "FILE", "--stamp", "banana"], "--stamp 'banana': say open or close"),
        (["check", "nothing"], "'nothing' is neither a file nor a table of the lake"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    path = csv(tmp_path, *[minute(n) for n in range(2000)])
    packed = gzip.compress(path.read_bytes())
    cut, broken = tmp_path / "cut.csv.gz", tmp_path / "broken.csv.gz"
    cut.write_bytes(packed[:-9])
    broken.write_bytes(packed[:-6] + b"\x00\x00" + packed[-4:])
    names = {"FILE": str(path), "CUT": str(cut), "BROKEN": str(broken)}
    code, _, err = sapphire(
        capsys, monkeypatch, "data", *[names.get(word, word) for word in arguments]
    )
    assert code == 2
    assert words in err
    assert err.count("\n") == 1
    assert err.startswith("sapphire: ")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['sapphire', 'data', '--help']\n"
        "from cluster.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'numba', 'polars', 'pandas', 'numpy', 'ray', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": "."}, check=False,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "import" in done.stdout


def test_a_home_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("a file, no directory")
    monkeypatch.setenv("SAPPHIRE_HOME", str(tmp_path / "taken"))
    path = str(csv(tmp_path, minute(0), minute(1)))
    code, _, err = sapphire(
        capsys, monkeypatch, "data", "import", path, "--clock", "1m", "--stamp", "close"
    )
    assert (code, err.count("\n")) == (2, 1)
    assert "the lake cannot be written" in err
