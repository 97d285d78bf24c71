"""``sapphire tune``: what a person may get wrong is one line, and leaves the study as it was."""

from __future__ import annotations

import contextlib
import math
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from actors.space import Config, Real, Space
from cluster.cli import main
from cluster.processes import free_port
from cluster.warm import generated_bars
from data.errors import InputError
from tests.study_support import content
from tuning.study.api import Study
from tuning.study.contract import COMPLETE, FAILED, Trial
from tuning.study.database import Sqlite
from tuning.study.store import StudyStore

ROOT = Path(__file__).resolve().parents[2]
EMA = ("--target", "ema_cross", "--executor", "here", "--no-report")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAPPHIRE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return tmp_path / "home"


Tune = Callable[..., tuple[int, str]]


@pytest.fixture
def tune(home: Path, tune_in: Tune) -> Tune:
    """Runs the command line in this process: (exit code, stderr)."""
    return partial(tune_in, home)


def one_line(answer: tuple[int, str], code: int, words: str) -> None:
    """One line that begins as all of ours do, holds ``words``, with this exit code."""
    assert answer[0] == code, answer
    assert answer[1].startswith("sapphire: "), answer
    assert answer[1].count("\n") == 1, answer
    assert words in answer[1]


def stored(home: Path, name: str) -> list[Trial]:
    kept = Sqlite(home / "studies" / "studies.db")
    try:
        return StudyStore(kept).trials(name)
    finally:
        kept.close()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--target", "nothing"], "nothing is called 'nothing' to search"),
        (["--objective", "luck"], "no objective is called 'luck'"),
        (["--objective", "sharpe,sharpe"], "objective 'sharpe' stands twice"),
        (["--objective", "brier"], "objective 'brier' needs a pool of forecasts: ema_cross has"),
        (["--objective", ","], "names nothing"),
        (["--searcher", "magic"], "no searcher is called 'magic'"),
        (["--scheduler", "median"], "no scheduler is called 'median'"),
        (["--scheduler", "halving", "--option", "eta=1"], "eta must be"),
        (["--scheduler", "halving", "--objective", "sharpe,calmar"], "one objective"),
        (["--option", "points=3"], "knows no option points"),
        (["--option", "points"], "write KEY=VALUE"),
        (["--option", "=3"], "write KEY=VALUE"),
        (["--option", "eta=many"], "must be a number"),
        (["--searcher", "grid", "--option", "points=0"], "points must be"),
        (["--searcher", "pbt", "--option", "quantile=0.9"], "quantile in (0, 0.5]"),
        (["--searcher", "pbt", "--option", "scale=nan"], "scale"),
        (["--symbols", ","], "names nothing"),
        (["--symbols", "NOBODY"], "NOBODY"),
        (["--from", "tomorrow"], "--from"),
        (["--to", "2001-02-30"], "--to"),
        (["--from", "2005-01-01", "--to", "2004-01-01"], "--from 2005-01-01 is after --to"),
        (["--from", "2005-01-03", "--to", "2005-01-12"], ""),
        (["--from", "2005-01-03", "--to", "2005-04-12"], "returns out of sample over 5 folds"),
        (["--storage", ""], "--storage is empty"),
        (["--storage", "gs://"], "gs://BUCKET/PREFIX"),
        (["--storage", "gs:///studies"], "gs://BUCKET/PREFIX"),
        (["--storage", "s3://bucket/studies"], "gs://BUCKET/PREFIX"),
        (["--storage", __file__], "is a file: give a directory"),
        (["--tensorboard", f"{__file__}/below"], "give a directory that can be written"),
        (["--address", "auto"], "leave one of them out"),
        (["--trials", "0"], "trials 0"),
        (["--trials", "-3"], "trials -3"),
        (["--trials", "1000001"], "trials 1000001"),
        (["--generation", "-1"], "generation -1"),
        (["--seed", "-1"], "seed -1"),
        (["--folds", "0"], "0"),
        (["--folds", "100000"], ""),
        (["--scheme", "leave-one-out"], "scheme 'leave-one-out'"),
        (["--scope", "solo"], "scope 'solo' belongs to agents"),
        (["--locked-share", "1.5"], "locked share 1.5"),
        (["--locked-share", "nan"], "locked share nan"),
        (["--data", "no/such/file.csv"], "no/such/file.csv"),
        (["--executor", "cloud"], "--executor 'cloud'"),
        (["--workers", "100000"], "--workers 100000"),
        (["Bad_Name"], "study name 'Bad_Name'"),
    ],
)
def test_bad_input_is_one_line_and_no_study(
    tune: Tune, home: Path, words: list[str], named: str
) -> None:
    one_line(tune("run", *EMA, *words), 2, named)
    if (home / "studies" / "studies.db").is_file():
        kept = Sqlite(home / "studies" / "studies.db")
        assert StudyStore(kept).listing() == []
        kept.close()


