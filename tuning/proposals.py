"""Candidates that were found and judged, on record for whoever decides: proposed, then promoted.

A proposal keeps the judgement it was made with. It is promoted by that judgement and no other, and
only while the incumbent that it was judged against is still in force.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import psycopg

from data.errors import InputError
from data.records import content_hash
from tuning.champion_register import Candidate, Provenance
from tuning.champion_stack import Scope
from tuning.champions import Promotion, promote
from tuning.study.rules import PASSED, Reason, promotes

_canonical = msgspec.json.Encoder(order="deterministic").encode
_INSERT = """
INSERT INTO champion_proposal (proposal_id, target, agent, passes, candidate, params, proposed_by)
VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (proposal_id) DO NOTHING
"""
_NEWEST = """
SELECT proposal_id, target, candidate, params, proposed_by, created_at FROM champion_proposal
WHERE starts_with(proposal_id, %s) ORDER BY created_at DESC, proposal_id LIMIT %s
"""
SHORTEST = 6  # digits of an id that name a proposal


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate and its judgement as JSON. A figure that is nan is null."""

    agent: str
    group: str
    horizon: int
    bars_per_year: int
    session_id: str
    trained_until: int
    study: str
    trial: int
    config: dict[str, Any]
    provenance: Provenance
    evidence: dict[str, Any]
    incumbent: str
    reasons: list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Proposal:
    """A candidate for a target, and how each rule judged it."""

    target: str
    candidate: Candidate
    reasons: tuple[Reason, ...]

    @property
    def passes(self) -> bool:
        return promotes(self.reasons)

    def body(self) -> bytes:
        """The candidate but its params, and the reasons: canonical JSON."""
        one = self.candidate
        return _canonical(
            _Body(
                agent=one.agent,
                group=one.scope.group,
                horizon=one.scope.horizon,
                bars_per_year=one.scope.bars_per_year,
                session_id=one.scope.session_id,
                trained_until=one.trained_until,
                study=one.study,
                trial=one.trial,
                config=dict(one.config),
                provenance=one.provenance,
                evidence=dict(one.evidence),
                incumbent=one.incumbent,
                reasons=[asdict(reason) for reason in self.reasons],
            )
        )

    def params(self) -> bytes:
        """Little-endian float64."""
        return self.candidate.params.astype("<f8").tobytes()

    @property
    def proposal_id(self) -> str:
        return _proposal_id(self.target, self.body(), self.params())


@dataclass(frozen=True, eq=False)
class ProposalRow:
    """A proposal on record."""

    proposal_id: str
    proposal: Proposal
    proposed_by: str
    created_at: datetime

    def __str__(self) -> str:
        one, reasons = self.proposal.candidate, self.proposal.reasons
        failed = [reason.rule for reason in reasons if reason.outcome != PASSED]
        fate = f"fails {', '.join(failed)}" if failed else "passes every rule"
        return (
            f"{self.proposal_id[:12]} {self.created_at:%Y-%m-%d %H:%M} {self.proposal.target}:"
            f" study {one.study}, trial {one.trial}, {fate}"
        )


def write_proposal(connection: psycopg.Connection, proposal: Proposal, by: str) -> str:
    """Records it unless it is there; returns its id."""
    body, params = proposal.body(), proposal.params()
    name = _proposal_id(proposal.target, body, params)
    connection.execute(
        _INSERT,
        (
            name,
            proposal.target,
            proposal.candidate.agent,
            proposal.passes,
            body.decode(),
            params,
            by,
        ),
    )
    return name


def proposals(connection: psycopg.Connection, most: int = 20) -> list[ProposalRow]:
    """The newest proposals first; ValueError when one was altered."""
    return [_row(values) for values in connection.execute(_NEWEST, ("", most))]


def load_proposal(connection: psycopg.Connection, name: str) -> ProposalRow:
    """The proposal whose id begins with ``name``; InputError when it names none or several."""
    if len(name) < SHORTEST:
        raise InputError(f"proposal {name!r}: give {SHORTEST} digits of its id or more")
    found = connection.execute(_NEWEST, (name, 2)).fetchall()
    if len(found) != 1:
        why = "begins several ids: give more of it" if found else "is not in the database"
        raise InputError(f"proposal {name!r} {why}")
    return _row(found[0])


def promote_proposal(
    connection: psycopg.Connection, name: str, by: str, session_id: str = ""
) -> Promotion:
    """``tuning.champions.promote`` with what the proposal says."""
    found = load_proposal(connection, name).proposal
    return promote(connection, found.candidate, found.reasons, by, session_id)


def _proposal_id(target: str, body: bytes, params: bytes) -> str:
    return content_hash(target.encode(), body, params)


def _row(values: Sequence[Any]) -> ProposalRow:
    name, target, text, params, by, at = values
    if _proposal_id(target, text.encode(), bytes(params)) != name:
        raise ValueError(f"proposal {name[:12]} was altered: its content is not its name")
    body = msgspec.json.decode(text, type=_Body)
    candidate = Candidate(
        agent=body.agent,
        params=np.frombuffer(bytes(params), "<f8").astype(np.float64),
        scope=Scope(body.group, body.horizon, body.bars_per_year, body.session_id),
        trained_until=body.trained_until,
        study=body.study,
        trial=body.trial,
        config=body.config,
        provenance=body.provenance,
        evidence=body.evidence,
        incumbent=body.incumbent,
    )
    reasons = tuple(
        Reason(
            rule=each["rule"],
            outcome=each["outcome"],
            value=_number(each["value"]),
            bound=_number(each["bound"]),
            text=each["text"],
        )
        for each in body.reasons
    )
    return ProposalRow(name, Proposal(target, candidate, reasons), by, at)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
