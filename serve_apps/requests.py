"""From a request's bars to BAR rows, and from a recorded round to a response. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from actors.checks import Code, Verdict
from data.bars import BAR, UNKNOWN, Bars
from data.door import flaw_of_prices
from data.money import INT64_MAX, from_ticks, to_ticks
from data.records import RoundOutput, SessionConfig
from data.round_output import OutputArrays
from serve_apps.wire import BarIn, DecideRequest, DecideResponse, Refused, VerdictOut

# Ticks, lots or trades. A larger bar would overflow in the gate, after its input was logged: the
# round could then never be completed.
LARGEST = 10**13
EQUAL_WEIGHTS = "equal_weights"


@dataclass(frozen=True)
class Asked:
    """A valid request: its bars as rows in (ts, symbol) order, and hashes of body and bars."""

    request_id: str
    session_id: str
    body_hash: bytes
    bars: Bars
    bar_hashes: tuple[bytes, ...]
    locked: tuple[int, ...]


@dataclass(frozen=True)
class Answer:
    """The recorded decisions for a request: its bars are these rows of the output."""

    output: RoundOutput
    arrays: OutputArrays
    rows: NDArray[np.int64]


def rows_of(output: RoundOutput, keys: Sequence[tuple[int, int]]) -> Answer:
    """The answer made of those (symbol, ts) that the output decides."""
    arrays = output.arrays()
    found = {
        key: i
        for i, key in enumerate(
            zip(arrays.table["symbol"].tolist(), arrays.table["ts"].tolist(), strict=True)
        )
    }
    return Answer(output, arrays, np.array([found[key] for key in keys if key in found], np.int64))


def parse(request: DecideRequest, body: bytes, config: SessionConfig) -> Asked:
    """Checks and quantises the bars; Refused (422) names the first bar that cannot pass."""
    if not request.bars:
        raise Refused(422, "Empty request", "bars is empty: send at least one bar")
    numbers = {name: index for index, name in enumerate(config.symbols)}
    tick = Decimal(config.tick)
    rows = [_row(bar, numbers, tick) for bar in request.bars]
    for name in request.quarantined:
        if name not in numbers:
            raise Refused(422, "Unknown symbol", f"{name!r} is not in the session")
    bars = np.array(rows, BAR)
    bars = bars[np.lexsort((bars["symbol"], bars["ts"]))]
    if len(np.unique(bars["symbol"])) != len(bars):
        raise Refused(422, "Symbol twice", "a request holds at most one bar of a symbol")
    return Asked(
        request.request_id,
        request.session_id,
        hashlib.sha256(body).digest(),
        bars,
        tuple(hashlib.sha256(bars[i : i + 1].tobytes()).digest() for i in range(len(bars))),
        tuple(sorted({numbers[name] for name in request.quarantined})),
    )


def _row(bar: BarIn, numbers: dict[str, int], tick: Decimal) -> tuple[int, ...]:
    where = f"bar {bar.symbol} {bar.ts}"
    if bar.symbol not in numbers:
        raise Refused(422, "Unknown symbol", f"{where}: not a symbol of the session")
    try:
        open_, high, low, close = (
            to_ticks(Decimal(text), tick) for text in (bar.open, bar.high, bar.low, bar.close)
        )
        quotes = [
            UNKNOWN if text is None else to_ticks(Decimal(text), tick)
            for text in (bar.bid, bar.ask)
        ]
    except (ArithmeticError, ValueError) as error:
        raise Refused(422, "Bad price", f"{where}: {error}") from error
    sizes = [bar.volume, *(n for n in (bar.buy_volume, bar.trades) if n is not None)]
    sizes += [n for n in (bar.bid_size, bar.ask_size) if n is not None]
    if not 0 <= bar.ts <= INT64_MAX or max(high, *quotes) > LARGEST or max(sizes) > LARGEST:
        raise Refused(422, "Bad bar", f"{where}: a number is larger than any market's")
    if min(sizes[1:], default=0) < 0 or any(q <= 0 for q in quotes if q != UNKNOWN):
        raise Refused(422, "Bad bar", f"{where}: a negative size or quote")
    flaw = flaw_of_prices(float(open_), float(high), float(low), float(close), float(bar.volume))
    if flaw is not None:
        raise Refused(422, "Bad bar", f"{where}: {flaw.value}")
    known = [
        UNKNOWN if value is None else value
        for value in (bar.buy_volume, bar.trades, bar.bid_size, bar.ask_size)
    ]
    buy_volume, trades, bid_size, ask_size = known
    return (
        bar.ts,
        numbers[bar.symbol],
        open_,
        high,
        low,
        close,
        bar.volume,
        buy_volume,
        trades,
        *quotes,
        bid_size,
        ask_size,
    )


def respond(config: SessionConfig, request_id: str, answers: Sequence[Answer]) -> DecideResponse:
    """The answer to a request, in (ts, symbol) order."""
    tick = Decimal(config.tick)
    decided = [row for answer in answers for row in answer.arrays.table[answer.rows]]
    decided.sort(key=lambda row: (row["ts"], row["symbol"]))
    verdicts = [
        VerdictOut(
            symbol=config.symbols[int(row["symbol"])],
            ts=int(row["ts"]),
            p=row["p"].tolist(),
            dissent=float(row["dissent"]),
            agents_awake=int(row["agents_awake"]),
            verdict=Verdict(int(row["verdict"])).name.lower(),
            code=Code(int(row["code"])).name.lower(),
            side=int(row["side"]),
            lots=int(row["lots"]),
            limit=str(from_ticks(int(row["limit_ticks"]), tick)),
            net_lots=int(row["net_lots"]),
        )
        for row in decided
    ]
    last = answers[-1].output
    names = [*last.agents, EQUAL_WEIGHTS]
    return DecideResponse(
        session_id=config.session_id,
        request_id=request_id,
        round=last.round,
        epoch=last.epoch,
        verdicts=verdicts,
        weights=dict(zip(names, last.weights, strict=True)),
    )
