"""Champions in PostgreSQL: promoted, taken back, demoted, and where each of them came from.

What is in force is told by the operations chain alone: each change is one record of kind "model",
which the coordinator reads before the next round and whose effect is named in that round's input.
The champion's row tells what it is and why it was believed. Row and record stand or fall together,
under the exclusive trading lock, so that two operators never decide on the same state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import msgspec
import psycopg

from actors.registry import AGENTS
from data.errors import InputError
from data.journal import OPERATIONS
from data.model_changes import append_change
from data.models_in_force import (
    DEMOTED,
    MODEL,
    PROMOTED,
    ROLLED_BACK,
    ModelChange,
    RecordedChange,
    concerns,
    pile,
)
from data.sessions import UnknownSession, load_session, save_model
from data.store import TRADING_LOCK
from tuning.champion_register import Candidate, Champion, load_champions, save_champion
from tuning.champion_stack import Scope, demoted_models, step_back
from tuning.study.rules import PASSED, Reason

# A promotion must have been asked at least these; ``tuning.study.rules`` holds their bounds.
ASKED_FOR = ("deflated_sharpe", "pbo", "beats_incumbent")

_CHANGES = """
SELECT seq, session_id, written_ns, payload FROM journal
WHERE chain = %s AND kind = %s ORDER BY seq
"""


@dataclass(frozen=True)
class Promotion:
    """What a promotion did: the number of its operations record, and whether it was needed."""

    champion: str
    model: str
    seq: int
    changed: bool  # False: the model was in force already

    def __str__(self) -> str:
        if not self.changed:
            return f"model {self.model[:12]} is in force already (operations record {self.seq})"
        return f"champion {self.champion[:12]} is promoted (operations record {self.seq})"


@dataclass(frozen=True)
class Standing:
    """What is in force for an agent by the records; ``model`` "" is the session's own.

    A session uses it from the first round whose bars are no older than ``trained_until``.
    """

    model: str = ""
    champion: str = ""
    trained_until: int = 0
    seq: int = 0  # of the record that laid it down, 0 for the session's own
    below: str = ""  # the model that a rollback or demotion would bring back
    session_id: str = ""  # that its record names; "" for all of a kind


@dataclass(frozen=True)
class HistoryEntry:
    """One change, and the champion that it names."""

    recorded: RecordedChange
    at: datetime
    champion: Champion | None

    def __str__(self) -> str:
        change = self.recorded.change
        what = change.model[:12] or "the session's own model"
        words = change.cause.replace("_", " ")
        text = f"{self.at:%Y-%m-%d %H:%M} {change.agent}: {words}, {what} by {change.by}"
        if self.champion:
            text += f" (study {self.champion.study}, trial {self.champion.trial})"
        return f"{text}: {change.reason}"


@dataclass
class _Asked:
    """Reads the operations chain once; times of records by number."""

    changes: list[RecordedChange] = field(default_factory=list)
    written_ns: dict[int, int] = field(default_factory=dict)


def promote(
    connection: psycopg.Connection,
    candidate: Candidate,
    reasons: Sequence[Reason],
    by: str,
    session_id: str = "",
) -> Promotion:
    """Puts the candidate in force from the next round on, if every rule has passed.

    With ``session_id``, here or in the candidate's scope, only in that session, which is how a
    historical one gets it. InputError names each rule that failed, or says that the incumbent
    changed since the judgement, or that a demotion took this very model off; there is no way round.
    Promoting what is in force changes nothing and says so.
    """
    _check(candidate, reasons)
    scope = candidate.scope
    if session_id and session_id != scope.session_id:
        if scope.session_id:
            raise InputError(f"the candidate is for session {scope.session_id}, not {session_id}")
        scope = replace(scope, session_id=session_id)
    with connection.transaction():
        _lock(connection)
        standing = _standing(_changes(connection, candidate.agent, scope).changes)
        if standing.model == candidate.model:
            return Promotion(standing.champion, standing.model, standing.seq, changed=False)
        if standing.model != candidate.incumbent:
            raise InputError(
                f"{candidate.agent}: the candidate was judged against {_name(candidate.incumbent)},"
                f" but {_name(standing.model)} is in force by now: judge it again"
            )
        if candidate.model in _demoted(connection, candidate.agent):
            raise InputError(
                f"{candidate.agent}: {_name(candidate.model)} was demoted on live evidence, which"
                " its study does not know: a study on newer data may find another"
            )
        model = save_model(
            connection,
            candidate.agent,
            scope.horizon,
            candidate.trained_until,
            candidate.params,
        )
        champion = save_champion(connection, candidate, reasons, by)
        change = ModelChange(
            agent=candidate.agent,
            model=model,
            trained_until=candidate.trained_until,
            group=scope.group,
            horizon=scope.horizon,
            bars_per_year=scope.bars_per_year,
            cause=PROMOTED,
            reason=f"study {candidate.study}, trial {candidate.trial}: every rule passed",
            by=by,
            champion=champion,
        )
        seq = append_change(connection, change, scope.session_id)
    return Promotion(champion, model, seq, changed=True)


def rollback(
    connection: psycopg.Connection, agent: str, scope: Scope, reason: str, by: str
) -> ModelChange:
    """Back to the model before the one in force, or to the session's own; the change recorded.

    InputError without a reason, or when the session's own model is in force.
    """
    return _back(connection, agent, scope, ROLLED_BACK, reason, by, lambda _: None)


def demote(
    connection: psycopg.Connection, agent: str, scope: Scope, model: str, reason: str, by: str
) -> ModelChange:
    """The same for a ``model`` that failed; neither a rollback nor a promotion brings it back.

    InputError when another model is in force by now: the judgement was not about that one.
    """

    def still(standing: Standing) -> None:
        if standing.model != model:
            raise InputError(
                f"{agent}: {_name(model)} was judged, but {_name(standing.model)} is in force by"
                " now: review it again"
            )

    return _back(connection, agent, scope, DEMOTED, reason, by, still)


def in_force(connection: psycopg.Connection, agent: str, scope: Scope) -> Standing:
    """What the records say for the agent in these sessions."""
    return _standing(_changes(connection, agent, scope).changes)


def history(connection: psycopg.Connection, agent: str | None = None) -> list[HistoryEntry]:
    """Every change of models on record, the oldest first, with what is known of its champion."""
    asked = _read(connection, lambda recorded: agent in (None, recorded.change.agent))
    names = sorted({one.change.champion for one in asked.changes if one.change.champion})
    champions = {row.champion_id: row for row in load_champions(connection, names)}
    return [
        HistoryEntry(
            recorded,
            datetime.fromtimestamp(asked.written_ns[recorded.seq] / 1e9, UTC),
            champions.get(recorded.change.champion),
        )
        for recorded in asked.changes
    ]


def _check(candidate: Candidate, reasons: Sequence[Reason]) -> None:
    spec = next((spec for spec in AGENTS if spec.name == candidate.agent), None)
    if spec is None:
        known = ", ".join(spec.name for spec in AGENTS)
        raise InputError(f"no agent is called {candidate.agent!r}: there are {known}")
    if not len(candidate.params):
        raise InputError(f"{candidate.agent}: the candidate has no parameters")
    try:
        spec.check_params(candidate.params)
    except ValueError as error:
        raise InputError(f"the candidate does not fit its agent: {error}") from error
    if not candidate.provenance.data_hash or not candidate.provenance.code:
        raise InputError(f"{candidate.agent}: the candidate does not say from which data and code")
    missing = [name for name in ASKED_FOR if name not in {reason.rule for reason in reasons}]
    if missing:
        raise InputError(
            f"{candidate.agent}: not promoted: {', '.join(missing)}"
            f" {'was' if len(missing) == 1 else 'were'} not judged"
        )
    failed = [reason for reason in reasons if reason.outcome != PASSED]
    if failed:
        raise InputError(
            f"{candidate.agent}: not promoted, {len(failed)} of {len(reasons)} rules did not pass: "
            + "; ".join(f"{reason.rule} {reason.outcome} ({reason.text})" for reason in failed)
        )


def _lock(connection: psycopg.Connection) -> None:
    connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", TRADING_LOCK)


def _name(model: str) -> str:
    return f"model {model[:12]}" if model else "the session's own model"


def _back(
    connection: psycopg.Connection,
    agent: str,
    scope: Scope,
    cause: str,
    reason: str,
    by: str,
    check: Callable[[Standing], None],
) -> ModelChange:
    if not reason.strip():
        raise InputError("a reason is needed: say why")
    with connection.transaction():
        _lock(connection)
        changes = _changes(connection, agent, scope).changes
        check(_standing(changes))
        change = step_back(changes, scope, cause, reason, by)
        if change is None:
            raise InputError(f"{agent}: the session's own model is in force for {scope}")
        append_change(connection, change, scope.session_id)
    return change


def _standing(changes: Sequence[RecordedChange]) -> Standing:
    lying = pile(changes)
    if not lying:
        return Standing()
    top = lying[-1]
    below = [one.change.model for one in lying if one.change.model != top.change.model]
    return Standing(
        top.change.model,
        top.change.champion,
        top.change.trained_until,
        top.seq,
        below[-1] if below else "",
        top.session_id,
    )


def _demoted(connection: psycopg.Connection, agent: str) -> set[str]:
    """Every model of the agent that a demotion took off, for whatever sessions."""

    def demotion(recorded: RecordedChange) -> bool:
        return recorded.change.agent == agent and recorded.change.cause == DEMOTED

    scopes = {
        Scope(one.change.group, one.change.horizon, one.change.bars_per_year, one.session_id)
        for one in _read(connection, demotion).changes
    }
    found: set[str] = set()
    for scope in scopes:
        found |= demoted_models(_changes(connection, agent, scope).changes)
    return found


def _changes(connection: psycopg.Connection, agent: str, scope: Scope) -> _Asked:
    """The agent's changes that hold for the scope, in order."""
    if not scope.session_id:
        return _read(
            connection,
            lambda recorded: (
                recorded.change.agent == agent
                and not recorded.session_id
                and scope.is_of(recorded.change)
            ),
        )
    try:
        config = load_session(connection, scope.session_id)
    except UnknownSession:
        raise InputError(f"no session is called {scope.session_id!r}") from None
    if not scope.is_of(config):
        kind = Scope(config.group, config.horizon, config.bars_per_year)
        raise InputError(f"session {scope.session_id} is of another kind: {kind}")
    return _read(
        connection,
        lambda recorded: recorded.change.agent == agent and concerns(config, recorded),
    )


def _read(connection: psycopg.Connection, wanted: Callable[[RecordedChange], bool]) -> _Asked:
    asked = _Asked()
    for seq, session_id, written_ns, payload in connection.execute(_CHANGES, (OPERATIONS, MODEL)):
        try:
            change = msgspec.json.decode(bytes(payload), type=ModelChange)
        except (msgspec.ValidationError, msgspec.DecodeError):
            continue  # No coordinator goes by such a record either.
        recorded = RecordedChange(int(seq), str(session_id), change)
        if wanted(recorded):
            asked.changes.append(recorded)
            asked.written_ns[recorded.seq] = int(written_ns)
    return asked
