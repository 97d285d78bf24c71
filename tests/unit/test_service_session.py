"""Service sessions: their symbols, what is recorded, and models that are fitted once."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psycopg
import pytest

from actors.limits import RiskLimits
from cluster.service_session import chosen_symbols, open_service_session
from data.errors import InputError
from data.sessions import load_session
from data.store import ensure_roles, migrate

DEFAULT = ("AAPL", "IBM")
OPENED = datetime(2026, 11, 25, 12, 0, 0, 250_000, tzinfo=UTC)


def test_symbols_come_from_the_list_the_file_or_the_sample(tmp_path: Path) -> None:
    file = tmp_path / "symbols"
    file.write_text("S1\n\n  S2 \n")
    assert chosen_symbols("B, A", None, DEFAULT) == ("B", "A")
    assert chosen_symbols(None, file, DEFAULT) == ("S1", "S2")
    assert chosen_symbols(None, None, DEFAULT) == DEFAULT


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (" , ", "names no symbol"),
        ("A,B,A", "names A twice"),
        ("A:B", "is no symbol"),
        ("A/B", "is no symbol"),
        ("x" * 33, "is no symbol"),
    ],
)
def test_bad_symbols_are_refused_in_one_line(names: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        chosen_symbols(names, None, DEFAULT)


def test_a_file_that_cannot_be_read_and_two_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        chosen_symbols(None, tmp_path / "absent", DEFAULT)
    with pytest.raises(InputError, match="give one of them"):
        chosen_symbols("A", tmp_path, DEFAULT)


def test_a_session_of_many_symbols_is_recorded_and_trades_from_its_opening(
    database_url: str,
) -> None:
    ensure_roles(database_url, {})
    migrate(database_url)
    symbols = [f"S{i:04d}" for i in range(2_000)]
    with psycopg.connect(database_url, autocommit=True) as connection:
        models = {"trend_momentum": np.arange(3.0)}
        config = open_service_session(connection, symbols, models, 7, RiskLimits(), OPENED)
        stored = load_session(connection, config.session_id)
    assert stored == config
    assert stored.symbols == symbols
    assert stored.mode == "paper"
    assert stored.first_traded == 1_795_608_000_250_000_000
    assert stored.models_from == 7
