"""The bar: one row per symbol and bar, prices in ticks, volumes in lots.

``ts`` is UTC nanoseconds at the moment the bar became known, its close. ``symbol`` is the index
of the symbol in its session's symbol table. Optional fields that a feed does not know hold
``UNKNOWN``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

UNKNOWN = -1

BAR = np.dtype(
    [
        ("ts", "<i8"),
        ("symbol", "<i8"),
        ("open", "<i8"),
        ("high", "<i8"),
        ("low", "<i8"),
        ("close", "<i8"),
        ("volume", "<i8"),
        ("buy_volume", "<i8"),
        ("trades", "<i8"),
        ("bid", "<i8"),
        ("ask", "<i8"),
        ("bid_size", "<i8"),
        ("ask_size", "<i8"),
    ]
)

Bars = NDArray[np.void]


def empty_bars(count: int) -> Bars:
    """``count`` bars, shape (count,), whose optional fields are UNKNOWN and all else zero."""
    bars = np.zeros(count, BAR)
    for field in ("buy_volume", "trades", "bid", "ask", "bid_size", "ask_size"):
        bars[field] = UNKNOWN
    return bars


def make_bar(**fields: Any) -> Bars:
    """One bar as an array of shape (1,)."""
    bars = empty_bars(1)
    for name, value in fields.items():
        bars[name] = value
    return bars
