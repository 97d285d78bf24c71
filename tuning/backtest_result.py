"""What a backtest gives: arrays, with polars and pandas views on request."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from actors.checks import Code
from actors.costs import CostModel
from actors.pool_state import Ints
from tuning.loop_state import (
    FILLS,
    ORDERS,
    ORIGINS,
    REFUSALS,
    ROUNDS,
    STATUSES,
    STEPS,
    Kept,
    LoopState,
    halted_at,
)

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from tuning.backtesting import BacktestParams


@dataclass(frozen=True, eq=False)
class Result:
    """Arrays of a finished backtest: T moments, D decisions (one a bar), n agents.

    ``kept`` holds what was asked for (``BacktestParams.keep``); an array of length 0 was not kept.
    ``orders`` (``loop_state.ORDER_LOG``) and ``fills`` (``FILL_LOG``) are in the order of the log.
    """

    params: BacktestParams
    costs: CostModel
    ts: Ints  # (T,)
    d_ts: Ints  # (D,)
    d_symbol: Ints  # (D,)
    d_close: Ints  # (D,) ticks
    kept: Kept
    orders: np.ndarray
    fills: np.ndarray
    state: LoopState

    @property
    def equity_micro(self) -> Ints:
        """(T,) after each moment's fills and marks; length 0 when it was not kept."""
        return self.kept.equity

    @property
    def final_equity_micro(self) -> int:
        return int(self.state.books[0]["equity_micro"])

    @property
    def halted_at(self) -> int | None:
        """ts of the halt by MAX_DRAWDOWN, None when there was none."""
        return halted_at(self.state.counts)

    @property
    def counts(self) -> dict[str, int]:
        """Moments, weight steps, accepted orders, fills and refused orders."""
        names = {"rounds": ROUNDS, "steps": STEPS, "orders": ORDERS, "fills": FILLS}
        return {
            **{name: int(self.state.counts[slot]) for name, slot in names.items()},
            "refused": int(self.state.counts[REFUSALS]),
        }

    def tables(self, tick: Decimal = Decimal("0.0001")) -> dict[str, pl.DataFrame]:
        """``equity``, ``orders``, ``fills`` and, where kept, ``decisions`` as polars frames.

        Prices are decimal strings' exact values as Float64 for plotting; money stays in the arrays.
        """
        import polars as pl

        names = np.array(self.params.symbols)
        equity: dict[str, Any] = {"ts": self.ts.astype("datetime64[ns]")}
        if len(self.kept.equity):
            equity["equity"] = self.kept.equity / 1e6
        orders = {
            "ts": self.orders["ts"].astype("datetime64[ns]"),
            "symbol": names[self.orders["symbol"]],
            "side": self.orders["side"],
            "lots": self.orders["lots"],
            "limit": self.orders["limit_ticks"] * float(tick),
            "origin": np.array(ORIGINS)[self.orders["origin"]],
            "status": np.array(STATUSES)[self.orders["status"]],
            "code": [Code(code).name for code in self.orders["code"]],
            "filled_lots": self.orders["filled_lots"],
        }
        fills = {
            "ts": self.fills["ts"].astype("datetime64[ns]"),
            "symbol": names[self.fills["symbol"]],
            "side": self.fills["side"],
            "lots": self.fills["lots"],
            "price": self.fills["price_ticks"] * float(tick),
            "fee": self.fills["fee_micro"] / 1e6,
        }
        tables = {"equity": equity, "orders": orders, "fills": fills}
        if len(self.kept.p):
            tables["decisions"] = {
                "ts": self.d_ts.astype("datetime64[ns]"),
                "symbol": names[self.d_symbol],
                "p_down": self.kept.p[:, 0],
                "p_flat": self.kept.p[:, 1],
                "p_up": self.kept.p[:, 2],
                "verdict": self.kept.verdict,
                "code": self.kept.code,
            }
        return {name: pl.DataFrame(columns) for name, columns in tables.items()}

    def to_pandas(self, tick: Decimal = Decimal("0.0001")) -> dict[str, pd.DataFrame]:
        """The same as ``tables``, as pandas frames."""
        return {name: frame.to_pandas() for name, frame in self.tables(tick).items()}
