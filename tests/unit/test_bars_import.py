"""Rows of several files before and at the door: their order, their repeats, their own oddities."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import permutations
from pathlib import Path

import pytest

from data.errors import InputError
from data.formats import Reading
from data.import_job import ImportOptions
from data.importing import import_files
from data.lake import read_manifest, scan
from data.lake_feed import load_table
from tests.unit.test_binance_dump import MS
from tests.unit.test_binance_dump import write as write_dump
from tests.unit.test_binance_wire import trade
from tests.unit.test_binance_wire import write as write_wire

BASE = 1_723_161_600  # s
BARS = ImportOptions(name="t", clock="1m", stamp="open", tick=Decimal("0.01"), lot=Decimal(1))


def csv(folder: Path, name: str, *rows: str, extras: str = "") -> Path:
    path = folder / name
    path.write_text(f"ts,symbol,open,high,low,close,volume{extras}\n" + "\n".join(rows) + "\n")
    return path


def minute(n: int, price: float = 10.0, tail: str = "") -> str:
    return f"{BASE + 60 * n},A,{price},{price},{price},{price},5{tail}"


def dump(folder: Path, name: str, *numbers: int) -> Path:
    rows = [f"{n},100.5,0.5,50.25,{MS + 1000 * n},True,True\n" for n in numbers]
    return write_dump(folder, f"BTCUSDT-trades-{name}", "".join(rows))


def test_a_trade_of_two_files_counts_once(tmp_path: Path) -> None:
    day, month = dump(tmp_path, "2024-08-09", 3, 4), dump(tmp_path, "2024-08", 1, 2, 3, 4, 5)
    other = write_dump(tmp_path, "ETHUSDT-trades-2024-08", f"3,9.5,1,9.5,{MS + 3000},True,True\n")
    (made,) = import_files(tmp_path / "lake", [day, month, other], ImportOptions(name="t")).tables
    assert (made.added, made.quarantined) == (6, {"duplicate": 2})
    assert "trade id 3 of another file" in made.examples[0]
    assert scan(tmp_path / "lake", "t-trades").collect().height == 6


def test_a_recorded_trade_that_the_dump_has_too_counts_once(tmp_path: Path) -> None:
    paths = [write_wire(tmp_path, trade(MS + 1000, 1), trade(MS + 9000, 9)),
             dump(tmp_path, "2024-08", 1, 2)]  # fmt: skip
    options = ImportOptions(name="t", clock="1s")
    (made,) = import_files(tmp_path / "lake", paths, options).tables
    assert made.quarantined == {"duplicate": 1}
    assert load_table(tmp_path / "lake", "t", ()).bars["trades"].sum() == 3


def test_the_order_in_which_files_are_named_changes_nothing(tmp_path: Path) -> None:
    paths = [
        csv(tmp_path, "c.csv", minute(0), minute(1)),
        csv(tmp_path, "b.csv", minute(2, 11), minute(3, 11)),
        csv(tmp_path, "a.csv", minute(3, 12), minute(4, 12)),
        csv(tmp_path, "d.csv", minute(0, 13)),  # As early as the first: names decide.
    ]
    found = set()
    for i, order in enumerate(permutations(paths)):
        (made,) = import_files(tmp_path / f"lake{i}", list(order), BARS).tables
        assert (made.added, made.quarantined) == (5, {"duplicate": 1, "out_of_order": 1})
        found.add(load_table(tmp_path / f"lake{i}", "t", ()).bars.tobytes())
    assert len(found) == 1


def test_a_file_from_its_end_to_its_start_is_turned(tmp_path: Path) -> None:
    down = csv(tmp_path, "a.csv", *(minute(n) for n in (5, 4, 3)))
    (made,) = import_files(tmp_path / "down", [down], BARS).tables
    assert (made.added, made.quarantined) == (3, {})
    mixed = csv(tmp_path, "a.csv", *(minute(n) for n in (5, 4, 6)))
    (made,) = import_files(tmp_path / "mixed", [mixed], BARS).tables
    assert (made.added, made.quarantined) == (2, {"out_of_order": 1})


@pytest.mark.parametrize("calendar", [None, "XNYS"])
@pytest.mark.parametrize("ticks", [False, True])
def test_a_split_leaves_out_the_bar_that_ends_as_its_day_begins(
    tmp_path: Path, calendar: str | None, ticks: bool
) -> None:
    """Bars of the last and the first hour around midnight of the market's zone; a split 2:1."""
    table = tmp_path / "splits.csv"
    table.write_text("symbol,date,kind,ratio\nA,2024-08-09,split,2:1\n")
    midnight = BASE + (4 * 3600 if calendar else 0)
    options = ImportOptions(
        name="t", clock="1h", stamp=None if ticks else "open", tick=Decimal("0.01"),
        lot=Decimal(1), calendar=calendar, adjust=table,
    )  # fmt: skip
    moments = [midnight - 7200, midnight - 3600, midnight]
    if ticks:
        path = tmp_path / "a.csv"
        rows = [f"{ts},A,{price},5" for ts, price in zip(moments, (20, 20, 10), strict=True)]
        path.write_text("ts,symbol,price,size\n" + "\n".join(rows) + "\n")
    else:
        rows = [f"{ts},A,{p},{p},{p},{p},5" for ts, p in zip(moments, (20, 20, 10), strict=True)]
        path = csv(tmp_path, "a.csv", *rows)
    import_files(tmp_path / "lake", [path], options)
    bars = load_table(tmp_path / "lake", "t", ()).bars
    assert bars["close"].tolist() == [1000, 1000, 1000]
    assert bars["volume"].tolist() == [10, 10, 5]


