"""The study itself in its report: what was asked for, over which data, by which code."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from actors.limits import RiskLimits
from tuning.report_text import MISSING, day, number, plural
from tuning.study import report_tables as tables
from tuning.study.build import Evaluation
from tuning.study.contract import StudySpec
from tuning.study.market import COSTS
from tuning.study.view import StudyView

# Shown in other rows, or only where they differ from what stands everywhere.
_ELSEWHERE = ("since", "until", "limits", "costs")


def facts_section(view: StudyView) -> str:
    """The panel of the study's own facts."""
    spec = view.spec
    rows = [
        ("Trials", f"{spec.trials:,} {_drawn(spec)}, seed {spec.seed}"),
        ("Searcher", f"{spec.searcher}, scheduler {spec.scheduler}{_pairs(spec.options)}"),
        ("Evaluation", evaluation_text(spec.evaluation)),
        ("Folds", f"{len(view.folds)} with {len(view.test_ts):,} returns each trial"),
        ("Data", f"{data_span(view)}, hash {spec.data_hash or MISSING}"),
        ("Code", spec.code or MISSING),
        (
            "Repeatable",
            "exactly: the same spec, data and code give the same trials and the same winner"
            if spec.exact
            else "no: asynchronous decisions depend on which worker was faster",
        ),
        ("Begun", day(view.created_ns) if view.created_ns else MISSING),
        ("Spent", _spent(view)),
    ]
    if view.space is not None and view.space.constraints:
        rows.insert(2, ("Constraints", "; ".join(c.text for c in view.space.constraints)))
    return f"<h2>The study</h2>{tables.facts(rows)}"


def data_span(view: StudyView) -> str:
    """First and last day of all data, those that teach and those locked away among them."""
    asked, folds = view.spec.evaluation, view.folds
    starts = [fold.test_from for fold in folds]
    starts += [interval[0] for fold in folds for interval in fold.train]
    ends = [fold.test_until for fold in folds]
    if view.locked is not None:
        ends.append(view.locked.segment.until)
    first = asked.get("since") or min(starts, default=None)
    until = asked.get("until") or max(ends, default=None)
    if first is None or until is None:
        return MISSING
    return f"{day(first)} to {day(until - 1)}"


def evaluation_text(asked: Mapping[str, Any]) -> str:
    """How configurations were judged; of limits and costs only what is not as it always is."""
    usual = {"scheme": Evaluation().scheme}
    plain = usual | {key: value for key, value in asked.items() if key not in _ELSEWHERE}
    parts = [_pairs(plain, "")]
    for what, given, normal in (
        ("limit", asked.get("limits") or {}, _usual_limits()),
        ("cost", asked.get("costs") or {}, vars(COSTS)),
    ):
        parts += [
            f"{what} {key} {value}"
            for key, value in given.items()
            if key not in normal or str(value) != str(normal[key])
        ]
    return ", ".join(part for part in parts if part)


def _usual_limits() -> dict[str, Any]:
    """The declared defaults, whatever the environment says, as a record has them."""
    usual = {name: field.default for name, field in RiskLimits.model_fields.items()}
    return RiskLimits.model_construct(None, **usual).model_dump(mode="json")


def _drawn(spec: StudySpec) -> str:
    if spec.exact:
        return f"in generations of {spec.generation:,}"
    return "drawn one at a time" if spec.generation == 1 else f"in a flow of {spec.generation:,}"


def _pairs(options: Mapping[str, Any], lead: str = ", ") -> str:
    text = ", ".join(f"{key} {_words(value)}" for key, value in options.items() if value != {})
    return f"{lead}{text}" if text else ""


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return _pairs(value, "")
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _spent(view: StudyView) -> str:
    """The evaluator's own time, over all workers: a clock on the wall shows another."""
    if math.isnan(view.seconds):
        return MISSING
    rate = len(view.trials) / view.seconds if view.seconds > 0.0 else math.nan
    times = f", resumed {plural(view.resumed, 'time')}" if view.resumed else ""
    return f"{number(view.seconds, 1)} s in the evaluator, {number(rate, 1)} trials a second{times}"
