"""The first difference between what was recorded and what the journal recomputes to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from data.records import encode

# On another fingerprint floats may differ in their last bits; everything else may not.
TOLERANCE = 1e-9


class Difference(Exception):
    """``where`` names the record, ``field`` the place in it; both values are kept."""

    def __init__(self, where: str, field: str, recorded: object, recomputed: object) -> None:
        super().__init__(f"{where}, {field}: recorded {recorded!r}, recomputed {recomputed!r}")
        self.where = where
        self.field = field
        self.recorded = recorded
        self.recomputed = recomputed


def compare(where: str, recorded: Any, recomputed: Any, *, exact: bool) -> None:
    """Raises Difference unless both encode to the same bytes.

    With ``exact`` False, floats may differ by TOLERANCE (absolute, or relative above 1).
    """
    if encode(recorded) == encode(recomputed):
        return
    ours, theirs = msgspec.to_builtins(recorded), msgspec.to_builtins(recomputed)
    for field, a, b in _leaves(ours, theirs, ""):
        if not _same(a, b, exact=exact):
            raise Difference(where, field or "value", a, b)


def check_payload(where: str, payload: bytes, entry: object) -> None:
    """Raises Difference when a payload holds anything besides the fields it was decoded to."""
    again = encode(entry)
    if again == payload:
        return
    at = next((i for i, (a, b) in enumerate(zip(payload, again, strict=False)) if a != b), 0)
    at = at or min(len(payload), len(again))
    raise Difference(where, f"payload, byte {at}", payload[at : at + 40], again[at : at + 40])


def _leaves(a: Any, b: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """(path, a's value, b's value) of all leaves; where shapes differ, the whole branch is one."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        for key in a:
            yield from _leaves(a[key], b[key], f"{path}.{key}" if path else str(key))
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from _leaves(x, y, f"{path}[{i}]")
    else:
        yield path, a, b


def _same(a: Any, b: Any, *, exact: bool) -> bool:
    if not (isinstance(a, float) and isinstance(b, float)):
        return bool(type(a) is type(b) and a == b)
    if exact:
        # 0.0 and -0.0 are equal numbers but not the same bits.
        return a == b and math.copysign(1.0, a) == math.copysign(1.0, b)
    return abs(a - b) <= TOLERANCE * max(1.0, abs(a), abs(b))
