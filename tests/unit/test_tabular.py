"""Any table with a mapping: what is found, and one line for each thing that is missing."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from data.errors import InputError
from data.formats import Reading, guess_format, read_pieces
from data.piece import Kind, Piece
from data.tabular import parse_mapping, read_tabular

HEADER = "time,o,h,l,c,v\n"
ROW = "2024-08-09T00:00:00Z,1.5,2.25,1.0,2.0,100\n"
MAP = {"ts": "time", "open": "o", "high": "h", "low": "l", "close": "c", "volume": "v"}


def csv(folder: Path, text: str, name: str = "bars.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def read(path: Path, mapping: dict[str, str] | None = None, symbol: str | None = "X") -> Piece:
    return read_tabular(path, guess_format(path), mapping or {}, symbol)


def test_a_mapped_csv(tmp_path: Path) -> None:
    piece = read(csv(tmp_path, HEADER + ROW), MAP)
    assert piece.kind is Kind.BARS
    assert piece.frame.row(0) == (1, 1_723_161_600_000_000_000, "X", 1.5, 2.25, 1.0, 2.0, 100.0)
    assert piece.places == (2, 0)


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv"])
def test_parquet_arrow_and_csv_say_the_same(tmp_path: Path, suffix: str) -> None:
    frame = pl.DataFrame(
        {"ts": [1_723_161_600_000_000_000], "symbol": ["X"], "open": [1.5], "high": [2.0],
         "low": [1.0], "close": [1.5], "volume": [10], "trades": [3]}
    )  # fmt: skip
    path = tmp_path / f"t.{suffix}"
    {"parquet": frame.write_parquet, "arrow": frame.write_ipc, "csv": frame.write_csv}[suffix](path)
    assert guess_format(path) == suffix
    (piece,) = read_pieces(path, Reading())
    assert piece.frame.row(0) == (
        1, 1_723_161_600_000_000_000, "X", 1.5, 2.0, 1.0, 1.5, 10.0, 3.0,
    )  # fmt: skip


def test_names_in_capitals_need_no_mapping(tmp_path: Path) -> None:
    path = csv(tmp_path, "Ts,Symbol,Open,High,Low,Close,Volume\n2024-08-09T00:00:00Z,A,1,2,1,2,5\n")
    assert read(path).frame["symbol"][0] == "A"


def test_trades_and_quotes_are_known_by_their_columns(tmp_path: Path) -> None:
    trades = csv(tmp_path, "ts,symbol,price,size,exchange\n1723161600,A,1.5,100,N\n", "t.csv")
    piece = read(trades)
    assert piece.kind is Kind.TRADES
    assert piece.frame.row(0) == (1, 1_723_161_600 * 10**9, "A", 1.5, 100.0, "N")
    quotes = csv(tmp_path, "ts,symbol,bid,bid_size,ask,ask_size\n1723161600,A,1,2,3,4\n", "q.csv")
    assert read(quotes).kind is Kind.QUOTES


def test_a_mapped_column_wins_over_one_of_the_same_name(tmp_path: Path) -> None:
    text = "ts,open,high,low,close,volume,adjusted\n1723161600,1,2,1,2,5,0.5\n"
    assert read(csv(tmp_path, text), {"close": "adjusted"}).frame["close"][0] == 0.5


def test_an_unreadable_value_names_its_row_and_column(tmp_path: Path) -> None:
    bad = ROW.replace("2.25", "abc")
    piece = read(csv(tmp_path, HEADER + ROW + bad + ROW), MAP)
    assert piece.frame["high"].to_list() == [2.25, None, 2.25]
    assert [(entry.row, entry.detail) for entry in piece.refused] == [(2, "column high: 'abc'")]


@pytest.mark.parametrize(
    ("text", "mapping", "symbol", "words"),
    [
        (HEADER + ROW, {k: v for k, v in MAP.items() if k != "close"}, "X",
         r"lacks the column.s. close: it has .*; name them with --map close=COLUMN"),
        (HEADER + ROW, MAP | {"close": "last"}, "X", "has no column last that --map names: it has"),
        (HEADER + ROW, MAP, None, "lacks the column.s. symbol.* needs --symbol"),
        ("a,b\n1,2\n", {}, "X", "is not known as bars .* it has a, b"),
        (HEADER + ROW.replace("1.5", "x"), MAP, "X", "column open holds no numbers .row 1: 'x'"),
        (HEADER + ROW + "1,2,3,4,5,6,7,8\n", MAP, "X", "row 2 has 8 columns, its header 6"),
        (HEADER + ROW.replace("2024", "soon"), MAP, "X", "column ts holds no times"),
    ],
)  # fmt: skip
def test_what_is_missing_is_one_line(
    tmp_path: Path, text: str, mapping: dict[str, str], symbol: str | None, words: str
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read(csv(tmp_path, text), mapping, symbol)
    assert "\n" not in str(caught.value)
    assert "bars.csv" in str(caught.value)


def test_mappings() -> None:
    assert parse_mapping("open=o, ts = time") == {"open": "o", "ts": "time"}
    assert parse_mapping(None) == {}
    for text in ("open", "open=", "opening=o"):
        with pytest.raises(InputError, match="write NAME=COLUMN with a NAME out of"):
            parse_mapping(text)


def test_unknown_formats_are_one_line(tmp_path: Path) -> None:
    cases = {
        "noise.bin": (b"\x00\x01\x02" * 50, "unknown format"),
        "words.txt": (b"hello\nworld\n", "unknown format"),
        "empty.csv": (b"", "is empty"),
        "broken.gz": (b"\x1f\x8b" + b"x" * 40, "damaged gzip"),
        "half.parquet": (b"PAR1" + b"\x00" * 40, "is not a parquet table"),
    }
    for name, (blob, words) in cases.items():
        path = tmp_path / name
        path.write_bytes(blob)
        with pytest.raises(InputError, match=words) as caught:
            read_pieces(path, Reading())
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)
    with pytest.raises(InputError, match="is a directory"):
        read_pieces(tmp_path, Reading())
    with pytest.raises(InputError, match="is not there"):
        read_pieces(tmp_path / "absent.csv", Reading())
    with pytest.raises(InputError, match="--format 'excel': use one of binance-wire"):
        read_pieces(tmp_path / "words.txt", Reading("excel"))


@pytest.mark.parametrize(
    "name", ["a[1].parquet", "a*.parquet", "a?.parquet", "a[1].csv", "a[1].arrow"]
)
def test_a_file_is_its_own_name_and_no_pattern(tmp_path: Path, name: str) -> None:
    for other, close in (("a1.parquet", 1.0), ("ab.parquet", 2.0), (name, 7.0)):
        frame = pl.DataFrame({"ts": [1723161600], "symbol": ["X"], "open": [close], "high": [close],
                              "low": [close], "close": [close], "volume": [1]})  # fmt: skip
        path = tmp_path / other
        writers = {".csv": frame.write_csv, ".arrow": frame.write_ipc}
        writers.get(path.suffix, frame.write_parquet)(path)
    assert read(tmp_path / name).frame["close"].to_list() == [7.0]
