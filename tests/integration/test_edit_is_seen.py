"""The cached loop runs what the sources say: an edit of a step function in another file reaches it.

numba's own cache looks at the file of the loop alone (``tests/unit/test_jit_cache.py`` shows the
defect on a small loop); here it is the whole one, in a copy of the sources with a cache of its own.
Twice it is compiled from nothing, which is most of the time that this takes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from data.jit_cache import BASE_VARIABLE, FLOORS

EDITED, OLD, NEW = "actors/link.py", "CLIP = 4.0", "CLIP = 0.25"
RUN = """
import hashlib, json
from loop_support import loud_models, made_bars, LIMITS, EVERYTHING, COSTS
from tuning.backtesting import BacktestParams, backtest
from tuning.loop import run_segment

bars = made_bars(5, 330, 2)
params = BacktestParams(symbols=("A", "B"), models=loud_models(), keep=EVERYTHING)
result = backtest(bars, params, LIMITS["shorts"], COSTS)
print(json.dumps({
    "votes": hashlib.sha256(result.kept.votes.tobytes()).hexdigest(),
    "equity": result.final_equity_micro,
    "fills": result.counts["fills"],
    "hits": sum(run_segment.stats.cache_hits.values()),
}))
"""


def run(root: Path, base: Path) -> dict[str, Any]:
    """A backtest of the sources below ``root`` in a fresh process, with its cache in ``base``."""
    hidden = ("NUMBA_CACHE_DIR", "PYTHONPATH")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        env={**env, BASE_VARIABLE: str(base), "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"},
        cwd=root,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.timeout(600)  # Two compilations of the whole loop on a busy core.
def test_an_edited_constant_reaches_the_compiled_loop(repository: Path, tmp_path: Path) -> None:
    root, base = tmp_path / "tree", tmp_path / "cache"
    for floor in FLOORS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(repository / floor, root / floor, ignore=ignored)
    (root / "tests").mkdir()
    shutil.copy2(repository / "tests" / "loop_support.py", root / "tests")
    edited = root / EDITED
    original, digest = edited.read_text(), hashlib.sha256(edited.read_bytes()).hexdigest()
    assert original.count(OLD) == 1

    first = run(root, base)
    assert first["hits"] == 0
    assert first["fills"] > 10

    edited.write_text(original.replace(OLD, NEW))
    second = run(root, base)
    assert second["hits"] == 0
    assert second["votes"] != first["votes"]
    assert second["equity"] != first["equity"]

    # Undone: the first result again, from the first cache.
    edited.write_text(original)
    assert hashlib.sha256(edited.read_bytes()).hexdigest() == digest
    third = run(root, base)
    assert third["hits"] > 0
    assert {**third, "hits": 0} == first
    assert len(list(base.iterdir())) == 2
