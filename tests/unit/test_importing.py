"""Imports end to end: the wire's plain form, ticks to bars, judged rows with reason and place."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data.bar_builder import build_bars
from data.bars import BAR
from data.clocks import Clock
from data.errors import InputError
from data.feed import open_feed
from data.formats import Reading
from data.import_job import ImportOptions
from data.importing import import_files
from data.lake import read_manifest, scan
from data.lake_feed import load_table
from data.nbbo import Feed as QuoteFeed
from data.nbbo import consolidate
from data.quality import CheckOptions, check
from data.ticks import QUOTE, TRADE
from tests.unit.test_binance_wire import quote, trade, write

SHARED = Path("../shared/data")
T0 = 1_723_161_600_000  # ms


def wire(folder: Path) -> Path:
    """Ten seconds of trades and quotes; the finest price is 0.01, the finest size 0.00001."""
    messages = []
    for i in range(40):
        at = T0 + 250 * i + 10
        messages.append(quote(i + 1, at, f"{100 + i * 0.01:.2f}", f"{100.02 + i * 0.01:.2f}"))
        size = "0.00017" if i % 2 else "0.50000"
        messages.append(trade(at + 5, i + 1, f"{100.01 + i * 0.01:.2f}000", size, i % 3 == 0))
    return write(folder, *messages)


def test_the_plain_form_finds_everything_in_the_recording(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    report = import_files(lake, [wire(tmp_path)], ImportOptions())
    (made,) = report.tables
    assert (made.name, made.added, made.quarantined) == ("wire-1s", 10, {})
    manifest = read_manifest(lake, "wire-1s")
    assert (manifest.tick, manifest.lot, manifest.currency) == ("0.01", "0.0001", "USDT")
    assert (manifest.group, manifest.bars_per_year) == ("crypto-binance-usdm", 31_536_000)
    assert "tick 0.01: the finest price seen" in report.said
    assert any("lot 0.0001: sizes are finer" in line for line in report.said)
    feed = open_feed("wire-1s", (), lake)
    assert feed.symbols == ("BTCUSDT",)
    assert feed.bars["ts"].tolist() == [(T0 + 1000 * (i + 1)) * 10**6 for i in range(10)]
    # Four trades a second, two of 0.5 and two of 0.00017: summed exactly, then rounded to a lot.
    assert feed.bars["volume"].tolist() == [10_003] * 10
    assert feed.bars["trades"].tolist() == [4] * 10
    assert (feed.bars["bid"] == feed.bars["ask"] - 2).all()
    assert (feed.bars["buy_volume"] <= feed.bars["volume"]).all()
    assert feed.micro_per_tick == 1


def test_kept_ticks_are_exact_and_build_the_same_bars(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    options = ImportOptions(name="w", keep_ticks=True)
    report = import_files(lake, [wire(tmp_path)], options)
    assert [table.name for table in report.tables] == ["w", "w-trades", "w-quotes"]
    rows = scan(lake, "w-trades").sort("ts").collect()
    assert read_manifest(lake, "w-trades").lot == "0.00001"  # Nothing is rounded here.
    assert rows["size"].to_list() == [50_000, 17] * 20
    trades = np.zeros(len(rows), TRADE)
    for name in ("price", "size", "side"):
        trades[name] = rows[name].to_numpy()
    trades["ts"] = rows["ts"].cast(pl.Int64).to_numpy()
    held = scan(lake, "w-quotes").sort("ts").collect()
    quotes = np.zeros(len(held), QUOTE)
    for name in ("bid", "bid_size", "ask", "ask_size"):
        quotes[name] = held[name].to_numpy()
    quotes["ts"] = held["ts"].cast(pl.Int64).to_numpy()
    nbbo, _ = consolidate(quotes, 1, QuoteFeed.EXCHANGES)
    until = (T0 + 10_000) * 10**6
    direct = build_bars(trades, Clock.parse("1s"), 0, 1, nbbo, until=until)
    table = load_table(lake, "w", ()).bars
    for name in BAR.names or ():
        if name not in ("volume", "buy_volume", "bid_size", "ask_size"):
            assert np.array_equal(direct[name], table[name]), name
    assert np.array_equal(np.rint(direct["volume"] / 10), table["volume"])
    assert import_files(lake, [wire(tmp_path)], options).tables == []


def test_a_half_done_import_of_several_tables_is_done_again(tmp_path: Path) -> None:
    lake, path = tmp_path / "lake", wire(tmp_path)
    options = ImportOptions(name="w", keep_ticks=True)
    import_files(lake, [path], options)
    (lake / "w-quotes" / "manifest.json").unlink()
    report = import_files(lake, [path], options)
    assert [table.added for table in report.tables] == [0, 0, 40]
    assert read_manifest(lake, "w-quotes").rows == 40


@pytest.mark.parametrize("clock", ["tick:7", "volume:1000", "dollar:50"])
def test_other_clocks_count_in_the_units_of_the_table(tmp_path: Path, clock: str) -> None:
    lake = tmp_path / "lake"
    (made,) = import_files(lake, [wire(tmp_path)], ImportOptions(name="w", clock=clock)).tables
    assert made.manifest.clock == clock
    assert made.manifest.bars_per_year > 0
    bars = load_table(lake, "w", ()).bars
    if clock == "tick:7":
        assert bars["trades"].tolist() == [7] * 5
    elif clock == "volume:1000":  # Lots of 0.0001: 0.1 coins, which each trade of 0.5 brings.
        assert len(bars) == 20
    else:  # 50 USDT are half a coin at 100: again each trade of 0.5.
        assert len(bars) == 20


def test_a_coarse_lot_loses_no_small_trade(tmp_path: Path) -> None:
    options = ImportOptions(name="w", lot=Decimal("0.01"))
    (made,) = import_files(tmp_path / "lake", [wire(tmp_path)], options).tables
    assert made.quarantined == {}
    bars = load_table(tmp_path / "lake", "w", ()).bars
    assert bars["trades"].sum() == 40
    assert bars["volume"].tolist() == [100] * 10


def test_later_imports_count_in_the_units_of_their_table(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    import_files(lake, [wire(tmp_path)], ImportOptions(name="w"))
    later = write(tmp_path, trade(T0 + 60_000, 99, "100", "1"), trade(T0 + 61_000, 100, "101", "2"))
    (made,) = import_files(lake, [later], ImportOptions(name="w")).tables
    assert made.added == 2
    assert load_table(lake, "w", ()).bars["close"].tolist()[-2:] == [10_000, 10_100]


def test_a_bad_trade_is_told_and_locks_nothing(tmp_path: Path) -> None:
    bad = [trade(T0 + 300, 901, "0", "0"), trade(T0 + 5000, 902, "abc", "1"), trade(0, 903)]
    messages = [trade(T0 + 250 * i, i, "100.5", "1") for i in range(40)] + bad
    (made,) = import_files(tmp_path / "lake", [write(tmp_path, *messages)], ImportOptions()).tables
    assert made.quarantined == {"no_time": 1, "non_positive": 1, "not_a_number": 1}
    assert "non_positive: wire.gz row 41 BTCUSDT price=0.0 size=0.0" in made.examples
    feed = load_table(tmp_path / "lake", "wire-1s", ())
    assert len(feed.quarantined) == 3
    assert feed.quarantined_at == ()
    assert feed.bars["trades"].sum() == 40


HEADER = "ts,symbol,open,high,low,close,volume\n"
BASE = 1_723_161_600


def csv(folder: Path, *rows: str, name: str = "b.csv") -> Path:
    path = folder / name
    path.write_text(HEADER + "".join(row + "\n" for row in rows))
    return path


def minute(n: int, values: str = "10,12,9,11,5", symbol: str = "A") -> str:
    return f"{BASE + 60 * n},{symbol},{values}"


BARS = ImportOptions(
    name="t", clock="1m", stamp="open", tick=Decimal("0.01"), lot=Decimal(1), currency="EUR"
)


def test_each_bad_row_has_its_reason_row_and_column(tmp_path: Path) -> None:
    rows = [
        minute(0), minute(1, "x,12,9,11,5"), minute(2, "10,12,-9,11,5"), minute(3, "10,8,9,11,5"),
        minute(4, "10,12,9,11,-5"), minute(0), minute(5), minute(3), minute(6, "5.5,6,4.5,5.5,5"),
        ",A,10,12,9,11,5", minute(7, "0.004,0.004,0.004,0.004,5", "B"), minute(8, "5,5,5,5,1e300"),
        minute(9, "5,5,5,5,5"), minute(9, "1,1,1,1,1", ""),
    ]  # fmt: skip
    (made,) = import_files(tmp_path / "lake", [csv(tmp_path, *rows)], BARS).tables
    assert made.quarantined == {
        "not_a_number": 2, "non_positive": 2, "crossed": 1, "negative_volume": 1,
        "duplicate": 1, "out_of_order": 1, "split_like_jump": 1, "no_time": 1, "unreadable": 1,
    }  # fmt: skip
    assert made.added == 3
    text = "\n".join(made.examples)
    assert "not_a_number: b.csv row 2 A column open: 'x'" in text
    assert "non_positive: b.csv row 3 A 2024-08-09T00:03:00" in text
    assert "split_like_jump: b.csv row 9 A" in text
    assert read_manifest(tmp_path / "lake", "t").quarantined == made.quarantined
    feed = load_table(tmp_path / "lake", "t", ())
    assert len(feed.quarantined) == sum(made.quarantined.values()) - 2  # Of B and of no symbol.
    assert len(feed.quarantined_at) == len(feed.quarantined) - 1  # One has no moment.


def test_bars_stamped_at_the_open_move_to_their_close(tmp_path: Path) -> None:
    import_files(tmp_path / "lake", [csv(tmp_path, minute(0), minute(1))], BARS)
    feed = load_table(tmp_path / "lake", "t", ())
    assert feed.bars["ts"].tolist() == [(BASE + 60) * 10**9, (BASE + 120) * 10**9]
    assert feed.currency == "EUR"


def test_prices_off_the_tick_are_rounded_and_counted(tmp_path: Path) -> None:
    path = csv(tmp_path, minute(0, "10.004,12.006,9,11,5.4"))
    report = import_files(tmp_path / "lake", [path], BARS)
    assert "3 prices or sizes were rounded to the tick and lot" in report.said
    bar = load_table(tmp_path / "lake", "t", ()).bars[0]
    assert (bar["open"], bar["high"], bar["volume"]) == (1000, 1201, 5)


def test_several_files_make_one_table(tmp_path: Path) -> None:
    one, two = (
        csv(tmp_path, minute(0)),
        csv(tmp_path, minute(1), minute(0, symbol="B"), name="c.csv"),
    )
    (made,) = import_files(tmp_path / "lake", [one, two], BARS).tables
    assert (made.added, len(made.manifest.sources)) == (3, 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stamp": None}, "say with --stamp whether ts is at the open or at the close"),
        ({"stamp": "middle"}, "--stamp 'middle': say open or close"),
        ({"clock": None}, "b.csv holds bars: say how long one is with --clock"),
        ({"clock": "7s"}, "does not divide a day"),
        ({"clock": "often"}, "clock 'often' is not known"),
        ({"tick": Decimal("0.000001"), "lot": Decimal("0.5")}, "must be a whole number"),
        ({"symbols": ("Z",)}, "unknown symbol Z: these files hold A"),
        ({"calendar": "XXXX", "clock": "1d"}, "--calendar 'XXXX' is not known"),
        ({"name": "a/b"}, "table name 'a/b'"),
        ({"reading": Reading(timezone="Mars")}, "--timezone 'Mars' is not known"),
        ({"adjust": Path("absent.csv")}, "adjustment table absent.csv"),
    ],
)
def test_what_a_person_got_wrong_is_one_line_and_leaves_nothing(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    from dataclasses import replace

    options = replace(BARS, **changes)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=words) as caught:
        import_files(tmp_path / "lake", [csv(tmp_path, minute(0), minute(1))], options)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "lake").rglob("*.parquet"))


def test_trades_without_a_clock_are_kept_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "trades.csv"
    path.write_text(
        "ts,symbol,price,size,exchange\n"
        "1723161602,A,10.25,100,N\n1723161601,A,10.5,50,Q\n1723161603,A,0,50,Q\n"
        "1723161603,A,10,x,Q\n1723161604,A,10,1,N\n"
    )
    report = import_files(tmp_path / "lake", [path], ImportOptions(name="x"))
    (made,) = report.tables
    assert (made.name, made.added) == ("x-trades", 3)
    assert made.quarantined == {"non_positive": 1, "not_a_number": 1}
    assert "1 trades were not in the order of time: sorted" in report.said
    rows = scan(tmp_path / "lake", "x-trades").collect()
    assert rows["price"].to_list() == [1050, 1025, 1000]
    assert [made.manifest.exchanges[i] for i in rows["exchange"]] == ["Q", "N", "N"]
    with pytest.raises(InputError, match="holds trades, not bars: import them with --clock"):
        open_feed("x-trades", (), tmp_path / "lake")
    # Later trades bring a new exchange: what is stored keeps its meaning.
    more = tmp_path / "more.csv"
    more.write_text("ts,symbol,price,size,exchange\n1723161700,A,10.25,100,B\n1723161603,A,1,1,N\n")
    (made,) = import_files(tmp_path / "lake", [more], ImportOptions(name="x")).tables
    assert made.manifest.exchanges == ["N", "Q", "B"]
    assert (made.added, made.quarantined) == (1, {"already_in_table": 1})
    last = scan(tmp_path / "lake", "x-trades").sort("ts").collect().row(-1, named=True)
    assert made.manifest.exchanges[last["exchange"]] == "B"


def test_quotes_alone_build_no_bars(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text("ts,symbol,bid,bid_size,ask,ask_size\n1723161602,A,1,2,3,4\n")
    with pytest.raises(InputError, match="--clock builds bars out of trades"):
        import_files(tmp_path / "lake", [path], ImportOptions(name="q", clock="1s"))
    bars = csv(tmp_path, minute(0))
    with pytest.raises(InputError, match="bars cannot be imported together with trades"):
        import_files(tmp_path / "lake", [path, bars], ImportOptions(name="q", clock="1m"))


def test_a_recorded_day_of_trades_and_its_bars(tmp_path: Path) -> None:
    path = SHARED / "us_equity_ticks" / "AIG" / "20131007_trades.parquet"
    if not path.exists():
        pytest.skip("../shared/data is absent: recorded trades lie there")
    lake = tmp_path / "lake"
    options = ImportOptions(name="aig", clock="1m", calendar="XNYS", keep_ticks=True)
    import_files(lake, [path], options)
    raw = pl.read_parquet(path)
    feed = open_feed("aig", (), lake)
    assert feed.bars["volume"].sum() == raw["size"].sum()
    assert feed.bars["trades"].sum() == len(raw) == read_manifest(lake, "aig-trades").rows
    assert feed.bars["high"].max() * float(feed.tick) == pytest.approx(raw["price"].max())
    assert feed.bars_per_year == 252 * 390
    minutes = raw["ts"].dt.truncate("1m").n_unique()
    assert len(feed.bars) == minutes


def test_a_file_without_one_good_row_makes_no_table(tmp_path: Path) -> None:
    path = csv(tmp_path, minute(0, "-1,1,-1,1,5"), minute(1, "1,1,2,1,5"))
    with pytest.raises(
        InputError, match=r"no row can be used: 1 crossed, 1 non_positive; the"
    ) as e:
        import_files(tmp_path / "lake", [path], BARS)
    assert "\n" not in str(e.value)
    assert not list((tmp_path / "lake").rglob("*.json"))


@pytest.mark.parametrize("side", ["5", "nan", "-2", "0.5"])
def test_a_trade_with_a_side_that_is_none_is_a_counted_bad_row(tmp_path: Path, side: str) -> None:
    path = tmp_path / "trades.csv"
    path.write_text(
        "ts,symbol,price,size,side\n1723161601,A,10,5,1\n1723161602,A,10,5,-1\n"
        f"1723161603,A,10,5,{side}\n1723161604,A,10,5,\n"
    )
    (made,) = import_files(tmp_path / "lake", [path], ImportOptions(name="x")).tables
    assert (made.added, made.quarantined) == (3, {"unreadable": 1})
    assert f"side={float(side)}" in made.examples[0]
    assert scan(tmp_path / "lake", "x-trades").collect()["side"].to_list() == [1, -1, 0]
    found = check(tmp_path / "lake", str(path), CheckOptions())
    assert found.flaws == {"unreadable": 1}


@pytest.mark.parametrize(
    ("symbol", "words"),
    [
        ("A" * 300, "has 300 characters: its directory's name would be longer than 255 bytes"),
        ("/" * 90, "has 90 characters"),
        ("__HIVE_DEFAULT_PARTITION__", "take it for a missing value"),
    ],
)
def test_a_symbol_that_cannot_name_a_directory_is_refused(
    tmp_path: Path, symbol: str, words: str
) -> None:
    path = csv(tmp_path, minute(0), minute(1, symbol=symbol))
    options = ImportOptions(name="t", clock="1m", stamp="close")
    with pytest.raises(InputError, match=words) as caught:
        import_files(tmp_path / "lake", [path], options)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "lake").rglob("*.parquet"))
    longest = csv(tmp_path, minute(0, symbol="A" * 248))
    import_files(tmp_path / "lake", [longest], options)
