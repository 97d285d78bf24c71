"""The first thing that a verification finds wrong."""

from __future__ import annotations


class Violation(Exception):
    """``where`` names the record or row, ``what`` the fault."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where = where
        self.what = what


def require(holds: bool, where: str, what: str) -> None:
    """Raises Violation unless ``holds``."""
    if not holds:
        raise Violation(where, what)
