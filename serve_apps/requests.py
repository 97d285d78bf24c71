"""From a request's bars to BAR rows, and from recorded rounds to an answer. Pure.

A thousand requests of one bar come in a second, so a bar written in plain digits is read and
checked in plain integers; whatever is not plain goes through Decimal, which also names its fault.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from struct import Struct
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actors.checks import Code, Verdict
from data.bars import BAR, UNKNOWN, Bars
from data.door import flaw_of_prices
from data.money import INT64_MAX, to_ticks
from data.records import RoundOutput, SessionConfig
from data.round_output import DECISION, OutputArrays
from serve_apps.wire import (
    MAX_JSON_BARS,
    BarIn,
    DecideRequest,
    DecideResponse,
    Refused,
    VerdictOut,
    request_decoder,
)

# Ticks, lots or trades. A larger bar would overflow in the gate, after its input was logged: the
# round could then never be completed.
LARGEST = 10**13
EQUAL_WEIGHTS = "equal_weights"

FUTURE_NS = 1_000_000_000  # how far a sender's clock may run before ours
EARLIEST = 631_152_000_000_000_000  # 1990-01-01 UTC in ns
LATEST = 7_258_118_400_000_000_000  # 2200-01-01 UTC in ns

VERDICTS = tuple(verdict.name.lower() for verdict in Verdict)
CODES = tuple(code.name.lower() for code in Code)

_PLAIN_DIGITS = 18  # any number of so many digits fits in int64
_BAR = Struct("<13q")
_KINDS = {"i": "q", "f": "d"}


def _row_format(dtype: np.dtype) -> Struct:
    """The struct format of one packed row of 64-bit fields."""
    fields = [dtype[name] for name in dtype.names or ()]
    return Struct("<" + "".join(_KINDS[f.base.kind] * (f.itemsize // 8) for f in fields))


_DECISION = _row_format(DECISION)
_FIELDS = [name for name in DECISION.names or () for _ in range(3 if name == "p" else 1)]
_AT = {name: _FIELDS.index(name) for name in DECISION.names or ()}


class SymbolTable:
    """What a session's requests are read and answered with; made once a session."""

    def __init__(self, config: SessionConfig) -> None:
        self.config = config
        self.numbers = {name: index for index, name in enumerate(config.symbols)}
        self.tick = Decimal(config.tick)
        _, digits, exponent = self.tick.as_tuple()
        scale = int(exponent)
        # The tick is ``multiple`` units of so many decimals.
        self.decimals = max(-scale, 0)
        self.multiple = int("".join(map(str, digits))) * 10 ** max(scale, 0)
        self.timed = config.mode != "historical"
        self.stale_ns = int(float(config.limits["max_staleness_seconds"]) * 1e9)
        self.names = pa.array(config.symbols, pa.string())
        self._zeros = tuple("0" * n for n in range(self.decimals, -1, -1))

    def ticks(self, text: str) -> int:
        """Ticks of a plain positive decimal; -1 when it needs Decimal's word."""
        whole, dot, part = text.partition(".")
        if dot:
            places = len(part)
            if places > self.decimals or not part.isdigit():
                return -1
        else:
            places = 0
        digits = whole + part + self._zeros[places]
        if len(digits) > _PLAIN_DIGITS or not whole.isdigit() or not digits.isascii():
            return -1
        units = int(digits)
        if self.multiple == 1:
            return units
        ticks, rest = divmod(units, self.multiple)
        return -1 if rest else ticks

    def price(self, ticks: int) -> str:
        """The exact price as a plain decimal."""
        units = abs(ticks) * self.multiple
        sign = "-" if ticks < 0 else ""
        if not self.decimals:
            return f"{sign}{units}"
        whole, part = divmod(units, 10**self.decimals)
        return f"{sign}{whole}.{part:0{self.decimals}d}"


