"""``sapphire tune submit|manifest`` as a person calls them: what is passed on, what is refused."""

from __future__ import annotations

import shlex

import pytest
import typer
import yaml
from typer.testing import CliRunner

from cluster.tune_cluster_commands import register
from data.errors import InputError

RUN = CliRunner()


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer()
    register(made)
    return made


def entrypoint(text: str) -> list[str]:
    document = yaml.safe_load(text)
    spec = document["spec"]
    return shlex.split(spec.get("jobTemplate", spec)["entrypoint"])


def test_a_manifest_passes_the_options_of_run_on(app: typer.Typer) -> None:
    words = ["manifest", "ema-1", "--bucket", "b-1", "--workers", "3"]
    words += ["--target", "ema_cross", "--scheduler", "halving", "--option", "eta=3"]
    result = RUN.invoke(app, words)
    assert result.exit_code == 0, result.output
    assert entrypoint(result.stdout) == [
        *("sapphire", "tune", "run", "ema-1", "--resume-if-exists", "--address", "auto"),
        *("--target", "ema_cross", "--scheduler", "halving", "--option", "eta=3"),
        *("--storage", "gs://b-1/studies"),
    ]
    group = yaml.safe_load(result.stdout)["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    assert group["maxReplicas"] == 3


def test_what_run_would_not_take_is_refused_before_anything_is_sent(app: typer.Typer) -> None:
    for words in (["--trails", "500"], ["--trials", "many"], ["another", "name"]):
        result = RUN.invoke(app, ["manifest", "ema-1", "--bucket", "b-1", *words])
        assert result.exit_code == 2, words
        assert result.stdout == ""
        submitted = ["submit", "ema-1", "--address", "http://127.0.0.1:9", *words]
        assert RUN.invoke(app, submitted).exit_code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "nothing"], "nothing is called 'nothing'"),
        (["--trials", "0"], "trials 0"),
        (["--searcher", "random", "--option", "points=5"], "no option points: it takes none"),
        (["--from", "2005-01-01", "--to", "2004-01-01"], "is after --to"),
        (["--schedule", "0 6 1 1 *", "nothing"], "'nothing' is no target of a retune"),
        (["--schedule", "0 6 1 1 *", "--trials", "0"], "trials 0"),
    ],
)
def test_values_are_checked_as_run_checks_them(
    app: typer.Typer, words: list[str], said: str
) -> None:
    result = RUN.invoke(app, ["manifest", "ema-1", "--bucket", "b-1", *words])
    assert isinstance(result.exception, InputError)
    assert said in str(result.exception)
    assert result.stdout == ""


def test_data_of_this_machine_are_pointed_out(app: typer.Typer) -> None:
    words = ["manifest", "ema-1", "--bucket", "b-1"]
    told = RUN.invoke(app, [*words, "--data", "here/bars.csv"])
    assert told.stderr.startswith("--data here/bars.csv is read on the cluster")
    assert RUN.invoke(app, [*words, "--data", "daily"]).stderr == ""


@pytest.mark.parametrize("word", ["--executor", "--resume-if-exists", "--executor=here"])
def test_what_the_cluster_decides_is_not_passed_on(app: typer.Typer, word: str) -> None:
    result = RUN.invoke(app, ["manifest", "ema-1", "--bucket", "b-1", word])
    assert isinstance(result.exception, InputError)
    assert "the cluster decides this" in str(result.exception)


def test_a_cluster_that_does_not_answer_is_one_line(app: typer.Typer) -> None:
    result = RUN.invoke(app, ["submit", "ema-1", "--address", "http://127.0.0.1:9", "--no-wait"])
    assert result.exception is not None
    assert "Ray at http://127.0.0.1:9 does not answer" in str(result.exception)
    assert "\n" not in str(result.exception)
