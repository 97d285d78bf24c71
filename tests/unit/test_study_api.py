from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tuning
from actors.space import Config
from data.errors import InputError
from tuning import Integer, Real, Space, Study
from tuning.study.contract import COMPLETE, FAILED

DAY = 86_400_000_000_000
TS = np.arange(1, 601) * DAY
SPACE = Space({"lag": Integer(1, 40, 5), "size": Real(0.1, 2.0, 1.0)})
RETURNS = np.random.default_rng(7).normal(0.0004, 0.01, len(TS))


def _follow(config: Config) -> np.ndarray:
    """Yesterday's sign over ``lag`` days, ``size`` of the money."""
    lag = int(config["lag"])
    if lag == 13:
        raise ArithmeticError("thirteen")
    sums = np.convolve(RETURNS, np.ones(lag))[: len(TS)]
    held = np.sign(np.concatenate([[0.0], sums[:-1]])) * float(config["size"])
    return np.asarray(held * RETURNS, np.float64)


def _study(home: Path, **fields: object) -> Study:
    given: dict[str, object] = {"searcher": "random", "trials": 60, "executor": "here"}
    given |= {"function": _follow, "space": SPACE, "ts": TS, "home": home}
    return Study("mine", **(given | fields))  # type: ignore[arg-type]


def test_a_function_of_ones_own_is_searched_judged_and_reported(tmp_path: Path) -> None:
    study = _study(tmp_path).run()
    frame = study.frame()
    assert frame.height == 60
    assert {"trial", "status", "sharpe", "lag", "size"} <= set(frame.columns)
    assert set(study.pandas().columns) == set(frame.columns)
    best = study.best
    assert best is not None
    assert best.values[0] == frame["sharpe"].max()
    assert study.sentence.startswith(("Do not believe it", "Not proven"))
    page = study.report().read_text()
    assert "mine" in page
    study.close()


def test_a_study_opened_again_is_the_same_study(tmp_path: Path) -> None:
    first = _study(tmp_path).run()
    trials = [(trial.number, trial.values) for trial in first.trials]
    first.close()
    again = _study(tmp_path)
    assert [(trial.number, trial.values) for trial in again.run().trials] == trials
    again.close()


def test_an_objective_that_raises_is_counted_and_never_best(tmp_path: Path) -> None:
    study = _study(tmp_path, trials=200).run()
    failed = [trial for trial in study.trials if trial.config["lag"] == 13]
    assert failed
    assert {(trial.status, trial.error) for trial in failed} == {
        (FAILED, "ArithmeticError: thirteen")
    }
    assert study.best is not None
    assert study.best.status == COMPLETE
    study.close()


def test_a_name_that_another_study_has_is_refused(tmp_path: Path) -> None:
    _study(tmp_path).close()
    with pytest.raises(InputError, match="another one \\(seed differ"):
        _study(tmp_path, seed=1)


def test_changed_moments_are_changed_data(tmp_path: Path) -> None:
    _study(tmp_path).close()
    with pytest.raises(InputError, match="the function have changed since it began"):
        Study(
            "mine",
            function=_follow,
            space=SPACE,
            ts=TS[:-1],
            home=tmp_path,
            searcher="random",
            trials=60,
            executor="here",
        )


def test_an_edited_function_is_another_study(tmp_path: Path) -> None:
    _study(tmp_path).close()
    with pytest.raises(InputError, match="the data or the function have changed"):
        _study(tmp_path, function=lambda config: RETURNS * float(config["size"]))
    with pytest.raises(InputError, match="the data or the function have changed"):
        _study(tmp_path, periods_per_year=12.0)


def test_half_a_function_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs its space"):
        Study("mine", function=_follow, home=tmp_path)
    with pytest.raises(InputError, match="belong to a function of your own"):
        Study("mine", space=SPACE, home=tmp_path)


def test_the_package_offers_what_a_notebook_needs() -> None:
    assert {"Study", "Space", "backtest"} <= set(tuning.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = tuning.nothing
