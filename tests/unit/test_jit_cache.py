"""The numba cache: an edit in one file must reach a compiled caller in another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from data.jit_cache import BASE_VARIABLE, cache_directory, njit_sources, source_hash

STEP = """
from numba import njit

@njit(cache=True)
def step(x):
    return x {operator} 10
"""
LOOP = """
from numba import njit
from data.step import step

@njit(cache=True)
def loop(n):
    total = 0
    for i in range(n):
        total += step(i)
    return total
"""
# Like data/__init__.py: the directory is chosen before numba is imported.
RUN = """
import os, sys
from pathlib import Path
root, base = Path(sys.argv[1]), Path(sys.argv[2])
sys.path.insert(0, sys.argv[3])
from data.jit_cache import cache_directory
del sys.modules["data"], sys.modules["data.jit_cache"]
if sys.argv[4] == "hashed":
    os.environ["NUMBA_CACHE_DIR"] = str(cache_directory(root, base, "cpu"))
else:
    os.environ["NUMBA_CACHE_DIR"] = str(base / "fixed")
sys.path[0] = str(root)
from actors.loop import loop
print(loop(4), sum(loop.stats.cache_hits.values()))
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A step function in one package, a loop that calls it in another."""
    root = tmp_path / "tree"
    for package in ("data", "actors"):
        (root / package).mkdir(parents=True)
        (root / package / "__init__.py").write_text("")
    (root / "data" / "step.py").write_text(STEP.format(operator="+"))
    (root / "actors" / "loop.py").write_text(LOOP)
    return root


def run(root: Path, repository: Path, kind: str) -> tuple[int, int]:
    """The loop's result in a fresh process, and how often it came from the cache."""
    env = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, root, root.parent / "cache", repository, kind],
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result, hits = done.stdout.split()
    return int(result), int(hits)


def test_edited_step_reaches_the_compiled_loop(tree: Path, repository: Path) -> None:
    assert run(tree, repository, "hashed") == (0 + 1 + 2 + 3 + 40, 0)
    assert run(tree, repository, "hashed") == (46, 1)
    (tree / "data" / "step.py").write_text(STEP.format(operator="*"))
    assert run(tree, repository, "hashed") == (60, 0)


def test_a_fixed_directory_would_run_the_old_step(tree: Path, repository: Path) -> None:
    # The defect that the hashed name is there for: if numba ever mends it, this test says so.
    assert run(tree, repository, "fixed") == (46, 0)
    (tree / "data" / "step.py").write_text(STEP.format(operator="*"))
    assert run(tree, repository, "fixed") == (46, 1)


def test_hash_follows_content_and_name_of_all_that_compiled_code_is_made_of(tree: Path) -> None:
    empty = source_hash(tree)
    (tree / "tuning").mkdir(exist_ok=True)
    (tree / "tuning" / "plain.py").write_text("x = 1\n")
    assert source_hash(tree) == empty
    # A constant that compiled code may import and freeze.
    (tree / "actors" / "constants.py").write_text("K = 1\n")
    first = source_hash(tree)
    assert first != empty
    assert [path.name for path in njit_sources(tree)] == ["step.py", "loop.py"]
    (tree / "actors" / "loop.py").rename(tree / "actors" / "ring.py")
    second = source_hash(tree)
    assert second != first
    (tree / "actors" / "ring.py").write_text(LOOP + "\n")
    assert source_hash(tree) not in (first, second)


def test_what_compiled_code_imports_counts_wherever_it_lies(tree: Path) -> None:
    """A constant frozen into a loop of an upper floor, from a module without njit, and its own."""
    (tree / "tuning").mkdir()
    for name, text in {
        "__init__": "",
        "slots": "from tuning.numbers import ONE\nSLOT = ONE\n",
        "numbers": "ONE = 1\n",
        "loop": LOOP + "from tuning.slots import SLOT\n",
        "report": "x = 1\n",
    }.items():
        (tree / "tuning" / f"{name}.py").write_text(text)
    hashes = [source_hash(tree)]
    for name in ("slots", "numbers", "report"):
        path = tree / "tuning" / f"{name}.py"
        path.write_text(path.read_text() + "# edited\n")
        hashes.append(source_hash(tree))
    first, slots, numbers, report = hashes
    assert len({first, slots, numbers}) == 3
    assert report == numbers


def test_the_base_of_the_cache_can_be_named(tmp_path: Path, repository: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    code = "import data.money, numba; print(numba.config.CACHE_DIR)"
    found = [
        Path(
            subprocess.run(
                [sys.executable, "-c", code],
                env={**env, BASE_VARIABLE: str(tmp_path / base)},
                cwd=repository,
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            ).stdout.strip()
        )
        for base in ("a", "b")
    ]
    assert [path.parent for path in found] == [tmp_path / "a", tmp_path / "b"]
    assert found[0].name == found[1].name


def test_directory_follows_the_cpu(tree: Path, tmp_path: Path) -> None:
    assert cache_directory(tree, tmp_path, "a") != cache_directory(tree, tmp_path, "b")
    assert cache_directory(tree, tmp_path, "a") == cache_directory(tree, tmp_path, "a")


@pytest.mark.parametrize(
    "module", ["actors.account_checks", "cloud_trader.fills", "tuning.fit_link", "data.money"]
)
@pytest.mark.parametrize("first", ["", "import numba; "])
def test_numba_knows_the_directory_whatever_is_imported_first(module: str, first: str) -> None:
    code = f"{first}import {module}, numba, os; print(numba.config.CACHE_DIR)"
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.strip()
    assert Path(found).parent.name.startswith("sapphire-numba"), found
