"""kill -9 of a study's driver at 20 random moments, then resume: the study nobody stopped.

``make chaos`` runs it; the short form stands in tests/integration/test_study_kill.py.
"""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import psutil
import pytest

from tests.study_kill import HEAD, Row, killed, moments, orphans, undisturbed
from tuning.study.contract import Trial

KILLS, TRIALS, SEED = 20, 200, 2026
SEARCHERS = ("tpe", "random", "pbt")

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(3_600)]


def test_a_driver_killed_at_20_random_moments_and_resumed(tmp_path: Path) -> None:
    whole: dict[str, list[Trial]] = {}
    lasts = 0.0
    undisturbed(tmp_path / "warm", "random", 2)  # Compiles, which would count as the study's time.
    for searcher in SEARCHERS:
        began = time.monotonic()
        whole[searcher] = undisturbed(tmp_path / searcher, searcher, TRIALS)
        lasts = max(lasts, time.monotonic() - began)
    rows: list[Row] = []
    family: set[psutil.Process] = set()
    print(f"\nundisturbed: up to {lasts:.1f} s\n{HEAD}")
    # Two moments for each pair of searcher and executor, so that both kinds meet all of them.
    for i, kill in enumerate(moments(random.Random(SEED), KILLS, TRIALS, lasts)):
        searcher = SEARCHERS[(i // 2) % len(SEARCHERS)]
        executor = ("here", "ray")[(i // 2) % 2]
        home = tmp_path / f"kill-{i}"
        rows.append(killed(home, searcher, executor, kill, whole[searcher], family))
        print(rows[-1].cells(), flush=True)
        if rows[-1].equal:
            shutil.rmtree(home)
    assert all(row.equal for row in rows)
    assert orphans(family) == []
