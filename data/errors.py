"""Errors that a person made and can mend."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input: one line that says what is wrong, where, and what to do (exit code 2)."""