@dataclass(frozen=True)
class Asked:
    """A valid request: its bars as rows in (ts, symbol) order, and hashes of body and bars."""

    request_id: str
    session_id: str
    body_hash: bytes
    bars: Bars
    bar_hashes: tuple[bytes, ...]
    locked: tuple[int, ...]

    @cached_property
    def keys(self) -> list[tuple[int, int]]:
        """(symbol, ts) of the bars: for one bar, numpy takes longer to begin than to compute."""
        return list(zip(self.bars["symbol"].tolist(), self.bars["ts"].tolist(), strict=True))


@dataclass(frozen=True)
class Answer:
    """The recorded decisions for a request: its bars are these rows of the output."""

    output: RoundOutput
    arrays: OutputArrays
    rows: NDArray[np.int64]


def rows_of(output: RoundOutput, keys: Iterable[tuple[int, int]]) -> Answer:
    """The answer made of those (symbol, ts) that the output decides."""
    arrays = output.arrays()
    pairs = zip(arrays.table["symbol"].tolist(), arrays.table["ts"].tolist(), strict=True)
    found = {pair: i for i, pair in enumerate(pairs)}
    return Answer(output, arrays, np.array([found[key] for key in keys if key in found], np.int64))


# -- requests -------------------------------------------------------------------------------


def decode(body: bytes) -> DecideRequest:
    """The JSON request in a body; Refused 422 ``bad_json`` or ``bad_request``."""
    try:
        return request_decoder.decode(body)
    except msgspec.ValidationError as error:
        raise Refused(422, "Bad request", str(error), code="bad_request") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(422, "Bad JSON", str(error), code="bad_json") from error


def parse(
    request: DecideRequest, body: bytes, session: SessionConfig | SymbolTable, clock_ns: int = 0
) -> Asked:
    """Checks and quantises the bars; Refused (422, 413) names the first bar that cannot pass.

    ``clock_ns``: the wall clock, ns UTC; a paper or live session refuses bars that are ahead of
    it, so without a clock it refuses all. Give a SymbolTable where it matters how long this takes.
    """
    table = session if isinstance(session, SymbolTable) else SymbolTable(session)
    count = len(request.bars)
    if not count:
        detail = "bars is empty: send at least one bar"
        raise Refused(422, "Empty request", detail, code="empty_request")
    if max(count, len(request.quarantined)) > MAX_JSON_BARS:
        raise too_many(count, MAX_JSON_BARS, "send more as an Arrow stream")
    rows = [_plain_row(bar, table) or _row(bar, table) for bar in request.bars]
    if table.timed:
        for row in rows:
            check_time(row[0], table.config.symbols[row[1]], clock_ns)
    if count > 1:
        rows.sort()
        check_once(count, {row[1] for row in rows})
    packed = [_BAR.pack(*row) for row in rows]
    return Asked(
        request.request_id,
        request.session_id,
        hashlib.sha256(body).digest(),
        np.frombuffer(b"".join(packed), BAR),
        tuple([hashlib.sha256(row).digest() for row in packed]),
        locked_symbols(request.quarantined, table) if request.quarantined else (),
    )


def _plain_row(bar: BarIn, table: SymbolTable) -> tuple[int, ...] | None:
    """The row of a bar that is right and written in plain digits; None: ask ``_row``."""
    number = table.numbers.get(bar.symbol)
    if number is None:
        return None
    ticks = table.ticks
    open_, high, low, close = ticks(bar.open), ticks(bar.high), ticks(bar.low), ticks(bar.close)
    ts, volume = bar.ts, bar.volume
    if not (
        0 < low <= open_ <= high <= LARGEST
        and low <= close <= high
        and 0 <= volume <= LARGEST
        and 0 <= ts <= INT64_MAX
    ):
        return None
    bid = UNKNOWN if bar.bid is None else ticks(bar.bid)
    ask = UNKNOWN if bar.ask is None else ticks(bar.ask)
    if (bar.bid is not None and not 0 < bid <= LARGEST) or (
        bar.ask is not None and not 0 < ask <= LARGEST
    ):
        return None
    optional = (bar.buy_volume, bar.trades, bar.bid_size, bar.ask_size)
    if optional == (None, None, None, None):
        return (
            ts, number, open_, high, low, close, volume, UNKNOWN, UNKNOWN, bid, ask, UNKNOWN,
            UNKNOWN,
        )  # fmt: skip
    for value in optional:
        if value is not None and not 0 <= value <= LARGEST:
            return None
    buys, trades, bid_size, ask_size = [UNKNOWN if value is None else value for value in optional]
    return (
        ts, number, open_, high, low, close, volume, buys, trades, bid, ask, bid_size, ask_size,
    )  # fmt: skip


