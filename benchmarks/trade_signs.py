"""``python -m benchmarks.trade_signs``: how well each method finds the aggressor, in per cent.

The venue's flag on the two recorded Binance wires is the truth. Trades stand in the order of
their ids. Quotes are aligned in one of these ways, and the one strictly before the trade is used:

- ``venue clock``: both at the venue's transaction time T, milliseconds (USD-M only);
- ``depth bound``: the trade at its T, the quote at the E of the depthUpdate that contains it;
- ``received + x ms``: both on the receive clock, the quote x ms later than it came.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actors.outcome import update_variance
from benchmarks.recordings import MS, Wire, wire
from data.bar_builder import build_bars
from data.bars import Bars
from data.clocks import Clock
from data.microstructure import bulk_buy_volume
from data.ticks import Quotes, Trades
from data.trade_sign import SignRule, sign_trades

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "binance_wire"
WIRES = {
    "USD-M": ("usdm_btcusdt_20240808.gz", "0.1", "0.001"),
    "spot": ("spot_btcusdt_20240809.gz", "0.01", "0.00001"),
}
LAGS_MS = (0, 1, 5, 20, 100)
BAR_CLOCKS = ("1s", "5s", "tick:50")


def recording(venue: str) -> Wire:
    """The recorded wire of ``venue``; FileNotFoundError where the data is absent."""
    name, tick, lot = WIRES[venue]
    return wire(SHARED / name, tick, lot)


def agreement(trades: Trades, signs: NDArray[np.int64]) -> tuple[float, float]:
    """Per cent of the signed trades, and of all traded volume, whose sign is the venue's."""
    signed = signs != 0
    right = signs == trades["side"]
    volume = trades["size"]
    return 100 * float(right[signed].mean()), 100 * float(volume[right].sum() / volume.sum())


def aligned(w: Wire) -> Iterator[tuple[str, Trades, Quotes]]:
    """Each alignment's name, trades and quotes, sorted by the ts they are given."""

    def stamped(trade_ts: NDArray[np.int64], quote_ts: NDArray[np.int64]) -> tuple[Trades, Quotes]:
        trades, quotes = w.trades.copy(), w.quotes.copy()
        # In the order of the ids; a clock that steps back is held at its highest.
        trades["ts"] = np.maximum.accumulate(trade_ts)
        quotes["ts"] = np.maximum.accumulate(quote_ts)
        return trades, quotes

    if w.quote_venue.all():
        yield ("venue clock", *stamped(w.trades["ts"], w.quote_venue))
    yield ("depth bound", *stamped(w.trades["ts"], w.quote_bound))
    for lag in LAGS_MS:
        moved = w.quotes["ts"] + lag * MS
        yield (f"received + {lag} ms", *stamped(w.trade_received, moved))


def in_bulk(bars: Bars) -> NDArray[np.float64]:
    """Buy volume of each bar by bulk classification, as the agents do it, shape (bars,).

    sigma: the agents' exponentially weighted deviation of the earlier bars' log moves.
    """
    buys = np.zeros(len(bars))
    variance = weight = 0.0
    for i, bar in enumerate(bars):
        move = math.log(bar["close"] / bar["open"])
        sigma = math.sqrt(variance / weight) if i else 0.0
        buys[i] = bulk_buy_volume(float(bar["volume"]), move, sigma)
        variance, weight = update_variance(variance, weight, move)
    return buys


def volume_agreement(
    bars: Bars, buys: NDArray[np.float64], truth: NDArray[np.int64]
) -> tuple[float, float]:
    """Per cent of volume put on the right side, and mean error of a bar's buy share, points."""
    error = np.abs(buys - truth)
    volume = bars["volume"]
    return 100 * (1 - float(error.sum() / volume.sum())), 100 * float((error / volume).mean())


def measure(venue: str) -> dict[str, tuple[float, float]]:
    """By method: (per cent of trades, of volume); for bars (per cent of volume, share error)."""
    w = recording(venue)
    found = {"tick rule": agreement(w.trades, sign_trades(w.trades, rule=SignRule.TICK))}
    for name, trades, quotes in aligned(w):
        signs = sign_trades(trades, quotes, SignRule.LEE_READY)
        found[f"Lee-Ready, {name}"] = agreement(trades, signs)
    for clock in BAR_CLOCKS:
        bars = build_bars(w.trades, Clock.parse(clock), 0, 1, sign=SignRule.FLAG)
        truth = bars["buy_volume"]
        found[f"bars {clock}, bulk"] = volume_agreement(bars, in_bulk(bars), truth)
        ticks = build_bars(w.trades, Clock.parse(clock), 0, 1, sign=SignRule.TICK)
        known = ticks["buy_volume"] >= 0
        found[f"bars {clock}, tick rule"] = volume_agreement(
            bars[known], ticks["buy_volume"][known].astype(float), truth[known]
        )
    return found


def main() -> int:
    """Prints the table."""
    for venue in WIRES:
        print(f"{venue}: trades, volume (bars: volume, mean error of the buy share), per cent")
        for name, (first, second) in measure(venue).items():
            print(f"  {name:<32}{first:8.2f}{second:8.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
