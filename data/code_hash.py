"""A hash of our own source, for whatever must know that it was made by the same code."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from data.jit_cache import FLOORS

ROOT = Path(__file__).resolve().parent.parent


def code_hash(root: Path, floors: Sequence[str]) -> str:
    """SHA-256 hex over names and contents of every module of these floors below ``root``."""
    return _hash(root, (path for floor in floors for path in (root / floor).rglob("*.py")))


def reached_hash(root: Path, modules: Sequence[str]) -> str:
    """The same over these modules and all of ours that they import, or those do."""
    found: set[Path] = set()
    queue = [root.joinpath(*name.split(".")).with_suffix(".py") for name in modules]
    while queue:
        path = queue.pop()
        if path not in found:
            found.add(path)
            queue += _imports(root, path)
    return _hash(root, found)


def _imports(root: Path, source: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(source.read_bytes())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            # ``from tuning import labels`` names a module, ``from tuning.labels import x`` a thing.
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.split(".")[0] in FLOORS:
                # Of packages only what is named in them: theirs hold no code that decides.
                path = root.joinpath(*name.split(".")).with_suffix(".py")
                if path.is_file():
                    yield path


def _hash(root: Path, paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
