"""The one place where a limit is defined.

``RiskLimits`` reads its values from the environment, once, at the composition root; everybody else
gets the frozen object or its ``record()``. MAX_DRAWDOWN and RISK_MULTIPLIER keep the runbook's
names; all other variables are called SAPPHIRE_LIMIT_<NAME>. RISK_MULTIPLIER scales only the
volatility target that sizes a position, never a limit.
"""

from __future__ import annotations

import os
from decimal import Decimal
from typing import Any

import numpy as np
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from data.errors import InputError
from data.money import PPM, to_micro

PREFIX = "SAPPHIRE_LIMIT_"
_OWN_NAMES = {"max_drawdown": "MAX_DRAWDOWN", "risk_multiplier": "RISK_MULTIPLIER"}

LIMITS = np.dtype(
    [
        ("min_agents", "<i8"),
        ("min_weight_share", "<f8"),
        ("max_dissent", "<f8"),
        ("max_staleness_seconds", "<f8"),
        ("max_toxicity", "<f8"),
        ("max_sigma", "<f8"),
        ("min_order_notional_micro", "<i8"),
        ("max_order_notional_micro", "<i8"),
        ("max_order_ppm", "<i8"),
        ("collar_ppm", "<i8"),
        ("max_orders_per_minute", "<i8"),
        ("allow_short", "<i8"),
        ("max_position_notional_micro", "<i8"),
        ("max_position_ppm", "<i8"),
        ("max_gross_ppm", "<i8"),
        ("max_daily_loss_ppm", "<i8"),
        ("max_drawdown_ppm", "<i8"),
    ]
)


class RiskLimits(BaseSettings):
    """Every limit. Fractions are of equity; notionals are in the account's currency."""

    model_config = SettingsConfigDict(
        frozen=True, env_prefix=PREFIX, extra="forbid", populate_by_name=True
    )

    # Intent scope: the gate, per symbol.
    min_agents: int = Field(default=3, ge=1, le=64)
    min_weight_share: float = Field(default=0.5, ge=0, le=1, allow_inf_nan=False)
    max_dissent: float = Field(default=0.35, ge=0, le=1, allow_inf_nan=False)
    max_staleness_seconds: float = Field(default=60.0, gt=0, allow_inf_nan=False)
    max_toxicity: float = Field(default=0.99, ge=0, le=1, allow_inf_nan=False)
    max_sigma: float = Field(default=0.10, gt=0, allow_inf_nan=False)  # per-bar volatility
    min_order_notional: Decimal = Field(default=Decimal(100), ge=0, le=10**12, decimal_places=6)
    max_order_notional: Decimal = Field(
        default=Decimal(5_000_000), gt=0, le=10**12, decimal_places=6
    )
    max_order_fraction: float = Field(default=0.25, gt=0, le=10, allow_inf_nan=False)
    collar_bps: float = Field(default=500.0, gt=0, lt=5_000, allow_inf_nan=False)
    max_orders_per_minute: int = Field(default=600, ge=1, le=1_000_000)
    allow_short: bool = False
    # Account scope: the order transaction.
    max_position_notional: Decimal = Field(
        default=Decimal(10**9), gt=0, le=10**12, decimal_places=6
    )
    max_position_fraction: float = Field(default=0.40, gt=0, le=10, allow_inf_nan=False)
    max_gross: float = Field(default=1.0, gt=0, le=10, allow_inf_nan=False)
    max_daily_loss: float = Field(default=0.05, gt=0, lt=1, allow_inf_nan=False)
    max_drawdown: float = Field(
        default=0.25, gt=0, lt=1, allow_inf_nan=False, validation_alias="MAX_DRAWDOWN"
    )
    # No limit: see the module's docstring.
    risk_multiplier: float = Field(
        default=1.0, ge=1, le=2, allow_inf_nan=False, validation_alias="RISK_MULTIPLIER"
    )

    def record(self) -> np.void:
        """The same as one ``LIMITS`` record: money in micro-units, fractions in millionths.

        Millionths are rounded down, so that no limit is loosened by its representation.
        """
        row = np.zeros(1, LIMITS)
        for name in (
            "min_agents",
            "min_weight_share",
            "max_dissent",
            "max_staleness_seconds",
            "max_toxicity",
            "max_sigma",
            "max_orders_per_minute",
            "allow_short",
        ):
            row[name] = getattr(self, name)
        for name in ("min_order_notional", "max_order_notional", "max_position_notional"):
            row[f"{name}_micro"] = to_micro(getattr(self, name))
        row["max_order_ppm"] = _ppm(self.max_order_fraction)
        row["collar_ppm"] = _ppm(Decimal(repr(self.collar_bps)) / 10_000)
        row["max_position_ppm"] = _ppm(self.max_position_fraction)
        row["max_gross_ppm"] = _ppm(self.max_gross)
        row["max_daily_loss_ppm"] = _ppm(self.max_daily_loss)
        row["max_drawdown_ppm"] = _ppm(self.max_drawdown)
        return row[0]


def _ppm(fraction: float | Decimal) -> int:
    # Through the shortest decimal that means the float: 0.29 is 290000, not 289999.
    exact = fraction if isinstance(fraction, Decimal) else Decimal(repr(fraction))
    return int(exact * PPM)


def load_limits() -> RiskLimits:
    """The limits in force, from the environment. InputError names the variable at fault.

    A mistyped name is an error too: a limit that was set and is not in force would be worse.
    """
    known = {
        f"{PREFIX}{name.upper()}" for name in RiskLimits.model_fields if name not in _OWN_NAMES
    }
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            raise InputError(f"{name}: no such limit; use one of {', '.join(sorted(known))}")
    try:
        return RiskLimits()
    except ValidationError as error:
        raise InputError(_one_line(error)) from None


def recorded_limits(values: dict[str, Any]) -> RiskLimits:
    """The limits that a session recorded (``model_dump``), whatever the environment says now.

    InputError when one is missing or unknown: the environment must not fill the gap.
    """
    odd = set(RiskLimits.model_fields).symmetric_difference(values)
    if odd:
        raise InputError(f"recorded limits do not fit this version: {', '.join(sorted(odd))}")
    return RiskLimits(**values)


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    name = str(first["loc"][0]).lower().removeprefix(PREFIX.lower())
    variable = _OWN_NAMES.get(name, f"{PREFIX}{name.upper()}")
    value = str(first["input"])[:40]
    field = RiskLimits.model_fields[name]
    words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    bounds = [
        f"{word} {getattr(rule, key)}"
        for rule in field.metadata
        for key, word in words.items()
        if getattr(rule, key, None) is not None
    ]
    kind = _KINDS.get(str(getattr(field.annotation, "__name__", "")), "a number")
    wanted = f"{kind} {' and '.join(bounds)}".strip()
    return f"{variable}={value}: set it to {wanted}, or unset it for the default {field.default}"


_KINDS = {
    "int": "a whole number",
    "bool": "true or false",
    "Decimal": "an amount with at most 6 decimals",
}
