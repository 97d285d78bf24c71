"""Whose model a round gets: the session's own, its schedule, and the changes on record."""

from __future__ import annotations

import msgspec
import pytest
from support import plain_config

from data.journal import Head, next_record
from data.models_in_force import (
    ModelChange,
    RecordedChange,
    changes_in_force,
    concerns,
    models_in_force,
    recorded_change,
)
from data.records import ModelSet, SessionConfig, encode
from data.sessions import parse_session

OWN = {"trend_momentum": "t0", "market_prediction": "p0"}


def config(mode: str = "paper") -> SessionConfig:
    schedule = [
        ModelSet(since=200, models={"market_prediction": "p1"}),
        ModelSet(since=300, models={"market_prediction": "p2"}),
    ]
    return plain_config(models=OWN, mode=mode, models_from=100, schedule=schedule)


def change(
    model: str, agent: str = "trend_momentum", until: int = 0, **rest: object
) -> ModelChange:
    about = config()
    body = ModelChange(
        agent=agent, model=model, trained_until=until, group=about.group,
        horizon=about.horizon, bars_per_year=about.bars_per_year, cause="promoted", reason="r",
        by="b",
    )  # fmt: skip
    return msgspec.structs.replace(body, **rest)


def recorded(*changes: ModelChange, session_id: str = "") -> list[RecordedChange]:
    return [RecordedChange(i, session_id, body) for i, body in enumerate(changes, start=1)]


def test_nobody_has_a_model_before_the_declared_moment() -> None:
    changes = recorded(change("t1"))
    assert models_in_force(config(), changes, 99) == {}
    assert models_in_force(config(), [], 100) == OWN


@pytest.mark.parametrize(("ts", "expected"), [(199, "p0"), (200, "p1"), (299, "p1"), (300, "p2")])
def test_a_schedule_changes_only_whom_it_names(ts: int, expected: str) -> None:
    assert models_in_force(config(), [], ts) == {**OWN, "market_prediction": expected}


def test_a_session_without_a_schedule_reads_as_before() -> None:
    about = config()
    assert parse_session(encode(about)) == about
    older = msgspec.json.decode(encode(about))
    del older["schedule"]
    assert parse_session(encode(older)).schedule == []


def test_the_last_change_holds_and_an_empty_one_gives_the_own_model_back() -> None:
    changes = recorded(change("t1"), change("t2"), change("px", agent="market_prediction"))
    assert models_in_force(config(), changes, 250) == {
        "trend_momentum": "t2",
        "market_prediction": "px",
    }
    changes += recorded(change(""), change("", agent="market_prediction"))
    assert models_in_force(config(), changes, 250) == {**OWN, "market_prediction": "p1"}


def test_an_agent_without_an_own_model_has_none_again() -> None:
    promoted = change("v1", agent="vpin_hft")
    assert models_in_force(config(), recorded(promoted), 150) == {**OWN, "vpin_hft": "v1"}
    assert models_in_force(config(), recorded(promoted, change("", agent="vpin_hft")), 150) == OWN


def test_a_model_waits_until_its_bars_have_passed() -> None:
    changes = recorded(change("t1"), change("t2", until=180))
    assert models_in_force(config(), changes, 179)["trend_momentum"] == "t1"
    assert models_in_force(config(), changes, 180)["trend_momentum"] == "t2"


@pytest.mark.parametrize("cause", ["demoted", "rolled_back"])
def test_what_is_taken_off_is_off_before_its_successor_may_come(cause: str) -> None:
    """The model that comes back knows bars up to 180, which a session of older bars must not."""
    changes = recorded(change("t1", until=180), change("t2"), change("t1", until=180, cause=cause))
    assert models_in_force(config(), changes[:2], 150)["trend_momentum"] == "t2"
    assert models_in_force(config(), changes, 150) == OWN
    assert changes_in_force(config(), changes, 150) == {}
    assert changes_in_force(config(), changes, 180) == {"trend_momentum": changes[0].change}


def test_a_sessions_own_retraining_shows_again_when_the_kinds_champion_is_demoted() -> None:
    about = config()
    retrained = RecordedChange(1, about.session_id, change("r1", until=120, cause="retrained"))
    promoted, gone = recorded(change("c1"), change("", cause="demoted"))
    assert models_in_force(about, [retrained, promoted], 150)["trend_momentum"] == "c1"
    assert models_in_force(about, [retrained, promoted, gone], 150)["trend_momentum"] == "r1"
    # What the session itself gives up leaves its own model, whoever had promoted what.
    mine = RecordedChange(4, about.session_id, change("", cause="rolled_back"))
    assert models_in_force(about, [retrained, promoted, mine], 150) == OWN


@pytest.mark.parametrize(
    "other", [{"group": "x"}, {"horizon": 7}, {"bars_per_year": 365}], ids=lambda o: next(iter(o))
)
def test_a_change_for_others_concerns_nobody_here(other: dict[str, object]) -> None:
    changes = recorded(change("t1", **other))
    assert not concerns(config(), changes[0])
    assert models_in_force(config(), changes, 150) == OWN


def test_a_historical_session_takes_only_what_names_it() -> None:
    about = config("historical")
    assert models_in_force(about, recorded(change("t1")), 150) == OWN
    named = recorded(change("t1"), session_id=about.session_id)
    assert models_in_force(about, named, 150)["trend_momentum"] == "t1"
    assert models_in_force(config(), recorded(change("t1"), session_id="another"), 150) == OWN


def test_a_record_of_another_body_is_no_change() -> None:
    def record(payload: object) -> RecordedChange:
        link = next_record(
            Head(4, b""), chain="operations", kind="model", session_id="s", ts=0, written_ns=0,
            payload=payload, seen={},
        )  # fmt: skip
        return recorded_change(link)

    assert record(change("t1")) == RecordedChange(5, "s", change("t1"))
    for body in ({"agent": "vpin_hft"}, {**msgspec.structs.asdict(change("t1")), "more": 1}):
        with pytest.raises(msgspec.ValidationError):
            record(body)