def _row(bar: BarIn, table: SymbolTable) -> tuple[int, ...]:
    """The row of any bar that can pass; Refused 422 says why another one cannot."""
    where = f"bar {bar.symbol} {bar.ts}"
    number = table.numbers.get(bar.symbol)
    if number is None:
        raise unknown_symbol(where)
    try:
        open_, high, low, close = (
            to_ticks(Decimal(text), table.tick) for text in (bar.open, bar.high, bar.low, bar.close)
        )
        quotes = [
            None if text is None else to_ticks(Decimal(text), table.tick)
            for text in (bar.bid, bar.ask)
        ]
    except (ArithmeticError, ValueError) as error:
        raise Refused(422, "Bad price", f"{where}: {error}", code="bad_price") from error
    sizes = (bar.buy_volume, bar.trades, bar.bid_size, bar.ask_size)
    check_bar(where, bar.ts, (open_, high, low, close), bar.volume, quotes, sizes)
    bid, ask, buys, trades, bid_size, ask_size = [
        UNKNOWN if value is None else value for value in (*quotes, *sizes)
    ]
    return (
        bar.ts, number, open_, high, low, close, bar.volume, buys, trades, bid, ask, bid_size,
        ask_size,
    )  # fmt: skip


def check_bar(
    where: str,
    ts: int,
    prices: tuple[int, int, int, int],
    volume: int,
    quotes: Sequence[int | None],
    sizes: Sequence[int | None],
) -> None:
    """Refused 422 ``bad_bar`` unless the integers of one bar can be a market's; None = unknown."""
    known_quotes = [value for value in quotes if value is not None]
    known_sizes = [value for value in sizes if value is not None]
    why = ""
    largest = max(*prices, volume, *known_quotes, *known_sizes)
    if not 0 <= ts <= INT64_MAX or largest > LARGEST:
        why = "a number is larger than any market's"
    elif min(known_sizes, default=0) < 0 or min(known_quotes, default=1) <= 0:
        why = "a negative size or quote"
    else:
        open_, high, low, close = (float(price) for price in prices)
        flaw = flaw_of_prices(open_, high, low, close, float(volume))
        why = flaw.value if flaw is not None else ""
    if why:
        raise Refused(422, "Bad bar", f"{where}: {why}", code="bad_bar")


def check_time(ts: int, symbol: str, clock_ns: int) -> None:
    """Refused 422 unless a bar of a paper or live session may be of this time."""
    where = f"bar {symbol} {ts}"
    if not EARLIEST <= ts < LATEST:
        detail = f"{where}: ts is UTC nanoseconds since 1970, and this is not between 1990 and 2200"
        raise Refused(422, "Bad timestamp", detail, code="bad_timestamp")
    if ts > clock_ns + FUTURE_NS:
        detail = f"{where}: {(ts - clock_ns) / 1e9:.3f} s ahead of the clock"
        raise Refused(422, "Future timestamp", detail, code="future_timestamp")


