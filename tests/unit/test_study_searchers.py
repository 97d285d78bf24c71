"""Searchers as functions of the study; what progress says; what code a study rests on."""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from data.code_hash import reached_hash
from tests.study_support import ToyEvaluator, toy_space, toy_spec
from tuning.study.contract import COMPLETE, FAILED, Trial
from tuning.study.database import DatabaseError, Sqlite, Taken
from tuning.study.engine import Engine
from tuning.study.executors import timed
from tuning.study.progress import Progress
from tuning.study.searchers import PopulationSearch, best_of, make_searcher, pareto_front


def _trial(number: int, value: float | None, generation: int = 0, x: float = 0.5) -> Trial:
    config = {"x": x, "k": 3, "rule": "a"}
    if value is None:
        return Trial(number, generation, config, FAILED, error="why")
    return Trial(number, generation, config, COMPLETE, (value,))


@pytest.mark.parametrize("name", ["random", "tpe", "pbt"])
def test_a_fresh_searcher_suggests_what_an_old_one_does(name: str) -> None:
    space, spec = toy_space(), toy_spec(name)
    old = make_searcher(spec, space)
    history: list[Trial] = []
    rng = np.random.default_rng(1)
    for generation in range(5):
        configs = old.suggest(generation, 8, history)
        assert configs == make_searcher(spec, space).suggest(generation, 8, history)
        other = make_searcher(toy_spec(name, seed=4), space).suggest(generation, 8, history)
        assert configs != other
        history += [
            Trial(len(history) + i, generation, config, COMPLETE, (float(rng.normal()),))
            for i, config in enumerate(configs)
        ]


def test_a_population_keeps_its_best_and_replaces_its_worst() -> None:
    search = PopulationSearch(toy_space(), ["sharpe"], 1, quantile=0.25, resample=0.0, scale=1e-6)
    history = [_trial(i, float(i), x=0.1 * (i + 1)) for i in range(4)]
    near = [round(float(config["x"]), 3) for config in search.suggest(1, 4, history)]
    assert near == [0.4, 0.2, 0.3, 0.4]  # the worst one took the place of the best
    history += [_trial(4, 9.0, 1, 0.9), *(_trial(i, None, 1, 0.7) for i in (5, 6, 7))]
    near = [round(float(config["x"]), 3) for config in search.suggest(2, 4, history)]
    assert near == [0.9, 0.9, 0.3, 0.4]  # failed ones are forgotten


def test_the_first_of_equal_trials_is_best_and_the_next_objective_decides() -> None:
    trials = [_trial(0, None), _trial(1, 2.0), _trial(2, 2.0), _trial(3, 1.0)]
    assert best_of(trials, ["sharpe"]) is trials[1]
    low = [_trial(0, 0.3), _trial(1, 0.2)]
    assert best_of(low, ["brier"]) is low[1]
    two = [
        Trial(i, 0, {}, COMPLETE, values)
        for i, values in enumerate([(1.0, 0.3), (1.0, 0.2), (0.5, 0.1), (0.5, 0.2)])
    ]
    assert best_of(two, ["sharpe", "brier"]) is two[1]
    assert [t.number for t in pareto_front(two, ["sharpe", "brier"])] == [1, 2]
    assert pareto_front([_trial(0, None)], ["sharpe"]) == []


def test_progress_counts_this_run_alone() -> None:
    spec, evaluator = toy_spec(trials=24, generation=8), ToyEvaluator()
    engine = Engine(spec, evaluator, make_searcher(spec, evaluator.space), lambda _: None)
    pace = Progress(0, 100.0)
    start = pace.look(engine, 100.0)
    assert (start.done, start.total, start.best_number) == (0, 24, -1)
    assert all(map(math.isnan, (start.rate, start.left_s, start.best)))
    while len(engine.trials) < 8:
        item = engine.next()
        assert item is not None
        engine.done(item, *timed(evaluator, item))
    seen = pace.look(engine, 104.0)
    assert (seen.done, seen.rate, seen.left_s) == (8, 2.0, 8.0)
    assert seen.best == max(t.values[0] for t in engine.trials.values() if t.values)
    assert seen.failed == sum(t.status == FAILED for t in engine.trials.values())
    assert math.isnan(Progress(8, 104.0).look(engine, 105.0).rate)


def test_sqlite_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    kept = Sqlite(path)
    kept.execute("INSERT INTO study VALUES (%s, %s, %s)", ("a", "{}", 1))
    with pytest.raises(Taken, match="UNIQUE") as caught:
        kept.execute("INSERT INTO study VALUES (%s, %s, %s)", ("a", "{}", 1))
    assert str(path) in str(caught.value)
    with pytest.raises(DatabaseError, match="no such table"):
        kept.execute("SELECT * FROM no_table")
    with pytest.raises(Taken), kept.transaction():
        kept.execute_many("INSERT INTO study VALUES (%s, %s, %s)", [("b", "{}", 1), ("a", "", 1)])
    assert kept.execute("SELECT name FROM study") == [("a",)]
    assert kept.execute("PRAGMA synchronous") == [(2,)]  # FULL
    kept.close()
    Sqlite(path).close()  # tables are made once
    path.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(DatabaseError, match="not a database"):
        Sqlite(path)
    with pytest.raises(DatabaseError):
        Sqlite(path / "below")
    assert sqlite3.sqlite_version


def test_code_that_is_not_reached_does_not_count(tmp_path: Path) -> None:
    def put(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    put("tuning/study/a.py", "from actors.b import x\nimport numpy\n")
    put("actors/b.py", "from data.c import y\n")
    put("data/c.py", "y = 1\n")
    put("actors/other.py", "z = 1\n")
    first = reached_hash(tmp_path, ["tuning.study.a"])
    assert reached_hash(tmp_path, ["tuning.study.a"]) == first
    put("actors/other.py", "z = 2\n")
    assert reached_hash(tmp_path, ["tuning.study.a"]) == first
    put("data/c.py", "y = 2\n")
    assert reached_hash(tmp_path, ["tuning.study.a"]) != first
    put("data/c.py", "y = 1\n")
    assert reached_hash(tmp_path, ["tuning.study.a"]) == first
    (tmp_path / "data/c.py").rename(tmp_path / "data/d.py")
    assert reached_hash(tmp_path, ["tuning.study.a"]) != first
