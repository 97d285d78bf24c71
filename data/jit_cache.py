"""Where numba keeps compiled code: a directory named by a hash of everything that shapes it.

numba's own index looks only at the file that holds a function, so an edit of a step function in
another file would leave a cached caller running the old step. The directory's name therefore
hashes every source file that compiled code is made of, the numba and llvmlite versions and the CPU.

The directories lie in the environment (``sys.prefix``), or below SAPPHIRE_JIT_CACHE where that is
set: another base for them, each still named by its hash.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

FLOORS = ("data", "actors", "serve_apps", "cloud_trader", "tuning", "cluster")
BASE_VARIABLE = "SAPPHIRE_JIT_CACHE"
_IMPORT = re.compile(rb"^(?:from|import) ([\w.]+)", re.MULTILINE)


def njit_sources(root: Path) -> list[Path]:
    """Every module below ``root`` that mentions njit, in a stable order."""
    return [
        path
        for floor in FLOORS
        for path in sorted((root / floor).rglob("*.py"))
        if b"njit" in path.read_bytes()
    ]


def compiled_sources(root: Path) -> set[Path]:
    """Every module below ``root`` whose content compiled code may hold.

    numba freezes the constants that a compiled module imports. So to the modules with njit belong
    all that they import, directly or not, also one without njit; and every module of the two floors
    that feed compiled code.
    """
    found = {path for floor in FLOORS[:2] for path in (root / floor).rglob("*.py")}
    queue = njit_sources(root)
    found.update(queue)
    while queue:
        for path in _imports(root, queue.pop()):
            if path not in found:
                found.add(path)
                queue.append(path)
    return found


def _imports(root: Path, source: Path) -> Iterator[Path]:
    """Our modules that ``source`` imports; of ``from package import name`` the whole package."""
    for name in _IMPORT.findall(source.read_bytes()):
        parts = name.decode().split(".")
        if parts[0] in FLOORS:
            path = root.joinpath(*parts)
            yield from path.glob("*.py") if path.is_dir() else path.parent.glob(f"{path.name}.py")


def source_hash(root: Path) -> str:
    """Hex digest over names and contents of all that compiled code is made of below ``root``."""
    digest = hashlib.sha256()
    for path in sorted(compiled_sources(root)):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def cache_directory(root: Path, base: Path, cpu: str) -> Path:
    """The cache directory for the sources below ``root`` on a CPU named ``cpu``."""
    tool = f"{version('numba')} {version('llvmlite')} {cpu} {sys.version_info[:2]}"
    name = hashlib.sha256(f"{source_hash(root)} {tool}".encode()).hexdigest()[:20]
    return base / name


def activate() -> Path:
    """Point numba at the right directory, before the first compiled function of ours is defined.

    A directory that the environment names already is kept: a parent process chose it.
    """
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    directory = Path(chosen) if chosen else _choose()
    os.environ["NUMBA_CACHE_DIR"] = str(directory)
    if "numba" in sys.modules:  # It has read its environment already.
        sys.modules["numba"].config.CACHE_DIR = str(directory)
    return directory


def _choose() -> Path:
    from llvmlite import binding

    root = Path(__file__).resolve().parent.parent
    cpu = f"{binding.get_host_cpu_name()} {binding.get_host_cpu_features().flatten()}"
    named = os.environ.get(BASE_VARIABLE)
    home = Path(named) if named else Path(sys.prefix) / "var" / "sapphire-numba"
    directory = cache_directory(root, home, cpu)
    if not directory.is_dir() and not _can_make(directory):
        shared = Path(tempfile.gettempdir()) / f"sapphire-numba-{os.getuid()}"
        directory = cache_directory(root, shared, cpu)
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return directory


def _can_make(directory: Path) -> bool:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return True
