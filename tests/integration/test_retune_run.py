"""The retune loop on real PostgreSQL: one at a time, proposals, and who may promote."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import psycopg
import pytest
from support import House, migrated, open_session

from actors import strategy_optimization
from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from data.errors import InputError
from data.records import SessionConfig
from data.store import connect
from tuning.champion_register import Candidate, Provenance
from tuning.champion_stack import Scope
from tuning.champions import history, in_force
from tuning.proposals import (
    Proposal,
    load_proposal,
    promote_proposal,
    proposals,
    write_proposal,
)
from tuning.retune import (
    FAILED,
    FINISHED,
    AlreadyRunning,
    LastRun,
    RetuneReport,
    RetuneSettings,
    keep_retuning,
    last_run,
    retune,
)
from tuning.study.database import DatabaseError
from tuning.study.failures import ClusterLost
from tuning.study.rules import FAILED as RULE_FAILED
from tuning.study.rules import PASSED, Reason

pytestmark = pytest.mark.integration

AGENT = "strategy_optimization"
SCOPE = Scope("equities", 5, 252)
DAY = 86_400_000_000_000
NOW = 20_000 * DAY
RULES = ("deflated_sharpe", "pbo", "beats_incumbent")
SETTINGS = RetuneSettings(SAPPHIRE_RETUNE_TARGETS=AGENT)
BY_ITSELF = RetuneSettings(SAPPHIRE_RETUNE_TARGETS=AGENT, SAPPHIRE_RETUNE_PROMOTE_BY_ITSELF=AGENT)


@pytest.fixture
def house(postgres: EmbeddedPostgres, home: Home) -> Iterator[House]:
    with migrated(postgres, home) as made:
        yield made


@pytest.fixture
def ops(house: House) -> Iterator[psycopg.Connection]:
    with connect(house.roles.ops, name="test-ops") as connection:
        yield connection


def found(fast: int = 5, incumbent: str = "", failing: Sequence[str] = ()) -> Proposal:
    rule = {"rule": "ema_cross", "fast": fast, "slow": 50, "trend_taste": 0.0, "vol_taste": 0.0}
    candidate = Candidate(
        agent=AGENT,
        params=strategy_optimization.pack([{**rule, "link": [0.0, -0.1, 0.0, 0.0, 0.0, 0.1]}]),
        scope=SCOPE, trained_until=7, study="s1", trial=fast, config={"fast": fast},
        provenance=Provenance(data_hash="d", code="c", seed=1, spec={"name": "s1"}),
        evidence={"pbo": 0.1}, incumbent=incumbent,
    )  # fmt: skip
    reasons = [
        Reason(name, RULE_FAILED, float("nan"), 0.5, f"{name}: undefined")
        if name in failing
        else Reason(name, PASSED, 0.97, 0.5, f"{name}: fine")
        for name in RULES
    ]
    return Proposal(AGENT, candidate, tuple(reasons))


def clock() -> int:
    return NOW


def always(answer: Proposal | str) -> Callable[[str, int], Proposal | str]:
    return lambda target, run: answer


def test_a_find_is_proposed_and_waits_for_a_person(ops: psycopg.Connection) -> None:
    asked = []

    def study(target: str, run: int) -> Proposal:
        asked.append((target, run))
        return found()

    report = retune(ops, SETTINGS, study, clock)
    assert asked == [(AGENT, NOW)]
    assert report.status == FINISHED
    (row,) = proposals(ops)
    assert row.proposal_id == found().proposal_id
    assert report.lines[0] == f"{AGENT}: proposal {row.proposal_id[:12]}"
    assert "'sapphire tune promote s1'" in report.lines[-1]
    assert "passes every rule" in str(row)
    assert row.proposal.candidate.scope == SCOPE
    assert row.proposal.body() == found().body()
    assert row.proposal.params() == found().params()
    assert in_force(ops, AGENT, SCOPE).model == ""
    assert last_run(ops) == LastRun(NOW, FINISHED)
    done = promote_proposal(ops, row.proposal_id[:8], "ann")
    assert in_force(ops, AGENT, SCOPE).model == done.model == found().candidate.model
    assert history(ops)[0].recorded.change.by == "ann"


def test_it_promotes_by_itself_only_where_it_may_and_only_what_passed(
    ops: psycopg.Connection,
) -> None:
    report = retune(ops, BY_ITSELF, always(found(failing=["pbo"])), clock)
    assert report.lines[-1] == f"{AGENT}: not every rule passed, so nothing is promoted"
    assert in_force(ops, AGENT, SCOPE).model == ""
    report = retune(ops, BY_ITSELF, always(found()), lambda: NOW + 1)
    assert "is promoted" in report.lines[-1]
    assert in_force(ops, AGENT, SCOPE).model == found().candidate.model
    assert history(ops)[0].recorded.change.by == "retune"
    # Judged against what is no longer in force: refused, and the run says so.
    report = retune(ops, BY_ITSELF, always(found(9)), lambda: NOW + 2)
    assert report.status == FAILED
    assert "judge it again" in report.lines[-1]
    assert last_run(ops) == LastRun(NOW + 2, FAILED)


def test_a_refused_proposal_cannot_be_promoted_by_hand(ops: psycopg.Connection) -> None:
    name = write_proposal(ops, found(failing=["pbo"]), "ann")
    assert write_proposal(ops, found(failing=["pbo"]), "bob") == name
    (row,) = proposals(ops)
    assert row.proposed_by == "ann"
    assert "fails pbo" in str(row)
    with pytest.raises(InputError, match=r"1 of 3 rules did not pass: pbo failed \(pbo: undef"):
        promote_proposal(ops, name, "ann")
    for wrong, words in (("abc", "6 digits"), ("0" * 12, "is not in the database")):
        with pytest.raises(InputError, match=words):
            load_proposal(ops, wrong)


def test_an_altered_proposal_is_found(house: House, ops: psycopg.Connection) -> None:
    name = write_proposal(ops, found(failing=["pbo"]), "ann")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ops.execute("UPDATE champion_proposal SET passes = true")
    with house.connect() as superuser:
        superuser.execute(
            "UPDATE champion_proposal SET candidate = replace(candidate, 'failed', 'passed')"
        )
    with pytest.raises(ValueError, match="was altered"):
        promote_proposal(ops, name, "eve")


@pytest.mark.parametrize(
    "error",
    [
        InputError("too little data\nfor the folds"),
        DatabaseError("too little data\nfor the folds"),
        ClusterLost("too little data\nfor the folds"),
        ValueError("too little data\nfor the folds"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_fails_one_step_does_not_stop_the_others(
    ops: psycopg.Connection, error: Exception
) -> None:
    settings = RetuneSettings(SAPPHIRE_RETUNE_TARGETS=f"pool,{AGENT}")

    def study(target: str, run: int) -> Proposal | str:
        if target == "pool":
            raise error
        return "no trial is complete"

    report = retune(ops, settings, study, clock)
    assert report.lines == (
        "failed: too little data for the folds",
        f"{AGENT}: nothing to propose: no trial is complete",
    )
    assert report.status == FAILED
    assert last_run(ops) == LastRun(NOW, FAILED)


def test_an_altered_row_is_a_line_of_the_report(house: House, ops: psycopg.Connection) -> None:
    retune(ops, BY_ITSELF, always(found()), clock)
    with house.connect() as superuser:
        superuser.execute("UPDATE champion SET evidence = '{}'")
    report = retune(ops, SETTINGS, always("nothing"), lambda: NOW + 1)
    assert report.status == FAILED
    assert "was altered" in report.lines[0]
    assert report.lines[1:] == (f"{AGENT}: nothing to propose: nothing",)


def test_a_run_that_died_once_it_had_promoted_proposes_nothing_against_itself(
    house: House, ops: psycopg.Connection
) -> None:
    settings = RetuneSettings(
        SAPPHIRE_RETUNE_TARGETS=f"{AGENT},pool", SAPPHIRE_RETUNE_PROMOTE_BY_ITSELF=AGENT
    )

    class Died(Exception):
        pass

    def dies(target: str, run: int) -> Proposal:
        if target == "pool":
            raise Died
        return found()

    with connect(house.roles.ops, name="test-dies") as mine, pytest.raises(Died):
        retune(mine, settings, dies, clock)
    model = found().candidate.model
    assert in_force(ops, AGENT, SCOPE).model == model
    # The study, resumed, judges its find against what is in force by now: itself.
    again = found(incumbent=model, failing=["beats_incumbent"])
    report = retune(ops, settings, always(again), lambda: NOW + 1)
    assert (report.started_ns, report.status) == (NOW, FINISHED)
    assert (
        f"{AGENT}: nothing to propose: model {model[:12]} of study s1 is in force already"
        in (report.lines[1])
    )
    assert len(proposals(ops)) == 1
    assert len(history(ops)) == 1


def test_one_run_at_a_time(house: House, ops: psycopg.Connection) -> None:
    def study(target: str, run: int) -> str:
        with connect(house.roles.ops, name="test-other") as other:
            with pytest.raises(AlreadyRunning):
                retune(other, SETTINGS, always("nothing"), clock)
            told: list[RetuneReport] = []
            keep_retuning(
                lambda: connect(house.roles.ops, name="test-loop"), SETTINGS, always("x"),
                clock, lambda _: True, told.append,
            )  # fmt: skip
            assert told == []
        return "nothing"

    assert retune(ops, SETTINGS, study, clock).status == FINISHED
    # The lock is free again.
    assert retune(ops, SETTINGS, always("nothing"), lambda: NOW + 1).status == FINISHED


def test_a_run_that_died_is_taken_up_under_its_number(
    house: House, ops: psycopg.Connection
) -> None:
    class Died(Exception):
        pass

    def dies(target: str, run: int) -> str:
        raise Died

    with connect(house.roles.ops, name="test-dies") as mine, pytest.raises(Died):
        retune(mine, SETTINGS, dies, clock)
    assert last_run(ops) == LastRun(NOW, None)
    asked = []

    def study(target: str, run: int) -> str:
        asked.append(run)
        return "nothing"

    assert retune(ops, SETTINGS, study, lambda: NOW + DAY).started_ns == NOW
    assert asked == [NOW]
    with connect(house.roles.ops, name="test-dies") as mine, pytest.raises(Died):
        retune(mine, SETTINGS, dies, lambda: NOW + 2 * DAY)
    # Too old to go on with: a new one.
    assert retune(ops, SETTINGS, study, lambda: NOW + 30 * DAY).started_ns == NOW + 30 * DAY
    row = ops.execute(
        "SELECT status FROM retune_end WHERE started_ns = %s", (NOW + 2 * DAY,)
    ).fetchone()
    assert row == (FAILED,)


def test_the_loop_makes_up_for_missed_runs_once(house: House, ops: psycopg.Connection) -> None:
    times = iter([NOW, NOW + DAY, NOW + 6 * DAY, NOW + 40 * DAY, NOW + 41 * DAY])
    now = [next(times)]
    told: list[RetuneReport] = []

    def wait(seconds: float) -> bool:
        now[0] = next(times, 0)
        return now[0] == 0

    keep_retuning(
        lambda: connect(house.roles.ops, name="test-loop"), SETTINGS, always("nothing"),
        lambda: now[0], wait, told.append,
    )  # fmt: skip
    assert [report.started_ns for report in told] == [NOW, NOW + 40 * DAY]


def test_sessions_that_trade_are_looked_at(house: House, ops: psycopg.Connection) -> None:
    trading = open_session(house, mode="paper")  # no round yet: nothing to train on
    open_session(house)
    asked: list[str] = []

    def fit_bars(config: SessionConfig) -> None:
        asked.append(config.session_id)

    report = retune(ops, SETTINGS, always("nothing"), clock, fit_bars=fit_bars)
    assert asked == [trading.session_id]
    assert report.lines == (f"{AGENT}: nothing to propose: nothing",)
