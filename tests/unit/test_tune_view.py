"""What a person sees of studies on a terminal of 80 columns."""

from __future__ import annotations

import io
import math
from dataclasses import replace

from rich.console import Console, RenderableType

from cluster import tune_view
from tests.unit.study_views import spec, study_view
from tuning.study.contract import FAILED, PRUNED
from tuning.study.store import StudyRow


def shown(what: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_list_says_once_where_studies_are_kept() -> None:
    rows = [
        (StudyRow(spec(name=name, target="strategy_optimization"), 0, 5, 5, True), where)
        for name, where in (("one", "gs://bucket/studies"), ("two", "gs://bucket/studies"))
    ]
    text = shown(tune_view.listing([*rows, (replace(rows[0][0], finished=False), "here")]))
    assert text.count("kept in gs://bucket/studies") == 1
    assert text.count("kept in here") == 1
    assert "strategy_optimization" in text
    assert "1970-01-01" in text
    assert "…" not in text


def test_studies_side_by_side_without_a_winner_or_a_figure() -> None:
    view = study_view(30)
    assert view.evidence is not None
    odd = replace(view, evidence=replace(view.evidence, annual_sharpe=math.nan))
    none = replace(view, winner=None, evidence=None)
    text = shown(tune_view.side_by_side([(odd, "Not proven: x"), (none, "There is no winner")]))
    assert "nan" not in text
    rows = {line[:16].strip(): line.split() for line in text.splitlines() if line.strip()}
    assert rows["best"][-2:] == ["no", "winner"]
    assert rows["Sharpe a year"][-2:] == ["–", "–"]
    assert rows["to be believed?"][-4:] == ["Not", "proven", "no", "winner"]


def test_why_no_trial_completed() -> None:
    view = study_view(30)
    assert tune_view.failures(view) == ""
    whys = ("a", "b", "b", "c", "c", "c", "d")
    failed = [
        replace(trial, status=FAILED, error=f"{why}\nmore", values=())
        for trial, why in zip(view.trials, whys, strict=False)
    ]
    none = replace(view, winner=None, evidence=None, trials=failed)
    said = tune_view.failures(none)
    assert said == "all 7 trials failed: c (3), b (2), a (1), 1 other reasons"
    cut = [replace(trial, status=PRUNED) for trial in failed[:3]]
    said = tune_view.failures(replace(none, trials=[*cut, *failed[3:6]]))
    assert said == "3 trials failed (3 others were pruned): c (3)"
