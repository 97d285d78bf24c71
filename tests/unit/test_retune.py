"""When a retune is due, and what its settings say."""

from __future__ import annotations

import pytest

from cluster.settings import load
from data.errors import InputError
from tuning.retune import FAILED, FINISHED, LastRun, RetuneSettings, next_run

WEEK = 7 * 86_400_000_000_000


def test_the_first_run_and_one_that_died_are_due_at_once() -> None:
    assert next_run(None, WEEK) == 0
    assert next_run(LastRun(5 * WEEK, None), WEEK) == 0


@pytest.mark.parametrize("status", [FINISHED, FAILED])
def test_however_many_were_missed_one_is_due(status: str) -> None:
    last = LastRun(5 * WEEK + 1, status)
    assert next_run(last, WEEK) == 6 * WEEK + 1
    now = 9 * WEEK  # three were missed
    assert next_run(last, WEEK) <= now
    assert next_run(LastRun(now, FINISHED), WEEK) == now + WEEK


def test_nothing_promotes_by_itself_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(RetuneSettings)
    assert settings.promote_by_itself == ()
    assert settings.every_ns == WEEK
    monkeypatch.setenv("SAPPHIRE_RETUNE_TARGETS", "strategy_optimization, pool,")
    monkeypatch.setenv("SAPPHIRE_RETUNE_PROMOTE_BY_ITSELF", "pool")
    monkeypatch.setenv("SAPPHIRE_RETUNE_EVERY_DAYS", "0.5")
    settings = load(RetuneSettings)
    assert settings.targets == ("strategy_optimization", "pool")
    assert settings.promote_by_itself == ("pool",)
    assert settings.every_ns == WEEK // 14
    settings.check(["strategy_optimization", "pool", "sizing"])
    with pytest.raises(InputError, match="SAPPHIRE_RETUNE_TARGETS: 'pool' is no target"):
        settings.check(["strategy_optimization"])
    monkeypatch.setenv("SAPPHIRE_RETUNE_PROMOTE_BY_ITSELF", "pool,sizing")
    with pytest.raises(InputError, match="'sizing' is not in SAPPHIRE_RETUNE_TARGETS"):
        load(RetuneSettings).check(["strategy_optimization", "pool", "sizing"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SAPPHIRE_RETUNE_EVERY_DAYS", "0"),
        ("SAPPHIRE_RETUNE_EVERY_DAYS", "often"),
        ("SAPPHIRE_RETUNE_DEMOTE_CONFIDENCE", "1"),
    ],
)
def test_a_wrong_value_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=name):
        load(RetuneSettings)
