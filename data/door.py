"""The door: what is wrong with a bar, decided row by row, the same live and in history.

A bad row is quarantined with a reason and counted; it is never repaired and never passed on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

# A close that stands at one of these ratios to the one before is more likely an unadjusted split
# than a move: real daily falls of 60 % exist, but they do not land on the ratio.
SPLIT_RATIOS = (1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 8.0, 10.0, 15.0, 20.0, 25.0, 50.0)
SPLIT_TOLERANCE = 0.02
# 3:2 splits are told from ordinary moves only when open and close agree on the ratio.
REUSED_TICKER = 20.0


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


@dataclass(frozen=True)
class Quarantined:
    """One row that was kept out."""

    when: str
    symbol: str
    flaw: Flaw


def flaw_of_prices(
    open_: float, high: float, low: float, close: float, volume: float
) -> Flaw | None:
    """What is wrong with the row by itself."""
    prices = (open_, high, low, close)
    if not all(math.isfinite(value) for value in (*prices, volume)):
        return Flaw.NOT_A_NUMBER
    if min(prices) <= 0.0:
        return Flaw.NON_POSITIVE
    if volume < 0.0:
        return Flaw.NEGATIVE_VOLUME
    if high < max(open_, close, low) or low > min(open_, close):
        return Flaw.CROSSED
    return None


def is_split_like(previous_close: float, open_: float, close: float) -> bool:
    """Whether open and close both moved by the same split ratio (or by a reused ticker's)."""
    jump = max(close / previous_close, previous_close / close)
    gap = max(open_ / previous_close, previous_close / open_)
    if min(jump, gap) > REUSED_TICKER:
        return True
    return any(
        abs(jump / ratio - 1.0) < SPLIT_TOLERANCE and abs(gap / ratio - 1.0) < SPLIT_TOLERANCE
        for ratio in SPLIT_RATIOS
    )


class Door:
    """Checks rows of many symbols against their own past, in the order in which they come."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, float]] = {}

    def admit(
        self,
        symbol: str,
        ts: int,
        prices: tuple[float, float, float, float],
        volume: float,
    ) -> Flaw | None:
        """None when the bar may pass; else its flaw. ``prices``: open, high, low, close."""
        flaw = flaw_of_prices(*prices, volume)
        if flaw is not None:
            return flaw
        last = self._last.get(symbol)
        if last is not None and ts <= last[0]:
            return Flaw.DUPLICATE if ts == last[0] else Flaw.OUT_OF_ORDER
        # The new level becomes the reference even when this bar is refused, else every later
        # bar of a split symbol would be refused too.
        self._last[symbol] = (ts, prices[3])
        if last is not None and is_split_like(last[1], prices[0], prices[3]):
            return Flaw.JUMP
        return None
