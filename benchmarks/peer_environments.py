"""The peers' own environments below ``.bench``: their licences and pins are not ours.

backtesting.py is AGPL: it is measured from its own process and never imported by our code. The
three cannot share one environment, they need different versions of pandas.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from benchmarks.measured import one_line
from benchmarks.processes import ROOT

HERE = Path(__file__).resolve().parent / "peers"
HOME = ROOT / ".bench" / "peers"
PEERS = ("vectorbt", "backtesting", "nautilus_trader")


def script(peer: str) -> Path:
    """The peer's benchmark, to be run by its own python."""
    return HERE / f"run_{peer}.py"


def pinned(peer: str) -> dict[str, str]:
    """Versions that the peer's requirements name."""
    lines = (HERE / f"{peer}.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.partition("==")[::2] for line in lines if "==" in line]
    return {name.lower(): number for name, number in pairs}


def python_of(peer: str) -> tuple[Path, str]:
    """(its python, reason why there is none); makes the environment when it is missing or stale."""
    home, requirements = HOME / peer, HERE / f"{peer}.txt"
    python, stamp = home / "bin" / "python", home / ".stamp"
    wanted = hashlib.sha256(
        requirements.read_bytes() + sys.version.encode() + str(home).encode()
    ).hexdigest()
    if python.exists() and stamp.is_file() and stamp.read_text() == wanted:
        return python, ""
    print(f"making the environment of {peer} ...", file=sys.stderr, flush=True)
    uv = [sys.executable, "-m", "uv"]
    pip = [*uv, "pip", "install", "--compile-bytecode", "--python", str(python)]
    for command in (
        [*uv, "venv", "--clear", "--python", sys.executable, str(home)],
        [*pip, "-r", str(requirements)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return python, f"environment: {one_line(done.stderr, str(ROOT))}"
    stamp.write_text(wanted)
    return python, ""
