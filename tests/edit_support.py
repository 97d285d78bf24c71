"""Whether an edited step function reaches a compiled loop: in a copy of the sources, and undone.

A script finds made bars, limits and costs by name, and prints one JSON object:
``hits`` of numba's cache, and figures that must follow the edit.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.jit_cache import BASE_VARIABLE, FLOORS

HEAD = """
import hashlib, json
from loop_support import loud_models, made_bars, LIMITS, EVERYTHING, COSTS
"""


@dataclass(frozen=True)
class Edit:
    """``old`` becomes ``new`` in ``file``; ``script`` follows HEAD."""

    file: str
    old: str
    new: str
    script: str


def check_edit_is_seen(edit: Edit, repository: Path, folder: Path) -> None:
    """Runs the script before the edit, after it, and after it was undone."""
    root, base = folder / "tree", folder / "cache"
    for floor in FLOORS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(repository / floor, root / floor, ignore=ignored)
    (root / "tests").mkdir()
    shutil.copy2(repository / "tests" / "loop_support.py", root / "tests")
    edited = root / edit.file
    original, digest = edited.read_text(), hashlib.sha256(edited.read_bytes()).hexdigest()
    assert original.count(edit.old) == 1

    first = _run(edit.script, root, base)
    assert first["hits"] == 0
    assert first["fills"] > 5

    edited.write_text(original.replace(edit.old, edit.new))
    second = _run(edit.script, root, base)
    assert second["hits"] == 0
    assert second["digest"] != first["digest"]
    assert second["equity"] != first["equity"]

    # Undone: the first result again, from the first cache.
    edited.write_text(original)
    assert hashlib.sha256(edited.read_bytes()).hexdigest() == digest
    third = _run(edit.script, root, base)
    assert third["hits"] > 0
    assert {**third, "hits": 0} == first
    assert len(list(base.iterdir())) == 2


def _run(script: str, root: Path, base: Path) -> dict[str, Any]:
    """The script with the sources below ``root`` in a fresh process, its cache in ``base``."""
    hidden = ("NUMBA_CACHE_DIR", "PYTHONPATH")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [sys.executable, "-c", HEAD + script],
        env={**env, BASE_VARIABLE: str(base), "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"},
        cwd=root,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
