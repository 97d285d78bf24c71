"""A service session: what ``sapphire up`` opens for the HTTP surface. Bars come from whoever asks.

``first_traded`` is the moment of opening: bars before it warm the agents and are never traded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psycopg

from actors.contract import Floats
from actors.limits import RiskLimits
from cluster.plan import HORIZON, session_config
from data.bars import empty_bars
from data.errors import InputError
from data.feed import Feed
from data.records import SessionConfig
from data.sessions import save_model, save_session

# A standing trader renews its lease four times in this time; a dead one's successor waits for it.
LEASE_TTL_S = 5.0
MOST_SYMBOLS = 20_000
_SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=^-]{0,31}")


def chosen_symbols(names: str | None, file: Path | None, default: Sequence[str]) -> tuple[str, ...]:
    """The session's symbols: from a comma-separated list, a file (one a line), else the default.

    InputError for both at once, for none, for a name twice, and for one that no URL could hold.
    """
    if names is not None and file is not None:
        raise InputError("--symbols and --symbols-file: give one of them")
    if names is not None:
        found, where = names.split(","), "--symbols"
    elif file is not None:
        found, where = _lines(file), str(file)
    else:
        return tuple(default)
    chosen = [name.strip() for name in found if name.strip()]
    if not chosen:
        raise InputError(f"{where} names no symbol: write for example AAPL,IBM")
    if len(chosen) > MOST_SYMBOLS:
        raise InputError(f"{where} names {len(chosen):,} symbols: at most {MOST_SYMBOLS:,}")
    seen: set[str] = set()
    for name in chosen:
        if not _SYMBOL.fullmatch(name):
            raise InputError(
                f"{where}: {name!r} is no symbol: letters, digits and . _ = ^ -, at most 32"
            )
        if name in seen:
            raise InputError(f"{where} names {name} twice")
        seen.add(name)
    return tuple(chosen)


def _lines(file: Path) -> list[str]:
    try:
        return file.expanduser().read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--symbols-file {file}: cannot be read ({error})") from error


def open_service_session(
    connection: psycopg.Connection,
    symbols: Sequence[str],
    models: Mapping[str, Floats],
    models_from: int,
    limits: RiskLimits,
    opened: datetime,
    units: Feed | None = None,
) -> SessionConfig:
    """Records a paper session over ``symbols`` with fitted ``models``; returns it.

    ``models_from``  ns UTC, not before the end of the models' training
    ``opened``       the first moment that may trade
    ``units``        tick, lot, currency and bars a year of all symbols; the sample's when None
    """
    about = units or Feed((), empty_bars(0), (), (), "requests", "")
    feed = replace(about, symbols=tuple(symbols), bars=empty_bars(0))
    names = {
        agent: save_model(connection, agent, HORIZON, models_from, params)
        for agent, params in models.items()
    }
    config = msgspec.structs.replace(
        session_config(feed, names, limits, opened, "paper"),
        first_traded=int(opened.astimezone(UTC).timestamp() * 1e6) * 1_000,
        models_from=models_from,
        data_name="requests",
    )
    save_session(connection, config)
    return config
