"""The predictor's walk-forward: its moments, and that no training knows more than its past."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from loop_support import DAY, made_bars

from tuning import fit_predictor, model_schedule
from tuning.model_schedule import (
    MONTHLY,
    PREDICTOR,
    YEARLY,
    months_between,
    retrained,
    retraining_moments,
    stride_of,
    thinned_samples,
)

BARS = made_bars(5, 700, symbols=3)
MOMENTS = [int(BARS["ts"][0]) + days * DAY for days in (300, 450, 600)]


def ns(text: str) -> int:
    return int(np.datetime64(text, "ns").astype(np.int64))


def day(moment: int) -> str:
    return datetime.fromtimestamp(moment // 10**9, UTC).isoformat()


def test_daily_data_is_trained_on_again_each_year_and_others_each_month() -> None:
    assert [months_between(n) for n in (252, 365, 1_000, 98_280)] == [12, 12, 1, 1]
    yearly = retraining_moments(ns("2002-03-05T21:00"), ns("2005-03-05T20:59:59"), YEARLY)
    assert [day(m)[:16] for m in yearly] == ["2003-03-05T21:00", "2004-03-05T21:00"]
    # A moment may be the very last bar's; the day that a month lacks is its last.
    monthly = retraining_moments(
        ns("2023-12-31T09:30:00.000000007"), ns("2024-04-30T10:00"), MONTHLY
    )
    assert [day(m)[:10] for m in monthly] == [
        "2024-01-31",
        "2024-02-29",
        "2024-03-31",
        "2024-04-30",
    ]
    assert {m % 10**9 for m in monthly} == {7}
    assert retraining_moments(ns("2004-02-29"), ns("2005-02-28"), YEARLY) == [ns("2005-02-28")]
    assert retraining_moments(ns("2004-02-29"), ns("2010-01-01"), 0) == []
    assert retraining_moments(ns("2004-02-29"), ns("2004-02-29"), 1) == []


def test_a_training_is_the_one_on_the_cut_bars_to_the_bit() -> None:
    found = retrained(BARS, MOMENTS, 5, 3)
    assert [since for since, _ in found] == MOMENTS
    for since, models in found:
        assert list(models) == [PREDICTOR]
        expected = fit_predictor.fit(BARS[BARS["ts"] < since], 5, 3)
        assert len(expected) > 0
        assert models[PREDICTOR].tobytes() == expected.tobytes()
    assert len({models[PREDICTOR].tobytes() for _, models in found}) == len(MOMENTS)


def test_what_comes_later_changes_nothing() -> None:
    """Bars from a moment on, its own included, may be anything."""
    expected = retrained(BARS, MOMENTS, 5, 3)
    forged = BARS.copy()
    late = forged["ts"] >= MOMENTS[1]
    for price in ("open", "high", "low", "close"):
        forged[price][late] = forged[price][late][::-1] * 3
    found = retrained(forged, MOMENTS, 5, 3)
    for i in (0, 1):
        assert found[i][1][PREDICTOR].tobytes() == expected[i][1][PREDICTOR].tobytes()
    assert found[2][1][PREDICTOR].tobytes() != expected[2][1][PREDICTOR].tobytes()


def test_trainings_at_a_time_change_nothing() -> None:
    one, three = retrained(BARS, MOMENTS, 5, 3), retrained(BARS, MOMENTS, 5, 3, workers=3)
    assert [m[PREDICTOR].tobytes() for _, m in one] == [m[PREDICTOR].tobytes() for _, m in three]


def test_a_training_without_rows_enough_keeps_the_earlier_model() -> None:
    early = int(BARS["ts"][0]) + 90 * DAY
    assert [since for since, _ in retrained(BARS, [early, MOMENTS[0]], 5, 3)] == [MOMENTS[0]]
    assert retrained(BARS, [], 5, 3) == []
    assert retrained(BARS[:0], MOMENTS, 5, 3) == []


def test_a_long_past_is_thinned_by_whole_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_schedule, "MOST_ROWS", 500)
    assert [stride_of(n) for n in (500, 501, 1_000, 1_001, 4_001)] == [1, 2, 2, 4, 16]
    found = retrained(BARS, MOMENTS, 5, 3)
    for since, models in found:
        cut = BARS[BARS["ts"] < since]
        samples = thinned_samples(cut, 5)
        assert 200 < len(samples.y) <= 500
        stamps = np.unique(cut["ts"])
        assert set(np.searchsorted(stamps, samples.begin) % stride_of(len(cut))) == {0}
        expected = fit_predictor.fit_samples(samples, 5, 3)
        assert models[PREDICTOR].tobytes() == expected.tobytes()
