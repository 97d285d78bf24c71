"""Model rows and changes of models in PostgreSQL: what a round's models are decided by."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import psycopg
from numpy.typing import NDArray

from data.journal import OPERATIONS, append_operation
from data.models_in_force import CAUSES, MODEL, ModelChange
from data.sessions import load_model
from data.store import TRADING_LOCK


class StoredModel(NamedTuple):
    """What a model's row says about it."""

    agent: str
    horizon: int
    trained_until: int


def stored_models(connection: psycopg.Connection, names: list[str]) -> dict[str, StoredModel]:
    """The rows of those of ``names`` that are stored."""
    rows = connection.execute(
        "SELECT model_id, agent, horizon, trained_until FROM model WHERE model_id = ANY(%s)",
        (names,),
        prepare=True,
    )
    return {str(name): StoredModel(*about) for name, *about in rows}


def model_with_params(
    connection: psycopg.Connection, name: str
) -> tuple[StoredModel, NDArray[np.float64]]:
    """The row and its params; LookupError when absent, ValueError when altered."""
    params = load_model(connection, name)
    return stored_models(connection, [name])[name], params


def flaw(change: ModelChange, stored: StoredModel | None) -> str:
    """Why the change must not be put in force; "" when nothing speaks against it."""
    if not change.model:
        return ""
    name = change.model[:12]
    if stored is None:
        return f"model {name} is not in the database"
    for what, said, true in (
        ("of agent", change.agent, stored.agent),
        ("for a horizon of", change.horizon, stored.horizon),
        ("trained until", change.trained_until, stored.trained_until),
    ):
        if said != true:
            return f"model {name} is {what} {true}, the change says {said}"
    return ""


def append_change(
    connection: psycopg.Connection, change: ModelChange, session_id: str = "", ts: int = 0
) -> int:
    """Records the change inside the caller's transaction; its number in the operations chain.

    The next round of each session that it concerns goes by it. Takes the trading lock for the rest
    of the transaction. ValueError when the change is flawed or gives no reason: the model's row
    must be there already, from this transaction or an earlier one.
    """
    if not change.reason.strip():
        raise ValueError("a reason is needed: say why")
    if change.cause not in CAUSES:
        raise ValueError(f"a change's cause is one of {', '.join(CAUSES)}, not {change.cause!r}")
    connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", TRADING_LOCK)
    why = flaw(change, stored_models(connection, [change.model]).get(change.model))
    if why:
        raise ValueError(why)
    return append_operation(connection, MODEL, change, session_id, ts)


# In a round's usual case there is nothing new: one look at the end of an index.
NEWEST_OPERATION = (
    "SELECT seq FROM journal_identity WHERE chain = %s AND seq > %s ORDER BY seq DESC LIMIT 1"
)


def newest_operation(connection: psycopg.Connection, after: int) -> int:
    """The last number of the operations chain; ``after`` when there is none behind it."""
    row = connection.execute(NEWEST_OPERATION, (OPERATIONS, after), prepare=True).fetchone()
    return int(row[0]) if row else after
