"""Floor 5: backtests, model fitting, performance statistics and reports.

``from tuning import backtest, BacktestParams`` is what a notebook needs; they are loaded on use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import data  # noqa: F401 - names numba's cache before anything here imports numba

if TYPE_CHECKING:
    from tuning.backtesting import BacktestParams, backtest

__all__ = ["BacktestParams", "backtest"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from tuning import backtesting

        return getattr(backtesting, name)
    raise AttributeError(f"module 'tuning' has no attribute {name!r}")
