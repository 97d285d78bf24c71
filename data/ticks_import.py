"""Trades and quotes of any file: cleaned, put in the order of time, quantised, built into bars."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import numpy as np
import polars as pl
from numpy.typing import NDArray

from data.bar_builder import build_bars
from data.bars import BAR, UNKNOWN, Bars
from data.clocks import Clock, ClockKind
from data.door import Flaw
from data.errors import InputError
from data.money import INT64_MAX, MICRO
from data.nbbo import Counts, consolidate_sessions, is_national
from data.nbbo import Feed as QuoteFeed
from data.piece import EXTRAS, OHLCV, QUOTE_SIDES, Kind
from data.session_hours import quote_ends
from data.ticks import QUOTE, TRADE
from data.units import fits, to_units

from data.bars_import import EXAMPLES, Judged, quarantine_frame  # isort: skip

_SIZES = frozenset(("size", "bid_size", "ask_size"))
_SIDES = (-1.0, 0.0, 1.0)  # sold, not known, bought
_SIZED_BARS = ("volume", "buy_volume", "bid_size", "ask_size")


def judge_ticks(
    rows: pl.DataFrame, kind: Kind, units: tuple[Decimal, Decimal], exchanges: Sequence[str]
) -> Judged:
    """Trades or quotes as they may be stored, sorted by symbol and ts, ties in the file's order.

    ``rows``: file, row, ts, symbol and the columns of their kind. A trade needs a positive price
    and size, and its side is -1, 0 or 1; a quote's side is 0 where the row does not update it.
    ``exchanges``: names, the position of which is stored.
    """
    names = ("price", "size") if kind is Kind.TRADES else QUOTE_SIDES
    values = {name: rows[name].fill_null(float("nan")).to_numpy() for name in names}
    units_of = {name: units[1] if name in _SIZES else units[0] for name in names}
    finite = np.logical_and.reduce([fits(values[name], units_of[name]) for name in names])
    whole, off = {}, 0
    for name in names:
        whole[name], rounded = to_units(np.where(finite, values[name], 0.0), units_of[name])
        off += rounded
    least = 1 if kind is Kind.TRADES else 0
    positive = np.logical_and.reduce([column >= least for column in whole.values()])
    ts = rows["ts"].fill_null(0).to_numpy()
    side = _sides(rows)
    flaws = np.select(
        [(rows["symbol"] == "").to_numpy(), ~np.isin(side, _SIDES), ts <= 0, ~finite, ~positive],
        [
            Flaw.UNREADABLE.value,
            Flaw.UNREADABLE.value,
            Flaw.NO_TIME.value,
            Flaw.NOT_A_NUMBER.value,
            Flaw.NON_POSITIVE.value,
        ],
        "",
    )
    good = pl.Series(flaws == "")
    codes = _exchange_codes(rows, exchanges)
    columns = [pl.Series(name, whole[name]) for name in names]
    if kind is Kind.TRADES:
        # A bad side leaves with its row.
        columns.append(pl.Series("side", np.where(np.isin(side, _SIDES), side, 0).astype(np.int64)))
    frame = pl.DataFrame(
        [
            pl.Series("ts", ts).cast(pl.Datetime("ns")).dt.replace_time_zone("UTC"),
            rows["symbol"],
            *columns,
            codes,
        ]
    ).filter(good)
    said = []
    late = _late(frame)
    if late:
        said.append(f"{late:,} {kind.value} were not in the order of time: sorted")
        frame = frame.sort("symbol", "ts", maintain_order=True)
    elif frame["symbol"].n_unique() > 1:
        frame = frame.sort("symbol", "ts", maintain_order=True)
    if off:
        said.append(f"{off:,} prices or sizes of {kind.value} were rounded to the tick and lot")
    bad = rows.filter(~good)
    shown = names if np.isin(side, _SIDES).all() else (*names, "side")
    reasons = pl.Series(flaws[flaws != ""].tolist(), dtype=pl.String)
    return Judged(frame, quarantine_frame(bad, reasons, _details(bad, shown), kind), said)


def _sides(rows: pl.DataFrame) -> NDArray[np.float64]:
    """The aggressors of trades as they were read; 0, not known, where there is none."""
    if "side" not in rows.columns:
        return np.zeros(len(rows))
    return rows["side"].cast(pl.Float64).fill_null(0.0).to_numpy()


def _late(frame: pl.DataFrame) -> int:
    """Rows that are earlier than the row before them of the same symbol."""
    earlier = pl.col("ts") < pl.col("ts").shift().over("symbol")
    return int(frame.select(earlier.fill_null(False).sum()).item()) if len(frame) else 0


def _exchange_codes(rows: pl.DataFrame, exchanges: Sequence[str]) -> pl.Series:
    if "exchange" not in rows.columns or not exchanges:
        return pl.Series("exchange", np.zeros(len(rows), np.int64))
    table = {name: i for i, name in enumerate(exchanges)}
    return rows["exchange"].fill_null("").replace_strict(table, return_dtype=pl.Int64)


def exchange_names(frames: Sequence[pl.DataFrame], known: Sequence[str] = ()) -> list[str]:
    """The table of exchanges: those known already, then the new ones, sorted."""
    found: set[str] = set()
    for frame in frames:
        if "exchange" in frame.columns:
            found |= set(frame["exchange"].fill_null("").unique().to_list())
    return [*known, *sorted(found - set(known))]


def _details(rows: pl.DataFrame, names: Sequence[str]) -> pl.Series:
    texts: list[str | None] = [None] * len(rows)
    for i, row in enumerate(rows.head(EXAMPLES).iter_rows(named=True)):
        texts[i] = " ".join(f"{name}={row[name]}" for name in names)
    return pl.Series(texts, dtype=pl.String)


def structured(frame: pl.DataFrame, dtype: np.dtype) -> NDArray[np.void]:
    """The rows of one symbol as the builder's records."""
    rows = np.empty(len(frame), dtype)
    for name in dtype.names or ():
        rows[name] = frame[name].cast(pl.Int64).to_numpy()
    return rows


