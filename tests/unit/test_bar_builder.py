"""The bar builder by hand, against polars group-bys of recorded trades, and with bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.recordings import equity_quotes, equity_trades
from data.bar_builder import BarBuilder, build_bars, warm_builder
from data.bar_kernel import build_step, close_bar, time_step
from data.bars import UNKNOWN
from data.clocks import Clock
from data.nbbo import Feed, NbboBook, consolidate, consolidate_rows
from data.resample import resample
from data.ticks import NBBO, QUOTE, TRADE
from data.trade_sign import SignRule, quote_before, sign_rows, sign_trades

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "us_equity_ticks" / "BAC"
SECOND = 10**9
PRICES = ("open", "high", "low", "close")


def trades(*rows):
    """Rows of (ts, price, size, side)."""
    return np.array([(*row, 0) for row in rows], TRADE)


def clock(text):
    return Clock.parse(text)


def test_a_trade_on_the_boundary_belongs_to_the_next_bar():
    rows = trades((0, 10, 1, 1), (SECOND - 1, 12, 2, -1), (SECOND, 11, 4, 1), (5 * SECOND, 9, 8, 1))
    bars = build_bars(rows, clock("1s"), 3, 100)
    assert bars["ts"].tolist() == [SECOND, 2 * SECOND]  # no bar of an empty interval, none open
    assert [bars[0][name] for name in PRICES] == [10, 12, 10, 12]
    assert bars["volume"].tolist() == [3, 4]
    assert bars["buy_volume"].tolist() == [1, 4]
    assert bars["trades"].tolist() == [2, 1]
    assert bars["symbol"].tolist() == [3, 3]
    assert bars["bid"].tolist() == [UNKNOWN, UNKNOWN]


def test_a_time_before_1970_falls_into_its_own_interval():
    bars = build_bars(trades((-1, 10, 1, 1), (0, 11, 1, 1)), clock("1s"), 0, 100)
    assert bars["ts"].tolist() == [0]


def test_a_trade_bigger_than_what_is_missing_is_not_split():
    rows = trades((1, 10, 6, 1), (2, 11, 25, -1), (3, 12, 10, 1), (4, 13, 9, 1))
    bars = build_bars(rows, clock("volume:10"), 0, 100)
    assert bars["ts"].tolist() == [2, 3]
    assert bars["volume"].tolist() == [31, 10]
    assert bars["buy_volume"].tolist() == [6, 10]


def test_dollar_bars_count_the_currency():
    # 100 micro-units a tick and lot: 10,000 ticks on one lot are one unit of the currency.
    rows = trades((1, 10_000, 4, 1), (2, 10_000, 5, 1), (3, 9_999, 1, 1), (4, 1, 1, 1))
    bars = build_bars(rows, clock("dollar:10"), 0, 100)
    assert bars["ts"].tolist() == [4]
    assert bars["volume"].tolist() == [11]


def test_an_amount_that_leaves_int64_is_an_error_and_changes_nothing():
    builder = BarBuilder(clock("dollar:9000000000000"), 0, 100)
    builder.push(trades((1, 10**9, 10**7, 1)))
    before = builder.snapshot()
    with pytest.raises(OverflowError):
        builder.push(trades((2, 5, 5, 1), (3, 10**9, 10**9, 1)))
    with pytest.raises(OverflowError):
        builder.push(trades((2, 10**9, 9 * 10**7, 1)))
    assert builder.snapshot() == before
    with pytest.raises(OverflowError):
        build_bars(trades((1, 5, 2**62, 1), (2, 5, 2**62, 1)), clock("1s"), 0, 100)


def test_an_unfinished_bar_waits_for_a_trade_a_quote_or_the_clock():
    rows = trades((1, 10, 1, 1))
    builder = BarBuilder(clock("1s"), 0, 100)
    assert len(builder.push(rows)) == 0
    assert len(builder.close_until(SECOND - 1)) == 0
    assert builder.close_until(SECOND)["ts"].tolist() == [SECOND]
    assert len(builder.flush()) == 0
    builder = BarBuilder(clock("1s"), 0, 100)
    builder.push(rows)
    assert len(builder.push(rows[:0], np.array([(SECOND, 9, 1, 11, 1)], NBBO))) == 1
    assert build_bars(rows, clock("1s"), 0, 100, until=SECOND)["ts"].tolist() == [SECOND]


def test_flush_ends_a_time_interval_so_that_none_comes_twice():
    builder = BarBuilder(clock("1s"), 0, 100)
    builder.push(trades((1, 10, 1, 1)))
    assert builder.flush()["ts"].tolist() == [SECOND]
    with pytest.raises(ValueError, match="has passed"):
        builder.push(trades((2, 10, 1, 1)))
    with pytest.raises(ValueError, match="has passed"):
        builder.close_until(5)
    builder = BarBuilder(clock("tick:3"), 0, 100)
    builder.push(trades((1, 10, 1, 1), (7, 11, 1, 1)))
    assert builder.flush()["ts"].tolist() == [7]
    assert len(builder.flush()) == 0


def test_the_quote_of_a_bar_stood_strictly_before_its_close():
    nbbo = np.array([(1, 9, 1, 11, 2), (SECOND - 1, 10, 3, 12, 4), (SECOND, 20, 5, 22, 6)], NBBO)
    rows = trades((2, 10, 1, 0), (SECOND, 10, 1, 0))
    quote = ("bid", "bid_size", "ask", "ask_size")
    (bar,) = build_bars(rows, clock("1s"), 0, 100, nbbo)
    assert [bar[name] for name in quote] == [10, 3, 12, 4]
    (bar,) = build_bars(rows, clock("tick:2"), 0, 100, nbbo)
    assert (bar["ts"], *(bar[name] for name in quote)) == (SECOND, 10, 3, 12, 4)
    (bar,) = build_bars(rows, clock("1s"), 0, 100, np.array([(1, 12, 1, 11, 1)], NBBO))
    assert [bar[name] for name in quote] == [UNKNOWN] * 4  # crossed
    (bar,) = build_bars(rows, clock("1s"), 0, 100, np.array([(1, 9, 7, 0, 0)], NBBO))
    assert [bar[name] for name in quote] == [9, 7, UNKNOWN, UNKNOWN]


def test_one_unsigned_trade_leaves_the_bar_without_a_buy_volume():
    rows = trades((1, 10, 1, 0), (2, 11, 2, 0), (SECOND, 11, 4, 0), (2 * SECOND, 1, 1, 0))
    bars = build_bars(rows, clock("1s"), 0, 100)
    assert bars["buy_volume"].tolist() == [UNKNOWN, 4]
    bars = build_bars(rows, clock("1s"), 0, 100, sign=SignRule.BULK)
    assert bars["buy_volume"].tolist() == [UNKNOWN, UNKNOWN]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(5, 1, 1, 1), (4, 1, 1, 1)], "row 1: ts 4 is before"),
        ([(5, 0, 1, 1)], "row 0"),
        ([(5, 1, 1, 1), (5, 1, 0, 1)], "row 1"),
        ([(5, 1, 1, 2)], "row 0"),
        ([(5, 2**61, 1, 1)], "row 0"),
        ([(2, 1, 1, 1)], "which has passed"),
    ],
)
def test_bad_trades_are_refused_and_change_nothing(rows, message):
    builder = BarBuilder(clock("1s"), 0, 100)
    builder.push(trades((3, 1, 1, 1)))
    before = builder.snapshot()
    with pytest.raises(ValueError, match=message):
        builder.push(trades(*rows))
    assert builder.snapshot() == before


def test_quotes_of_the_wrong_kind_or_time_are_refused():
    none = np.empty(0, TRADE)
    quote, best = np.array([(1, 0, 9, 1, 11, 1)], QUOTE), np.array([(1, 9, 1, 11, 1)], NBBO)
    with pytest.raises(ValueError, match="without a book"):
        BarBuilder(clock("1s"), 0, 100).push(none, quote)
    with pytest.raises(ValueError, match="with a book"):
        BarBuilder(clock("1s"), 0, 100, book=NbboBook(1)).push(none, best)
    builder = BarBuilder(clock("1s"), 0, 100)
    builder.push(trades((3, 1, 1, 1)))
    with pytest.raises(ValueError, match="has passed"):
        builder.push(none, best)
    with pytest.raises(ValueError, match="must be one-dimensional"):
        builder.push(best)
    with pytest.raises(ValueError, match="micro_per_tick"):
        BarBuilder(clock("1s"), 0, 0)


def test_a_snapshot_of_another_builder_is_refused():
    snapshot = BarBuilder(clock("1s"), 0, 100).snapshot()
    for other in (
        BarBuilder(clock("2s"), 0, 100),
        BarBuilder(clock("1s"), 1, 100),
        BarBuilder(clock("1s"), 0, 100, SignRule.TICK),
        BarBuilder(clock("1s"), 0, 100, book=NbboBook(1)),
    ):
        with pytest.raises(ValueError, match="snapshot is of a builder"):
            other.restore(snapshot)
    with pytest.raises(ValueError, match="snapshot is of a builder"):
        BarBuilder(clock("1s"), 0, 100).restore(snapshot[:80])


def test_read_only_and_strided_rows_give_the_same_bars():
    rows = trades(*((i, 10 + i % 3, 1 + i % 2, 0) for i in range(40)))
    expected = build_bars(rows[::2].copy(), clock("tick:3"), 0, 100)
    rows.flags.writeable = False
    assert build_bars(rows[::2], clock("tick:3"), 0, 100).tobytes() == expected.tobytes()


def test_warming_compiles_all_that_a_builder_calls():
    compiled = [build_step, close_bar, consolidate_rows, quote_before, sign_rows, time_step]
    warm_builder()
    before = [list(function.signatures) for function in compiled]
    assert all(before)
    rows = trades(*((i, 10 + i % 3, 1 + i % 2, 0) for i in range(40)))
    quotes = np.array([(3, 1, 9, 1, 12, 1)], QUOTE)
    quotes.flags.writeable = rows.flags.writeable = False
    for text in ("1s", "tick:3", "volume:5", "dollar:1"):
        builder = BarBuilder(clock(text), 1, 100, SignRule.TICK, NbboBook(2))
        builder.push(rows[::2], quotes)
        builder.restore(builder.snapshot())
        builder.close_until(np.int64(50))
        builder.flush()
    sign_trades(rows, rule=SignRule.LEE_READY)
    assert [list(function.signatures) for function in compiled] == before


@pytest.fixture(scope="module")
def day():
    path = SHARED / "20131008_trades.parquet"
    if not path.is_file():
        pytest.skip("needs recorded trades in ../shared/data, absent here")
    return equity_trades(path)


def grouped(rows, key):
    """Open, high, low, close, volume and count of each group of consecutive equal keys."""
    columns = {name: rows[name] for name in ("ts", "price", "size")}
    price = pl.col("price")
    return (
        pl.DataFrame({**columns, "key": key})
        .group_by("key", maintain_order=True)
        .agg(
            last_ts=pl.col("ts").last(),
            open=price.first(),
            high=price.max(),
            low=price.min(),
            close=price.last(),
            volume=pl.col("size").sum(),
            trades=pl.len().cast(pl.Int64),
        )
    )


def same(bars, groups, ts):
    assert bars["ts"].tolist() == ts.to_list()
    for name in (*PRICES, "volume", "trades"):
        assert bars[name].tolist() == groups[name].to_list(), name


def test_minutes_equal_a_group_by_of_recorded_trades(day):
    minute = 60 * SECOND
    groups = grouped(day, day["ts"] // minute)
    bars = build_bars(day, clock("1m"), 0, 100, until=int(day["ts"][-1]) + minute)
    same(bars, groups, (groups["key"] + 1) * minute)
    assert len(bars) > 390


def test_tick_bars_equal_a_group_by_of_recorded_trades(day):
    groups = grouped(day, np.arange(len(day)) // 1000)[:-1]
    same(build_bars(day, clock("tick:1000"), 0, 100), groups, apart(groups["last_ts"]))


@pytest.mark.parametrize("text", ["volume:50000", "dollar:1000000"])
def test_volume_and_dollar_bars_equal_a_group_by_of_recorded_trades(day, text):
    weights = day["size"] if text.startswith("volume") else day["size"] * day["price"] * 100
    key, number, held = np.empty(len(day), np.int64), 0, 0
    for i, weight in enumerate(weights.tolist()):
        key[i] = number
        held += weight
        if held >= clock(text).threshold:
            number, held = number + 1, 0
    groups = grouped(day, key)
    groups = groups if held == 0 else groups[:-1]
    same(build_bars(day, clock(text), 0, 100), groups, apart(groups["last_ts"]))


def apart(ts):
    """Each at least one nanosecond after the one before."""
    shifted, last = [], -1
    for value in ts.to_list():
        last = max(value, last + 1)
        shifted.append(last)
    return pl.Series(shifted)


def test_quotes_and_signs_of_recorded_minutes(day):
    """Against an as-of join (quotes) and a sum of signs (buy volume) outside the builder."""
    path = SHARED / "20131008_quotes.parquet"
    if not path.is_file():
        pytest.skip("needs recorded quotes in ../shared/data, absent here")
    quotes, exchanges = equity_quotes(path)
    nbbo, _ = consolidate(quotes, exchanges, Feed.NATIONAL)
    bars = build_bars(day, clock("1m"), 0, 100, nbbo)
    place = np.searchsorted(nbbo["ts"], bars["ts"], side="left") - 1
    seen = place >= 0
    assert 0 < seen.sum() < len(bars)  # the trades begin before the first quote
    for name in ("bid", "bid_size", "ask", "ask_size"):
        expected = np.where(seen & (nbbo[name][place] > 0), nbbo[name][place], UNKNOWN)
        assert bars[name].tolist() == expected.tolist(), name
    signs = sign_trades(day, nbbo)
    minute = pl.Series(day["ts"] // (60 * SECOND))
    buys = (
        pl.DataFrame({"key": minute, "buys": day["size"] * (signs > 0), "none": signs == 0})
        .group_by("key", maintain_order=True)
        .agg(pl.col("buys").sum(), pl.col("none").any())
        .with_columns(buys=pl.when("none").then(UNKNOWN).otherwise("buys"))
    )
    assert bars["buy_volume"].tolist() == buys["buys"].to_list()[: len(bars)]


def test_hours_of_minutes_are_hours_of_trades(day):
    end = int(day["ts"][-1]) + 3600 * SECOND
    minutes = build_bars(day, clock("1m"), 0, 100, until=end)
    hours = build_bars(day, clock("1h"), 0, 100, until=end)
    assert resample(minutes, clock("1h"), end).tobytes() == hours.tobytes()


def test_no_two_bars_share_a_ts():
    same = trades(*[(5, 10 + n, 1, 1) for n in range(4)], (7, 20, 1, 1), (7, 21, 1, 1))
    bars = build_bars(same, clock("tick:1"), 0, 100)
    assert bars["ts"].tolist() == [5, 6, 7, 8, 9, 10]
    assert bars["open"].tolist() == [10, 11, 12, 13, 20, 21]