def check_fresh(asked: Asked, table: SymbolTable, clock_ns: int) -> None:
    """Refused 422 ``stale_timestamp`` when a bar is too old to be decided now.

    For bars that are new: one that was decided keeps its answer at any age. Bars before the
    first traded moment only warm the agents up, and may be of any age too.
    """
    if not table.timed or min(ts for _, ts in asked.keys) >= clock_ns - table.stale_ns:
        return
    ts = asked.bars["ts"]
    stale = (ts < clock_ns - table.stale_ns) & (ts >= table.config.first_traded)
    if stale.any():
        bar = asked.bars[int(stale.argmax())]
        age = f"{(clock_ns - int(bar['ts'])) / 1e9:.0f} s old, {table.stale_ns / 1e9:.0f} s allowed"
        detail = f"bar {table.config.symbols[int(bar['symbol'])]} {bar['ts']}: {age}"
        raise Refused(422, "Stale timestamp", detail, code="stale_timestamp")


def check_once(count: int, symbols: set[int]) -> None:
    """Refused 422 unless the ``count`` bars are of as many symbols."""
    if len(symbols) != count:
        detail = "a request holds at most one bar of a symbol"
        raise Refused(422, "Symbol twice", detail, code="symbol_twice")


def locked_symbols(names: Iterable[str], table: SymbolTable) -> tuple[int, ...]:
    """The numbers of the quarantined symbols, ascending."""
    for name in names:
        if name not in table.numbers:
            raise unknown_symbol(f"quarantined {name!r}")
    return tuple(sorted({table.numbers[name] for name in names}))


def unknown_symbol(where: str) -> Refused:
    """A symbol that the session has not."""
    return Refused(422, "Unknown symbol", f"{where}: not in the session", code="unknown_symbol")


def too_many(count: int, allowed: int, hint: str) -> Refused:
    """More bars than a request of its kind may hold."""
    detail = f"{count} bars, {allowed} allowed: {hint}"
    return Refused(413, "Too many bars", detail, code="too_many_bars")


# -- answers --------------------------------------------------------------------------------


def weights_of(output: RoundOutput) -> dict[str, float]:
    """The weights in force for a round by agent, the equal-weight expert last."""
    return dict(zip((*output.agents, EQUAL_WEIGHTS), output.weights, strict=True))


def respond(
    session: SessionConfig | SymbolTable, request_id: str, answers: Sequence[Answer]
) -> bytes:
    """The answer to a request as JSON (DecideResponse), in (ts, symbol) order."""
    table = session if isinstance(session, SymbolTable) else SymbolTable(session)
    rows: list[tuple[Any, ...]] = []
    for answer in answers:
        packed, size = answer.output.table, _DECISION.size
        rows += [_DECISION.unpack_from(packed, i * size) for i in answer.rows.tolist()]
    if len(answers) > 1:
        rows.sort(key=_time_and_symbol)
    last = answers[-1].output
    return msgspec.json.encode(
        DecideResponse(
            session_id=table.config.session_id,
            request_id=request_id,
            round=last.round,
            epoch=last.epoch,
            verdicts=[_verdict(row, table) for row in rows],
            weights=weights_of(last),
        )
    )


_SYMBOL, _TS, _P, _DISSENT = _AT["symbol"], _AT["ts"], _AT["p"], _AT["dissent"]
_AWAKE, _VERDICT, _CODE, _SIDE = _AT["agents_awake"], _AT["verdict"], _AT["code"], _AT["side"]
_LOTS, _LIMIT, _NET = _AT["lots"], _AT["limit_ticks"], _AT["net_lots"]


def _time_and_symbol(row: tuple[Any, ...]) -> tuple[int, int]:
    return row[_TS], row[_SYMBOL]


def _verdict(row: tuple[Any, ...], table: SymbolTable) -> VerdictOut:
    return VerdictOut(
        symbol=table.config.symbols[row[_SYMBOL]],
        ts=row[_TS],
        p=list(row[_P : _P + 3]),
        dissent=row[_DISSENT],
        agents_awake=row[_AWAKE],
        verdict=VERDICTS[row[_VERDICT]],
        code=CODES[row[_CODE]],
        side=row[_SIDE],
        lots=row[_LOTS],
        limit=table.price(row[_LIMIT]),
        net_lots=row[_NET],
    )
