"""The door in bulk says of every row what the streaming door says of it."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from data.door import Door, Flaw, admit_rows, flaw_of_code, no_past

NAMES = ("AAA", "BBB", "CCC")
PRICE = st.sampled_from([10.0, 10.1, 9.9, 20.0, 5.0, 6.6, 40.0, 1.0, 0.0, -1.0, math.nan, math.inf])
ROW = st.tuples(
    st.integers(0, 2), st.integers(1, 12), PRICE, PRICE, PRICE, PRICE,
    st.sampled_from([0.0, 5.0, -1.0, math.nan]),
)  # fmt: skip


def stream(rows: list[tuple]) -> list[Flaw | None]:
    door = Door()
    return [door.admit(NAMES[row[0]], row[1], row[2:6], row[6]) for row in rows]


def bulk(rows: list[tuple], cut: int) -> list[Flaw | None]:
    past = no_past(len(NAMES))
    found: list[Flaw | None] = []
    for part in (rows[:cut], rows[cut:]):
        table = np.array(part, float).reshape(len(part), 7)
        codes = admit_rows(
            table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2:6], table[:, 6], past
        )
        found += [flaw_of_code(int(code)) for code in codes]
    return found


@settings(deadline=None)
@given(st.lists(ROW, max_size=60), st.integers(0, 60))
def test_bulk_equals_stream_however_the_rows_are_cut(rows: list[tuple], cut: int) -> None:
    assert bulk(rows, cut) == stream(rows)


@settings(deadline=None)
@given(st.lists(st.floats(0.5, 2.0), min_size=2, max_size=50), st.integers(0, 2**32))
def test_bulk_equals_stream_on_walks(steps: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    close = 100 * np.cumprod(steps)
    open_ = close * rng.choice([1.0, 0.5, 2.0, 1.01], len(close))
    rows = [
        (int(rng.integers(3)), i + 1, o, max(o, c), min(o, c), c, 1.0)
        for i, (o, c) in enumerate(zip(open_, close, strict=True))
    ]
    verdicts = stream(rows)
    assert bulk(rows, len(rows) // 2) == verdicts
    assert verdicts[0] is None
