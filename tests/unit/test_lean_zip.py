"""LEAN's zips: daily, hourly, minute, second and tick files by lines of their documented layout."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pandas as pd
import pytest

from data.door import Flaw
from data.errors import InputError
from data.formats import Reading, guess_format, read_pieces
from data.lean_zip import read_lean
from data.piece import Kind


def ny(text: str) -> int:
    return int(pd.Timestamp(text, tz="America/New_York").value)


def utc(text: str) -> int:
    return int(pd.Timestamp(text, tz="UTC").value)


def write(folder: Path, path: str, inner: str, text: str) -> Path:
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(inner, text)
    return target


def test_daily_equity(tmp_path: Path) -> None:
    text = "19980102 00:00,1102500,1102600,1093100,1094400,1362000\n"
    path = write(tmp_path, "equity/usa/daily/aig.zip", "aig.csv", text)
    assert guess_format(path) == "lean"
    (piece,) = read_pieces(path, Reading())
    assert piece.frame.row(0) == (
        1, ny("1998-01-02"), "AIG", 110.25, 110.26, 109.31, 109.44, 1_362_000.0,
    )  # fmt: skip
    assert (piece.clock, piece.stamp, piece.calendar) == ("1d", "open", "XNYS")
    assert piece.places == (4, 0)


def test_hourly_equity_over_the_change_of_the_clock(tmp_path: Path) -> None:
    rows = "20131101 10:00,1,2,1,2,5\n20131104 10:00,1,2,1,2,5\n"
    piece = read_lean(write(tmp_path, "equity/usa/hour/aig.zip", "aig.csv", rows), None)
    assert piece.clock == "1h"
    assert piece.frame["ts"].to_list() == [utc("2013-11-01 14:00"), utc("2013-11-04 15:00")]


def test_minute_equity_trades_and_quotes(tmp_path: Path) -> None:
    folder = "equity/usa/minute/aig"
    path = write(tmp_path, f"{folder}/20131007_trade.zip", "20131007_aig_minute_trade.csv",
                 "34200000,484600,484700,484500,484600,14200\n")  # fmt: skip
    piece = read_lean(path, None)
    assert (piece.kind, piece.clock, piece.stamp) == (Kind.BARS, "1m", "open")
    assert piece.frame.row(0)[1:5] == (ny("2013-10-07 09:30"), "AIG", 48.46, 48.47)
    path = write(tmp_path, f"{folder}/20131007_quote.zip", "20131007_aig_minute_quote.csv",
                 "34200000,1,2,1,484500,300,1,2,1,484700,200\n"
                 "34260000,1,2,1,484600,300,,,,,\n")  # fmt: skip
    piece = read_lean(path, None)
    assert piece.kind is Kind.QUOTES
    # A quote bar is known at its close; a side that it does not tell is not updated.
    assert piece.frame.rows() == [
        (1, ny("2013-10-07 09:31"), "AIG", 48.45, 300.0, 48.47, 200.0),
        (2, ny("2013-10-07 09:32"), "AIG", 48.46, 300.0, 0.0, 0.0),
    ]


def test_equity_ticks_leave_out_what_the_source_suspects(tmp_path: Path) -> None:
    text = "28800614,484600,100,P,00000001,0\n28800700,484800,200,Q,00000001,1\n"
    path = write(tmp_path, "equity/usa/tick/aig/20131007_trade.zip",
                 "20131007_aig_Trade_tick_trade.csv", text)  # fmt: skip
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("20131007_aig_tick_trade.csv", text)
    piece = read_lean(path, None)
    assert piece.frame.rows() == [
        (1, ny("2013-10-07 08:00:00.614"), "AIG", 48.46, 100.0, "P"),
    ]
    assert [(entry.flaw, entry.row) for entry in piece.refused] == [(Flaw.UNREADABLE, 2)]


def test_crypto_is_not_scaled_and_in_utc(tmp_path: Path) -> None:
    text = "60000,6060,6060.5,6048.83,6049.68,6.72\n"
    folder, inner = "crypto/coinbase/minute/btcusd", "20180404_btcusd_minute_trade.csv"
    path = write(tmp_path, f"{folder}/20180404_trade.zip", inner, text)
    piece = read_lean(path, None)
    assert piece.frame.row(0) == (
        1, utc("2018-04-04 00:01"), "BTCUSD", 6060.0, 6060.5, 6048.83, 6049.68, 6.72,
    )  # fmt: skip
    assert (piece.calendar, piece.group, piece.places) == (None, "crypto", (2, 2))
    # Outside LEAN's folders a decimal point tells.
    bare = write(tmp_path, "btc.zip", "btcusd.csv", "20180404 00:00,6060.1,6070,6048,6049,6.7\n")
    assert read_lean(bare, None).frame["open"][0] == 6060.1
    assert read_lean(bare, "XBT").frame["symbol"][0] == "XBT"


@pytest.mark.parametrize(
    ("folder", "open_"),
    [
        ("crypto/lean/equity/usa/daily", 110.25),
        ("equity/lean/crypto/coinbase/daily", 1_102_500.0),
        ("crypto/forex/oanda/daily", 110.25),  # No decimal point.
    ],
)
def test_the_nearest_type_of_security_counts(tmp_path: Path, folder: str, open_: float) -> None:
    text = "19980102 00:00,1102500,1102600,1093100,1094400,1362000\n"
    path = write(tmp_path, f"{folder}/x.zip", "x.csv", text)
    assert read_lean(path, None).frame["open"].to_list() == [open_]


@pytest.mark.parametrize(
    ("inner", "text", "words"),
    [
        ("trades.csv", "34200000,1,2,1,2,5\n", "does not name its day, resolution and kind"),
        ("20131399_aig_minute_trade.csv", "1,1,2,1,2,5\n", "20131399: that is no date"),
        ("20131007_aig_minute_trade.csv", "1,1,2\n", "has 3 columns, too few for LEAN's open"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, inner: str, text: str, words: str) -> None:
    path = write(tmp_path, "equity/x.zip", inner, text)
    with pytest.raises(InputError, match=words) as caught:
        read_lean(path, None)
    assert "\n" not in str(caught.value)
