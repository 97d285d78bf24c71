"""How a study's names and figures look to people."""

from __future__ import annotations

import math

from actors.space import Config, Value
from tuning.bootstrap import Difference
from tuning.report_text import MISSING, interval, number, percent

_OBJECTIVES = {
    "sharpe": "Sharpe ratio",
    "sortino": "Sortino ratio",
    "calmar": "Calmar ratio",
    "log_growth": "Log growth a year",
    "drawdown_penalised": "Growth less drawdown",
    "brier": "Brier loss",
}
_RULES = {
    "trials": "Trials with returns",
    "observations": "Returns of each trial",
    "deflated_sharpe": "Deflated Sharpe probability",
    "pbo": "Probability of backtest overfitting",
    "plateau": "Share of its lead that the neighbours keep",
    "locked_openings": "Openings of the locked segment",
    "locked_observations": "Returns in the locked segment",
    "locked_sharpe": "Sharpe ratio on the locked segment",
    "beats_incumbent": "Growth above the incumbent's on it, log a year",
}


def objective_title(name: str) -> str:
    """sharpe -> Sharpe ratio; another name as it is."""
    return _OBJECTIVES.get(name, name.replace("_", " "))


def rule_title(name: str) -> str:
    """pbo -> Probability of backtest overfitting."""
    return _RULES.get(name, name.replace("_", " "))


def value_text(value: Value) -> str:
    """A parameter's value, short: 0.03125, 20, fast."""
    if isinstance(value, float):
        text = figure(value)
        return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text
    return str(value)


def config_text(config: Config) -> str:
    """fast = 12, slow = 80."""
    return ", ".join(f"{name} = {value_text(value)}" for name, value in config.items())


def figure(value: float, digits: int = 4) -> str:
    """Four significant digits; a dash where undefined."""
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = 0 if value == 0.0 else math.floor(math.log10(abs(value)))
    if -5 <= size < 7:
        return number(value, max(0, digits - 1 - size) if value != 0.0 else 0)
    return f"{value:.{digits - 1}e}".replace("-", "−")


def bounded(found: Difference, as_percent: bool) -> str:
    """A figure with its 95 % interval."""
    if math.isnan(found.value):
        return MISSING
    shown = percent(found.value, 1, True) if as_percent else number(found.value, 2, True)
    if math.isnan(found.low):
        return f"{shown} (no interval)"
    if as_percent:
        return f"{shown} ({interval(found.low * 100, found.high * 100, 1)} %)"
    return f"{shown} ({interval(found.low, found.high)})"