def test_later_bars_are_adjusted_by_the_same_table_or_refused(tmp_path: Path) -> None:
    lake, splits, same = tmp_path / "lake", tmp_path / "splits.csv", tmp_path / "same.csv"
    lines = ["A,2024-08-10,split,2:1", "Z,2020-01-02,reuse,"]
    splits.write_text("\n".join(["symbol,date,kind,ratio", *lines]))
    same.write_text("\n".join(["symbol,date,kind,ratio", *reversed(lines)]))
    one = csv(tmp_path, "a.csv", minute(0, 20))
    two = csv(tmp_path, "b.csv", minute(1, 20))
    adjusted = replace(BARS, adjust=splits)
    import_files(lake, [one], BARS)
    with pytest.raises(InputError, match="imported with another --adjust, or none") as caught:
        import_files(lake, [two], adjusted)
    assert "\n" not in str(caught.value)
    assert read_manifest(lake, "t").rows == 1
    import_files(lake, [one], replace(adjusted, replace=True))
    with pytest.raises(InputError, match="--replace"):
        import_files(lake, [two], BARS)
    import_files(lake, [two], replace(BARS, adjust=same))
    assert load_table(lake, "t", ()).bars["close"].tolist() == [1000, 1000]
    assert import_files(lake, [two], replace(BARS, adjust=same)).tables == []


def test_optional_columns_that_contradict_the_bar_are_unknown(tmp_path: Path) -> None:
    tails = (",10,11,5", ",11,10,6", ",10,10,-1", ",,9,0")
    rows = [minute(n, tail=tail) for n, tail in enumerate(tails)]
    report = import_files(
        tmp_path / "lake", [csv(tmp_path, "a.csv", *rows, extras=",bid,ask,buy_volume")], BARS
    )
    assert report.tables[0].added == 4
    assert "1 bars with a bid above the ask: both taken as unknown" in report.said
    assert "2 buy volumes above the volume or negative: taken as unknown" in report.said
    held = scan(tmp_path / "lake", "t").sort("ts").collect()
    assert held.select("bid", "ask", "buy_volume").rows() == [
        (1000, 1100, 5), (None, None, None), (1000, 1000, None), (None, 900, 0),
    ]  # fmt: skip


def test_bars_before_1970_have_a_time(tmp_path: Path) -> None:
    days = ("1965-03-01", "1965-03-02", "1969-12-30", "1969-12-31", "")
    rows = [f"{day},A,10,12,9,11,5" for day in days]
    options = replace(BARS, clock="1d", reading=Reading(timezone="UTC"))
    (made,) = import_files(tmp_path / "lake", [csv(tmp_path, "a.csv", *rows)], options).tables
    assert (made.added, made.quarantined) == (4, {"no_time": 1})
    ts = load_table(tmp_path / "lake", "t", ()).bars["ts"]
    assert ts.astype("M8[ns]").astype("M8[D]").astype(str).tolist() == [
        "1965-03-02", "1965-03-03", "1969-12-31", "1970-01-01",
    ]  # fmt: skip
    later = csv(tmp_path, "b.csv", "1970-01-01,A,10,12,9,11,5", "1969-12-31,B,10,12,9,11,5")
    (made,) = import_files(tmp_path / "lake", [later], options).tables
    assert (made.added, made.manifest.rows) == (2, 6)
