"""kill -9 of a study's driver at 20 random moments, then resume: the study nobody stopped.

``make chaos`` runs it; the short form stands in tests/integration/test_study_kill.py.
"""

from __future__ import annotations

import itertools
import random
import shutil
import time
from pathlib import Path

import psutil
import pytest

from tests.study_kill import HEAD, Kill, Row, killed, moment, orphans, undisturbed
from tuning.study.contract import Trial

KILLS, AMID, TRIALS, SEED = 20, 16, 200, 2026
SEARCHERS = ("tpe", "random", "pbt", "grid", "random+halving")
EXECUTORS = ("here", "ray")

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(3_600)]


def test_a_driver_killed_at_20_random_moments_and_resumed(tmp_path: Path) -> None:
    whole: dict[str, list[Trial]] = {}
    lasts = 0.0
    undisturbed(tmp_path / "warm", "random", 2)  # Compiles, which would count as the study's time.
    for searcher in SEARCHERS:
        began = time.monotonic()
        whole[searcher] = undisturbed(tmp_path / searcher, searcher, TRIALS)
        assert len(whole[searcher]) == TRIALS
        lasts = max(lasts, time.monotonic() - began)
    rng = random.Random(SEED)
    pairs = list(itertools.product(SEARCHERS, EXECUTORS))
    # Each pair once in mid-study; of the second round two at the start, two after the last trial.
    aside = rng.sample(range(len(pairs), KILLS), KILLS - AMID)
    early, late = aside[:2], aside[2:]
    rows: list[Row] = []
    family: set[psutil.Process] = set()
    print(f"\nundisturbed: up to {lasts:.1f} s\n{HEAD}")
    for i in range(KILLS):
        searcher, executor = pairs[i % len(pairs)]
        if i in early:
            kill = Kill(seconds=rng.uniform(0.2, lasts / 2))
        elif i in late:
            kill = Kill(trials=TRIALS)
        else:
            kill = moment(rng, whole[searcher])
        home = tmp_path / f"kill-{i}"
        rows.append(killed(home, searcher, executor, kill, whole[searcher], family))
        print(rows[-1].cells(), flush=True)
        if rows[-1].equal:
            shutil.rmtree(home)
    assert all(row.equal for row in rows)
    assert sum(0 < row.durable < TRIALS for row in rows) >= 15
    assert orphans(family) == []
