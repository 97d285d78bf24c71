"""Which model stands for an agent after a history of changes, and which one would come back.

Changes pile up: a promotion or a retraining lays a model on top, a rollback or a demotion takes
models off until the one that it names is on top again. A demoted model is taken out wherever it
lies, so that no later rollback brings it back. With the pile empty the session's own model stands.

Pure; the records come from the operations chain, see ``tuning.champions``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from data.models_in_force import (
    DEMOTED,
    PROMOTED,
    RETRAINED,
    ROLLED_BACK,
    ModelChange,
    RecordedChange,
)
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


def pile(changes: Iterable[RecordedChange]) -> list[RecordedChange]:
    """The changes of ONE agent, in their order, as a pile: the last one stands.

    Its ``change.model`` is in force; an empty pile means the session's own model.
    """
    lying: list[RecordedChange] = []
    for recorded in changes:
        lying = _after(lying, recorded)
    return lying


def demoted_models(changes: Iterable[RecordedChange]) -> set[str]:
    """The models that demotions among the changes of ONE agent, in their order, took off."""
    found: set[str] = set()
    lying: list[RecordedChange] = []
    for recorded in changes:
        if recorded.change.cause == DEMOTED and lying:
            found.add(lying[-1].change.model)
        lying = _after(lying, recorded)
    return found


def _after(lying: list[RecordedChange], recorded: RecordedChange) -> list[RecordedChange]:
    """The pile ``lying`` after one more change."""
    change = recorded.change
    if change.cause in (PROMOTED, RETRAINED):
        return [*lying, recorded]
    left = _without_top(lying, change.cause)
    while change.model and left and left[-1].change.model != change.model:
        left = left[:-1]
    if not change.model:
        return []
    return left or [recorded]  # Brought back from beyond this history: it lies alone.


def _without_top(lying: list[RecordedChange], cause: str) -> list[RecordedChange]:
    if not lying or cause not in (ROLLED_BACK, DEMOTED):
        return lying
    if cause == ROLLED_BACK:
        return lying[:-1]
    worse = lying[-1].change.model
    return [recorded for recorded in lying if recorded.change.model != worse]


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
    below = _without_top(lying, cause)
    # The same model may have been laid down twice in a row: then it is not what to go back to.
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
