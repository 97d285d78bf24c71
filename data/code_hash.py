"""A hash of our own source, for whatever must know that it was made by the same code."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def code_hash(root: Path, floors: Sequence[str]) -> str:
    """SHA-256 hex over names and contents of every module of these floors below ``root``."""
    digest = hashlib.sha256()
    for path in sorted(path for floor in floors for path in (root / floor).rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
