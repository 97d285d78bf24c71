"""Changes of models as the operations chain has them: all or nothing is taken, flaws are out."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest
from support import plain_config

from actors.contract import Floats
from actors.registry import AGENTS
from data.journal import Head, Record, next_record
from data.model_changes import StoredModel
from data.models_in_force import ModelChange
from serve_apps.model_changes import ModelChanges

CONFIG = plain_config(models={"trend_momentum": "own"}, mode="paper")
NAME = "trend_momentum"
ROW: Floats = np.zeros(21)


def change(model: str, until: int = 0, cause: str = "promoted") -> ModelChange:
    return ModelChange(
        agent=NAME, model=model, trained_until=until, group=CONFIG.group, horizon=CONFIG.horizon,
        bars_per_year=CONFIG.bars_per_year, cause=cause, reason="r", by="b", champion=model,
    )  # fmt: skip


def chain(*payloads: object, kind: str = "model") -> list[Record]:
    records: list[Record] = []
    for payload in payloads:
        before = records[-1].head if records else Head(0, b"")
        records.append(
            next_record(
                before, chain="operations", kind=kind, session_id="", ts=0, written_ns=0,
                payload=payload, seen={},
            )
        )  # fmt: skip
    return records


class Table:
    """Model rows; ``lost`` is the name at which the connection breaks, once."""

    def __init__(self, **until: int) -> None:
        self.until = until
        self.lost = ""
        self.params = ROW

    def read(self, name: str) -> tuple[StoredModel, Floats]:
        if name == self.lost:
            self.lost = ""
            raise psycopg.OperationalError("the server is gone")
        if name not in self.until:
            raise LookupError(f"model {name} is not in the database")
        return StoredModel(NAME, CONFIG.horizon, self.until[name]), self.params


def changes(table: Table) -> ModelChanges:
    return ModelChanges(CONFIG, AGENTS, table.read)


def test_a_connection_that_breaks_leaves_everything_as_it_was() -> None:
    table = Table(m1=0, m2=0)
    table.lost = "m2"
    taken, records = changes(table), chain(change("m1"), change("m2"))
    with pytest.raises(psycopg.OperationalError):
        taken.take(records, 2)
    assert (taken.seq, taken.models(1), taken.refused) == (0, CONFIG.models, [])
    assert taken.take(records, 2) == []
    assert (taken.seq, taken.models(1)) == (2, {NAME: "m2"})


def test_models_as_of_a_number() -> None:
    taken = changes(Table(m1=0, m2=0))
    taken.take(chain(change("m1"), change("m2"), change("")), 3)
    expected = ["own", "m1", "m2", "own"]
    assert [taken.models(1, seen)[NAME] for seen in range(4)] == expected
    assert taken.models(1)[NAME] == "own"


def test_flawed_changes_are_named_and_out_of_force() -> None:
    table = Table(m1=0, m2=7)
    taken = changes(table)
    records = chain(change("m1"), change("absent"), change("m2", until=6), {"agent": NAME})
    refused = taken.take(records, 4)
    assert [seq for seq, _ in refused] == [2, 3, 4]
    assert taken.refused == refused
    assert taken.models(10) == {NAME: "m1"}
    table.params = np.array([np.nan])
    later = chain(*[change("m1")] * 5)[4:]
    ((seq, why),) = taken.take(later, 5)
    assert seq == 5
    assert "finite" in why


def test_other_operations_and_other_peoples_changes_are_passed_by() -> None:
    taken = changes(Table())
    assert taken.take(chain({"scope": "*"}, kind="state"), 1) == []
    other = ModelChange(
        agent=NAME, model="absent", trained_until=0, group="others", horizon=CONFIG.horizon,
        bars_per_year=CONFIG.bars_per_year, cause="promoted", reason="r", by="b",
    )  # fmt: skip
    assert taken.take(chain(other), 2) == []
    assert (taken.seq, taken.models(1)) == (2, CONFIG.models)


def test_the_change_by_which_an_agent_differs() -> None:
    taken = changes(Table(m1=0, m2=7))
    assert taken.changed(NAME, 9) is None
    taken.take(chain(change("m1"), change("m2", until=7)), 2)
    assert [taken.changed(NAME, ts) for ts in (6, 7)] == [change("m1"), change("m2", until=7)]
    taken.take(chain(*[change("")] * 3)[2:], 3)
    assert taken.changed(NAME, 9) is None


def test_a_change_that_takes_a_model_off_does_so_before_its_own_may_come() -> None:
    taken = changes(Table(m1=0, m2=7))
    back = change("m2", until=7, cause="demoted")
    taken.take(chain(change("m2", until=7), change("m1"), back), 3)
    assert [taken.changed(NAME, ts) for ts in (6, 7)] == [None, change("m2", until=7)]
    assert [taken.models(ts)[NAME] for ts in (6, 7)] == ["own", "m2"]
