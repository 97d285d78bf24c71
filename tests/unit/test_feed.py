"""Where a session's bars come from: the sample, a file, or a table of the lake."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data.daily_stocks import load_feed
from data.errors import InputError
from data.feed import Feed, open_feed

MINUTE = 60 * 10**9
START = 1_723_161_600 * 10**9


def frame(count: int = 10) -> pl.DataFrame:
    close = [10.0 + i / 4 for i in range(count)]
    return pl.DataFrame(
        {"ts": [START + i * MINUTE for i in range(count)], "symbol": ["A"] * count,
         "open": close, "high": [c + 0.25 for c in close], "low": [c - 0.5 for c in close],
         "close": close, "volume": [100 + i for i in range(count)]}
    ).with_columns(pl.col("ts").cast(pl.Datetime("ns", "UTC")))  # fmt: skip


def test_the_sample_is_what_it_was(tmp_path: Path) -> None:
    feed, direct = open_feed(None, ("IBM",), tmp_path), load_feed(symbols=("IBM",))
    assert feed.content_hash == direct.content_hash
    assert np.array_equal(feed.bars, direct.bars)
    assert (feed.tick, feed.lot, feed.clock) == (Decimal("0.0001"), Decimal(1), "1d")
    assert (feed.bars_per_year, feed.currency, feed.group) == (252.0, "USD", "us-equity-daily")
    assert feed.micro_per_tick == 100


def test_the_samples_bars_have_not_changed() -> None:
    # The journals of earlier sessions name this hash.
    assert load_feed().content_hash == CONTENT


CONTENT = "236c898b9520e407bf846ae8f9bb3f19db35016bbf12259b79f0965ca6e1ab99"


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv"])
def test_a_file_in_the_contracts_columns(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"bars.{suffix}"
    table = frame()
    if suffix == "csv":
        table.with_columns(pl.col("ts").cast(pl.Int64)).write_csv(path)
    else:
        {"parquet": table.write_parquet, "arrow": table.write_ipc}[suffix](path)
    feed = open_feed(str(path), (), tmp_path / "lake")
    assert (feed.symbols, feed.clock, feed.name) == (("A",), "1m", path.name)
    assert (feed.tick, feed.lot) == (Decimal("0.01"), Decimal(1))
    assert feed.bars["ts"].tolist() == [START + i * MINUTE for i in range(10)]
    assert feed.bars["close"].tolist() == [1000 + 25 * i for i in range(10)]
    assert feed.bars["volume"].tolist() == [100 + i for i in range(10)]
    assert (feed.bars["buy_volume"] == -1).all()


def test_bad_rows_of_a_file_lock_their_symbol(tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    frame().with_columns(
        pl.when(pl.int_range(pl.len()) == 4).then(float("nan")).otherwise("close").alias("close")
    ).write_parquet(path)
    feed = open_feed(str(path), (), tmp_path)
    assert [(entry.when, entry.flaw) for entry in feed.quarantined] == [("row 5", "not_a_number")]
    assert feed.quarantined_at == ((START + 4 * MINUTE, 0),)
    assert len(feed.bars) == 9


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nothing", "'nothing' is neither a file nor a table of the lake, which holds no tables"),
        ("absent.csv", "absent.csv: No such file"),
        ("deep/absent", "absent: No such file"),
        ("../x", "x: No such file"),
    ],
)
def test_what_is_not_there_is_one_line(tmp_path: Path, source: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        open_feed(source, (), tmp_path / "lake")
    assert "\n" not in str(caught.value)


def test_files_that_are_no_feed_are_one_line(tmp_path: Path) -> None:
    trades = tmp_path / "t.parquet"
    pl.DataFrame({"ts": [START], "symbol": ["A"], "price": [1.0], "size": [1]}).write_parquet(
        trades
    )
    one = tmp_path / "one.parquet"
    frame(1).write_parquet(one)
    odd = tmp_path / "odd.parquet"
    frame().drop("close").write_parquet(odd)
    for path, words in (
        (trades, "t.parquet holds trades: import it with --clock"),
        (one, "holds too few bars to tell their length"),
        (odd, "lacks the column.s. close: it has"),
    ):
        with pytest.raises(InputError, match=words):
            open_feed(str(path), (), tmp_path)
    good = tmp_path / "good.parquet"
    frame().write_parquet(good)
    with pytest.raises(InputError, match="unknown symbol Z: this data holds A"):
        open_feed(str(good), ("Z",), tmp_path)


def test_a_feed_says_what_a_tick_on_a_lot_is_worth() -> None:
    bars = load_feed(symbols=("IBM",)).bars
    feed = Feed(("A",), bars, (), (), "x", "", Decimal("0.1"), Decimal("0.001"))
    assert feed.micro_per_tick == 100
