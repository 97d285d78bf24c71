"""A stream of bars imported in two parts makes the table that it makes in one."""

from __future__ import annotations

import tempfile
from decimal import Decimal
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from data.import_job import ImportOptions
from data.importing import import_files
from data.lake_feed import load_table

START = 1_723_161_600
OPTIONS = ImportOptions(
    name="t", clock="1m", stamp="open", tick=Decimal("0.01"), lot=Decimal("0.001"),
)  # fmt: skip
# Mostly small moves, some splits, some bad prices.
STEP = st.sampled_from([1.0, 1.01, 0.99, 1.1, 0.5, 2.0, 4.0, -1.0])
BAR = st.tuples(st.integers(0, 1), STEP, st.integers(0, 9))


def rows(bars: list[tuple[int, float, int]]) -> list[str]:
    closes, lines = [100.0, 20.0], []
    for n, (symbol, step, volume) in enumerate(bars):
        close = closes[symbol] * step
        if step > 0:
            closes[symbol] = min(max(close, 0.5), 1e6)
            close = closes[symbol]
        price = f"{close:.2f}"
        lines.append(f"{START + 60 * n},{'AB'[symbol]},{price},{price},{price},{price},{volume}\n")
    return lines


@settings(deadline=None, max_examples=20)
@given(st.lists(BAR, min_size=2, max_size=25), st.integers(1, 24))
def test_two_imports_equal_one(bars: list[tuple[int, float, int]], cut: int) -> None:
    bars = [(0, 1.0, 1), *bars, (1, 1.0, 1)]  # Each part has a good row.
    lines = rows(bars)
    cut = min(cut, len(lines) - 1)
    parts = [part for part in (lines[:cut], lines[cut:]) if part]
    with tempfile.TemporaryDirectory() as folder:
        feeds = []
        for name, pieces in (("one", [lines]), ("two", parts)):
            for number, piece in enumerate(pieces):
                path = Path(folder) / f"{name}{number}.csv"
                path.write_text("ts,symbol,open,high,low,close,volume\n" + "".join(piece))
                import_files(Path(folder) / name, [path], OPTIONS)
            feeds.append(load_table(Path(folder) / name, "t", ()))
    assert feeds[0].symbols == feeds[1].symbols
    assert np.array_equal(feeds[0].bars, feeds[1].bars)
    assert sorted(feeds[0].quarantined_at) == sorted(feeds[1].quarantined_at)
    assert feeds[0].content_hash == feeds[1].content_hash
