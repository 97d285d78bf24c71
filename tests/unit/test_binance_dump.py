"""Binance's public dumps: each kind by a few lines of its documented layout."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest

from data.binance_dump import read_dump
from data.door import Flaw
from data.errors import InputError
from data.formats import Reading, guess_format, read_pieces
from data.piece import Kind

MS = 1_723_161_600_001
NS = MS * 1_000_000

SPOT_TRADES = f"""\
3735693016,61685.99000000,0.00017000,10.48,{MS},True,True
3735693017,61686.00000000,0.50000000,30843.00,{MS + 5},False,True
"""
FUTURES_TRADES = f"""\
id,price,qty,quote_qty,time,is_buyer_maker
5266583935,61800.3,0.006,370.8,{MS},true
"""
AGG_SPOT = f"3096840000,61685.99000000,0.00017000,3735693016,3735693017,{MS},True,True\n"
AGG_FUTURES = f"""\
agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker
2281213541,61800.3,0.006,5266583935,5266583936,{MS},false
"""
KLINE = "61700.00,61720.50,61690.10,61710.00,12.345,{},761000.1,841,6.100,376000.2,0\n"
BOOK = f"update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time\n5123,61800.2,2.507,61800.3,2.51,{MS},{MS + 2}\n"  # noqa: E501


def klines(unit: int, start: int = 1_723_161_600) -> str:
    opens = [start * unit, (start + 60) * unit]
    return "".join(f"{at}," + KLINE.format(at + 60 * unit - 1) for at in opens)


def write(folder: Path, name: str, text: str, zipped: bool = True) -> Path:
    if not zipped:
        path = folder / f"{name}.csv"
        path.write_text(text)
        return path
    path = folder / f"{name}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.csv", text)
    return path


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("name", "text", "kind", "first"),
    [
        ("BTCUSDT-trades-2024-08-09", SPOT_TRADES, Kind.TRADES, (NS, 61685.99, 0.00017, -1.0)),
        ("BTCUSDT-trades-2024-08-08", FUTURES_TRADES, Kind.TRADES, (NS, 61800.3, 0.006, -1.0)),
        ("BTCUSDT-aggTrades-2024-08-09", AGG_SPOT, Kind.TRADES, (NS, 61685.99, 0.00017, -1.0)),
        ("BTCUSDT-aggTrades-2024-08-08", AGG_FUTURES, Kind.TRADES, (NS, 61800.3, 0.006, 1.0)),
        ("BTCUSDT-bookTicker-2024-08-08", BOOK, Kind.QUOTES, (NS, 61800.2, 2.507, 61800.3)),
        ("BTCUSDT-1m-2024-08", klines(1000), Kind.BARS,
         (1_723_161_600 * 10**9, 61700.0, 61720.5, 61690.1)),
    ],
)  # fmt: skip
def test_each_kind_is_known_and_read(
    tmp_path: Path, zipped: bool, name: str, text: str, kind: Kind, first: tuple[float, ...]
) -> None:
    path = write(tmp_path, name, text, zipped)
    assert guess_format(path) == "binance-dump"
    (piece,) = read_pieces(path, Reading())
    assert piece.kind is kind
    row = piece.frame.row(0, named=True)
    assert (row["row"], row["symbol"], piece.currency) == (1, "BTCUSDT", "USDT")
    values = [value for key, value in row.items() if key not in ("row", "symbol")]
    assert tuple(values[: len(first)]) == first


@pytest.mark.parametrize("unit", [1000, 1_000_000])
@pytest.mark.parametrize("header", [True, False])
def test_klines_of_both_time_units_and_with_a_header(
    tmp_path: Path, unit: int, header: bool
) -> None:
    names = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n"  # noqa: E501
    text = names * header + klines(unit, 1_735_689_600)
    piece = read_dump(write(tmp_path, "ETHUSDT-1m-2025-01-01", text), None)
    assert piece.frame["ts"].to_list() == [1_735_689_600 * 10**9, 1_735_689_660 * 10**9]
    assert (piece.stamp, piece.clock) == ("open", "1m")
    assert piece.frame["trades"].to_list() == [841, 841]
    assert piece.frame["buy_volume"].to_list() == [6.1, 6.1]
    assert piece.places == (1, 3)


def test_microsecond_trades(tmp_path: Path) -> None:
    text = f"1,2.50,3,7.5,{MS}123,False,True\n"
    piece = read_dump(write(tmp_path, "BTCUSDT-trades-2025-01-01", text), None)
    assert piece.frame["ts"][0] == NS + 123_000


def test_one_odd_time_moves_no_other(tmp_path: Path) -> None:
    text = SPOT_TRADES + f"3735693018,61686.00,0.5,3,{10**18},False,True\n"
    piece = read_dump(write(tmp_path, "BTCUSDT-trades-2024-08-09", text), None)
    assert piece.frame["ts"].to_list() == [NS, NS + 5_000_000, None]


def test_a_repeated_id_is_refused(tmp_path: Path) -> None:
    piece = read_dump(write(tmp_path, "BTCUSDT-trades-2024-08-09", SPOT_TRADES * 2), None)
    assert len(piece.frame) == 2
    assert [(entry.flaw, entry.row) for entry in piece.refused] == [
        (Flaw.DUPLICATE, 3), (Flaw.DUPLICATE, 4),
    ]  # fmt: skip


@pytest.mark.parametrize("before", [0, 1, 300])
def test_a_row_with_too_many_fields_is_refused(tmp_path: Path, before: int) -> None:
    head, *_ = FUTURES_TRADES.splitlines()
    rows = [f"{n},61800.3,0.006,370.8,{MS + n},true" for n in range(before + 2)]
    rows.insert(before + 1, f"77,61800.3,0.006,370.8,{MS},true,1,2")
    path = write(tmp_path, "BTCUSDT-trades-2024-08-08", "\n".join([head, *rows]) + "\n")
    piece = read_dump(path, None)
    assert piece.frame["row"].to_list() == [*range(1, before + 2), before + 3]
    assert [str(entry) for entry in piece.refused] == [
        f"unreadable: {path.name} row {before + 2} BTCUSDT 8 fields, not 6"
    ]


def test_a_damaged_gzip_is_one_line(tmp_path: Path) -> None:
    whole = gzip.compress(SPOT_TRADES.encode() * 500, mtime=0)
    for blob in (whole[: len(whole) // 2], whole[:40] + b"\xff" * 20 + whole[60:], whole[:-8]):
        path = tmp_path / "BTCUSDT-trades-2024-08-09.csv.gz"
        path.write_bytes(blob)
        with pytest.raises(InputError, match="damaged gzip") as caught:
            read_dump(path, None)
        assert "\n" not in str(caught.value)


def test_the_symbol_must_be_known(tmp_path: Path) -> None:
    path = write(tmp_path, "download", SPOT_TRADES)
    with pytest.raises(InputError, match=r"download.zip names no symbol: say it with --symbol"):
        read_dump(path, None)
    assert read_dump(path, "BTCUSDT").frame["symbol"][0] == "BTCUSDT"


def test_what_is_no_dump_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path, "x", "a,b\n1,2\n")
    with pytest.raises(InputError, match="is no Binance trades, aggTrades or klines dump"):
        read_dump(path, None)
    with pytest.raises(InputError, match=r"unknown format .the zip holds x.csv.: say which"):
        guess_format(path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match="damaged zip"):
        guess_format(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "1")
        archive.writestr("b.csv", "1")
    with pytest.raises(InputError, match="the zip holds 2 tables, not one"):
        guess_format(path)
