"""Clocks: their names, their ranges, and one line for anything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.clocks import DAY_NS, Clock, ClockKind
from data.errors import InputError


@pytest.mark.parametrize(
    ("text", "kind", "size", "threshold"),
    [
        ("100ms", ClockKind.TIME, 10**8, 10**8),
        ("1s", ClockKind.TIME, 10**9, 10**9),
        ("1m", ClockKind.TIME, 60 * 10**9, 60 * 10**9),
        ("1h", ClockKind.TIME, 3600 * 10**9, 3600 * 10**9),
        ("1d", ClockKind.TIME, DAY_NS, DAY_NS),
        ("tick:1000", ClockKind.TICK, 1000, 1000),
        ("volume:50000", ClockKind.VOLUME, 50_000, 50_000),
        ("dollar:1000000", ClockKind.DOLLAR, 10**6, 10**12),
    ],
)
def test_names_are_read_and_written(text, kind, size, threshold):
    clock = Clock.parse(text)
    assert (clock.kind, clock.size, clock.threshold, str(clock)) == (kind, size, threshold, text)


@pytest.mark.parametrize(
    "text",
    [
        "", "1", "s", "0s", "-1s", "1.5s", "1 s", "1S", "1w", "99ms", "25h", "2d", "7s", "7h",
        "tick", "tick:", "tick:0", "tick:-5", "tick:1e3", "tick:01", "ticks:5", "dollar:1.5",
        "tick:9223372036854775808", "dollar:9223372036855", "volume:" + "9" * 5000, "1s\n",
        "１s", "tick:1_000", "9" * 5000 + "s", "é" * 3,
    ],
)  # fmt: skip
def test_anything_else_is_one_line(text):
    with pytest.raises(InputError) as caught:
        Clock.parse(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_another_spelling_of_a_time_has_the_shortest_name():
    assert str(Clock.parse("60s")) == "1m"
    assert Clock.parse("1440m") == Clock.parse("24h") == Clock.parse("1d")
    assert str(Clock.parse("90s")) == "90s"


@given(st.sampled_from([n for n in range(1, 864_001) if 864_000 % n == 0]))
def test_every_time_clock_round_trips(tenths):
    clock = Clock(ClockKind.TIME, tenths * 10**8)
    assert Clock.parse(str(clock)) == clock


@given(st.sampled_from(list(ClockKind)[1:]), st.integers(1, 9_000_000_000_000))
def test_every_other_clock_round_trips(kind, size):
    clock = Clock(kind, size)
    assert Clock.parse(str(clock)) == clock


def test_bars_a_year():
    assert Clock.parse("1d").bars_per_year == 365
    assert Clock.parse("1m").bars_per_year == 525_600
    assert Clock.parse("100ms").bars_per_year == 315_360_000
    assert Clock.parse("tick:10").bars_per_year is None
