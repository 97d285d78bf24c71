"""``sapphire tune retune|retrain|review`` on real PostgreSQL, over the shipped sample data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import House, migrated
from typer.testing import CliRunner

from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from cluster.tune_commands import app
from cluster.tune_retune import study_name
from data.store import connect
from tuning.retune import FINISHED, last_run

pytestmark = pytest.mark.integration

AGENT = "strategy_optimization"
RUN = CliRunner()


@pytest.fixture
def house(
    postgres: EmbeddedPostgres, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[House]:
    with migrated(postgres, home) as made:
        monkeypatch.setenv("DATABASE_URL", made.roles.ops)
        monkeypatch.setenv("SAPPHIRE_HOME", str(tmp_path / "home"))
        yield made


def test_a_retune_studies_judges_and_leaves_a_record(house: House) -> None:
    words = ["retune", AGENT, "--trials", "3", "--executor", "here"]
    result = RUN.invoke(app, [*words, "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["status"] == FINISHED
    (line,) = [line for line in found["lines"] if line.startswith(AGENT)]
    # Three trials never are enough evidence.
    assert "nothing to propose" in line
    with connect(house.roles.ops, name="test") as link:
        last = last_run(link)
    assert last is not None
    assert (last.started_ns, last.status) == (found["run"], FINISHED)
    listed = json.loads(RUN.invoke(app, ["list", "--json"]).stdout.splitlines()[-1])["studies"]
    assert [(each["study"], each["trials"], each["finished"]) for each in listed] == [
        (study_name(AGENT, found["run"]), 3, True)
    ]


def test_without_champions_or_sessions_there_is_nothing_to_keep_up(house: House) -> None:
    assert house.roles.ops
    result = RUN.invoke(app, ["review", "--json"])
    assert json.loads(result.stdout.splitlines()[-1]) == {"reviews": []}
    result = RUN.invoke(app, ["retrain"])
    assert "there is no session yet" in str(result.exception)
    result = RUN.invoke(app, ["retrain", "nobody"])
    assert result.exception is not None
    assert "nobody" in str(result.exception)
