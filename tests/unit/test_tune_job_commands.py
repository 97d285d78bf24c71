"""The commands around tuning jobs as a person calls them, all below ``sapphire tune``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.tune_commands import app
from cluster.tune_manifest import ClusterShape, manifest, retune_manifest
from cluster.tune_retune import RetuneOptions, days, settings_of, study_name
from data.errors import InputError
from tuning.study.store import check_name
from tuning.study.targets import TARGETS

RUN = CliRunner()


@pytest.fixture(autouse=True)
def _empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SAPPHIRE_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("SAPPHIRE_HOME", str(tmp_path / "home"))


def refusal(*words: str) -> str:
    result = RUN.invoke(app, words)
    assert isinstance(result.exception, InputError), result.output
    text = str(result.exception)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    "command", ["retune", "retrain", "review", "submit", "manifest", "run", "promote"]
)
def test_every_command_has_its_help(command: str) -> None:
    result = RUN.invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) > 5


def test_a_manifest_is_what_the_function_writes() -> None:
    shape = ClusterShape(bucket="b-1", workers=3, hours=2.0)
    words = ["--bucket", "b-1", "--workers", "3", "--hours", "2"]
    result = RUN.invoke(app, ["manifest", "s-1", *words, "--scheduler", "asha"])
    assert result.stdout == manifest("s-1", ["--scheduler", "asha"], shape)
    schedule = ["--schedule", "0 6 * * 1", "--time-zone", "Europe/Berlin"]
    result = RUN.invoke(app, ["manifest", "s-1", *words, *schedule, "--trials", "50"])
    assert result.stdout == retune_manifest(
        "s-1", "0 6 * * 1", ["--trials", "50"], shape, "Europe/Berlin"
    )


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["retune", "--every", "soon"], "--every 'soon': write a number above 0"),
        (["retune", "--every", "0d"], "--every '0d'"),
        (["retune", "--every", "1d", "--once"], "contradict"),
        (["retune", "no_such_agent"], "no target of a retune: there are"),
        (["retune", "committee"], "no target of a retune"),
        (["retune", "--symbols", ","], "names no symbol"),
        (["retune", "--executor", "moon"], "--executor 'moon': choose"),
        (["retune", "--every", "1d"], "needs a PostgreSQL that runs"),
        (["retune"], "nothing has run"),
        (["retrain"], "nothing has run"),
        (["review"], "nothing has run"),
        (["review", "--confidence", "2"], "decay rule confidence"),
        (["run", "--scheduler", "sometimes"], "no scheduler is called 'sometimes'"),
        (["run", "--scheduler", "asha", "--searcher", "pbt"], "end of a generation"),
        (["run", "--scheduler", "asha", "--executor", "here"], "is Ray Tune's"),
        (
            ["run", "--scheduler", "pbt_async", "--searcher", "random", "--option", "quantile=0.9"],
            "quantile in",
        ),
    ],
)
def test_bad_input_is_one_line(words: list[str], why: str) -> None:
    assert why in refusal(*words)


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAPPHIRE_RETUNE_TARGETS", "trend_momentum")
    monkeypatch.setenv("SAPPHIRE_RETUNE_EVERY_DAYS", "3")
    assert settings_of(RetuneOptions()).every_days == 3.0
    chosen = settings_of(RetuneOptions(targets=("strategy_optimization",), every="12h"))
    assert chosen.targets == ("strategy_optimization",)
    assert chosen.every_days == 0.5
    monkeypatch.setenv("SAPPHIRE_RETUNE_EVERY_DAYS", "-1")
    with pytest.raises(InputError, match="SAPPHIRE_RETUNE_EVERY_DAYS"):
        settings_of(RetuneOptions())


def test_durations() -> None:
    assert [days(text) for text in ("1d", "1.5d", "12h", "36m")] == [1.0, 1.5, 0.5, 0.025]


def test_a_run_names_its_study_always_the_same_and_each_run_another() -> None:
    run = 1_764_111_222_333_444_555
    for target in TARGETS:
        assert check_name(study_name(target, run)) == study_name(target, run)
        assert study_name(target, run) != study_name(target, run + 1)
