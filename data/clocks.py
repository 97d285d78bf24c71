"""What ends a bar: a stretch of time, a number of trades, a volume, or a traded amount.

Lopez de Prado (2018), 'Advances in Financial Machine Learning', chapter 2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

from data.errors import InputError
from data.money import INT64_MAX, MICRO

DAY_NS = 86_400_000_000_000
SHORTEST_NS = 100_000_000
_UNITS = {"d": DAY_NS, "h": DAY_NS // 24, "m": DAY_NS // 1440, "s": 10**9, "ms": 10**6}
_TIME = re.compile(r"([1-9][0-9]*)(ms|s|m|h|d)", re.ASCII)
_COUNT = re.compile(r"(tick|volume|dollar):([1-9][0-9]*)", re.ASCII)
_HELP = "use for example 100ms, 1s, 1m, 1h, 1d, tick:1000, volume:50000 or dollar:1000000"


class ClockKind(IntEnum):
    """The number that the compiled builder gets."""

    TIME = 0
    TICK = 1
    VOLUME = 2
    DOLLAR = 3


@dataclass(frozen=True)
class Clock:
    """``size``: nanoseconds, trades, lots, or whole units of the currency, by ``kind``.

    InputError for a time outside 100 ms .. 1 day or that does not divide a day, and for a
    threshold that is not positive or does not fit in int64 (a currency amount: in micro-units).
    """

    kind: ClockKind
    size: int

    def __post_init__(self) -> None:
        if self.kind is ClockKind.TIME:
            if not SHORTEST_NS <= self.size <= DAY_NS:
                raise InputError(f"clock of {self.size} ns: a time bar lasts 100 ms to 1 day")
            if DAY_NS % self.size:
                raise InputError(f"clock of {self.size} ns: it does not divide a day; {_HELP}")
            return
        unit = MICRO if self.kind is ClockKind.DOLLAR else 1
        if not 0 < self.size <= INT64_MAX // unit:
            raise InputError(f"clock {self.kind.name.lower()}:{self.size} is out of range; {_HELP}")

    @classmethod
    def parse(cls, text: str) -> Clock:
        """The clock that ``text`` names; InputError with one line for anything else."""
        if found := _TIME.fullmatch(text):
            return cls(ClockKind.TIME, _whole(found[1], text) * _UNITS[found[2]])
        if found := _COUNT.fullmatch(text):
            return cls(ClockKind[found[1].upper()], _whole(found[2], text))
        raise InputError(f"clock {text!r} is not known: {_HELP}")

    def __str__(self) -> str:
        """The shortest name; ``Clock.parse(str(clock)) == clock``."""
        if self.kind is not ClockKind.TIME:
            return f"{self.kind.name.lower()}:{self.size}"
        unit = next(unit for unit, ns in _UNITS.items() if self.size % ns == 0)
        return f"{self.size // _UNITS[unit]}{unit}"

    @property
    def threshold(self) -> int:
        """``size`` in the unit in which the builder counts: a currency amount in micro-units."""
        return self.size * MICRO if self.kind is ClockKind.DOLLAR else self.size

    @property
    def bars_per_year(self) -> int | None:
        """Bars in 365 days of a market that never closes; None where time does not end a bar.

        For a market with closing hours, and for the other kinds, the caller must decide.
        """
        return 365 * DAY_NS // self.size if self.kind is ClockKind.TIME else None


def _whole(digits: str, text: str) -> int:
    # Python refuses to convert thousands of digits; nothing that long is in range.
    if len(digits) > 19:
        raise InputError(f"clock {text[:40]!r} is out of range; {_HELP}")
    return int(digits)
