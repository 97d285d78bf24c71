"""Champions on real PostgreSQL: promoted, taken back, demoted, and nothing half done."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from support import House, migrated, open_session

from actors import strategy_optimization
from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from data.errors import InputError
from data.models_in_force import DEMOTED, PROMOTED, ROLLED_BACK
from data.sessions import load_model
from data.store import connect
from tuning.champion_register import Candidate, Provenance, load_champion
from tuning.champion_stack import Scope
from tuning.champions import Promotion, demote, history, in_force, promote, rollback
from tuning.study.contract import Segment
from tuning.study.database import Postgres, Sqlite
from tuning.study.rules import FAILED, PASSED, UNKNOWN, Reason
from tuning.study.segments import SegmentSpent, carry_over, open_segment, shown

pytestmark = pytest.mark.integration

AGENT = "strategy_optimization"
SCOPE = Scope("equities", 5, 252)
GOOD = [
    Reason(rule, PASSED, 1.0, 0.5, f"{rule} text")
    for rule in ("deflated_sharpe", "pbo", "plateau", "beats_incumbent")
]


@pytest.fixture
def house(postgres: EmbeddedPostgres, home: Home) -> Iterator[House]:
    with migrated(postgres, home) as made:
        yield made


@pytest.fixture
def ops(house: House) -> Iterator[psycopg.Connection]:
    with connect(house.roles.ops, name="test-ops") as connection:
        yield connection


def candidate(fast: int, incumbent: str = "", **changes: Any) -> Candidate:
    rule = {"rule": "ema_cross", "fast": fast, "slow": 50, "trend_taste": 0.0, "vol_taste": 0.0}
    config = {"fast": fast, "slow": 50}
    params = strategy_optimization.pack([{**rule, "link": [0.0, -0.1, 0.0, 0.0, 0.0, 0.1]}])
    values: dict[str, Any] = {
        "agent": AGENT, "params": params, "scope": SCOPE, "trained_until": 1_000 + fast,
        "study": "s1", "trial": fast, "config": config,
        "provenance": Provenance(data_hash="d", code="c", seed=7, spec={"searcher": "tpe"}),
        "evidence": {"deflated_sharpe": 0.97, "pbo": 0.1}, "incumbent": incumbent,
    }  # fmt: skip
    return Candidate(**(values | changes))


def counts(connection: psycopg.Connection) -> tuple[int, int, int]:
    """Rows of models, champions, and changes of models."""
    row = connection.execute(
        "SELECT (SELECT count(*) FROM model), (SELECT count(*) FROM champion),"
        " (SELECT count(*) FROM journal WHERE kind = 'model')"
    ).fetchone()
    assert row is not None
    return row


def test_a_promotion_is_model_row_champion_row_and_record(ops: psycopg.Connection) -> None:
    given = candidate(5)
    done = promote(ops, given, GOOD, "ann")
    assert done.changed
    assert counts(ops) == (1, 1, 1)
    assert np.array_equal(load_model(ops, done.model), given.params)
    kept = load_champion(ops, done.champion)
    assert (kept.agent, kept.model, kept.study, kept.trial) == (AGENT, given.model, "s1", 5)
    assert kept.provenance == given.provenance
    assert kept.config == {"fast": 5, "slow": 50}
    assert kept.evidence["pbo"] == 0.1
    assert kept.evidence["incumbent"] == ""
    assert [rule["rule"] for rule in kept.evidence["rules"]] == [each.rule for each in GOOD]
    assert kept.promoted_by == "ann"
    standing = in_force(ops, AGENT, SCOPE)
    assert (standing.model, standing.champion, standing.seq) == (done.model, done.champion, 1)
    assert (standing.below, standing.trained_until) == ("", 1_005)
    # Other sessions and other agents keep their own.
    assert in_force(ops, AGENT, Scope("equities", 10, 252)).model == ""
    assert in_force(ops, "vpin_hft", SCOPE).model == ""


def test_nothing_stays_of_a_promotion_that_breaks_off(
    house: House, ops: psycopg.Connection
) -> None:
    with house.connect() as superuser:
        superuser.execute("REVOKE INSERT ON journal FROM sapphire_ops")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):  # at the record, the last of three
        promote(ops, candidate(5), GOOD, "ann")
    assert counts(ops) == (0, 0, 0)
    assert in_force(ops, AGENT, SCOPE).model == ""


def test_what_is_in_force_is_not_promoted_again(ops: psycopg.Connection) -> None:
    first = promote(ops, candidate(5), GOOD, "ann")
    again = promote(ops, candidate(5, study="s2"), GOOD, "bob")
    assert again == Promotion(first.champion, first.model, first.seq, changed=False)
    assert "in force already" in str(again)
    assert counts(ops) == (1, 1, 1)


def test_a_refusal_names_each_rule_and_writes_nothing(ops: psycopg.Connection) -> None:
    bad = [
        *GOOD[:2],
        Reason("plateau", UNKNOWN, float("nan"), 0.5, "plateau unknown: 2 neighbours"),
        Reason("beats_incumbent", FAILED, -0.1, 0.0, "its growth: -0.1, above 0"),
    ]
    with pytest.raises(InputError) as error:
        promote(ops, candidate(5), bad, "ann")
    text = str(error.value)
    assert "\n" not in text
    assert "2 of 4 rules did not pass" in text
    assert "plateau unknown (plateau unknown: 2 neighbours)" in text
    assert "beats_incumbent failed (its growth: -0.1, above 0)" in text
    assert "pbo" not in text
    for few, words in (
        ([], "deflated_sharpe, pbo, beats_incumbent were not"),
        (GOOD[:3], "beats_incumbent was not"),
    ):
        with pytest.raises(InputError, match=words):
            promote(ops, candidate(5), few, "ann")
    for wrong, words in (
        (candidate(5, agent="nobody"), "no agent is called 'nobody'"),
        (candidate(5, params=np.ones(3)), "does not fit its agent"),
        (candidate(5, params=np.empty(0)), "no parameters"),
        (
            candidate(5, provenance=Provenance(data_hash="", code="c", seed=1, spec={})),
            "from which data",
        ),
    ):
        with pytest.raises(InputError, match=words):
            promote(ops, wrong, GOOD, "ann")
    assert counts(ops) == (0, 0, 0)


def test_a_judgement_against_another_incumbent_is_void(ops: psycopg.Connection) -> None:
    first = promote(ops, candidate(5), GOOD, "ann")
    with pytest.raises(InputError, match="judged against the session's own model, but model"):
        promote(ops, candidate(9), GOOD, "ann")
    assert promote(ops, candidate(9, first.model), GOOD, "ann").changed


def test_back_and_further_back(ops: psycopg.Connection) -> None:
    one = promote(ops, candidate(5), GOOD, "ann")
    two = promote(ops, candidate(9, one.model), GOOD, "ann")
    assert in_force(ops, AGENT, SCOPE).below == one.model
    with pytest.raises(InputError, match="a reason is needed"):
        rollback(ops, AGENT, SCOPE, " ", "ann")
    back = rollback(ops, AGENT, SCOPE, "too many orders", "ann")
    assert (back.cause, back.model, back.champion) == (ROLLED_BACK, one.model, one.champion)
    assert back.trained_until == 1_005
    with pytest.raises(InputError, match="review it again"):
        demote(ops, AGENT, SCOPE, two.model, "worse", "review")
    gone = demote(ops, AGENT, SCOPE, one.model, "worse by 0.02", "review")
    assert (gone.cause, gone.model, gone.trained_until) == (DEMOTED, "", 0)
    assert in_force(ops, AGENT, SCOPE).model == ""
    with pytest.raises(InputError, match="own model is in force"):
        rollback(ops, AGENT, SCOPE, "again", "ann")
    entries = history(ops, AGENT)
    assert [each.recorded.change.cause for each in entries] == [
        PROMOTED, PROMOTED, ROLLED_BACK, DEMOTED,
    ]  # fmt: skip
    assert [each.champion.trial if each.champion else None for each in entries] == [5, 9, 5, None]
    assert "promoted" in str(entries[1])
    assert "study s1, trial 9" in str(entries[1])
    assert str(entries[3]).endswith("the session's own model by review: worse by 0.02")
    assert history(ops, "vpin_hft") == []
    assert len(history(ops)) == 4


def test_a_demoted_model_does_not_come_back_on_its_old_evidence(
    house: House, ops: psycopg.Connection
) -> None:
    one = promote(ops, candidate(5), GOOD, "ann")
    two = promote(ops, candidate(9, one.model), GOOD, "ann")
    demote(ops, AGENT, SCOPE, two.model, "worse by 0.02", "review")
    with pytest.raises(InputError, match=f"{two.model[:12]} was demoted") as error:
        promote(ops, candidate(9, one.model), GOOD, "ann")
    assert "\n" not in str(error.value)
    assert in_force(ops, AGENT, SCOPE).model == one.model
    # Neither for one session alone.
    config = open_session(house)
    named = Scope(config.group, config.horizon, config.bars_per_year, config.session_id)
    with pytest.raises(InputError, match="was demoted"):
        promote(ops, candidate(9, scope=named), GOOD, "ann")
    # What a rollback took off may come again, and so may the same settings on newer data.
    rollback(ops, AGENT, SCOPE, "too many orders", "ann")
    assert promote(ops, candidate(5), GOOD, "ann").changed
    assert promote(ops, candidate(9, one.model, trained_until=2_000), GOOD, "ann").changed


def test_what_one_session_demoted_is_not_promoted_for_all(
    house: House, ops: psycopg.Connection
) -> None:
    config = open_session(house)
    named = Scope(config.group, config.horizon, config.bars_per_year, config.session_id)
    kind = Scope(config.group, config.horizon, config.bars_per_year)
    done = promote(ops, candidate(5, scope=named), GOOD, "ann")
    demote(ops, AGENT, named, done.model, "worse by 0.02", "review")
    with pytest.raises(InputError, match="was demoted"):
        promote(ops, candidate(5, scope=kind), GOOD, "ann")


def test_one_session_can_have_its_own(house: House, ops: psycopg.Connection) -> None:
    config = open_session(house)
    named = Scope(config.group, config.horizon, config.bars_per_year, config.session_id)
    general = Scope(config.group, config.horizon, config.bars_per_year)
    done = promote(ops, candidate(5, scope=general), GOOD, "ann", config.session_id)
    assert in_force(ops, AGENT, named).model == done.model
    assert in_force(ops, AGENT, general).model == ""
    # What is promoted for all does not reach a historical session.
    promote(ops, candidate(9, scope=general), GOOD, "ann")
    assert in_force(ops, AGENT, named).model == done.model
    assert rollback(ops, AGENT, named, "enough", "ann").model == ""
    assert in_force(ops, AGENT, named).model == ""
    assert in_force(ops, AGENT, general).model != ""
    again = promote(ops, candidate(7, scope=named), GOOD, "ann")
    assert again.changed
    assert in_force(ops, AGENT, named).model == again.model != in_force(ops, AGENT, general).model
    with pytest.raises(InputError, match="is for session"):
        promote(ops, candidate(3, again.model, scope=named), GOOD, "ann", "another")
    with pytest.raises(InputError, match="no session is called"):
        in_force(ops, AGENT, Scope("equities", 5, 252, "nope"))
    with pytest.raises(InputError, match="of another kind"):
        in_force(ops, AGENT, Scope("other", 5, 252, config.session_id))


def test_of_two_at_once_one_is_promoted(house: House, ops: psycopg.Connection) -> None:
    outcomes: list[str] = []
    start = threading.Barrier(2)

    def ask(fast: int) -> None:
        with connect(house.roles.ops, name="test-race") as mine:
            start.wait(10)
            try:
                outcomes.append("yes" if promote(mine, candidate(fast), GOOD, "x").changed else "")
            except InputError:
                outcomes.append("no")

    threads = [threading.Thread(target=ask, args=(fast,)) for fast in (5, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["no", "yes"]
    assert counts(ops) == (1, 1, 1)


def test_only_operators_promote_and_nobody_changes_a_row(
    house: House, ops: psycopg.Connection
) -> None:
    done = promote(ops, candidate(5), GOOD, "ann")
    for url in (house.roles.read, house.roles.coordinator, house.roles.gate, house.roles.trader):
        with connect(url, name="test-role") as other:
            assert in_force(other, AGENT, SCOPE).champion == done.champion
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                promote(other, candidate(9, done.model), GOOD, "eve")
    assert counts(ops) == (1, 1, 1)
    for statement in ("UPDATE champion SET evidence = '{}'", "DELETE FROM champion"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ops.execute(statement)
    with house.connect() as superuser:
        superuser.execute("UPDATE champion SET evidence = '{}'")
    with pytest.raises(ValueError, match="was altered"):
        load_champion(ops, done.champion)
    with pytest.raises(LookupError):
        load_champion(ops, "absent")


# -- the ledger of locked segments ----------------------------------------------------------

SEGMENT = Segment(("AAA", "BBB"), 100, 200, "content")


def test_the_last_opening_is_given_once(house: House) -> None:
    outcomes: list[str] = []
    start = threading.Barrier(4)

    def ask(number: int) -> None:
        mine = Postgres(house.roles.ops)
        start.wait(10)
        try:
            open_segment(mine, SEGMENT, f"study-{number}", ["a"], 2, 1)
            outcomes.append("opened")
        except SegmentSpent:
            outcomes.append("spent")
        finally:
            mine.close()

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["opened", "opened", "spent", "spent"]


def test_openings_of_a_laptop_count_in_the_house(house: House, tmp_path: Any) -> None:
    laptop, there = Sqlite(tmp_path / "studies.db"), Postgres(house.roles.ops)
    open_segment(there, SEGMENT, "theirs", ["p", "q"], 3, 1)
    mine = open_segment(laptop, SEGMENT, "mine", ["a"], 3, 1)
    assert mine.openings == 1
    for _ in range(2):
        (carried,) = carry_over(laptop, there, 5)
        assert (carried.opening_id, carried.openings) == (mine.opening_id, 2)
        assert carried.candidates_before == 2
        assert shown(there, SEGMENT) == (2, 3)
    laptop.close()
    there.close()
