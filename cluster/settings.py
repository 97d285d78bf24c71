"""Settings of the composition root, with the environment variables that they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from data.errors import InputError


class ClusterSettings(BaseSettings):
    """Where things run. Everything has a default for one machine without credentials."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    home: Path = Field(Path(".sapphire"), validation_alias="SAPPHIRE_HOME")
    coordinator_port: int = Field(
        8081, ge=1, le=65535, validation_alias="SAPPHIRE_COORDINATOR_PORT"
    )
    trader_port: int = Field(8080, ge=1, le=65535, validation_alias="SAPPHIRE_TRADER_PORT")
    dashboard_port: int = Field(8265, ge=1, le=65535, validation_alias="SAPPHIRE_DASHBOARD_PORT")
    database_url: str = Field("", validation_alias="DATABASE_URL")
    redis_url: str = Field("", validation_alias="REDIS_URL")
    log_level: Literal["DEBUG", "INFO", "WARNING"] = Field("INFO", validation_alias="LOG_LEVEL")

    @property
    def ports(self) -> dict[str, int]:
        """Each port by the variable that sets it."""
        return {
            "SAPPHIRE_TRADER_PORT": self.trader_port,
            "SAPPHIRE_COORDINATOR_PORT": self.coordinator_port,
            "SAPPHIRE_DASHBOARD_PORT": self.dashboard_port,
        }


class TradingMode(BaseSettings):
    """Paper or live. Live needs three things at once; without them the start is refused."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    enable_paper_trading: bool = Field(True, validation_alias="ENABLE_PAPER_TRADING")
    live_trading_confirmation: str = Field("", validation_alias="LIVE_TRADING_CONFIRMATION")


def load(kind: type[Any]) -> Any:
    """Settings of ``kind`` from the environment; InputError names the variable and its value."""
    try:
        return kind()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise InputError(
            f"environment variable {name}={first.get('input')!r}: {first['msg']}"
        ) from error


def load_cluster() -> ClusterSettings:
    """The cluster's settings; InputError also when two ports are the same."""
    settings: ClusterSettings = load(ClusterSettings)
    taken: dict[int, str] = {}
    for name, port in settings.ports.items():
        if port in taken:
            raise InputError(f"{name} and {taken[port]} are both {port}: give each its own port")
        taken[port] = name
    return settings


def require_paper(mode: TradingMode) -> None:
    """InputError unless trading is on paper: this version ships no exchange broker."""
    if not mode.enable_paper_trading:
        raise InputError(
            "ENABLE_PAPER_TRADING=false: live trading needs a venue, credentials and"
            " LIVE_TRADING_CONFIRMATION, and this version has no exchange broker:"
            " unset ENABLE_PAPER_TRADING"
        )
