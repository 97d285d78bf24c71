"""The door: what is wrong with a bar, decided row by row, the same live and in history.

A bad row is quarantined with a reason and counted; it is never repaired and never passed on.
One compiled rule judges a row; ``Door`` streams through it, ``admit_rows`` runs it in bulk.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numba import njit
from numpy.typing import NDArray

# An open that stands at one of these ratios to the close before, and a close that stayed near it,
# is more likely an unadjusted split than a move: real daily falls of 60 % exist, but they do not
# land on the ratio. The close may have moved by an ordinary day's move on top.
SPLIT_RATIOS = (1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 8.0, 10.0, 15.0, 20.0, 25.0, 50.0)
OPEN_TOLERANCE = 0.03
CLOSE_TOLERANCE = 0.06
# Beyond these, up and down, a bar that opened and closed there is a split, another company with the
# same ticker, or a ruin that somebody should look at before trading on.
HIGHEST_JUMP = 3.0
DEEPEST_JUMP = 5.0


class Flaw(StrEnum):
    """Why a row was quarantined."""

    NOT_A_NUMBER = "not_a_number"
    NON_POSITIVE = "non_positive"
    CROSSED = "crossed"  # high below, or low above, one of the other prices
    NEGATIVE_VOLUME = "negative_volume"
    DUPLICATE = "duplicate"
    OUT_OF_ORDER = "out_of_order"
    JUMP = "split_like_jump"
    NOT_A_SESSION = "not_a_session"  # a date on which the exchange was closed
    NO_TIME = "no_time"  # the moment is missing or does not exist
    UNREADABLE = "unreadable"  # a line that is not what its file's format says
    KNOWN = "already_in_table"  # the lake holds this symbol and moment


FLAWS = tuple(Flaw)  # A compiled verdict is 1 + an index into this; 0 passes.
PASSES = 0
_NAN, _POSITIVE, _CROSSED, _VOLUME, _DUPLICATE, _ORDER, _JUMP = range(1, 8)


@dataclass(frozen=True)
class Quarantined:
    """One row that was kept out."""

    when: str
    symbol: str
    flaw: Flaw


def flaw_of_code(code: int) -> Flaw | None:
    """The flaw of a compiled verdict."""
    return FLAWS[code - 1] if code else None


def code_of(flaw: Flaw) -> int:
    """The compiled verdict of a flaw."""
    return FLAWS.index(flaw) + 1


@njit(cache=True)
def price_code(open_, high, low, close, volume):
    """Verdict on the row by itself."""
    if not (
        math.isfinite(open_)
        and math.isfinite(high)
        and math.isfinite(low)
        and math.isfinite(close)
        and math.isfinite(volume)
    ):
        return _NAN
    if min(open_, high, low, close) <= 0.0:
        return _POSITIVE
    if volume < 0.0:
        return _VOLUME
    if high < max(open_, close, low) or low > min(open_, close):
        return _CROSSED
    return PASSES


@njit(cache=True)
def split_like(previous_close, open_, close):
    """Whether open and close both moved by the same split ratio or beyond what markets do."""
    if min(open_, close) > HIGHEST_JUMP * previous_close:
        return True
    if max(open_, close) * DEEPEST_JUMP < previous_close:
        return True
    jump = max(close / previous_close, previous_close / close)
    gap = max(open_ / previous_close, previous_close / open_)
    if (open_ > previous_close) != (close > previous_close):
        return False
    for ratio in SPLIT_RATIOS:
        if abs(gap / ratio - 1.0) < OPEN_TOLERANCE and abs(jump / ratio - 1.0) < CLOSE_TOLERANCE:
            return True
    return False


@njit(cache=True)
def admit_row(last_ts, last_close, symbol, ts, open_, high, low, close, volume):
    """Verdict on one row against its symbol's past; ``last_close`` is 0 before the first bar."""
    code = price_code(open_, high, low, close, volume)
    if code != PASSES:
        return code
    previous = last_close[symbol]
    if previous > 0.0 and ts <= last_ts[symbol]:
        return _DUPLICATE if ts == last_ts[symbol] else _ORDER
    # The new level becomes the reference even when this bar is refused, else every later bar of a
    # split symbol would be refused too.
    last_ts[symbol] = ts
    last_close[symbol] = close
    if previous > 0.0 and split_like(previous, open_, close):
        return _JUMP
    return PASSES


@njit(cache=True)
def _admit_rows(last_ts, last_close, symbol, ts, prices, volume, out):
    for i in range(len(ts)):
        out[i] = admit_row(
            last_ts, last_close, symbol[i], ts[i],
            prices[i, 0], prices[i, 1], prices[i, 2], prices[i, 3], volume[i],
        )  # fmt: skip


def admit_rows(
    symbol: NDArray[np.int64],
    ts: NDArray[np.int64],
    prices: NDArray[np.float64],
    volume: NDArray[np.float64],
    past: tuple[NDArray[np.int64], NDArray[np.float64]],
) -> NDArray[np.int8]:
    """Verdicts of rows in the order in which they came, shape (n,): 0 passes, else ``code_of``.

    ``symbol``: indices; ``prices``, shape (n, 4): open, high, low, close. ``past``: last ts and
    last close of each symbol (0.0: none), updated in place.
    """
    out = np.empty(len(ts), np.int8)
    _admit_rows(
        past[0],
        past[1],
        np.ascontiguousarray(symbol, np.int64),
        np.ascontiguousarray(ts, np.int64),
        np.ascontiguousarray(prices, np.float64),
        np.ascontiguousarray(volume, np.float64),
        out,
    )
    return out


def no_past(symbols: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The past of symbols that have none."""
    return np.zeros(symbols, np.int64), np.zeros(symbols)


def flaw_of_prices(
    open_: float, high: float, low: float, close: float, volume: float
) -> Flaw | None:
    """What is wrong with the row by itself."""
    return flaw_of_code(price_code(open_, high, low, close, volume))


def is_split_like(previous_close: float, open_: float, close: float) -> bool:
    """Whether open and close both moved by the same split ratio or beyond what markets do."""
    return bool(split_like(float(previous_close), float(open_), float(close)))


class Door:
    """Checks rows of many symbols against their own past, in the order in which they come."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._past = no_past(8)

    def admit(
        self,
        symbol: str,
        ts: int,
        prices: tuple[float, float, float, float],
        volume: float,
    ) -> Flaw | None:
        """None when the bar may pass; else its flaw. ``prices``: open, high, low, close."""
        number = self._numbers.setdefault(symbol, len(self._numbers))
        if number >= len(self._past[0]):
            fresh = no_past(number)
            self._past = (
                np.concatenate([self._past[0], fresh[0]]),
                np.concatenate([self._past[1], fresh[1]]),
            )
        open_, high, low, close = (float(price) for price in prices)
        code = admit_row(
            self._past[0], self._past[1], number, ts, open_, high, low, close, float(volume)
        )
        return flaw_of_code(code)
