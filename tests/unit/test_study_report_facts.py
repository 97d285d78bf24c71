"""What a report says of the study itself."""

from __future__ import annotations

from dataclasses import replace

from actors.limits import RiskLimits
from actors.space import Choice, Space
from tests.unit.study_views import DAY, START, spec, study_view
from tuning.study import report_tables
from tuning.study.report_facts import data_span, evaluation_text


def test_limits_and_costs_are_named_where_they_differ_from_the_defaults() -> None:
    limits = RiskLimits().model_dump(mode="json")
    asked = {"scheme": "rolling", "until": START, "symbols": ["A", "B"], "limits": limits}
    assert evaluation_text(asked) == "scheme rolling, symbols A B"
    assert evaluation_text({"limits": limits}) == "scheme anchored"
    changed = asked | {"limits": limits | {"max_gross": 2.5}, "costs": {"half_spread_bps": 7.0}}
    said = "scheme rolling, symbols A B, limit max_gross 2.5, cost half_spread_bps 7.0"
    assert evaluation_text(changed) == said


def test_the_data_reach_from_the_first_lesson_to_the_end_of_the_locked_segment() -> None:
    view = study_view(20)
    assert view.locked is not None
    segment = view.locked.segment
    told = replace(view, spec=spec(evaluation={"until": segment.until}))
    assert data_span(view) == data_span(told)
    said = replace(view, spec=spec(evaluation={"since": START, "until": START + 3 * DAY + 1}))
    assert data_span(said) == "2000-02-13 to 2000-02-16"


def test_a_column_of_conditions_stands_only_where_there_are_some() -> None:
    view = study_view(20)
    assert "Only when" in report_tables.parameters(view)
    plain = replace(view, space=Space({"exit": Choice(("cross", "trailing"), default="cross")}))
    assert "Only when" not in report_tables.parameters(plain)
