"""Which models a round gets: a function of the session, the recorded changes, and its bars.

A model is in force from a moment of the market's clock, never before the bars it was trained on
have passed. So a session over old bars cannot use what was learned later, and whoever reads the
journal finds the same models for every round as the coordinator did.
"""

from __future__ import annotations

from collections.abc import Iterable

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

    Of the ``changes`` that concern the session the last one decides. One whose model knows bars at
    or after ``ts`` puts nothing in force; but if it takes a model off (TAKE_OFF), that model is off
    at every ``ts``, and the session's own stands until the one that it names may.
    """
    found: dict[str, ModelChange] = {}
    for recorded in changes:
        change = recorded.change
        if not concerns(config, recorded):
            continue
        due = change.trained_until <= ts
        if due and change.model:
            found[change.agent] = change
        elif due or change.cause in TAKE_OFF:
            found.pop(change.agent, None)
    return found