def bars_of_ticks(
    trades: pl.DataFrame,
    quotes: pl.DataFrame | None,
    clock: Clock,
    units: tuple[Decimal, Decimal],
    exchanges: int,
    calendar: str | None = None,
) -> tuple[pl.DataFrame, list[str]]:
    """Bars of each symbol: ts (UTC), symbol, int64 columns, null where unknown.

    With a ``calendar`` no quote outlives its exchange's session; without one it stands until the
    next.

    The stream counts as complete up to the end of the interval of its last row, so that the last
    time bar is there; it may hold less than its whole interval, as may the first.
    """
    frames, said = [], []
    amount, micro = _amount_clock(clock, units)
    for number, symbol in enumerate(trades["symbol"].unique().sort().to_list()):
        mine = structured(trades.filter(pl.col("symbol") == symbol), TRADE)
        nbbo = None
        if quotes is not None:
            rows = structured(quotes.filter(pl.col("symbol") == symbol), QUOTE)
            nbbo, counts, reading = best_quotes(rows, exchanges, calendar, int(mine["ts"][-1]))
            said.append(f"{symbol}: quotes read as {reading}")
            if counts.crossed or counts.locked:
                said.append(
                    f"{symbol}: quotes crossed {counts.crossed:,} times, "
                    f"locked {counts.locked:,} times"
                )
        until = _end(mine["ts"][-1], clock)
        if nbbo is not None and until is not None:
            # A quote after the last trade's interval makes no bar.
            nbbo = nbbo[nbbo["ts"] <= until]
        bars = build_bars(mine, amount, number, micro, nbbo, until=until)
        frames.append(bars_frame(bars, symbol))
    return pl.concat(frames), said


def best_quotes(
    quotes: NDArray[np.void], exchanges: int, calendar: str | None, last: int
) -> tuple[NDArray[np.void], Counts, str]:
    """The national best of one symbol, its crossed moments, and how its rows were read.

    ``last``: the moment until which, with a ``calendar``, old quotes are ended.
    """
    feed = QuoteFeed.NATIONAL if is_national(quotes) else QuoteFeed.EXCHANGES
    reading = "national" if feed is QuoteFeed.NATIONAL else "per exchange"
    ends = np.empty(0, np.int64)
    if calendar is not None and len(quotes):
        ends = quote_ends(calendar, int(quotes["ts"][0]), last)
    return *consolidate_sessions(quotes, max(exchanges, 1), feed, ends), reading


def _end(ts: int, clock: Clock) -> int | None:
    if clock.kind is not ClockKind.TIME:
        return None
    return (int(ts) // clock.size + 1) * clock.size


def _amount_clock(clock: Clock, units: tuple[Decimal, Decimal]) -> tuple[Clock, int]:
    """A dollar clock and the micro-units of a tick and lot as whole numbers, scaled alike."""
    micro = Fraction(units[0]) * Fraction(units[1]) * MICRO
    if clock.kind is not ClockKind.DOLLAR:
        return clock, max(int(micro), 1)
    if clock.size * micro.denominator > INT64_MAX // MICRO:
        raise InputError(f"clock {clock} is too large for a lot of {units[1]:f}")
    return Clock(ClockKind.DOLLAR, clock.size * micro.denominator), micro.numerator


def bars_frame(bars: Bars, symbol: str) -> pl.DataFrame:
    """BAR rows of one symbol as a frame with nulls for UNKNOWN."""
    columns = [
        pl.Series("ts", bars["ts"].copy()).cast(pl.Datetime("ns")).dt.replace_time_zone("UTC"),
        pl.repeat(symbol, len(bars), dtype=pl.String, eager=True).alias("symbol"),
    ]
    for name in (*OHLCV, *EXTRAS):
        values = pl.Series(name, bars[name].copy())
        columns.append(values if name in OHLCV else values.replace(UNKNOWN, None))
    return pl.DataFrame(columns)


def frame_bars(frame: pl.DataFrame, symbols: Sequence[str]) -> Bars:
    """The reverse, in (ts, symbol) order."""
    numbers = frame["symbol"].replace_strict(
        {name: i for i, name in enumerate(symbols)}, return_dtype=pl.Int64
    )
    columns = {"ts": frame["ts"].cast(pl.Int64).to_numpy(), "symbol": numbers.to_numpy()}
    order = np.lexsort((columns["symbol"], columns["ts"]))
    bars = np.empty(len(frame), BAR)
    for name in BAR.names or ():
        values = columns[name] if name in columns else frame[name].fill_null(UNKNOWN).to_numpy()
        # Ordering columns is cheaper than ordering records.
        bars[name] = values[order]
    return bars


def coarser_lots(frame: pl.DataFrame, fine: Decimal, lot: Decimal) -> pl.DataFrame:
    """Bars counted in ``fine`` lots, counted in ``lot``: nearest whole lots, half to even."""
    if fine == lot:
        return frame
    names = [name for name in _SIZED_BARS if name in frame.columns]
    columns = []
    for name in names:
        values = frame[name].fill_null(0).to_numpy().astype(float) * float(fine)
        rounded, _ = to_units(values, lot)
        columns.append(
            pl.select(
                pl.when(frame[name].is_null()).then(None).otherwise(pl.Series(rounded)).alias(name)
            ).to_series()
        )
    return frame.with_columns(columns)
