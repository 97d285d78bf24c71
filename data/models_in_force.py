"""Which models a round gets: a function of the session, the recorded changes, and its bars.

A model is in force from a moment of the market's clock, never before the bars it was trained on
have passed. So a session over old bars cannot use what was learned later, and whoever reads the
journal finds the same models for every round as the coordinator did.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from data.journal import Record
from data.records import SessionConfig

MODEL = "model"  # the kind of an operations record whose body is a ModelChange
PROMOTED, ROLLED_BACK, DEMOTED, RETRAINED = "promoted", "rolled_back", "demoted", "retrained"
CAUSES = (PROMOTED, ROLLED_BACK, DEMOTED, RETRAINED)
TAKE_OFF = (ROLLED_BACK, DEMOTED)


class ModelChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another model for one agent, from the next round on.

    ``group``, ``horizon`` and ``bars_per_year`` say for which sessions, when the record names none.
    """

    agent: str
    model: str  # its id; "" gives the session's own back
    trained_until: int  # ns UTC: no bar at or after this moment was used; 0 for ""
    group: str
    horizon: int  # bars
    bars_per_year: int
    cause: str  # one of CAUSES
    reason: str
    by: str
    champion: str = ""  # id in the register of champions, where it is one


class RecordedChange(msgspec.Struct, frozen=True):
    """A change as the operations chain has it."""

    seq: int
    session_id: str  # "": every session that trades now and is of the change's kind
    change: ModelChange


def recorded_change(record: Record) -> RecordedChange:
    """The change in an operations record of kind MODEL.

    msgspec.ValidationError when its body is none.
    """
    body = msgspec.json.decode(record.payload, type=ModelChange)
    return RecordedChange(record.seq, record.session_id, body)


def concerns(config: SessionConfig, recorded: RecordedChange) -> bool:
    """Whether the change is meant for the session.

    Without a session's name it is for all of its group, horizon and bars a year that are not
    historical: those trade past bars, of which a champion of today knows too much.
    """
    if recorded.session_id:
        return recorded.session_id == config.session_id
    change = recorded.change
    return config.mode != "historical" and (
        (config.group, config.horizon, config.bars_per_year)
        == (change.group, change.horizon, change.bars_per_year)
    )


def models_in_force(
    config: SessionConfig, changes: Iterable[RecordedChange], ts: int
) -> dict[str, str]:
    """Agent -> model id for a round whose least bar is of ``ts`` (ns UTC).

    None before the moment that the session declares; then its own, overlaid by its schedule up to
    ``ts``, overlaid by the ``changes`` as ``changes_in_force`` has them.
    """
    if ts < config.models_from:
        return {}
    own = dict(config.models)
    for models in config.schedule:
        if models.since > ts:
            break
        own |= models.models
    for agent, change in changes_in_force(config, changes, ts).items():
        own[agent] = change.model
    return own


def changes_in_force(
    config: SessionConfig, changes: Iterable[RecordedChange], ts: int
) -> dict[str, ModelChange]:
    """Agent -> the change by which its model at ``ts`` (ns UTC) is not the session's own.

    It is the uppermost one in the agent's ``pile`` of the ``changes`` that concern the session
    whose model knows no bar at or after ``ts``.
    """
    of_agent: dict[str, list[RecordedChange]] = {}
    for recorded in changes:
        if concerns(config, recorded):
            of_agent.setdefault(recorded.change.agent, []).append(recorded)
    found: dict[str, ModelChange] = {}
    for agent, its in of_agent.items():
        due = [one.change for one in pile(its) if one.change.trained_until <= ts]
        if due and due[-1].model:
            found[agent] = due[-1]
    return found


def pile(changes: Iterable[RecordedChange]) -> list[RecordedChange]:
    """The changes of ONE agent, in their order, as a pile: the last one stands.

    A promotion or a retraining lays a model on top. A rollback or a demotion takes models off until
    the one that it names is on top again; of those that hold for a kind of sessions alone where it
    names no session, so that what a session has for itself shows again. A demoted model is taken
    out wherever it lies. With the pile empty the session's own model stands.
    """
    lying: list[RecordedChange] = []
    general: list[RecordedChange] = []  # what the kind has, whatever the session gave up
    for recorded in changes:
        named = recorded.session_id != ""
        if recorded.change.cause not in TAKE_OFF:
            lying.append(recorded)
            general += [] if named else [recorded]
            continue
        gone = taken_off(lying if named else general, recorded)
        lying = _lower(lying, recorded, gone)
        if not named:
            general = _lower(general, recorded, gone)
    return lying


def taken_off(lying: Sequence[RecordedChange], recorded: RecordedChange) -> RecordedChange | None:
    """What a rollback or a demotion takes off the pile that it is about; None when nothing."""
    if lying and lying[-1].change.model != recorded.change.model:
        return lying[-1]
    return None


def _lower(
    lying: Sequence[RecordedChange], recorded: RecordedChange, gone: RecordedChange | None
) -> list[RecordedChange]:
    """The pile after a rollback or a demotion that took ``gone`` off."""
    change = recorded.change
    left: list[RecordedChange] = []
    met = False  # the model to go back to
    for one in reversed(lying):
        if gone and change.cause == DEMOTED and one.change.model == gone.change.model:
            continue
        if recorded.session_id or not one.session_id:
            if one is gone or not (met or one.change.model == change.model):
                continue
            met = True
        left.append(one)
    left.reverse()
    # A model brought back from beyond this history lies on what is left.
    return [*left, recorded] if change.model and not met else left
