"""A study that is stopped anywhere and resumed is the study that nobody stopped."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.study_support import ToyEvaluator, content, toy_spec
from tuning.study.contract import StudySpec, Trial
from tuning.study.engine import Engine
from tuning.study.executors import run_here
from tuning.study.searchers import best_of, make_searcher

KINDS = [(s, h) for s in ("random", "grid", "tpe", "pbt") for h in ("none", "halving")]


class _Killed(Exception):
    pass


def _run(
    spec: StudySpec, history: Sequence[Trial], stop_after: int | None, workers: int
) -> list[Trial]:
    """What is durable when the study ends, or dies just after so many trials became durable."""
    durable = list(history)

    def save(trials: Sequence[Trial]) -> None:
        durable.extend(trials)
        if stop_after is not None and len(durable) - len(history) >= stop_after:
            raise _Killed

    evaluator = ToyEvaluator()
    searcher = make_searcher(spec, evaluator.space)
    with contextlib.suppress(_Killed):
        run_here(
            Engine(spec, evaluator, searcher, save, history, workers), evaluator, lambda _: None
        )
    return sorted(durable, key=lambda trial: trial.number)


@pytest.mark.parametrize(("searcher", "scheduler"), KINDS)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_a_stopped_study_goes_on_as_if_nothing_had_happened(
    searcher: str, scheduler: str, data: st.DataObject
) -> None:
    options = {"searcher": {"points": 4}} if searcher == "grid" else {}
    seed = data.draw(st.integers(0, 5))
    spec = toy_spec(searcher, scheduler, trials=30, seed=seed, options=options)
    whole = _run(spec, [], None, 1)
    history: list[Trial] = []
    for stop in data.draw(st.lists(st.integers(1, 20), max_size=3)):
        history = _run(spec, history, stop, data.draw(st.integers(1, 4)))
    resumed = _run(spec, history, None, data.draw(st.integers(1, 4)))
    assert content(resumed) == content(whole)
    assert len(whole) == 30
    assert best_of(resumed, spec.objectives) is not None
