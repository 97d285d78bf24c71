"""The quality report: each trouble by the smallest change of good data, and the recorded files."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError
from data.import_job import ImportOptions
from data.importing import import_files
from data.quality import CheckOptions, Quality, check

SHARED = Path("../shared/data")
BASE = 1_723_161_600
NS = 10**9
OPTIONS = CheckOptions(clock="1m", stamp="close")


def write(folder: Path, *rows: str, header: str = "ts,symbol,open,high,low,close,volume") -> Path:
    path = folder / "x.csv"
    path.write_text(header + "\n" + "".join(row + "\n" for row in rows))
    return path


def bar(n: int, close: float = 10.0, volume: int = 5, symbol: str = "A") -> str:
    return f"{BASE + 60 * n},{symbol},{close},{close + 1},{close - 1},{close},{volume}"


def report(folder: Path, *rows: str, options: CheckOptions = OPTIONS) -> Quality:
    return check(folder, str(write(folder, *rows)), options)


def test_good_bars_are_clean(tmp_path: Path) -> None:
    found = report(tmp_path, *[bar(n) for n in range(5)], *[bar(n, symbol="B") for n in range(9)])
    assert found.clean
    assert [(s.symbol, s.rows, s.missing) for s in found.symbols] == [("A", 5, 0), ("B", 9, 0)]
    assert (found.clock, found.trouble) == ("1m", [])


def test_gaps_and_zero_volume_are_facts_not_troubles(tmp_path: Path) -> None:
    found = report(tmp_path, bar(0), bar(1), bar(4), bar(5, volume=0), bar(7))
    assert found.clean
    (entry,) = found.symbols
    assert (entry.missing, entry.zero_volume) == (3, 1)
    assert (entry.longest_gap_ns, entry.longest_gap_from) == (180 * NS, (BASE + 60) * NS)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (bar(1), "duplicate"),
        (bar(0), "out_of_order"),
        (bar(9, 20.0), "split_like_jump"),
        (bar(9, -5), "non_positive"),
        (f"{BASE + 540},A,10,9,11,10,5", "crossed"),
        (bar(9, volume=-1), "negative_volume"),
        (f"{BASE + 540},A,10,11,nan,10,5", "not_a_number"),
        (",A,10,11,9,10,5", "no_time"),
    ],
)
def test_each_flaw_is_a_trouble_with_its_place(tmp_path: Path, row: str, reason: str) -> None:
    found = report(tmp_path, bar(0), bar(1), row)
    assert found.flaws == {reason: 1}
    assert found.trouble == [f"1 rows {reason}, to be quarantined"]
    assert not found.clean
    assert found.examples[0].startswith(f"{reason}: x.csv row 3 A")


def test_large_moves_are_shown(tmp_path: Path) -> None:
    found = report(tmp_path, bar(0, 10), bar(1, 17), bar(2, 6), bar(3, 7))
    assert found.clean
    assert found.symbols[0].large_moves == [
        ((BASE + 60) * NS, 1.7), ((BASE + 120) * NS, pytest.approx(6 / 17)),
    ]  # fmt: skip


def test_a_silence_of_months_is_a_trouble(tmp_path: Path) -> None:
    found = report(tmp_path, bar(0), bar(1), bar(1 + 1440 * 400))
    assert len(found.trouble) == 1
    assert "A: nothing for 400 days" in found.trouble[0]


def test_sessions_of_the_exchange_leave_no_gaps(tmp_path: Path) -> None:
    days = ["2009-11-25", "2009-11-27", "2009-11-30", "2009-12-02"]  # Thanksgiving, a weekend
    rows = [f"{day}T05:00:00Z,A,10,11,9,10,5" for day in days]
    found = report(tmp_path, *rows, options=CheckOptions(
        clock="1d", stamp="open", calendar="XNYS"))  # fmt: skip
    assert found.symbols[0].missing == 1  # 1 December
    assert found.clean
    closed = report(tmp_path, *rows, "2009-12-05T05:00:00Z,A,10,11,9,10,5", options=CheckOptions(
        clock="1d", stamp="open", calendar="XNYS"))  # fmt: skip
    assert closed.flaws == {"not_a_session": 1}


def test_nights_are_no_gaps_of_minutes(tmp_path: Path) -> None:
    stamps = ["2009-11-30T20:59:00Z", "2009-11-30T21:00:00Z", "2009-12-01T14:31:00Z",
              "2009-12-01T14:34:00Z"]  # fmt: skip
    rows = [f"{stamp},A,10,11,9,10,5" for stamp in stamps]
    found = report(tmp_path, *rows, options=CheckOptions(clock="1m", calendar="XNYS"))
    assert found.symbols[0].missing == 2


def minutes(day: str, *spans: tuple[str, str]) -> list[str]:
    """Rows of minute bars, by the closes of the first and the last of each span (UTC)."""
    return [
        f"{moment}Z,A,10,11,9,10,5"
        for first, last in spans
        for moment in np.arange(
            np.datetime64(f"{day}T{first}"), np.datetime64(f"{day}T{last}") + 1, 1
        ).astype("datetime64[s]").astype(str)
    ]  # fmt: skip


def test_sessions_are_expected_from_their_open_to_their_close(tmp_path: Path) -> None:
    options = CheckOptions(clock="1m", calendar="XNYS")
    first = minutes("2009-11-25", ("20:00", "21:00"))
    last = minutes("2009-11-30", ("14:31", "15:00"))
    # The Friday after Thanksgiving has 210 minutes, all of which are missing.
    assert report(tmp_path, *first, *last, options=options).symbols[0].missing == 210
    # Ten minutes late, five in the middle, an hour early; before and after the session: nothing.
    friday = minutes("2009-11-27", ("13:00", "13:10"), ("14:41", "15:00"), ("15:06", "17:00"),
                     ("18:30", "18:40"))  # fmt: skip
    (entry,) = report(tmp_path, *first, *friday, *last, options=options).symbols
    assert entry.missing == 10 + 5 + 60
    whole = minutes("2009-11-27", ("14:31", "18:00"))
    assert report(tmp_path, *first, *whole, *last, options=options).symbols[0].missing == 0
    assert report(tmp_path, *first[:30], *whole, *last, options=options).symbols[0].missing == 31


def test_hours_aligned_to_the_open_are_expected_where_they_are(tmp_path: Path) -> None:
    closes = [f"2009-11-{day}T{hour}:30:00Z" for day in (24, 25) for hour in range(15, 22)]
    rows = [f"{moment},A,10,11,9,10,5" for moment in closes]
    options = CheckOptions(clock="1h", calendar="XNYS")
    assert report(tmp_path, *rows, options=options).symbols[0].missing == 0
    assert report(tmp_path, *rows[:5], *rows[8:], options=options).symbols[0].missing == 3


def test_equal_rows_of_trades_and_quotes_are_counted(tmp_path: Path) -> None:
    rows = [f"{BASE + n},A,{price},1" for n, price in ((0, 10), (0, 10), (0, 10), (1, 10))]
    path = write(tmp_path, *rows, f"{BASE + 1},B,10,1", header="ts,symbol,price,size")
    found = check(tmp_path, str(path), CheckOptions())
    assert [(entry.symbol, entry.duplicates) for entry in found.symbols] == [("A", 2), ("B", 0)]
    assert found.clean
    import_files(tmp_path / "lake", [path], ImportOptions(name="t"))
    assert check(tmp_path / "lake", "t-trades", CheckOptions()).symbols[0].duplicates == 2
    header = "ts,symbol,bid,bid_size,ask,ask_size"
    path = write(tmp_path, *[f"{BASE},A,10,1,{ask},1" for ask in (11, 11, 12)], header=header)
    assert check(tmp_path, str(path), CheckOptions()).symbols[0].duplicates == 1


def test_quotes_crossed_and_locked(tmp_path: Path) -> None:
    header = "ts,symbol,bid,bid_size,ask,ask_size"
    rows = [f"{BASE + n},A,{bid},1,{ask},1" for n, (bid, ask) in
            enumerate([(10, 11), (11, 11), (12, 11), (10, 11)])]  # fmt: skip
    found = check(tmp_path, str(write(tmp_path, *rows, header=header)), CheckOptions())
    (entry,) = found.symbols
    assert (entry.crossed, entry.locked) == (1, 1)
    assert found.trouble == ["quotes crossed 1 times"]


def test_quotes_of_two_sessions_do_not_cross_each_other(tmp_path: Path) -> None:
    rows = ["2009-11-30T20:59:00Z,A,10,1,11,1", "2009-12-01T14:30:00Z,A,12,1,0,0",
            "2009-12-01T14:30:01Z,A,0,0,13,1"]  # fmt: skip
    path = write(tmp_path, *rows, header="ts,symbol,bid,bid_size,ask,ask_size")
    assert check(tmp_path, str(path), CheckOptions()).symbols[0].crossed == 1
    assert check(tmp_path, str(path), CheckOptions(calendar="none")).symbols[0].crossed == 1
    assert check(tmp_path, str(path), CheckOptions(calendar="XNYS")).clean


def test_trades_out_of_order(tmp_path: Path) -> None:
    rows = [f"{BASE + n},A,10,1" for n in (0, 2, 1, 3)]
    path = write(tmp_path, *rows, f"{BASE + 4},A,-1,1", header="ts,symbol,price,size")
    found = check(tmp_path, str(path), CheckOptions())
    assert found.flaws == {"non_positive": 1}
    assert any("1 rows out of order" in line for line in found.trouble)
    assert found.symbols[0].rows == 4


def test_a_table_tells_what_its_imports_refused(tmp_path: Path) -> None:
    options = ImportOptions(name="t", clock="1m", stamp="close", tick=Decimal("0.01"),
                            lot=Decimal(1))  # fmt: skip
    import_files(tmp_path, [write(tmp_path, bar(0), bar(1), bar(3))], options)
    found = check(tmp_path, "t", CheckOptions())
    assert found.clean
    assert (found.symbols[0].rows, found.symbols[0].missing, found.clock) == (3, 1, "1m")
    import_files(tmp_path, [write(tmp_path, bar(4, 20.0), bar(5, 20.0), bar(5, 20.0))], options)
    found = check(tmp_path, "t", CheckOptions())
    # The bar after the jump that was kept out jumps too: that is not told twice.
    assert found.flaws == {"duplicate": 1, "split_like_jump": 1}
    assert sorted(found.trouble) == [
        "1 rows duplicate, kept out of the table", "1 rows split_like_jump, kept out of the table",
    ]  # fmt: skip


def test_a_jump_that_a_later_import_brings_before_the_rest_is_found(tmp_path: Path) -> None:
    options = ImportOptions(name="t", clock="1m", stamp="close", tick=Decimal("0.01"),
                            lot=Decimal(1))  # fmt: skip
    import_files(tmp_path, [write(tmp_path, bar(10), bar(11))], options)
    import_files(tmp_path, [write(tmp_path, bar(1, 20.0), bar(2, 20.0))], options)
    found = check(tmp_path, "t", CheckOptions())
    assert found.flaws == {"split_like_jump": 1}


def test_what_cannot_be_read_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'absent' is neither a file nor a table"):
        check(tmp_path, "absent", CheckOptions())
    path = tmp_path / "noise"
    path.write_bytes(b"\x00\x01" * 30)
    with pytest.raises(InputError, match="unknown format"):
        check(tmp_path, str(path), CheckOptions())


def test_the_recorded_hours() -> None:
    path = SHARED / "us_equity_bars" / "hour.parquet"
    if not path.exists():
        pytest.skip("../shared/data is absent: hourly bars lie there")
    found = check(Path("absent"), str(path), CheckOptions(
        clock="1h", stamp="open", calendar="XNYS"))  # fmt: skip
    assert found.flaws["split_like_jump"] == 8
    entries = {entry.symbol: entry for entry in found.symbols}
    # The calendar does not know that trading began late on 2002-09-11, by two of these hours.
    assert entries["SPY"].missing == 2
    assert np.datetime64(entries["SPY"].longest_gap_from, "ns") == np.datetime64("2002-09-10T20:00")
    # The ticker was another's: a silence of three years.
    assert any(line.startswith("SPWR: nothing for 1143 days") for line in found.trouble)
    assert entries["AIG"].rows + entries["SPY"].rows > 60_000


def test_nothing_good_is_not_clean(tmp_path: Path) -> None:
    found = report(tmp_path)
    assert found.trouble == ["it holds no good row"]
    found = report(tmp_path, "-5000000000,A,1,1,1,1,1", f"{BASE},,1,1,1,1,1")
    assert found.flaws == {"no_time": 1, "unreadable": 1}
    assert "it holds no good row" in found.trouble
