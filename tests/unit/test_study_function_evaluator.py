"""A user's function as a trial: what it may give, and what becomes of what it must not."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from actors.space import Real, Space
from data.errors import InputError
from tuning.study.contract import Failure, Fold
from tuning.study.function_evaluator import FunctionEvaluator

TS = np.arange(1, 101) * 1_000
SPACE = Space({"edge": Real(-1.0, 1.0, 0.0)})
FOLDS = [Fold(0, (), 41_000, 71_000), Fold(1, (), 71_000, 200_000)]


def drift(config: dict[str, Any]) -> np.ndarray:
    return np.arange(100) * 1e-4 * config["edge"]


def answer(function: Any, kind: str = "returns") -> Any:
    return FunctionEvaluator(SPACE, function, TS, FOLDS, kind=kind).evaluate([{"edge": 1.0}], [0])[
        0
    ]


def test_returns_are_cut_by_their_moments() -> None:
    evaluator = pickle.loads(pickle.dumps(FunctionEvaluator(SPACE, drift, TS, FOLDS)))  # noqa: S301
    evaluator.prepare()
    results = evaluator.evaluate([{"edge": 0.5}, {"edge": 1.0}], [1, 0])
    assert evaluator.test_ts.tolist() == TS[40:].tolist()
    assert [result.fold for result in results[0]] == [1, 0]
    assert results[1][0].returns.tolist() == drift({"edge": 1.0})[70:].tolist()
    assert results[0][1].returns.tolist() == drift({"edge": 0.5})[40:70].tolist()


def test_equity_becomes_returns() -> None:
    (result,) = answer(lambda _: np.cumprod(np.full(100, 1.01)), "equity")
    assert result.returns == pytest.approx(np.full(30, 0.01))


def test_one_configuration_s_function_cannot_change_another_s() -> None:
    seen = []

    def greedy(config: dict[str, Any]) -> np.ndarray:
        seen.append(dict(config))
        config["edge"] = 99.0
        return np.zeros(100)

    config = {"edge": 0.25}
    FunctionEvaluator(SPACE, greedy, TS, FOLDS).evaluate([config], [0])
    assert config == {"edge": 0.25}
    assert seen == [config]


def raises(_: Any) -> Any:
    raise KeyError("two\nlines")


@pytest.mark.parametrize(
    ("function", "kind", "why"),
    [
        (raises, "returns", "KeyError: 'two\\nlines'"),
        (lambda _: np.full(100, np.nan), "returns", "gave nan at moment 0"),
        (lambda _: np.where(TS == 50_000, np.inf, 0.0), "returns", "gave an infinite value at"),
        (lambda _: np.zeros(99), "returns", "gave values of shape (99,)"),
        (lambda _: "words", "returns", "ValueError: could not convert"),
        (lambda _: None, "returns", "gave values of shape ()"),
        (lambda _: np.full(100, -1.5), "returns", "lost more than everything"),
        (lambda _: np.zeros(100), "equity", "not above 0"),
    ],
)
def test_what_goes_wrong_is_a_failure_in_one_line(function: Any, kind: str, why: str) -> None:
    found = answer(function, kind)
    assert isinstance(found, Failure)
    assert why in found.why
    assert "\n" not in found.why


def test_ctrl_c_is_no_failure() -> None:
    def stopped(_: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answer(stopped)


def test_folds_must_hold_moments() -> None:
    with pytest.raises(InputError, match="holds no moment"):
        FunctionEvaluator(SPACE, drift, TS, [Fold(0, (), 5, 6)])
    with pytest.raises(InputError, match="at least one fold"):
        FunctionEvaluator(SPACE, drift, TS, [])
    with pytest.raises(InputError, match="increasing"):
        FunctionEvaluator(SPACE, drift, TS[::-1], FOLDS)
    with pytest.raises(InputError, match="returns, equity"):
        FunctionEvaluator(SPACE, drift, TS, FOLDS, kind="profit")
