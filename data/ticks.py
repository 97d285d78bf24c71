"""Trades and quotes of ONE symbol, one row each: prices in ticks, sizes in lots, all int64.

``ts`` is UTC nanoseconds. ``exchange`` is an index into the feed's table of exchanges, 0 where
there is one venue. Importers quantise; nothing here rounds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# ``side``: +1 the buyer was the aggressor, -1 the seller, 0 the feed does not say.
TRADE = np.dtype(
    [("ts", "<i8"), ("price", "<i8"), ("size", "<i8"), ("side", "<i8"), ("exchange", "<i8")]
)

# One exchange's update. Price 0: this row does not update that side. A price with size 0: the
# exchange withdraws that side.
QUOTE = np.dtype(
    [
        ("ts", "<i8"),
        ("exchange", "<i8"),
        ("bid", "<i8"),
        ("bid_size", "<i8"),
        ("ask", "<i8"),
        ("ask_size", "<i8"),
    ]
)

# The national best bid and offer from ``ts`` on. Price 0: that side is not known.
NBBO = np.dtype(
    [("ts", "<i8"), ("bid", "<i8"), ("bid_size", "<i8"), ("ask", "<i8"), ("ask_size", "<i8")]
)

Trades = NDArray[np.void]
Quotes = NDArray[np.void]


def rows_of(rows: NDArray[np.void], dtype: np.dtype, what: str) -> NDArray[np.void]:
    """``rows`` as the contiguous, writable array for which the compiled code was built.

    ValueError when the dtype or the number of dimensions is another one.
    """
    if rows.dtype != dtype or rows.ndim != 1:
        raise ValueError(
            f"{what} must be one-dimensional of {dtype.names}, not {rows.ndim}-d {rows.dtype}"
        )
    return np.require(rows, requirements=["C", "W"])


def check_order(ts: NDArray[np.int64], floor: int, what: str) -> None:
    """ValueError at the first row that is earlier than the row before it, or than ``floor``."""
    if len(ts) == 0:
        return
    if ts[0] < floor:
        raise ValueError(
            f"{what} row 0: ts {ts[0]} is before {floor}, which has passed; sort or quarantine it"
        )
    back = ts[1:] < ts[:-1]
    if back.any():
        row = int(back.argmax()) + 1
        raise ValueError(
            f"{what} row {row}: ts {ts[row]} is before the row above it ({ts[row - 1]}); "
            "sort (stable) or quarantine it"
        )
