"""A service session: what ``sapphire up`` opens for the HTTP surface. Bars come from whoever asks.

``first_traded`` is the moment of opening: bars before it warm the agents and are never traded.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import psycopg

from actors.contract import Floats
from actors.limits import RiskLimits
from cluster.fingerprint import ROOT, code_hash, fingerprint
from cluster.home import Home, write_private
from cluster.plan import HORIZON, Plan, session_config
from data.bars import empty_bars
from data.errors import InputError
from data.feed import Feed
from data.jit_cache import FLOORS
from data.records import SessionConfig
from data.sessions import save_model, save_session
from tuning.fit_models import fit_models

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


def fitted_models(home: Home, plan: Plan) -> dict[str, Floats]:
    """The plan's models, from the home when the same were fitted before by the same code.

    A damaged file is fitted anew. Only the holder of the home's lock may call this.
    """
    directory = home.path / "models"
    directory.mkdir(mode=0o700, exist_ok=True)
    path = directory / f"{_key(plan)}.npz"
    try:
        with np.load(path, allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files}
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        path.unlink()
    models = fit_models(plan.fit_bars, HORIZON, plan.seed)
    buffer = io.BytesIO()
    np.savez(buffer, **models)  # type: ignore[arg-type]
    write_private(path, buffer.getvalue())
    return models


def _key(plan: Plan) -> str:
    parts = (
        HORIZON,
        plan.seed,
        plan.models_from,
        hashlib.sha256(plan.fit_bars.tobytes()).hexdigest(),
        sorted(fingerprint().items()),
        code_hash(ROOT, FLOORS[:-1]),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]
