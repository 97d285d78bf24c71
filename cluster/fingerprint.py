"""What decides the last bit of a float: code, locked packages, compiler, CPU features, libm."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path

from data.jit_cache import FLOORS

ROOT = Path(__file__).resolve().parent.parent
RECORDING = FLOORS[:4]  # data, actors, serve_apps, cloud_trader


def fingerprint() -> dict[str, str]:
    """The parts by name; two machines with equal parts compute equal bits."""
    from llvmlite import binding

    lock = ROOT / "requirements.lock"
    features = binding.get_host_cpu_features().flatten()
    return {
        "code": code_hash(ROOT),
        "lock": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.exists() else "absent",
        "python": platform.python_version(),
        "numba": f"{version('numba')} llvmlite {version('llvmlite')} numpy {version('numpy')}",
        "cpu": f"{binding.get_host_cpu_name()} {_short_hash(features)}",
        "libm": " ".join(platform.libc_ver()),
    }


def code_hash(root: Path, floors: tuple[str, ...] = RECORDING) -> str:
    """SHA-256 over names and contents of every module that a session's records come from.

    Reports, tuning and the command line stand above: they decide nothing in a session.
    """
    digest = hashlib.sha256()
    for path in sorted(path for floor in floors for path in (root / floor).rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def differing(recorded: dict[str, str], here: dict[str, str]) -> list[str]:
    """The parts that are not the same, in words."""
    return [
        f"{part}: recorded {recorded.get(part, 'nothing')[:24]}, here {here.get(part, 'no')[:24]}"
        for part in sorted(recorded.keys() | here.keys())
        if recorded.get(part) != here.get(part)
    ]


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
