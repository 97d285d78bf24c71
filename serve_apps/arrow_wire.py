"""Bars and verdicts as Arrow IPC streams: for senders of many bars.

Request: one record batch with ``session_id``, ``request_id`` and optionally ``quarantined`` (a
JSON list of symbols) in the schema's metadata; a column ``ts`` (int64 or timestamp[ns, UTC]),
``symbol`` (utf8, or dictionary of utf8), ``open_ticks high_ticks low_ticks close_ticks`` (int64)
or ``open high low close`` (decimal128), ``volume`` (int64); where known ``buy_volume trades
bid_size ask_size`` (int64) and ``bid_ticks ask_ticks`` (int64) or ``bid ask`` (decimal128), null
where a bar has none.

Response: one row a bar in (ts, symbol) order, with session_id, request_id, round, epoch and
weights (JSON) in the metadata.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data.bars import BAR, UNKNOWN, Bars, empty_bars
from data.money import INT64_MAX
from serve_apps.arrow_frames import check_frames, malformed
from serve_apps.requests import (
    CODES,
    EARLIEST,
    FUTURE_NS,
    LARGEST,
    LATEST,
    VERDICTS,
    Answer,
    Asked,
    SymbolTable,
    check_bar,
    check_once,
    check_time,
    locked_symbols,
    unknown_symbol,
    weights_of,
)
from serve_apps.wire import MAX_ARROW_ROWS, DecideRequest, Refused

PRICES = ("open", "high", "low", "close")
QUOTES = ("bid", "ask")
SIZES = ("buy_volume", "trades", "bid_size", "ask_size")
_REQUIRED = ("ts", "symbol", *PRICES, "volume")
_PRICED = frozenset((*PRICES, *QUOTES))
# pyarrow's errors are kinds of these; a damaged stream may show itself as any of them.
_PYARROW_ERRORS = (pa.ArrowException, ValueError, OSError, LookupError, TypeError, ArithmeticError,
                   MemoryError, NotImplementedError)  # fmt: skip

Column: TypeAlias = Any  # a pyarrow array: pyarrow ships no types


class ArrowRequest:
    """A stream whose frames, schema, metadata and arrays are sound; its bars are not read yet."""

    def __init__(self, body: bytes) -> None:
        check_frames(body)
        self._body = body
        schema, batch = _open(body)
        request = _identity(schema)
        self.session_id = request.session_id
        self.request_id = request.request_id
        self._quarantined = request.quarantined
        self._columns = {name: batch.column(i) for i, name in enumerate(schema.names)}
        self._rows = batch.num_rows

    def asked(self, table: SymbolTable, clock_ns: int) -> Asked:
        """The bars, checked; Refused (422) names the first one that cannot pass."""
        if not self._rows:
            raise Refused(422, "Empty request", "the batch has no rows", code="empty_request")
        bars = empty_bars(self._rows)
        bars["ts"] = _int64s(self._columns["ts"])
        bars["symbol"] = _numbers(self._columns["symbol"], table)
        bars["volume"] = _int64s(self._columns["volume"])
        for name in PRICES:
            bars[name] = self._ticks(name, table)
        for name in (*QUOTES, *SIZES):
            self._optional(bars, name, table)
        _check(bars, table, clock_ns)
        check_once(len(bars), set(bars["symbol"].tolist()))
        bars = bars[np.lexsort((bars["symbol"], bars["ts"]))]
        packed, size = bars.tobytes(), BAR.itemsize
        starts = range(0, len(packed), size)
        return Asked(
            self.request_id,
            self.session_id,
            hashlib.sha256(self._body).digest(),
            bars,
            tuple([hashlib.sha256(packed[at : at + size]).digest() for at in starts]),
            locked_symbols(self._quarantined, table),
        )

    def _ticks(self, name: str, table: SymbolTable) -> NDArray[np.int64]:
        """A price column in ticks; 0 where it is null."""
        column = self._columns.get(f"{name}_ticks")
        if column is not None:
            return _int64s(column)
        return _decimal_ticks(name, self._columns[name], table)

    def _optional(self, bars: Bars, name: str, table: SymbolTable) -> None:
        column = self._columns.get(name)
        if column is None:
            column = self._columns.get(f"{name}_ticks")
        if column is None:
            return
        values = self._ticks(name, table) if name in QUOTES else _int64s(column)
        known = ~column.is_null().to_numpy(zero_copy_only=False)
        wrong = known & (values <= 0 if name in QUOTES else values < 0)
        if wrong.any():
            detail = f"row {int(wrong.argmax())}: a negative size or quote ({name})"
            raise Refused(422, "Bad bar", detail, code="bad_bar")
        bars[name] = np.where(known, values, UNKNOWN)


def _open(body: bytes) -> tuple[pa.Schema, pa.RecordBatch]:
    """Schema and batch; the schema is checked before a buffer is touched."""
    try:
        with pa.ipc.open_stream(pa.py_buffer(body)) as stream:
            schema = stream.schema
            _check_schema(schema)
            batch = stream.read_next_batch()
            batch.validate(full=True)
    except _PYARROW_ERRORS as error:
        raise malformed(_first_line(error)) from error
    for name in schema.names:
        if name.removesuffix("_ticks") in _REQUIRED and batch.column(name).null_count:
            raise _bad_column(name, "null is not allowed here")
    return schema, batch


def _check_schema(schema: pa.Schema) -> None:
    names = schema.names
    plain = [name.removesuffix("_ticks") for name in names]
    if len(set(plain)) != len(plain):
        raise _bad_column(max(plain, key=plain.count), "it is there twice")
    for name in _REQUIRED:
        if name not in plain:
            which = f"{name}_ticks or {name}" if name in _PRICED else name
            raise Refused(
                422, "Missing column", f"column {which} is missing", code="missing_column"
            )
    for name, base, field in zip(names, plain, schema, strict=True):
        _check_type(name, base, field.type)


def _check_type(name: str, base: str, kind: pa.DataType) -> None:
    if name == "symbol":
        value = kind.value_type if pa.types.is_dictionary(kind) else kind
        right, wanted = pa.types.is_string(value), "utf8 or a dictionary of utf8"
    elif name == "ts":
        right = kind == pa.int64() or kind == pa.timestamp("ns", "UTC")
        wanted = "int64 or timestamp[ns, UTC]"
    elif base in _PRICED:
        ticks = name != base
        right = kind == pa.int64() if ticks else pa.types.is_decimal128(kind)
        wanted = "int64" if ticks else "decimal128 (or int64 in a column named _ticks)"
    elif name == "volume" or name in SIZES:
        right, wanted = kind == pa.int64(), "int64"
    else:
        raise Refused(422, "Unknown column", f"column {name!r} is unknown", code="unknown_column")
    if not right:
        raise _bad_column(name, f"{kind} where {wanted} belongs")


def _identity(schema: pa.Schema) -> DecideRequest:
    """session_id, request_id and quarantined of the schema's metadata, checked as JSON's are."""
    try:
        metadata = {k.decode(): v.decode() for k, v in (schema.metadata or {}).items()}
        quarantined = msgspec.json.decode(metadata.get("quarantined", "[]"))
        if len(quarantined) > MAX_ARROW_ROWS:
            raise ValueError("quarantined: too many symbols")
        fields = {name: metadata[name] for name in ("session_id", "request_id") if name in metadata}
        return msgspec.convert(fields | {"quarantined": quarantined, "bars": []}, DecideRequest)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        detail = f"metadata of the schema: {_first_line(error)}"
        raise Refused(422, "Bad request", detail, code="bad_request") from error


# -- columns --------------------------------------------------------------------------------


def _int64s(column: Column) -> NDArray[np.int64]:
    """The integers of an int64 or timestamp column; 0 where it is null."""
    if column.type != pa.int64():
        column = column.view(pa.int64())
    if column.null_count:
        column = column.fill_null(0)
    return column.to_numpy(zero_copy_only=False)


def _numbers(column: Column, table: SymbolTable) -> NDArray[np.int64]:
    """Symbol numbers of a column of names."""
    if pa.types.is_dictionary(column.type):
        if column.dictionary.null_count:
            raise _bad_column("symbol", "null is not allowed here")
        names = column.dictionary.to_pylist()
        codes = column.indices.cast(pa.int64()).to_numpy(zero_copy_only=False)
    else:
        names, codes = column.to_pylist(), None
    known = table.numbers
    numbers = np.array([known.get(name, -1) for name in names], np.int64)
    if codes is not None:
        numbers = numbers[codes]
    if (numbers < 0).any():
        row = int((numbers < 0).argmax())
        name = str(names[row if codes is None else int(codes[row])])
        raise unknown_symbol(f"row {row}: {name[:64]!r}")
    return numbers


def _decimal_ticks(name: str, column: Column, table: SymbolTable) -> NDArray[np.int64]:
    """Ticks of a decimal128 column, exact; 0 where it is null. Refused 422 ``bad_price``."""
    try:
        units = column.cast(pa.decimal128(38, table.decimals))
    except _PYARROW_ERRORS as error:
        detail = f"column {name}: PRECISION: a price is no whole multiple of {table.tick}"
        raise Refused(422, "Bad price", detail, code="bad_price") from error
    if units.null_count:
        units = units.fill_null(0)
    halves = np.frombuffer(units.buffers()[1], "<i8").reshape(-1, 2)
    low, high = halves[units.offset : units.offset + len(units)].T
    ticks, rest = np.divmod(low, table.multiple)
    wrong = (high != low >> 63) | (rest != 0)
    if wrong.any():
        row = int(wrong.argmax())
        detail = f"row {row}: PRECISION: {name} {column[row].as_py()} is no whole multiple of"
        raise Refused(422, "Bad price", f"{detail} {table.tick}", code="bad_price")
    return ticks


def _check(bars: Bars, table: SymbolTable, clock_ns: int) -> None:
    """``check_bar`` and ``check_time`` of all rows at once; the first bad row says its fault."""
    ts, volume = bars["ts"], bars["volume"]
    open_, high, low, close = (bars[name] for name in PRICES)
    good = (low > 0) & (low <= open_) & (open_ <= high) & (low <= close) & (close <= high)
    good &= (high <= LARGEST) & (volume >= 0) & (volume <= LARGEST) & (ts >= 0) & (ts <= INT64_MAX)
    for name in (*QUOTES, *SIZES):
        good &= bars[name] <= LARGEST
    if table.timed:
        good &= (ts >= EARLIEST) & (ts < LATEST) & (ts <= clock_ns + FUTURE_NS)
    if good.all():
        return
    row = bars[int(good.argmin())]
    symbol = table.config.symbols[int(row["symbol"])]
    prices = int(row["open"]), int(row["high"]), int(row["low"]), int(row["close"])
    check_bar(
        f"bar {symbol} {row['ts']}",
        int(row["ts"]),
        prices,
        int(row["volume"]),
        [_known(row, name) for name in QUOTES],
        [_known(row, name) for name in SIZES],
    )
    check_time(int(row["ts"]), symbol, clock_ns)


def _known(row: np.void, name: str) -> int | None:
    value = int(row[name])
    return None if value == UNKNOWN else value


def _bad_column(name: str, why: str) -> Refused:
    return Refused(422, "Bad column", f"column {name}: {why}", code="bad_column")


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__)[:200]


# -- answers --------------------------------------------------------------------------------

_VERDICTS, _CODES = pa.array(VERDICTS), pa.array(CODES)
_COPIED = ("dissent", "agents_awake", "side", "lots", "limit_ticks", "net_lots")
RESPONSE_COLUMNS = ("symbol", "ts", "p_down", "p_flat", "p_up", "dissent", "agents_awake",
                    "verdict", "code", "side", "lots", "limit_ticks", "net_lots")  # fmt: skip


def respond_arrow(table: SymbolTable, request_id: str, answers: Sequence[Answer]) -> bytes:
    """The answer to a request as an Arrow stream, in (ts, symbol) order."""
    rows = np.concatenate([answer.arrays.table[answer.rows] for answer in answers])
    if len(answers) > 1:
        rows = rows[np.lexsort((rows["symbol"], rows["ts"]))]
    columns: dict[str, Any] = {
        "symbol": table.names.take(pa.array(rows["symbol"])),
        "ts": pa.array(np.ascontiguousarray(rows["ts"])),
        "verdict": _VERDICTS.take(pa.array(rows["verdict"])),
        "code": _CODES.take(pa.array(rows["code"])),
    }
    for k, name in enumerate(("p_down", "p_flat", "p_up")):
        columns[name] = pa.array(np.ascontiguousarray(rows["p"][:, k]))
    for name in _COPIED:
        columns[name] = pa.array(np.ascontiguousarray(rows[name]))
    last = answers[-1].output
    metadata = {
        "session_id": table.config.session_id,
        "request_id": request_id,
        "round": str(last.round),
        "epoch": str(last.epoch),
        "weights": msgspec.json.encode(weights_of(last)),
    }
    batch = pa.record_batch(
        [columns[name] for name in RESPONSE_COLUMNS], RESPONSE_COLUMNS, metadata=metadata
    )
    return stream_of(batch)


def stream_of(batch: pa.RecordBatch) -> bytes:
    """One batch as an IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def bars_batch(bars: Bars, symbols: Sequence[str]) -> pa.RecordBatch:
    """A request's columns for bars in ticks (n,); ``symbols[n]`` is the name of number n."""
    columns: dict[str, Any] = {
        "ts": pa.array(np.ascontiguousarray(bars["ts"])),
        "symbol": pa.array([symbols[n] for n in bars["symbol"].tolist()], pa.string()),
        "volume": pa.array(np.ascontiguousarray(bars["volume"])),
    }
    for name in PRICES:
        columns[f"{name}_ticks"] = pa.array(np.ascontiguousarray(bars[name]))
    for name in (*QUOTES, *SIZES):
        values = np.ascontiguousarray(bars[name])
        known = values != UNKNOWN
        if known.any():
            key = f"{name}_ticks" if name in QUOTES else name
            columns[key] = pa.array(values, mask=~known)
    return pa.record_batch(columns)
