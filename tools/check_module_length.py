"""Fail when a module has more than 400 lines without saying why.

A module that must be longer carries the line ``# longer than 400 lines because: <reason>``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

LIMIT = 400
REASON = re.compile(r"^# longer than 400 lines because: \S.{9,}$", re.MULTILINE)
ROOTS = (
    "data",
    "actors",
    "serve_apps",
    "cloud_trader",
    "tuning",
    "cluster",
    "tools",
    "benchmarks",
    "tests",
)


def too_long(root: Path) -> list[str]:
    """A line for each module below ``root`` that is too long and gives no reason."""
    found = []
    for name in ROOTS:
        for path in sorted((root / name).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            lines = text.count("\n")
            if lines > LIMIT and not REASON.search(text):
                found.append(
                    f"{path.relative_to(root)}: {lines} lines, {LIMIT} allowed: split it, "
                    "or give the reason in a line '# longer than 400 lines because: …'"
                )
    return found


def main() -> int:
    """Print what is too long; exit code 1 if anything is."""
    found = too_long(Path(__file__).resolve().parent.parent)
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
