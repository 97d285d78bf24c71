"""Objectives by hand, and where they are undefined."""

from __future__ import annotations

import math

import numpy as np
import pytest

from data.errors import InputError
from tuning.study.contract import OBJECTIVES, FoldResult
from tuning.study.objectives import score

# The reference series of the performance statistics (empyrical), cut into two folds.
SERIES = np.array([1, 10, -4, 2, 3, 2, 1, -10]) / 100
FOLDS = [FoldResult(0, SERIES[:4], 1.2, 2), FoldResult(1, SERIES[4:], 0.3, 1)]


@pytest.mark.parametrize(
    ("objective", "value"),
    [
        ("sharpe", 1.7238613961706866),
        ("sortino", 2.605531251673693),
        ("calmar", (np.prod(1.0 + SERIES) ** (252 / 8) - 1.0) / 0.1),
    ],
)
def test_ratios_are_those_of_the_joined_returns(objective: str, value: float) -> None:
    assert score(objective, FOLDS, 252) == pytest.approx(value, rel=1e-12)


def test_growth_and_its_penalty() -> None:
    growth = 252 * np.log1p(SERIES).sum() / 8
    assert score("log_growth", FOLDS, 252) == pytest.approx(growth, rel=1e-12)
    penalised = growth - 2.0 * 0.1
    assert score("drawdown_penalised", FOLDS, 252) == pytest.approx(penalised, rel=1e-12)


def test_brier_is_the_mean_over_all_scored_forecasts() -> None:
    assert score("brier", FOLDS, 252) == pytest.approx(0.5)


def test_what_is_undefined_is_nan() -> None:
    idle = [FoldResult(0, np.zeros(10))]
    for objective in ("sharpe", "sortino", "calmar", "brier"):
        assert math.isnan(score(objective, idle, 252))
    assert score("log_growth", idle, 252) == 0.0
    assert score("drawdown_penalised", idle, 252) == 0.0
    for objective in OBJECTIVES:
        assert math.isnan(score(objective, [], 252))


def test_a_total_loss_is_undefined_and_an_unknown_name_is_refused() -> None:
    lost = [FoldResult(0, np.array([0.1, -1.0]))]
    for objective in OBJECTIVES:
        assert math.isnan(score(objective, lost, 252))
    with pytest.raises(InputError, match="no objective is called 'profit'"):
        score("profit", lost, 252)
