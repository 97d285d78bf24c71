"""What decides the last bit of a float: code, locked packages, compiler, CPU features, libm."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import version

from data.code_hash import ROOT, code_hash
from data.jit_cache import FLOORS

# Reports, tuning and the command line stand above: they decide nothing in a session.
RECORDING = FLOORS[:4]  # data, actors, serve_apps, cloud_trader


def fingerprint() -> dict[str, str]:
    """The parts by name; two machines with equal parts compute equal bits."""
    from llvmlite import binding

    lock = ROOT / "requirements.lock"
    features = binding.get_host_cpu_features().flatten()
    return {
        "code": code_hash(ROOT, RECORDING),
        "lock": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.exists() else "absent",
        "python": platform.python_version(),
        "numba": f"{version('numba')} llvmlite {version('llvmlite')} numpy {version('numpy')}",
        "cpu": f"{binding.get_host_cpu_name()} {_short_hash(features)}",
        "libm": " ".join(platform.libc_ver()),
    }


def differing(recorded: dict[str, str], here: dict[str, str]) -> list[str]:
    """The parts that are not the same, in words."""
    return [
        f"{part}: recorded {recorded.get(part, 'nothing')[:24]}, here {here.get(part, 'no')[:24]}"
        for part in sorted(recorded.keys() | here.keys())
        if recorded.get(part) != here.get(part)
    ]


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
