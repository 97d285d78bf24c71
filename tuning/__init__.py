"""Floor 5: backtests, model fitting, performance statistics, studies and reports.

``from tuning import Study, Space, backtest`` is what a notebook needs; they are loaded on use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import data  # noqa: F401 - names numba's cache before anything here imports numba

if TYPE_CHECKING:
    from actors.space import Choice, Constraint, Integer, Real, Space, When
    from tuning.backtesting import BacktestParams, backtest
    from tuning.study.api import Study

__all__ = [
    "BacktestParams",
    "Choice",
    "Constraint",
    "Integer",
    "Real",
    "Space",
    "Study",
    "When",
    "backtest",
]

_HOMES = {"BacktestParams": "tuning.backtesting", "backtest": "tuning.backtesting"}
_HOMES |= {"Study": "tuning.study.api"}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(_HOMES.get(name, "actors.space")), name)
    raise AttributeError(f"module 'tuning' has no attribute {name!r}")