def test_names_taken_and_unknown(tune: Tune, home: Path) -> None:
    one_line(tune("resume", "nobody", "--executor", "here"), 2, "there is none yet")
    assert tune("run", "mine", *EMA, "--trials", "3", "--searcher", "random")[0] == 0
    before = content(stored(home, "mine"))
    one_line(tune("run", "mine", *EMA, "--trials", "9"), 2, "'sapphire tune resume mine' goes on")
    one_line(tune("run", "mine", *EMA, "--trials", "9", "--resume-if-exists"), 2, "another one")
    one_line(tune("resume", "other", "--executor", "here"), 2, "there are mine")
    one_line(tune("show", "other"), 2, "no study is called 'other'")
    one_line(tune("compare", "mine"), 2, "two or more")
    assert content(stored(home, "mine")) == before


def test_a_storage_that_cannot_be_written(tune: Tune, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    code, err = tune("run", *EMA, "--trials", "2", "--storage", str(tmp_path / "file" / "x"))
    one_line((code, err), code, str(tmp_path / "file"))
    assert code in (1, 2)


def test_an_address_where_nothing_listens(tune: Tune, home: Path) -> None:
    words = ("--target", "ema_cross", "--no-report", "--trials", "3", "--searcher", "random")
    address = f"127.0.0.1:{free_port()}"
    one_line(tune("run", "far", *words, "--address", address), 1, f"no Ray at {address}")
    assert stored(home, "far") == []
    assert tune("resume", "far", "--executor", "here", "--no-report")[0] == 0
    assert len(stored(home, "far")) == 3


def test_other_commands_refuse_bad_input_too(tune: Tune, tmp_path: Path) -> None:
    gone = str(tmp_path / "nosuch")
    one_line(tune("list", "--storage", gone), 2, "there is no such directory")
    one_line(tune("rollback", "nosuch", "--reason", "x"), 2, "no agent is called 'nosuch'")
    one_line(tune("retune", "--storage", ""), 2, "--storage is empty")


def test_a_function_of_ones_own_has_no_pool(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a function of one's own has none"):
        Study(
            "odd", function=_function, space=Space({"x": Real(0.0, 1.0, 0.5)}), ts=np.arange(100),
            objectives=["brier"], home=tmp_path, executor="here",
        )  # fmt: skip


def test_few_returns_are_warned_of_before_the_search(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dates = ("--from", "2005-01-03", "--to", "2006-01-12")
    words = ["run", "short", *EMA, *dates, "--trials", "2", "--searcher", "random"]
    monkeypatch.setattr(sys, "argv", ["sapphire", "tune", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    out = capsys.readouterr().out
    assert re.search(r"\d+ returns out of sample over 5 folds: too few to be believed", out)


def test_a_study_none_of_whose_trials_completed_says_why(tune: Tune, home: Path) -> None:
    assert tune("run", "mine", *EMA, "--trials", "3", "--searcher", "random")[0] == 0
    with contextlib.closing(sqlite3.connect(home / "studies" / "studies.db")) as link, link:
        link.execute("UPDATE study_trial SET status = 'failed', error = 'no luck'")
    for words in (("show", "mine"), ("resume", "mine", "--executor", "here")):
        code, err = tune(*words, "--no-report", "--json")
        assert code == 1
        assert "study mine: all 3 trials failed: no luck (3)" in err


def test_a_report_that_cannot_be_written_keeps_the_study(tune: Tune, home: Path) -> None:
    (home / "studies" / "mine").mkdir(parents=True)
    (home / "studies" / "mine" / "report.html").mkdir()
    words = ("--target", "ema_cross", "--executor", "here", "--trials", "2", "--searcher", "random")
    one_line(tune("run", "mine", *words), 1, "'sapphire tune show mine' writes it anew")
    assert len(stored(home, "mine")) == 2


def _write(path: Path, seed: int) -> None:
    bars = generated_bars(1, 900, seed)
    pl.DataFrame(
        {
            "ts": pl.Series(bars["ts"]).cast(pl.Datetime("ns", "UTC")),
            "symbol": np.array(["AAA"])[bars["symbol"]],
            **{name: bars[name] / 10_000 for name in ("open", "high", "low", "close")},
            "volume": bars["volume"],
        }
    ).write_parquet(path)


def test_data_that_changed_since_the_study_began(tune: Tune, home: Path, tmp_path: Path) -> None:
    path, old = tmp_path / "bars.parquet", tmp_path / "old.parquet"
    _write(path, 5)
    shutil.copy(path, old)
    words = (*EMA, "--data", str(path), "--trials", "4", "--searcher", "random")
    assert tune("run", "file", *words)[0] == 0
    before = content(stored(home, "file"))
    _write(path, 6)
    again = ("resume", "file", "--executor", "here", "--no-report")
    one_line(tune(*again), 2, "has changed since the study began")
    one_line(tune("run", "file", *words, "--resume-if-exists"), 2, "have changed since it began")
    path.unlink()
    one_line(tune(*again), 2, str(path))
    assert content(stored(home, "file")) == before
    shutil.copy(old, path)
    assert tune(*again)[0] == 0
    assert content(stored(home, "file")) == before


def _function(config: Config) -> list[float]:
    x = float(config["x"])
    if x < 0.2:
        raise ValueError("x is too small\nfor this")
    if x < 0.4:
        return [math.nan] * 100
    return np.random.default_rng(int(x * 1e9)).normal(1e-3, 1e-2, 100).tolist()


def test_an_objective_that_raises_or_gives_nan_is_counted_and_never_best(tmp_path: Path) -> None:
    study = Study(
        "odd", function=_function, space=Space({"x": Real(0.0, 1.0, 0.5)}), ts=np.arange(100),
        searcher="random", trials=40, home=tmp_path, executor="here",
    ).run()  # fmt: skip
    trials = study.trials
    assert len(trials) == 40
    whys = {trial.error for trial in trials if trial.status == FAILED}
    assert "ValueError: x is too small" in whys
    assert any("nan" in why for why in whys)
    assert study.best is not None
    assert study.best.status == COMPLETE
    assert float(study.best.config["x"]) >= 0.4
    study.close()


@pytest.mark.parametrize("space", [{}, {"x": Real(1.0, 0.0, 0.5)}])
def test_an_empty_or_contradictory_space(space: dict[str, Real]) -> None:
    with pytest.raises(InputError, match="search space"):
        Space(space)


@pytest.mark.timeout(240)
def test_a_full_disk_keeps_the_study(tune: Tune, home: Path) -> None:
    words = ("--trials", "400", "--searcher", "random")
    assert tune("run", "whole", *EMA, *words)[0] == 0
    whole = content(stored(home, "whole"))
    shutil.rmtree(home)
    most = 600_000  # bytes of a file: some of the trials' returns find room

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    full = subprocess.run(
        [sys.executable, "-m", "cluster.cli", "tune", "run", "whole", *EMA, *words],
        cwd=ROOT, preexec_fn=small, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    one_line((full.returncode, full.stderr), 1, "what was stored before stays")
    there = content(stored(home, "whole"))
    assert 0 < len(there) < 400
    assert there == whole[: len(there)]
    assert tune("resume", "whole", "--executor", "here", "--no-report")[0] == 0
    assert content(stored(home, "whole")) == whole
