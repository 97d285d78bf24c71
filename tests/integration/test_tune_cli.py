"""``sapphire tune`` as a person types it, over the shipped sample data."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

STUDY = ("--target", "ema_cross", "--trials", "40", "--executor", "here", "--searcher", "random")


def _tune(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}
    return subprocess.run(
        [sys.executable, "-m", "cluster.cli", "tune", *words],
        env=environment | {"SAPPHIRE_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def _json(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tune")


@pytest.fixture(scope="module")
def one(home: Path) -> dict[str, Any]:
    """What the run of a first study printed."""
    return _json(_tune(home, "run", "one", *STUDY, "--json"))


def test_a_study_from_its_first_trial_to_its_report(home: Path, one: dict[str, Any]) -> None:
    assert one["trials"]["complete"] == 40
    assert one["finished"]
    assert one["sentence"].startswith(("Do not believe it", "Not proven", "It may be believed"))
    page = home / "studies" / "one" / "report.html"
    assert f"<h1>{one['sentence']}</h1>" in html.unescape(page.read_text())

    again = _tune(home, "run", "one", *STUDY)
    assert again.returncode == 2
    assert "a study is called 'one' already" in again.stderr
    assert "sapphire tune resume one" in again.stderr

    shown = _json(_tune(home, "show", "one", "--no-report", "--json"))
    assert shown["winner"] == one["winner"]

    resumed = _json(_tune(home, "resume", "one", "--no-report", "--executor", "here", "--json"))
    assert resumed["winner"] == one["winner"]

    other = _json(_tune(home, "run", "two", *STUDY, "--seed", "1", "--no-report", "--json"))
    assert other["winner"] != one["winner"]
    listed = _json(_tune(home, "list", "--json"))
    assert [(s["study"], s["complete"]) for s in listed["studies"]] == [("one", 40), ("two", 40)]
    both = _json(_tune(home, "compare", "one", "two", "--json"))
    assert [study["study"] for study in both["studies"]] == ["one", "two"]
    table = _tune(home, "compare", "one", "two").stdout
    assert "deflated Sharpe" in table
    assert re.search(r"^ +one +two *$", table, re.MULTILINE)


def test_what_belongs_to_a_session_cannot_be_promoted(home: Path, one: dict[str, Any]) -> None:
    assert one["finished"]
    refused = _tune(home, "promote", "one")
    assert refused.returncode == 2
    assert "belongs to a session and is no agent's model" in refused.stderr


def test_run_goes_on_with_a_study_where_it_is_told_to(home: Path, one: dict[str, Any]) -> None:
    again = _json(_tune(home, "run", "one", *STUDY, "--resume-if-exists", "--no-report", "--json"))
    assert again["winner"] == one["winner"]
    other = _tune(home, "run", "one", *STUDY, "--seed", "9", "--resume-if-exists")
    assert other.returncode == 2
    assert "is another one (seed differ" in other.stderr
