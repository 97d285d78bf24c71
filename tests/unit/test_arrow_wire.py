"""Bars and verdicts as Arrow streams, and every stream that must not come in."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from support import by_moment, forecast, plain_config, random_bars, request_body

from data.bars import UNKNOWN, Bars
from data.records import SessionConfig, output_decoder
from serve_apps.arrow_wire import (
    RESPONSE_COLUMNS,
    ArrowRequest,
    respond_arrow,
    stream_of,
)
from serve_apps.client import arrow_call
from serve_apps.requests import SymbolTable, decode, parse, respond, rows_of
from serve_apps.wire import MAX_ARROW_ROWS, Problem, Refused, response_decoder

CONFIG = plain_config(tuple(f"S{n}" for n in range(8)))
TABLE = SymbolTable(CONFIG)
BARS = random_bars(1, 8)
NOW = 1_795_482_368_000_000_000


def request_stream(
    config: SessionConfig, bars: Bars, request_id: str, quarantined: Sequence[str] = ()
) -> bytes:
    call = arrow_call(bars, config.symbols, config.session_id, request_id, quarantined)
    assert call.body is not None
    return call.body


BODY = request_stream(CONFIG, BARS, "r", ("S3",))


def batch(body: bytes = BODY) -> pa.RecordBatch:
    with pa.ipc.open_stream(body) as stream:
        return stream.read_next_batch()


def refusal(body: bytes, table: SymbolTable = TABLE, clock_ns: int = 0) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        ArrowRequest(body).asked(table, clock_ns)
    assert "\n" not in caught.value.problem.detail
    return caught.value.problem.status, caught.value.problem.code


def with_column(name: str, values: Any, base: pa.RecordBatch | None = None) -> bytes:
    base = base or batch()
    columns = {n: base.column(i) for i, n in enumerate(base.schema.names)} | {name: values}
    return stream_of(pa.record_batch(columns, metadata=base.schema.metadata))


def without(name: str) -> pa.RecordBatch:
    base = batch()
    return base.drop_columns([name]).replace_schema_metadata(base.schema.metadata)


def with_metadata(**changes: str | None) -> bytes:
    base = batch()
    metadata = {k.decode(): v for k, v in base.schema.metadata.items()} | changes
    kept = {k: v for k, v in metadata.items() if v is not None}
    return stream_of(base.replace_schema_metadata(kept))


def written(base: pa.RecordBatch, times: int = 1, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    chosen = pa.ipc.IpcWriteOptions(**options)
    with pa.ipc.new_stream(sink, base.schema, options=chosen) as writer:
        for _ in range(times):
            writer.write_batch(base)
    return sink.getvalue().to_pybytes()


def changed(name: str, row: int, value: int) -> bytes:
    bars = BARS.copy()
    bars[name][row] = value
    return request_stream(CONFIG, bars, "r")


def many_rows(count: int) -> bytes:
    return request_stream(CONFIG, np.repeat(BARS[:1], count), "r")


def dictionary(values: pa.Array, codes: list[int]) -> bytes:
    indices = pa.array(codes, pa.int8())
    return with_column("symbol", pa.DictionaryArray.from_arrays(indices, values, safe=False))


def decimals(*texts: str | None, scale: int = 4) -> pa.Array:
    values = [None if text is None else Decimal(text) for text in texts]
    return pa.array(values, pa.decimal128(20, scale))


HOSTILE: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "empty": (lambda: b"", 422, "arrow_malformed"),
    "json": (lambda: b'{"bars": []}', 422, "arrow_malformed"),
    "file format": (lambda: b"ARROW1\0\0" + BODY, 422, "arrow_malformed"),
    "half": (lambda: BODY[: len(BODY) // 2], 422, "arrow_malformed"),
    "schema only": (lambda: batch().schema.serialize().to_pybytes(), 422, "arrow_malformed"),
    "trailing bytes": (lambda: BODY + b"\0" * 8, 422, "arrow_malformed"),
    "old framing": (lambda: written(batch(), use_legacy_format=True), 422, "arrow_malformed"),
    "lz4": (lambda: written(batch(), compression="lz4"), 422, "arrow_compressed"),
    "zstd": (lambda: written(batch(), compression="zstd"), 422, "arrow_compressed"),
    "two batches": (lambda: written(batch(), times=2), 422, "arrow_several_batches"),
    "too many rows": (lambda: many_rows(MAX_ARROW_ROWS + 1), 413, "too_many_bars"),
    "no rows": (lambda: request_stream(CONFIG, BARS[:0], "r"), 422, "empty_request"),
    "same symbol": (lambda: many_rows(2), 422, "symbol_twice"),
    "no ts": (lambda: stream_of(without("ts")), 422, "missing_column"),
    "no close": (lambda: stream_of(without("close_ticks")), 422, "missing_column"),
    "unknown column": (lambda: with_column("vwap", BARS["open"]), 422, "unknown_column"),
    "both closes": (lambda: with_column("close", decimals(*["1"] * 8)), 422, "bad_column"),
    "float price": (lambda: with_column("open_ticks", BARS["open"] * 1.0), 422, "bad_column"),
    "int32 volume": (lambda: with_column("volume", pa.array([1] * 8, pa.int32())), 422,
                     "bad_column"),
    "uint64 ts": (lambda: with_column("ts", BARS["ts"].astype("u8")), 422, "bad_column"),
    "ms ts": (lambda: with_column("ts", pa.array([1] * 8, pa.timestamp("ms", "UTC"))), 422,
              "bad_column"),
    "local ts": (lambda: with_column("ts", pa.array([1] * 8, pa.timestamp("ns"))), 422,
                 "bad_column"),
    "list symbol": (lambda: with_column("symbol", pa.array([["S1"]] * 8)), 422, "bad_column"),
    "int symbol": (lambda: with_column("symbol", BARS["symbol"]), 422, "bad_column"),
    "null price": (lambda: with_column("open_ticks", pa.array([None] * 8, pa.int64())), 422,
                   "bad_column"),
    "null symbol": (lambda: with_column("symbol", pa.array([None] * 8, pa.string())), 422,
                    "bad_column"),
    "unknown symbol": (lambda: with_column("symbol", pa.array(["ZZZ"] * 8)), 422,
                       "unknown_symbol"),
    "null in dictionary": (lambda: dictionary(pa.array(["S0", None]), [1] * 8), 422,
                           "bad_column"),
    "index outside": (lambda: dictionary(pa.array(["S0"]), [0] * 7 + [5]), 422,
                      "arrow_malformed"),
    "negative index": (lambda: dictionary(pa.array(["S0"]), [0] * 7 + [-1]), 422,
                       "arrow_malformed"),
    "huge dictionary": (lambda: dictionary(pa.array(["S0"] * 5000), [0] * 8), 413,
                        "too_many_bars"),
    "bad utf8": (lambda: with_column("symbol", pa.array([b"\xff"] * 8).view(pa.string())), 422,
                 "arrow_malformed"),
    "crossed": (lambda: changed("high", 3, 1), 422, "bad_bar"),
    "zero price": (lambda: changed("low", 3, 0), 422, "bad_bar"),
    "negative volume": (lambda: changed("volume", 3, -1), 422, "bad_bar"),
    "gigantic volume": (lambda: changed("volume", 3, 2**62), 422, "bad_bar"),
    "negative ts": (lambda: changed("ts", 3, -5), 422, "bad_bar"),
    "negative size": (lambda: changed("bid_size", 3, -5), 422, "bad_bar"),
    "unknown as a value": (lambda: with_column("trades", pa.array([-1] * 8)), 422, "bad_bar"),
    "zero quote": (lambda: changed("ask", 3, 0), 422, "bad_bar"),
    "no session": (lambda: with_metadata(session_id=None), 422, "bad_request"),
    "no request id": (lambda: with_metadata(request_id=None), 422, "bad_request"),
    "NUL in the id": (lambda: with_metadata(request_id="a\0"), 422, "bad_request"),
    "latin-1": (lambda: with_metadata(request_id=b"\xff"), 422, "bad_request"),  # type: ignore[arg-type]
    "quarantined no list": (lambda: with_metadata(quarantined="7"), 422, "bad_request"),
    "quarantined no JSON": (lambda: with_metadata(quarantined="["), 422, "bad_request"),
    "quarantined unknown": (lambda: with_metadata(quarantined='["Z"]'), 422, "unknown_symbol"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_stream_is_refused(name: str) -> None:
    body, status, code = HOSTILE[name]
    assert refusal(body()) == (status, code)


def test_decimals_that_are_no_ticks_are_refused() -> None:
    base = without("close_ticks")
    for values in (decimals(*["1.00005"] * 8, scale=5), decimals(*["9e14"] * 8)):
        body = with_column("close", values, base)
        assert refusal(body)[0] == 422
    quarter = SymbolTable(plain_config(CONFIG.symbols, tick="0.25"))
    body = with_column("close", decimals(*["100.10"] * 8), base)
    assert refusal(body, quarter) == (422, "bad_price")


def test_a_stream_cut_or_damaged_anywhere_gives_a_refusal_or_sound_bars() -> None:
    rng = random.Random(5)
    refusals: list[Problem] = []
    for _ in range(600):
        body = bytearray(BODY)
        if rng.random() < 0.3:
            del body[rng.randrange(len(body)) :]
        for _ in range(rng.randrange(1, 4)):
            if body:
                body[rng.randrange(len(body))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        try:
            asked = ArrowRequest(bytes(body)).asked(TABLE, 0)
        except Refused as refused:
            refusals.append(refused.problem)
        else:
            assert (asked.bars["low"] > 0).all()
    assert {problem.status for problem in refusals} <= {413, 422}
    assert all(problem.code for problem in refusals)
    assert len(refusals) > 100


def test_what_comes_in_is_what_json_would_give() -> None:
    bars = random_bars(1, 8, seed=3)
    bars["trades"][2:5] = 7
    bars["bid"] = bars["close"] - 1
    bars["bid"][4] = UNKNOWN
    asked = ArrowRequest(request_stream(CONFIG, bars, "r", ("S3", "S1"))).asked(TABLE, 0)
    assert asked.bars.tolist() == bars.tolist()
    assert (asked.request_id, asked.session_id, asked.locked) == ("r", CONFIG.session_id, (1, 3))
    plain = random_bars(1, 8, seed=4)
    body = request_body(CONFIG, plain)
    again = ArrowRequest(request_stream(CONFIG, plain[::-1], "r")).asked(TABLE, 0)
    known = parse(decode(body), body, TABLE)
    assert again.bars.tolist() == known.bars.tolist()
    assert again.bar_hashes == known.bar_hashes


def test_decimals_timestamps_and_dictionaries_are_read() -> None:
    base = without("close_ticks")
    body = with_column("close", decimals(*[str(Decimal(int(c)) / 10_000) for c in BARS["close"]]),
                       base)  # fmt: skip
    body = with_column("ts", pa.array(BARS["ts"], pa.timestamp("ns", "UTC")), batch(body))
    names = pa.array([f"S{n}" for n in reversed(range(8))])
    codes = pa.array(range(7, -1, -1), pa.int8())
    body = with_column("symbol", pa.DictionaryArray.from_arrays(codes, names), batch(body))
    bid = decimals("1.5", None, *["2.25"] * 6)
    body = with_column("bid", bid, batch(body))
    asked = ArrowRequest(body).asked(TABLE, 0)
    expected: Bars = BARS.copy()
    expected["bid"] = [15_000, UNKNOWN, *[22_500] * 6]
    assert asked.bars.tolist() == expected.tolist()


def test_a_sliced_batch_is_read_from_its_own_rows() -> None:
    body = written(batch().slice(2, 3))
    assert ArrowRequest(body).asked(TABLE, 0).bars.tolist() == BARS[2:5].tolist()


def test_times_of_a_paper_session_are_checked() -> None:
    paper = SymbolTable(plain_config(CONFIG.symbols, mode="paper", first_traded=NOW - 10**15))
    assert refusal(BODY, paper, NOW // 10**9) == (422, "future_timestamp")
    assert refusal(changed("ts", 3, NOW // 10**9), paper, NOW) == (422, "bad_timestamp")
    assert len(ArrowRequest(BODY).asked(paper, NOW).bars) == 8


def test_an_answer_in_arrow_says_what_the_json_says() -> None:
    first, second = by_moment(random_bars(2, 8))
    outputs = [
        output_decoder.decode(forecast(CONFIG, n, bars, lots=n, side=1, limit_ticks=12_345))
        for n, bars in ((1, first), (2, second))
    ]
    keys = [(2, int(second["ts"][0])), (0, int(first["ts"][0])), (7, int(second["ts"][0]))]
    answers = [rows_of(output, keys) for output in outputs]
    told = response_decoder.decode(respond(TABLE, "r", answers))
    got = batch(respond_arrow(TABLE, "r", answers))
    assert tuple(got.schema.names) == RESPONSE_COLUMNS
    metadata = {k.decode(): v.decode() for k, v in got.schema.metadata.items()}
    assert (metadata["session_id"], metadata["request_id"]) == (CONFIG.session_id, "r")
    assert (int(metadata["round"]), int(metadata["epoch"])) == (told.round, told.epoch)
    assert msgspec.json.decode(metadata["weights"]) == told.weights
    for row, verdict in zip(got.to_pylist(), told.verdicts, strict=True):
        assert [row["p_down"], row["p_flat"], row["p_up"]] == verdict.p
        assert row["limit_ticks"] == 12_345
        for name in ("symbol", "ts", "dissent", "agents_awake", "verdict", "code", "side", "lots",
                     "net_lots"):  # fmt: skip
            assert row[name] == getattr(verdict, name)
