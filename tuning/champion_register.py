"""The register of champions: what each one is, where it came from and why it was believed.

Rows are named by the hash of their content and never change; whether one is in force is told by
the operations chain, see ``tuning.champions``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import psycopg
from numpy.typing import NDArray

from data.records import content_hash
from data.sessions import model_id
from tuning.champion_stack import Scope
from tuning.study.rules import Reason

_canonical = msgspec.json.Encoder(order="deterministic").encode

_INSERT = """
INSERT INTO champion (champion_id, agent, model_id, symbol_group, horizon, bars_per_year,
                      trained_until, study, trial, config, provenance, evidence, promoted_by)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (champion_id) DO NOTHING
"""
_SELECT = """
SELECT champion_id, agent, model_id, symbol_group, horizon, bars_per_year, trained_until, study,
       trial, config, provenance, evidence, promoted_by, created_at
FROM champion WHERE champion_id = ANY(%s)
"""


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """What gives the candidate again: the data, the code, the seed and the study's spec."""

    data_hash: str
    code: str  # hash of the sources that decide results
    seed: int
    spec: dict[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """A model that wants to be a champion, and all that speaks for it."""

    agent: str
    params: NDArray[np.float64]
    scope: Scope
    trained_until: int  # ns UTC: no bar at or after this moment was used
    study: str
    trial: int
    config: Mapping[str, Any]
    provenance: Provenance
    evidence: Mapping[str, Any]
    incumbent: str  # id of the model that it was judged against; "" for the session's own

    @property
    def model(self) -> str:
        """The id of its model's row."""
        return model_id(self.agent, self.scope.horizon, self.trained_until, self.params)


@dataclass(frozen=True)
class Champion:
    """A row of the register."""

    champion_id: str
    agent: str
    model: str
    group: str
    horizon: int
    bars_per_year: int
    trained_until: int
    study: str
    trial: int
    config: dict[str, Any]
    provenance: Provenance
    evidence: dict[str, Any]
    promoted_by: str
    created_at: datetime


def save_champion(
    connection: psycopg.Connection, candidate: Candidate, reasons: Sequence[Reason], by: str
) -> str:
    """Writes the row unless it is there, inside the caller's transaction; returns its id.

    The model's row must be there.
    """
    evidence = {
        **candidate.evidence,
        "incumbent": candidate.incumbent,
        "rules": [asdict(reason) for reason in reasons],
    }
    parts = (
        candidate.agent,
        candidate.model,
        candidate.scope.group,
        candidate.scope.horizon,
        candidate.scope.bars_per_year,
        candidate.trained_until,
        candidate.study,
        candidate.trial,
        _canonical(candidate.config).decode(),
        _canonical(candidate.provenance).decode(),
        _canonical(evidence).decode(),
    )
    name = _champion_id(parts)
    connection.execute(_INSERT, (name, *parts, by))
    return name


def _champion_id(parts: Sequence[str | int]) -> str:
    return content_hash(*(str(part).encode() for part in parts))


def load_champions(connection: psycopg.Connection, names: Sequence[str]) -> list[Champion]:
    """The rows of those of ``names`` that are there; ValueError when one was altered."""
    found = []
    for row in connection.execute(_SELECT, (list(names),)):
        if _champion_id(row[1:12]) != row[0]:
            raise ValueError(f"champion {row[0][:12]} was altered: its content is not its name")
        values = dict(zip((each.name for each in fields(Champion)), row, strict=True))
        for name in ("config", "evidence"):
            values[name] = msgspec.json.decode(values[name])
        values["provenance"] = msgspec.json.decode(values["provenance"], type=Provenance)
        found.append(Champion(**values))
    return found


def load_champion(connection: psycopg.Connection, champion_id: str) -> Champion:
    """One row of the register; LookupError when absent, ValueError when altered."""
    found = load_champions(connection, [champion_id])
    if not found:
        raise LookupError(f"champion {champion_id[:12]} is not in the database")
    return found[0]
