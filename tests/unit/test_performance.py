"""The headline figures: how long a record must be, by the calendar and alike on the whole page."""

from __future__ import annotations

import math

import numpy as np
import pytest
from session_results import ROUNDS, START, WARM_UP, session

from tuning.analysis import analyse
from tuning.bootstrap import SHORTEST_NS


@pytest.mark.parametrize("rounds_a_year", [252.0, 525_600.0])
@pytest.mark.parametrize(("short_by", "given"), [(-90, True), (0, True), (90, False)])
def test_what_is_per_year_needs_the_same_stretch_of_time_everywhere(
    rounds_a_year: float, short_by: int, given: bool
) -> None:
    step = (SHORTEST_NS - short_by) // (ROUNDS - WARM_UP)
    ts = START + step * np.arange(ROUNDS, dtype=np.int64)
    result = session(ts=ts, first_traded=int(ts[WARM_UP]), periods_per_year=rounds_a_year)
    found = analyse(result)
    per_year = (
        found.account.cagr, found.account.calmar, found.benchmark.cagr, found.benchmark.calmar,
        found.difference.growth.value, found.difference.sharpe.value,
    )  # fmt: skip
    assert [math.isnan(figure) for figure in per_year] == [not given] * 6
    assert not math.isnan(found.account.sharpe)
