"""Which model stands for an agent after a history of changes, and which one would come back.

How changes pile up is told in ``data.models_in_force``, by which every session goes.

Pure; the records come from the operations chain, see ``tuning.champions``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data.models_in_force import DEMOTED, ModelChange, RecordedChange, pile, taken_off
from data.records import SessionConfig


@dataclass(frozen=True)
class Scope:
    """The sessions that a champion is for: all of a kind, or one by its id."""

    group: str
    horizon: int  # bars
    bars_per_year: int
    session_id: str = ""  # "": every session of the kind that is not historical

    def __str__(self) -> str:
        kind = f"{self.group}, horizon {self.horizon}, {self.bars_per_year} bars a year"
        return f"session {self.session_id}" if self.session_id else kind

    def is_of(self, change: ModelChange | SessionConfig) -> bool:
        """Whether the change, or the session, is of this kind."""
        kind = (change.group, change.horizon, change.bars_per_year)
        return kind == (self.group, self.horizon, self.bars_per_year)


def demoted_models(changes: Sequence[RecordedChange]) -> set[str]:
    """The models that demotions among the changes of ONE agent, in their order, took off."""
    found: set[str] = set()
    for number, recorded in enumerate(changes):
        if recorded.change.cause == DEMOTED:
            named = recorded.session_id != ""
            about = [one for one in changes[:number] if named or not one.session_id]
            gone = taken_off(pile(about), recorded)
            if gone is not None:
                found.add(gone.change.model)
    return found


def step_back(
    changes: Sequence[RecordedChange], scope: Scope, cause: str, reason: str, by: str
) -> ModelChange | None:
    """The change that takes the standing model off (``cause`` ROLLED_BACK or DEMOTED).

    None when nothing lies on the session's own model.
    """
    lying = pile(changes)
    if not lying:
        return None
    top = lying[-1].change
    # The same model may have been laid down twice in a row: then it is not what to go back to.
    below = list(lying)
    while below and below[-1].change.model == top.model:
        below.pop()
    back = below[-1].change if below else None
    return ModelChange(
        agent=top.agent,
        model=back.model if back else "",
        trained_until=back.trained_until if back else 0,
        group=scope.group,
        horizon=scope.horizon,
        bars_per_year=scope.bars_per_year,
        cause=cause,
        reason=reason,
        by=by,
        champion=back.champion if back else "",
    )
