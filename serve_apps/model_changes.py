"""The changes of models that hold for one session, up to a number of the operations chain.

Coordinator, replay and verification all go by this one class, so that they agree on every round. A
change that is flawed (its model absent, altered, another agent's, of another horizon or training
time, or of a shape that its agent cannot read) is refused for good: the agent keeps the model that
it has, and trading goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

import msgspec

from actors.contract import AgentSpec, Floats
from data.journal import Record
from data.model_changes import StoredModel, flaw
from data.models_in_force import (
    MODEL,
    ModelChange,
    RecordedChange,
    changes_in_force,
    concerns,
    models_in_force,
    recorded_change,
)
from data.records import SessionConfig
from serve_apps.wire import Refused

# The row and params of a model's name; LookupError when absent, ValueError when altered.
ReadModel = Callable[[str], tuple[StoredModel, Floats]]


class ModelChanges:
    """``take`` the operations chain's records in order, then ask for a round's models.

    ``seq``      up to which number of the chain changes were taken
    ``refused``  (number, why) of the flawed ones that were meant for the session
    """

    def __init__(
        self, config: SessionConfig, agents: Sequence[AgentSpec], read_model: ReadModel
    ) -> None:
        self.seq = 0
        self.refused: list[tuple[int, str]] = []
        self._config = config
        self._agents = {spec.name: spec for spec in agents}
        self._read_model = read_model
        self._changes: list[RecordedChange] = []

    def take(self, records: Iterable[Record], until: int) -> list[tuple[int, str]]:
        """Records of the chain after the last ones, of which those that are no changes may be
        left out; ``until`` is the number up to which they reach. All or nothing is taken; returns
        what of it is refused.
        """
        taken, refused = [], []
        for record in records:
            if record.kind != MODEL:
                continue
            try:
                recorded = recorded_change(record)
            except (msgspec.ValidationError, msgspec.DecodeError) as error:
                refused.append((record.seq, f"no change of a model: {error}"))
                continue
            if not concerns(self._config, recorded):
                continue
            why = self._flaw(recorded)
            if why:
                refused.append((record.seq, why))
            else:
                taken.append(recorded)
        self._changes += taken
        self.refused += refused
        self.seq = until
        return refused

    def _flaw(self, recorded: RecordedChange) -> str:
        change = recorded.change
        spec = self._agents.get(change.agent)
        if spec is None:
            return f"no agent is called {change.agent!r}"
        if not change.model:
            return ""
        if change.horizon != self._config.horizon:
            return f"it is for a horizon of {change.horizon} bars"
        try:
            stored, params = self._read_model(change.model)
            spec.check_params(params)
        except (LookupError, ValueError) as error:
            return str(error)
        return flaw(change, stored)

    def models(self, ts: int, seen: int | None = None) -> dict[str, str]:
        """Agent -> model id for a round whose least bar is of ``ts`` (ns UTC), by the changes
        taken; by those up to number ``seen`` alone when given.
        """
        changes = self._changes
        if seen is not None:
            changes = [recorded for recorded in changes if recorded.seq <= seen]
        return models_in_force(self._config, changes, ts)

    def changed(self, agent: str, ts: int) -> ModelChange | None:
        """The change by which the agent's model at ``ts`` is not the session's own."""
        return changes_in_force(self._config, self._changes, ts).get(agent)


def model_names(config: SessionConfig) -> list[str]:
    """Every model that a session declares, each once."""
    names = [*config.models.values()]
    for models in config.schedule:
        names += models.models.values()
    return sorted(set(names))


def check_models(config: SessionConfig, stored: Mapping[str, StoredModel]) -> None:
    """Refused unless each model that the session declares is ``stored`` and knows no bar of the
    time in which it is in force.
    """
    if any(a.since >= b.since for a, b in pairwise(config.schedule)):
        detail = "the session's schedule of models does not ascend"
        raise Refused(409, "Schedule out of order", detail, code="schedule_order")
    sets = [(config.models_from, config.models)]
    sets += [(models.since, models.models) for models in config.schedule]
    for since, models in sets:
        for agent, name in models.items():
            about = stored.get(name)
            if about is None or about.agent != agent:
                detail = f"model {name[:12]} of {agent} is not in the database"
                raise Refused(409, "Model missing", detail, code="model_missing")
            if about.trained_until > since:
                detail = f"model {name[:12]} of {agent} was trained on bars after it comes in force"
                raise Refused(409, "Look-ahead", detail, code="look_ahead")
