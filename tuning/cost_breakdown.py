"""What trading cost, and to whom it went: commission, half spread, slippage, market impact.

A fill pays its fee and side * (fill price - open of the filling bar) * lots. The second part is
the declared model's (``actors.costs.price_cost_fraction``): its three terms are worked out per
fill and rounded to micro-units; what whole ticks add or take is a line of its own, so that the
lines sum to what was paid, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, Context, Decimal

import numpy as np
from numba import njit

from actors.costs import CostModel
from actors.outcome import VOLATILITY_WARM_UP, update_variance
from data.bars import Bars
from data.money import from_ticks
from tuning.session_result import FillRow, Floats, SessionResult, money

LINES = ("commission", "half_spread", "slippage", "impact", "rounding")
_MICRO = Decimal("0.000001")
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
_BASIS_POINT = Decimal("0.0001")


@dataclass(frozen=True)
class Costs:
    """Amounts in the account's currency over the fills; the five lines sum to ``total``.

    Where some fill lacks its reference price, all but ``commission`` and ``notional`` are None;
    where only its split is missing, the split's lines are.
    """

    fills: int
    notional: Decimal  # sum of fill price times lots
    commission: Decimal
    half_spread: Decimal | None
    slippage: Decimal | None
    impact: Decimal | None
    rounding: Decimal | None
    total: Decimal | None
    gross_profit: Decimal | None  # final less first equity, before these costs

    def line(self, name: str) -> Decimal | None:
        """The amount of one of ``LINES`` or of "total"."""
        amount = getattr(self, name)
        return amount if amount is None else Decimal(amount)

    def basis_points(self, name: str) -> float:
        """A line in hundredths of a per cent of traded notional; nan when not known."""
        amount = self.line(name)
        if amount is None or not self.notional:
            return math.nan
        return float(amount / self.notional) * 1e4

    def share_of_gross(self, name: str) -> float:
        """A line as a fraction of gross profit; nan when not known or nothing was earned."""
        amount = self.line(name)
        if amount is None or self.gross_profit is None or self.gross_profit <= 0:
            return math.nan
        return float(amount / self.gross_profit)


@njit(cache=True)
def _volatility_before(symbol, close, count):
    sigma = np.zeros(len(symbol))
    variance, weight = np.zeros(count), np.zeros(count)
    seen, last = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for i in range(len(symbol)):
        s = symbol[i]
        if seen[s] > VOLATILITY_WARM_UP:
            sigma[i] = math.sqrt(variance[s] / weight[s])
        if seen[s] > 0:
            variance[s], weight[s] = update_variance(
                variance[s], weight[s], math.log(close[i] / last[s])
            )
        seen[s] += 1
        last[s] = close[i]
    return sigma


def volatility_before(bars: Bars, symbols: int) -> Floats:
    """Per-bar volatility (n,) known before each bar, as paper fills use it; 0 in the warm-up.

    ``bars`` (n,) in (ts, symbol) order with symbol numbers below ``symbols``.
    """
    return np.asarray(
        _volatility_before(
            np.ascontiguousarray(bars["symbol"]), np.ascontiguousarray(bars["close"]), symbols
        )
    )


def spread_before(bars: Bars, costs: CostModel) -> Floats:
    """Half the spread in bp (n,) as known before each bar: of its symbol's last quote, else the
    declared one (``actors.costs.half_spread_bps``)."""
    order = np.argsort(bars["symbol"], kind="stable")
    symbol, bid, ask = (bars[name][order] for name in ("symbol", "bid", "ask"))
    first = np.append(True, symbol[1:] != symbol[:-1])
    bid, ask = np.roll(bid, 1), np.roll(ask, 1)
    quoted = ~first & (bid > 0) & (ask >= bid)
    spread = np.full(len(bars), costs.half_spread_bps)
    spread[order[quoted]] = 1e4 * (ask - bid)[quoted] / (ask + bid)[quoted]
    return spread


def with_split(
    fill: FillRow,
    costs: CostModel,
    open_ticks: int,
    volume: int,
    spread_bps: float,
    sigma: float,
    tick: Decimal,
) -> FillRow:
    """``fill`` with the price that it is measured against and the model's three terms.

    ``open_ticks`` and ``volume`` > 0 are the filling bar's; ``spread_bps``, half the spread, and
    ``sigma``, per bar, as known before it.
    ValueError for a fill in a bar without volume.
    """
    if volume <= 0:
        raise ValueError(f"fill of {fill.symbol} at {fill.ts}: its bar has no volume")
    reference = from_ticks(open_ticks, tick)
    notional = reference * fill.lots * fill.lot
    impact = costs.impact_y * sigma * math.sqrt(fill.lots / volume)
    half_spread, slippage, pushed = (
        _EXACT.multiply(notional, fraction).quantize(_MICRO, context=_EXACT)
        for fraction in (
            Decimal(spread_bps) * _BASIS_POINT,
            Decimal(costs.slippage_bps) * _BASIS_POINT,
            Decimal(impact),
        )
    )
    return replace(
        fill, reference=reference, half_spread=half_spread, slippage=slippage, impact=pushed
    )


def split_fills(
    fills: Iterable[FillRow],
    bars: Bars,
    symbols: Sequence[str],
    costs: CostModel,
    tick: Decimal,
) -> list[FillRow]:
    """Every fill with its split: one of ts t met the bar of ts t of its symbol.

    ``bars`` (n,) in (ts, symbol) order, from the first bar of the session on. A fill whose bar is
    not among them keeps no reference.
    """
    sigma = volatility_before(bars, len(symbols))
    spread = spread_before(bars, costs)
    number = {symbol: i for i, symbol in enumerate(symbols)}
    fills = list(fills)
    moments = np.fromiter((fill.ts for fill in fills), np.int64, len(fills))
    row_of = {
        (int(bars["ts"][i]), int(bars["symbol"][i])): int(i)
        for i in np.flatnonzero(np.isin(bars["ts"], moments))
    }
    split = []
    for fill in fills:
        row = row_of.get((fill.ts, number[fill.symbol]))
        if row is not None:
            bar = bars[row]
            opened, volume = int(bar["open"]), int(bar["volume"])
            known = float(spread[row]), float(sigma[row])
            fill = with_split(fill, costs, opened, volume, *known, tick)  # noqa: PLW2901
        split.append(fill)
    return split


def cost_breakdown(result: SessionResult) -> Costs:
    """The costs of a session's fills. The gross profit is over the traded rounds."""
    fills = result.fills
    commission = sum((fill.fee for fill in fills), Decimal(0))
    notional = sum((fill.notional for fill in fills), Decimal(0))
    equity = result.equity_micro[result.traded_rounds]
    if any(fill.reference is None for fill in fills):
        return Costs(len(fills), notional, commission, None, None, None, None, None, None)
    price = sum((fill.price_cost or Decimal(0) for fill in fills), Decimal(0))
    total = commission + price
    gross = money(int(equity[-1]) - int(equity[0])) + total
    half_spread, slippage, impact = (
        _sum(fills, name) for name in ("half_spread", "slippage", "impact")
    )
    rounding = None
    if half_spread is not None and slippage is not None and impact is not None:
        rounding = price - half_spread - slippage - impact
    return Costs(
        fills=len(fills),
        notional=notional,
        commission=commission,
        half_spread=half_spread,
        slippage=slippage,
        impact=impact,
        rounding=rounding,
        total=total,
        gross_profit=gross,
    )


def _sum(fills: Iterable[FillRow], name: str) -> Decimal | None:
    values = [getattr(fill, name) for fill in fills]
    return None if any(value is None for value in values) else sum(values, Decimal(0))
