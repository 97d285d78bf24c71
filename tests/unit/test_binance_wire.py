"""Recordings of Binance web sockets: made-up lines one by one, and the recorded ones as a whole."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from data.binance_wire import is_wire, quote_currency, read_wire
from data.door import Flaw
from data.errors import InputError
from data.piece import Kind, Piece

SHARED = Path("../shared/data/binance_wire")
RECEIVED = 1_723_161_600_000_000_000


def trade(ms: int, number: int, price: str = "100.10", size: str = "0.50", maker: bool = True,
          symbol: str = "BTCUSDT") -> dict:  # fmt: skip
    return {"stream": f"{symbol.lower()}@trade", "data": {
        "e": "trade", "E": ms + 1, "T": ms, "s": symbol, "t": number, "p": price, "q": size,
        "m": maker}}  # fmt: skip


def quote(number: int, ms: int = 0, bid: str = "100.00", ask: str = "100.20") -> dict:
    data = {"u": number, "s": "BTCUSDT", "b": bid, "B": "1.5", "a": ask, "A": "2"}
    if ms:
        data |= {"e": "bookTicker", "T": ms, "E": ms}
    return {"stream": "btcusdt@bookTicker", "data": data}


def depth(ms: int) -> dict:
    return {"stream": "btcusdt@depth@100ms", "data": {
        "e": "depthUpdate", "E": ms, "s": "BTCUSDT", "U": 1, "u": 2,
        "b": [["99.0", "1.0"]], "a": [["101.0", "1.0"]]}}  # fmt: skip


def write(folder: Path, *messages: dict | str) -> Path:
    path = folder / "wire.gz"
    lines = [m if isinstance(m, str) else f"{RECEIVED + i} {json.dumps(m)}"
             for i, m in enumerate(messages)]  # fmt: skip
    path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    return path


def by_kind(pieces: list[Piece]) -> dict[Kind, Piece]:
    return {piece.kind: piece for piece in pieces}


def test_trades_carry_the_venues_time_and_flag(tmp_path: Path) -> None:
    later, earlier = trade(2000, 2, "100.1", "0.5", True), trade(1000, 1, "99.90", "2", False)
    found = read_wire(write(tmp_path, later, earlier))
    assert [piece.kind for piece in found] == [Kind.TRADES]
    rows = found[0].frame.to_dicts()
    assert [(r["ts"], r["price"], r["size"], r["side"], r["row"]) for r in rows] == [
        (1_000_000_000, 99.9, 2.0, 1.0, 2), (2_000_000_000, 100.1, 0.5, -1.0, 1),
    ]  # fmt: skip
    assert found[0].places == (1, 1)
    assert (found[0].currency, found[0].clock) == ("USDT", "1s")


def test_one_millisecond_keeps_the_order_of_trade_ids(tmp_path: Path) -> None:
    found = read_wire(write(tmp_path, trade(1000, 8, "8"), trade(1000, 7, "7")))
    assert found[0].frame["price"].to_list() == [7.0, 8.0]


def test_a_trade_sent_twice_is_refused_once(tmp_path: Path) -> None:
    found = read_wire(
        write(tmp_path, trade(1000, 7), trade(1000, 7), trade(1000, 7, symbol="ETHUSDT"))
    )
    assert len(found[0].frame) == 2  # Ids are a symbol's own.
    assert [(entry.flaw, entry.row) for entry in found[0].refused] == [(Flaw.DUPLICATE, 2)]


def test_spot_quotes_get_the_time_of_the_next_message_that_has_one(tmp_path: Path) -> None:
    messages = [quote(1), trade(1000, 1), quote(2), quote(3), depth(1500)]
    messages += [quote(4), trade(1600, 2), quote(5)]
    path = write(tmp_path, *messages)
    found = by_kind(read_wire(path))
    # A trade of T 1000 was sent at E 1001: no quote is dated before it can have been made.
    assert found[Kind.QUOTES].frame["ts"].to_list() == [
        ms * 1_000_000 for ms in (1001, 1500, 1500, 1601)
    ]
    refused = [entry for entry in found[Kind.TRADES].refused if entry.flaw is Flaw.NO_TIME]
    assert [entry.row for entry in refused] == [8]
    assert found[Kind.QUOTES].group == "crypto-binance-spot"


def test_futures_quotes_carry_their_own_time(tmp_path: Path) -> None:
    found = by_kind(read_wire(write(tmp_path, quote(1, 900), trade(1000, 1), quote(2, 1100))))
    assert found[Kind.QUOTES].frame["ts"].to_list() == [900_000_000, 1_100_000_000]
    assert found[Kind.QUOTES].group == "crypto-binance-usdm"
    assert found[Kind.TRADES].group == "crypto-binance-usdm"


def test_unreadable_lines_are_counted_with_their_row(tmp_path: Path) -> None:
    path = write(tmp_path, trade(1000, 1), "17 {broken", "no space", trade(2000, 2))
    found = read_wire(path)
    assert len(found[0].frame) == 2
    assert [(entry.flaw, entry.row) for entry in found[0].refused] == [
        (Flaw.UNREADABLE, 2), (Flaw.UNREADABLE, 3),
    ]  # fmt: skip


def test_a_recording_of_quotes_alone_tells_what_was_refused(tmp_path: Path) -> None:
    (piece,) = read_wire(write(tmp_path, quote(1, 1000), "1 {", quote(2, 2000)))
    assert piece.kind is Kind.QUOTES
    assert [(entry.flaw, entry.row) for entry in piece.refused] == [(Flaw.UNREADABLE, 2)]
    assert len(piece.said) == 1
    both = read_wire(write(tmp_path, quote(1, 1000), "1 {", trade(2000, 1)))
    assert [len(piece.refused) for piece in both] == [1, 0]


def test_a_price_that_is_no_number_is_null(tmp_path: Path) -> None:
    found = read_wire(write(tmp_path, trade(1000, 1, "abc"), trade(1001, 2)))
    assert found[0].frame["price"].to_list() == [None, 100.1]


def test_a_damaged_gzip_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path, trade(1000, 1))
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(InputError, match=r"wire.gz: damaged gzip"):
        read_wire(path)


@pytest.mark.parametrize(
    ("symbols", "currency"),
    [(["BTCUSDT", "ETHUSDT"], "USDT"), (["BTCUSDC"], "USDC"), (["BTCUSDT", "BTCUSDC"], None),
     (["ETHBTC"], None), (["BTCUSD"], "USD")],
)  # fmt: skip
def test_quote_currency(symbols: list[str], currency: str | None) -> None:
    assert quote_currency(symbols) == currency


def test_what_a_recording_looks_like() -> None:
    assert is_wire(b'1723161600001658384 {"stream"')
    assert not is_wire(b"ts,symbol,open")


@pytest.mark.parametrize(
    ("name", "trades", "quotes", "places"),
    [("usdm_btcusdt_20240808.gz", 21_313, 66_089, (1, 3)),
     ("spot_btcusdt_20240809.gz", 10_147, 45_134, (2, 5))],
)  # fmt: skip
def test_the_recorded_wire(name: str, trades: int, quotes: int, places: tuple[int, int]) -> None:
    path = SHARED / name
    if not path.exists():
        pytest.skip("../shared/data is absent: the recordings lie there")
    found = by_kind(read_wire(path))
    assert len(found[Kind.TRADES].frame) == trades
    assert abs(len(found[Kind.QUOTES].frame) - quotes) <= 1  # At most the last has no time.
    for piece in found.values():
        assert piece.places == places
        assert piece.frame["ts"].is_sorted()
        assert piece.frame.null_count().pipe(lambda n: sum(n.row(0))) == 0
    book = found[Kind.QUOTES].frame
    assert book.filter(pl.col("bid") >= pl.col("ask")).is_empty()
    # A buyer pays more than the middle of the quote before it, whatever the clocks of two streams.
    before = found[Kind.TRADES].frame.join_asof(
        book.select("ts", "bid", "ask"), on="ts", allow_exact_matches=False
    )
    side = (pl.col("price") - (pl.col("bid") + pl.col("ask")) / 2).sign()
    known = before.drop_nulls().filter(side != 0)
    assert len(known) > 0.95 * trades
    assert known.filter(side == pl.col("side")).height > 0.9 * len(known)
