"""The best of a book that changes, by hand, against a plain book, and against the venue's own."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.binance_wire import read_wire
from data.depth_book import DepthBook
from data.piece import Kind
from tests.unit.test_binance_wire import depth, trade, write

RECORDED = Path("../shared/data/binance_wire/usdm_btcusdt_20240808.gz")
CHANGES = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), max_size=4)


def test_levels_come_and_go() -> None:
    book = DepthBook()
    assert book.change([["9", "1"]], []) == (("9", "1"), ("0", "0"))
    assert book.change([["8", "1"]], []) is None
    assert book.change([], [["11", "2"], ["10", "3"]]) == (("9", "1"), ("10", "3"))
    assert book.change([["9", "0"]], [["10", "0"]]) == (("8", "1"), ("11", "2"))
    assert book.change([["7", "0"]], []) is None  # A level that nobody knew.
    book.snapshot([["5", "1"]], [["6", "1"]])
    assert book.change([], []) == (("5", "1"), ("6", "1"))


@given(st.lists(st.tuples(CHANGES, CHANGES), max_size=30))
def test_the_best_is_that_of_a_plain_book(steps: list) -> None:
    book, bids, asks = DepthBook(), {}, {}
    told = (("0", "0"), ("0", "0"))
    for change in steps:
        for levels, side in zip(change, (bids, asks), strict=True):
            for price, size in levels:
                side[price] = size
        texts = [[(str(price), str(size)) for price, size in levels] for levels in change]
        found = book.change(*texts)
        bid = max((price for price, size in bids.items() if size), default=0)
        ask = min((price for price, size in asks.items() if size), default=0)
        now = ((str(bid), str(bids.get(bid, 0))), (str(ask), str(asks.get(ask, 0))))
        assert found == (None if now == told else now)
        told = now


def test_a_recording_without_book_ticker_has_quotes_of_its_depth(tmp_path: Path) -> None:
    found = {
        p.kind: p for p in read_wire(write(tmp_path, depth(1000), trade(1100, 1), depth(1200)))
    }
    rows = found[Kind.QUOTES].frame.rows()
    assert rows == [(1, 1_000_000_000, "BTCUSDT", 99.0, 1.0, 101.0, 1.0)]


def test_the_recorded_depth_gives_the_recorded_best(tmp_path: Path) -> None:
    if not RECORDED.exists():
        pytest.skip("../shared/data is absent: the recordings lie there")
    lines = gzip.decompress(RECORDED.read_bytes()).splitlines()
    path = tmp_path / "depth.txt"
    path.write_bytes(b"\n".join(line for line in lines if b"@bookTicker" not in line))
    ours, theirs = (
        {p.kind: p for p in read_wire(source)}[Kind.QUOTES].frame.select("ts", "bid", "ask")
        for source in (path, RECORDED)
    )
    assert len(ours) > 1000
    both = ours.join_asof(theirs, on="ts", suffix="_venue").drop_nulls()
    same = both.filter(pl.col("bid") == pl.col("bid_venue"), pl.col("ask") == pl.col("ask_venue"))
    assert len(same) > 0.9 * len(both), len(same) / len(both)
