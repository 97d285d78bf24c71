"""The report of a study: what it says, that it says it first, and that it needs nothing else."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plotly.offline import get_plotlyjs
from study_views import FOLDS, SPACE, spec, study_view, two_objectives

from actors.space import Choice, Space
from tuning.report_text import number, percent
from tuning.study.contract import COMPLETE, FAILED, Trial
from tuning.study.evidence import sentence
from tuning.study.report import study_json, verdict, write_study_report
from tuning.study.rules import PromotionRules
from tuning.study.view import StudyView, best_so_far, failure_reasons, fold_rows, pareto

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


class Page(HTMLParser):
    """Visible text in order, and every attribute that could load something or run."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.loads: list[tuple[str, str | None]] = []
        self.tags: set[str] = set()
        self._hidden = 0
        self.feed(html.replace(get_plotlyjs(), ""))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._hidden += tag in ("script", "style", "title")
        loading = ("src", "href", "srcset", "data", "action")
        self.loads += [(tag, v) for k, v in attrs if k in loading or k.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style", "title")

    def handle_data(self, data: str) -> None:
        if not self._hidden and data.strip():
            self.texts.append(data.strip())

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


def read(view: StudyView, tmp_path: Path) -> tuple[str, Page]:
    path = tmp_path / "made" / "study.html"
    write_study_report(view, path)
    assert [each.name for each in path.parent.iterdir()] == ["study.html"]
    html = path.read_text(encoding="utf-8")
    return html, Page(html)


@pytest.fixture(scope="module")
def view() -> StudyView:
    return study_view()


@pytest.fixture(scope="module")
def page(view: StudyView, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Its page, written once."""
    return read(view, tmp_path_factory.mktemp("page"))[1]


def test_the_first_line_says_whether_to_believe_the_winner(view: StudyView, page: Page) -> None:
    assert view.evidence is not None
    assert page.texts[0] == sentence(view.evidence, view.rules, view.locked_result)
    assert page.texts[0].startswith("Do not believe it: ")
    assert verdict(view) == page.texts[0]


def test_a_believed_winner_is_said_to_be_believed(view: StudyView, tmp_path: Path) -> None:
    gentle = replace(view, rules=PromotionRules(deflated_sharpe=0.5, plateau=False))
    html, page = read(gentle, tmp_path)
    assert page.texts[0].startswith("It may be believed: ")
    assert '<header class="verdict won">' in html
    assert study_json(gentle)["believed"] is True
    assert study_json(view)["believed"] is False


def test_the_page_loads_nothing_and_carries_plotly_once(view: StudyView, tmp_path: Path) -> None:
    html, page = read(two_objectives(view), tmp_path)
    assert page.loads == []
    assert "default-src 'none'" in html
    assert len(re.findall(r"\* plotly\.js v", html)) == 1
    assert html.count("Plotly.newPlot(") == 10
    # Traces that compile code at run time would stay empty under the page's policy.
    assert not re.search(r'"type":"(scattergl|parcoords|splom)"', html)
    assert not re.search(r"@import|url\(\s*['\"]?https?:", html.split("<script>")[0])


def test_names_and_errors_cannot_break_out_of_the_page(view: StudyView, tmp_path: Path) -> None:
    space = Space({HOSTILE: Choice((HOSTILE, "b"), default="b")})

    def renamed(trial: Trial) -> Trial:
        config = {HOSTILE: HOSTILE if trial.number % 2 else "b"}
        return replace(trial, config=config, error=HOSTILE if trial.error else "")

    hostile = replace(
        view,
        spec=spec(name=HOSTILE, target=HOSTILE, evaluation={HOSTILE: HOSTILE}, data_hash=HOSTILE),
        space=space,
        trials=[renamed(trial) for trial in view.trials],
        benchmarks={HOSTILE: view.benchmarks["incumbent"]},
        incumbent=HOSTILE,
        notes=(HOSTILE,),
    )
    html, page = read(hostile, tmp_path)
    assert "<script>alert(1)" not in html
    assert "img" not in page.tags
    assert page.loads == []
    assert HOSTILE in page.texts


def test_the_figures_of_the_evidence_stand_on_the_page(view: StudyView, page: Page) -> None:
    found = view.evidence
    assert found is not None
    assert found.overfitting is not None
    text = page.text
    for expected in (
        number(found.annual_sharpe),
        percent(found.deflated.probability),
        f"best of 122 without skill: {number(found.deflated.threshold * math.sqrt(252.0))} a year",
        "105 complete, 12 pruned, 3 failed",
        f"Median Sharpe ratio {number(found.median_path)}",
        percent(found.leads["incumbent"].growth.value, 1, True),
        "The incumbent is champion 3, study ema-2025.",
        "opening 1 on record; it was shown 2 candidates before",
        "exactly: the same spec, data and code",
        "fast < slow",
        "NaN objective in fold 2",
        "d4d4d4",
        "12.5 s in the evaluator, 9.6 trials a second, resumed 1 time",
        "The last day of the data is short.",
    ):
        assert expected in text, expected


def test_the_winner_stands_beside_its_space_and_folds(view: StudyView, page: Page) -> None:
    best = view.winning
    assert best is not None
    assert f"The winner is trial {best.number}: fast = {best.config['fast']}" in page.text
    rows = fold_rows(view)
    assert [row.observations for row in rows] == [120] * FOLDS
    mask = (view.test_ts >= rows[2].test_from) & (view.test_ts < rows[2].test_until)
    assert rows[2].total == pytest.approx(np.prod(1.0 + best.returns[mask].astype(float)) - 1.0)
    assert rows[2].value == best.folds[2][0]
    better = sum(trial.folds[2][0] > rows[2].value for trial in view.complete)
    assert (rows[2].rank, rows[2].of) == (better + 1, 105)
    assert f"{rows[2].rank} of 105" in page.texts


def test_folds_that_test_a_moment_twice_keep_their_own_returns(
    view: StudyView, tmp_path: Path
) -> None:
    # Combinatorial cross-validation: stretch 0 with 1, then 0 with 2.
    order = (0, 1, 0, 2)
    rows = np.concatenate([np.arange(i * 120, (i + 1) * 120) for i in order])
    again = replace(
        view,
        folds=[replace(view.folds[i], number=n) for n, i in enumerate(order)],
        test_ts=view.test_ts[rows],
        trials=[
            replace(t, returns=t.returns[rows] if len(t.returns) else t.returns)
            for t in view.trials
        ],
        benchmarks={name: returns[rows] for name, returns in view.benchmarks.items()},
    )
    assert again.stretches() == [slice(i * 120, (i + 1) * 120) for i in range(4)]
    before, after = fold_rows(view), fold_rows(again)
    assert [row.total for row in after] == [before[i].total for i in order]
    assert (np.diff(again.test_ts[again.first_tests()]) > 0).all()
    assert len(again.first_tests()) == 360
    read(again, tmp_path)


def test_a_closed_segment_and_none_are_told_apart(view: StudyView, tmp_path: Path) -> None:
    assert view.locked is not None
    none = np.zeros(0)
    shut = replace(
        view.locked, result=None, ts=none.astype(np.int64), winner=none, incumbent=none, openings=0
    )
    _, page = read(replace(view, locked=shut), tmp_path)
    assert "is closed: it is opened only to judge a winner" in page.text
    assert "the locked segment has not been opened" in page.text
    _, page = read(replace(view, locked=None), tmp_path)
    assert "made without a locked segment: nothing here is out of sample" in page.text


def test_a_study_that_is_not_repeatable_or_finished_says_so(
    view: StudyView, tmp_path: Path
) -> None:
    loose = replace(view, spec=spec(exact=False, trials=500), finished=False)
    _, page = read(loose, tmp_path)
    assert any("not exactly repeatable" in text for text in page.texts[:5])
    assert "The study is not finished: 120 trials of 500 so far." in page.text


def test_a_study_without_trials_or_with_failures_alone_has_a_page(tmp_path: Path) -> None:
    empty = study_view(0, locked=False, why_none="no trial has run")
    _, page = read(empty, tmp_path)
    assert page.texts[0] == "There is no winner to believe: no trial has run."
    failed = Trial(0, 0, {"fast": 2}, FAILED, error="disk full\nTraceback")
    _, page = read(replace(empty, trials=[failed]), tmp_path)
    assert "disk full" in page.text
    assert "Traceback" not in page.text


def test_a_study_whose_space_is_gone_is_shown_over_what_was_tried(
    view: StudyView, tmp_path: Path
) -> None:
    _, page = read(replace(view, space=None), tmp_path)
    tried = [trial.config["fast"] for trial in view.trials]
    assert f"{min(tried)} to {max(tried)}" in page.texts
    assert study_json(replace(view, space=None))["importance"]["parameters"]


def test_several_objectives_show_their_front(view: StudyView, tmp_path: Path) -> None:
    both = two_objectives(view)
    front = pareto(both)
    for trial in both.complete:
        dominated = any(
            other.values[0] >= trial.values[0]
            and other.values[1] <= trial.values[1]
            and other.values != trial.values
            for other in both.complete
        )
        assert (trial in front) is not dominated
    _, page = read(both, tmp_path)
    assert f"{len(front)} trials are beaten by no other" in page.text
    assert study_json(both)["pareto"] == [trial.number for trial in front]
    best = best_so_far(both, 1)
    assert (np.diff(best) <= 0.0).all()
    assert best[-1] == both.values(1).min()


def test_the_json_holds_the_same_figures_and_survives_json(view: StudyView) -> None:
    found = view.evidence
    assert found is not None
    report = study_json(view, "out/study.html")
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["sentence"] == verdict(view)
    assert report["trials"] == {
        "wanted": 120,
        "tried": 120,
        "complete": 105,
        "pruned": 12,
        "failed": 3,
    }
    assert report["winner"]["config"] == dict(view.winning.config)  # type: ignore[union-attr]
    assert report["evidence"]["pbo"] == found.pbo
    assert report["evidence"]["deflated_sharpe"] == found.deflated.probability
    assert len(report["evidence"]["path_sharpes"]) == 9
    assert report["locked"]["winner_sharpe"] == view.locked_result.winner_sharpe  # type: ignore[union-attr]
    assert {row["rule"] for row in report["rules"] if row["outcome"] == "failed"} == {
        "deflated_sharpe",
        "plateau",
    }
    assert report["failures"] == [{"why": "NaN objective in fold 2", "trials": [13, 53, 93]}]
    assert report["report"] == "out/study.html"


def test_what_is_undefined_is_null(view: StudyView) -> None:
    empty = study_json(study_view(0, locked=False))
    assert empty["winner"] is None
    assert empty["evidence"] is None
    assert empty["seconds"] == 12.5
    assert empty["importance"]["why_none"] == "0 complete trials, 20 needed"
    json.dumps(empty, allow_nan=False)


def test_importance_finds_what_decides_and_not_what_does_not(view: StudyView) -> None:
    rows = {row["parameter"]: row for row in study_json(view)["importance"]["parameters"]}
    assert rows["fast"]["above_chance"] is True
    assert rows["exit"]["above_chance"] is False
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1.0)
    shuffled = np.random.default_rng(0).permutation(len(view.complete))
    complete = view.complete
    moved = [
        replace(trial, values=complete[j].values)
        for trial, j in zip(complete, shuffled, strict=True)
    ]
    rows_ = study_json(replace(view, trials=moved))["importance"]["parameters"]
    assert sum(row["above_chance"] for row in rows_) <= 1


def test_failures_are_pooled_by_their_first_line(view: StudyView) -> None:
    config = SPACE.default()
    failed = [
        Trial(number, 0, config, FAILED, error=why)
        for number, why in enumerate(("b\nmore", "a", "b\nother", ""))
    ]
    assert failure_reasons(replace(view, trials=failed, winner=None, evidence=None)) == [
        ("b", [0, 2]),
        ("a", [1]),
        ("no reason was recorded", [3]),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"benchmarks": {"x": np.zeros(3)}},
        {"winner": 13},  # failed
        {"winner": 100_000},
    ],
)
def test_parts_that_do_not_fit_are_refused(view: StudyView, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"benchmark|winner"):
        replace(view, **change)


def test_ten_thousand_trials_make_a_page_of_a_bounded_size(tmp_path: Path) -> None:
    small = study_view(40)
    complete = small.complete
    many = [
        replace(complete[i % len(complete)], number=i, returns=complete[0].returns)
        for i in range(10_000)
    ]
    html, _ = read(replace(small, trials=many, winner=0, evidence=None), tmp_path)
    assert len(html) < 8_000_000
    assert all(trial.status == COMPLETE for trial in many)
