"""Sessions and models in PostgreSQL: written once, never changed."""

from __future__ import annotations

import msgspec
import numpy as np
import psycopg
from numpy.typing import NDArray

from data.records import SessionConfig, content_hash, encode


class UnknownSession(LookupError):
    """No session of this id is recorded."""


def model_id(agent: str, horizon: int, trained_until: int, params: NDArray[np.float64]) -> str:
    """The name of a model: a hash of its content."""
    head = f"{agent}/{horizon}/{trained_until}".encode()
    return content_hash(head, params.astype("<f8").tobytes())


def save_model(
    connection: psycopg.Connection,
    agent: str,
    horizon: int,
    trained_until: int,
    params: NDArray[np.float64],
) -> str:
    """Stores the model unless it is there; returns its id."""
    name = model_id(agent, horizon, trained_until, params)
    connection.execute(
        "INSERT INTO model (model_id, agent, horizon, trained_until, params)"
        " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (model_id) DO NOTHING",
        (name, agent, horizon, trained_until, params.astype("<f8").tobytes()),
    )
    return name


def load_model(connection: psycopg.Connection, name: str) -> NDArray[np.float64]:
    """The parameters of model ``name``; LookupError when absent, ValueError when altered."""
    row = connection.execute(
        "SELECT agent, horizon, trained_until, params FROM model WHERE model_id = %s", (name,)
    ).fetchone()
    if row is None:
        raise LookupError(f"model {name[:12]} is not in the database")
    agent, horizon, trained_until, blob = row
    params = np.frombuffer(bytes(blob), "<f8").astype(np.float64)
    if model_id(agent, horizon, trained_until, params) != name:
        raise ValueError(f"model {name[:12]} of {agent} was altered: its content is not its name")
    return params


def models_trained_until(connection: psycopg.Connection, names: list[str]) -> int:
    """The latest ``trained_until`` among models ``names``; 0 for none."""
    row = connection.execute(
        "SELECT coalesce(max(trained_until), 0) FROM model WHERE model_id = ANY(%s)", (names,)
    ).fetchone()
    return int(row[0]) if row else 0


def save_session(connection: psycopg.Connection, config: SessionConfig) -> None:
    """Records a session; psycopg.errors.UniqueViolation when its id is taken."""
    connection.execute(
        "INSERT INTO session (session_id, cell, account, mode, config) VALUES (%s,%s,%s,%s,%s)",
        (config.session_id, config.cell, config.account, config.mode, encode(config)),
    )


def parse_session(blob: bytes) -> SessionConfig:
    """The configuration as it was recorded."""
    return msgspec.json.decode(blob, type=SessionConfig)


def load_session(connection: psycopg.Connection, session_id: str) -> SessionConfig:
    """The session's configuration; UnknownSession when there is none."""
    row = connection.execute(
        "SELECT config FROM session WHERE session_id = %s", (session_id,)
    ).fetchone()
    if row is None:
        raise UnknownSession(session_id)
    return parse_session(bytes(row[0]))


def latest_session(connection: psycopg.Connection) -> str | None:
    """The id of the session opened last."""
    row = connection.execute(
        "SELECT session_id FROM session ORDER BY opened_at DESC LIMIT 1"
    ).fetchone()
    return str(row[0]) if row else None
