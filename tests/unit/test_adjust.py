"""Splits and reused tickers from a table: by hand, and on the real jumps of the shared files."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data.adjust import Adjustment, adjust, read_adjustments
from data.errors import InputError
from data.import_job import ImportOptions
from data.importing import import_files
from data.lake_feed import load_table

DAILY = Path("../shared/data/us_equity_bars/daily.parquet")
HOURLY = Path("../shared/data/us_equity_bars/hour.parquet")
HEADER = "symbol,date,kind,ratio\n"


def table(folder: Path, text: str) -> Path:
    path = folder / "adjust.csv"
    path.write_text(HEADER + text)
    return path


def test_ratios_are_new_shares_for_old(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "AIG,2009-07-01,split,1:20\nBAC,2004-08-30,split,2\nX,2000-01-03,split,1.5\n"
        "USO,2006-04-10,reuse,\n",
    )
    assert read_adjustments(path) == (
        Adjustment("AIG", date(2009, 7, 1), Fraction(1, 20)),
        Adjustment("BAC", date(2004, 8, 30), Fraction(2)),
        Adjustment("X", date(2000, 1, 3), Fraction(3, 2)),
        Adjustment("USO", date(2006, 4, 10), None),
    )


def test_splits_multiply_backwards_and_a_reused_ticker_is_cut() -> None:
    days = pl.Series([date(2020, 1, n) for n in (1, 2, 3, 4)] * 2)
    frame = pl.DataFrame(
        {"symbol": ["A"] * 4 + ["B"] * 4, "close": [120.0, 60.0, 60.0, 20.0] * 2,
         "volume": [10.0, 20.0, 20.0, 60.0] * 2}
    )  # fmt: skip
    adjustments = (
        Adjustment("A", date(2020, 1, 2), Fraction(2)),
        Adjustment("A", date(2020, 1, 4), Fraction(3)),
        Adjustment("B", date(2020, 1, 3), None),
    )
    rows, kept, cut = adjust(frame, days, adjustments)
    assert rows.filter(pl.col("symbol") == "A")["close"].to_list() == [20.0] * 4
    assert rows.filter(pl.col("symbol") == "A")["volume"].to_list() == [60.0] * 4
    assert rows.filter(pl.col("symbol") == "B")["close"].to_list() == [60.0, 20.0]
    assert (kept.sum(), cut) == (6, 2)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("A,2009-07-01,split,0", "row 1: column ratio '0'"),
        ("A,2009-07-01,split,", "row 1: column ratio"),
        ("A,2009-07-01,split,1:0", "row 1: column ratio '1:0'"),
        ("A,2009-07-01,split,1e400", "row 1: column ratio '1e400'.* at most 1,000,000 to one"),
        ("A,2009-07-01,split,1e999999999", "row 1: column ratio '1e999999999'"),
        ("A,2009-07-01,split,1:2000000", "row 1: column ratio '1:2000000'"),
        ("A,2009-07-01,merger,2", "row 1: column kind 'merger': write split or reuse"),
        ("A,July,split,2", "row 1: column date 'July': write YYYY-MM-DD"),
        ("A,2009-07-01,reuse,2", "row 1: column ratio '2': a reused ticker has none"),
        (",2009-07-01,split,2", "row 1: column symbol is empty"),
    ],
)
def test_a_wrong_value_names_row_and_column(tmp_path: Path, row: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_adjustments(table(tmp_path, row + "\n"))
    assert "\n" not in str(caught.value)


def test_a_table_without_its_columns_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("symbol,date\nA,2000-01-01\n")
    with pytest.raises(InputError, match=r"lacks the column.s. kind, ratio"):
        read_adjustments(path)
    with pytest.raises(InputError, match=r"absent.csv"):
        read_adjustments(tmp_path / "absent.csv")


def daily(lake: Path, symbols: tuple[str, ...], adjust_by: Path | None = None) -> set[str]:
    """Imports; the days that were quarantined as jumps, with their symbol."""
    options = ImportOptions(
        name="daily", clock="1d", stamp="open", calendar="XNYS", symbols=symbols, adjust=adjust_by,
        tick=Decimal("0.0001"), lot=Decimal(1), replace=True,
    )  # fmt: skip
    (made,) = import_files(lake, [DAILY], options).tables
    assert set(made.quarantined) <= {"split_like_jump"}
    feed = load_table(lake, "daily", ())
    return {f"{entry.symbol} {entry.when[:10]}" for entry in feed.quarantined}


def test_real_splits_are_found_and_real_falls_pass(tmp_path: Path) -> None:
    if not DAILY.exists():
        pytest.skip("../shared/data is absent: daily bars with splits lie there")
    found = daily(tmp_path, ("AIG", "BAC", "USO", "WM", "BNO"))
    assert {
        "AIG 2009-07-01", "BAC 2004-08-30", "USO 2006-04-10", "WM 2009-08-05", "BNO 2010-06-02",
        "BNO 2013-08-29", "AIG 1998-08-03", "AIG 2000-07-31", "WM 2001-05-16",
    } <= found  # fmt: skip
    # AIG fell 60 % on 2008-09-15 and kept falling: that was real.
    assert not any(entry.startswith("AIG 2008") for entry in found)


def test_what_the_table_names_is_adjusted_and_no_jump_is_left(tmp_path: Path) -> None:
    if not DAILY.exists():
        pytest.skip("../shared/data is absent: daily bars with splits lie there")
    path = table(
        tmp_path,
        "AIG,2009-07-01,split,1:20\nAIG,2000-07-31,split,3:2\nAIG,1998-08-03,split,3:2\n"
        "BAC,2004-08-30,split,2:1\nUSO,2006-04-10,reuse,\n",
    )
    assert daily(tmp_path / "lake", ("AIG", "BAC", "USO"), path) == set()
    feed = load_table(tmp_path / "lake", "daily", ("AIG", "USO"))
    aig = feed.bars[feed.bars["symbol"] == 0]
    ratio = aig["close"][1:] / aig["close"][:-1]
    assert ratio.max() < 2.0  # The raw reverse split is a factor of 16.
    assert ratio.min() == pytest.approx(0.4186, abs=1e-3)  # 2008-09-15 is as it was.
    raw = pl.read_parquet(DAILY).filter(pl.col("symbol") == "AIG").sort("ts")
    # The first bar lies before all three: x 20 / 1.5 / 1.5.
    first = raw["close"][0] * 20 / 2.25
    assert aig["close"][0] == pytest.approx(first * 1e4, abs=0.51)
    assert aig["volume"][0] == pytest.approx(raw["volume"][0] / 20 * 2.25, abs=0.51)
    uso = feed.bars[feed.bars["symbol"] == 1]
    assert np.datetime64(int(uso["ts"][0]), "ns") > np.datetime64("2006-04-10")


def test_hourly_splits_are_found(tmp_path: Path) -> None:
    if not HOURLY.exists():
        pytest.skip("../shared/data is absent: hourly bars with splits lie there")
    options = ImportOptions(
        name="h", clock="1h", stamp="open", calendar="XNYS", symbols=("VXX", "SPWR"),
        tick=Decimal("0.0001"), lot=Decimal(1),
    )  # fmt: skip
    import_files(tmp_path, [HOURLY], options)
    found = {f"{q.symbol} {q.when[:10]}" for q in load_table(tmp_path, "h", ()).quarantined}
    assert found == {"VXX 2010-11-09", "VXX 2012-10-05", "VXX 2013-11-08", "SPWR 2011-11-17"}


def test_splits_that_multiply_beyond_reason_are_one_line() -> None:
    splits = tuple(Adjustment("A", date(2000, 1, day), Fraction(1000)) for day in range(2, 7))
    frame = pl.DataFrame({"symbol": ["A"], "close": [1.0]})
    with pytest.raises(InputError, match=r"splits of A from 2000-01-02 on multiply to 1e\+15"):
        adjust(frame, pl.Series([date(2000, 1, 1)]), splits)
