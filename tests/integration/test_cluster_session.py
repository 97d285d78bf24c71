"""Sessions on the real cluster: undisturbed, with parts killed in the middle, tampered, halted."""

# longer than 400 lines because: one cluster and its two sessions serve all of these tests.

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psycopg
import pytest
from cluster_fixture import (
    COORDINATOR,
    GATE,
    ROOT,
    SYMBOLS,
    WAIT_S,
    RealCluster,
    command_environment,
    kill,
    sapphire,
)

from actors.checks import Code
from actors.contract import Status
from cloud_trader.account_records import ENDED, ORDER, REFUSED, OrderEntry, RefusedEntry
from cloud_trader.verification import Findings, verify_session
from cloud_trader.violation import Violation
from cluster.home import Home
from cluster.plan import WARM_UP_DATES
from cluster.processes import (
    Process,
    find_processes,
    free_ports,
    port_free,
    terminate_home,
    wait_until,
)
from data.journal import OPERATIONS, Record
from data.records import Decision, RoundOutput, SessionConfig, encode, output_decoder

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(240)]

PACE = 10.0  # traded dates per second where something happens in the middle
STOP_LIMIT_S = 10.0
VERDICT = ("verdict", "code", "side", "lots", "target_lots", "limit_ticks", "net_lots")


@pytest.fixture(scope="module")
def undisturbed(real: RealCluster) -> SessionConfig:
    """Session A."""
    config = real.start_session()
    real.finish(config)
    approvals = [n for n, (_, out) in enumerate(real.rounds(config)) if _approved(out)]
    print(
        f"\nundisturbed: {real.milliseconds_per_round(config):.1f} ms per round;"
        f" approvals at dates {approvals} of {config.rounds}"
    )
    return config


@dataclass
class Disturbed:
    """Session B, and what was done to it.

    ``lost``: seconds from a death to the output of the round it hit; of the gate killed after an
    approval, to the next gate's epoch.
    """

    config: SessionConfig
    lost: dict[str, float] = field(default_factory=dict)
    replaced: dict[str, tuple[Process, Process]] = field(default_factory=dict)
    open_rounds: dict[str, int] = field(default_factory=dict)
    voided_epoch: int = 0
    voided_round: int = 0


@pytest.fixture(scope="module")
def disturbed(real: RealCluster, undisturbed: SessionConfig) -> Disturbed:
    """Session B: the same plan; each kill hits a round whose input is logged and output is not."""
    done = Disturbed(real.start_session(PACE))
    real.await_rounds(done.config, 200)
    kill_agent(real, done, "vpin_hft")
    real.await_rounds(done.config, WARM_UP_DATES + 5)
    kill_agent(real, done, "market_prediction")
    real.await_rounds(done.config, WARM_UP_DATES + 12)
    kill_coordinator(real, done)
    real.await_rounds(done.config, WARM_UP_DATES + 20)
    kill_gate(real, done)
    void_an_approval(real, done)
    real.finish(done.config)
    print("\nlost:", {name: f"{seconds:.2f} s" for name, seconds in done.lost.items()})
    return done


def _approved(output: RoundOutput) -> bool:
    return any(decision.lots for decision in output.decisions)


def kill_agent(real: RealCluster, done: Disturbed, name: str) -> None:
    """While it owes a vote."""
    agent = stopped(real, f"{name}.cell0@")
    number = real.await_open_round(done.config)
    gone = kill(agent)
    real.await_closed(number)
    done.lost[name] = time.monotonic() - gone
    _note(real, done, name, number, agent, f"{name}.cell0@")


def kill_coordinator(real: RealCluster, done: Disturbed) -> None:
    """While it waits for a vote: the next replica must find the open round in the log."""
    agent = stopped(real, "trend_momentum.cell0@")
    number = real.await_open_round(done.config)
    replica = real.actor(COORDINATOR)
    gone = kill(replica)
    agent.send(signal.SIGCONT)
    real.await_closed(number)
    done.lost["coordinator"] = time.monotonic() - gone
    _note(real, done, "coordinator", number, replica, COORDINATOR)


def kill_gate(real: RealCluster, done: Disturbed) -> None:
    """While it owes a judgement: the next gate gives it, under its own epoch."""
    epoch = real.epoch()
    gate = stopped(real, GATE)
    number = real.await_open_round(done.config)
    gone = kill(gate)
    real.await_closed(number)
    done.lost["gate"] = time.monotonic() - gone
    assert real.epoch() > epoch
    _note(real, done, "gate", number, gate, GATE)


def void_an_approval(real: RealCluster, done: Disturbed) -> None:
    """Kills the gate between its approval and the order: the trader is held in between.

    Approvals are rare, so every round is tried: the trader goes on only while the gate is stopped.
    """
    trader, epoch = real.trader(), real.epoch()
    gate = stopped(real, GATE)
    approved = "SELECT count(*) FROM approval WHERE cell = 0 AND round = %s"
    while True:
        number = real.await_open_round(done.config)
        trader.send(signal.SIGSTOP)  # It waits for this round's answer.
        gate.send(signal.SIGCONT)
        real.await_closed(number)
        if real.number(approved, number):
            break
        gate.send(signal.SIGSTOP)
        trader.send(signal.SIGCONT)
    gone = kill(gate)
    wait_until(lambda: real.epoch() > epoch, WAIT_S, "a new epoch")
    done.lost["gate after approval"] = time.monotonic() - gone
    done.voided_epoch, done.voided_round = epoch, number
    _note(real, done, "gate after approval", number, gate, GATE)


def stopped(real: RealCluster, name: str) -> Process:
    """The actor, stopped before the trader asks for another round."""
    with real.trader_held():
        process = real.actor(name)
        process.send(signal.SIGSTOP)
    return process


def _note(
    real: RealCluster, done: Disturbed, what: str, number: int, before: Process, name: str
) -> None:
    with real.trader_held():
        done.replaced[what] = before, real.actor(name)
        done.open_rounds[what] = number
        closed = real.rounds_closed(done.config)
    real.await_rounds(done.config, closed + 1)


def forecast(output: RoundOutput) -> bytes:
    """All that comes before the gate, to the bit."""
    neutral = output.with_decisions([_neutral(decision) for decision in output.decisions])
    return encode(msgspec.structs.replace(neutral, session_id="", round=0, epoch=0))


def _neutral(decision: Decision) -> Decision:
    return msgspec.structs.replace(decision, **dict.fromkeys(VERDICT, 0))


def verdicts(output: RoundOutput) -> list[tuple[int, ...]]:
    """What the gate said of each symbol of a round."""
    return [tuple(getattr(decision, name) for name in VERDICT) for decision in output.decisions]


def refusals(records: list[Record]) -> list[RefusedEntry]:
    return [
        msgspec.json.decode(record.payload, type=RefusedEntry)
        for record in records
        if record.kind == REFUSED
    ]


def orders(records: list[Record]) -> list[OrderEntry]:
    return [
        msgspec.json.decode(record.payload, type=OrderEntry)
        for record in records
        if record.kind == ORDER
    ]


def check(real: RealCluster, config: SessionConfig) -> Findings:
    with real.reader() as connection:
        return verify_session(connection, config)


# -- sessions A and B ----------------------------------------------------------------------------


def test_an_undisturbed_session_votes_trades_and_verifies(
    real: RealCluster, undisturbed: SessionConfig
) -> None:
    rounds = real.rounds(undisturbed)
    assert len(rounds) == undisturbed.rounds > WARM_UP_DATES + 40
    traded = [out for given, out in rounds if given.ts >= undisturbed.first_traded]
    assert len(traded) == undisturbed.rounds - WARM_UP_DATES
    last = traded[-1].decisions[0]
    silent = {a for a, s in zip(traded[-1].agents, last.status, strict=True) if s != Status.VOTED}
    assert silent == {"financial_sentiment"}  # There is no news for these stocks.
    assert len(set(traded[-1].weights)) > 1
    warm_up = [out for given, out in rounds if given.ts < undisturbed.first_traded]
    assert not any(decision.lots for out in warm_up for decision in out.decisions)
    records = real.account_records(undisturbed)
    assert orders(records)
    findings = check(real, undisturbed)
    assert findings.rounds == undisturbed.rounds
    assert findings.orders == len(orders(records))
    assert findings.fills > 0


def test_the_predictor_is_replaced_at_the_moments_of_the_schedule(
    real: RealCluster, undisturbed: SessionConfig
) -> None:
    schedule = undisturbed.schedule
    assert [models.since for models in schedule] == list(real.plan.retrained_at)
    sets = [undisturbed.models, *(models.models for models in schedule)]
    names = [models["market_prediction"] for models in sets]
    assert len(set(names)) == 5
    for given, _ in real.rounds(undisturbed):
        past = sum(models.since <= given.ts for models in schedule)
        own = {**undisturbed.models, "market_prediction": names[past]}
        assert given.models == (own if given.ts >= undisturbed.models_from else {})


def test_each_kill_hit_an_open_round_and_was_made_good(disturbed: Disturbed) -> None:
    assert set(disturbed.lost) == {
        "vpin_hft",
        "market_prediction",
        "coordinator",
        "gate",
        "gate after approval",
    }
    for before, after in disturbed.replaced.values():
        assert not before.alive()
        assert after.pid != before.pid
    assert len(set(disturbed.open_rounds.values())) == len(disturbed.open_rounds)
    # Far below the vote's deadline: nothing was waited out.
    assert max(disturbed.lost.values()) < 30.0


def test_votes_and_forecasts_do_not_feel_a_killed_agent_coordinator_or_gate(
    real: RealCluster, undisturbed: SessionConfig, disturbed: Disturbed
) -> None:
    before, after = real.rounds(undisturbed), real.rounds(disturbed.config)
    assert len(before) == len(after) == undisturbed.rounds
    for (given_a, out_a), (given_b, out_b) in zip(before, after, strict=True):
        assert (given_a.bars, given_a.models) == (given_b.bars, given_b.models)
        assert forecast(out_a) == forecast(out_b), given_a.ts
    statuses = {
        status
        for _, out in [*before, *after]
        for decision in out.decisions
        for status in decision.status
    }
    assert statuses == {int(Status.VOTED), int(Status.ABSTAINED)}  # None late, none failed.


def test_the_books_differ_only_behind_the_refusals_of_a_voided_epoch(
    real: RealCluster, undisturbed: SessionConfig, disturbed: Disturbed
) -> None:
    records_a = real.account_records(undisturbed)
    records_b = real.account_records(disturbed.config)
    voided = [r for r in refusals(records_b) if r.code == "EPOCH_VOID"]
    assert [r for r in refusals(records_a) if r.code == "EPOCH_VOID"] == []
    assert voided
    for refused in voided:
        assert (refused.epoch, refused.epoch_in_force) == (
            disturbed.voided_epoch,
            disturbed.voided_epoch + 1,
        )
    (ts,) = {refused.ts for refused in voided}
    outputs_b = {given.ts: out for given, out in real.rounds(disturbed.config)}
    assert outputs_b[ts].round == disturbed.voided_round
    approved = {SYMBOLS[d.symbol] for d in outputs_b[ts].decisions if d.lots}
    assert {refused.symbol for refused in voided} == approved
    # Up to there every verdict and every record of the account is the same.
    for given, out in real.rounds(undisturbed):
        if given.ts <= ts:
            assert verdicts(out) == verdicts(outputs_b[given.ts]), given.ts
    one, other = (
        encode(config).replace(config.session_id.encode(), b"S")
        for config in (undisturbed, disturbed.config)
    )
    assert one == other
    assert _until(records_a, ts, undisturbed) == _until(records_b, ts, disturbed.config)
    # Undisturbed, each of them was an order.
    ordered = {(order.symbol, order.ts) for order in orders(records_a)}
    assert {(refused.symbol, refused.ts) for refused in voided} <= ordered
    findings = check(real, disturbed.config)
    assert len(findings.refused) == len(refusals(records_b))


def _until(records: list[Record], ts: int, config: SessionConfig) -> list[tuple[object, ...]]:
    """The records before ``ts``, and of it the bars: without names, wall clock and epochs."""
    found: list[tuple[object, ...]] = []
    for record in records:
        if record.kind == ENDED:  # It has no event time of its own.
            continue
        if record.ts > ts or (record.ts == ts and record.kind in (ORDER, REFUSED)):
            continue
        body = msgspec.json.decode(record.payload.replace(config.session_id.encode(), b"S"))
        # The hash covers the session's name; the rest of the configuration is compared above.
        for name in ("epoch", "epoch_in_force", "holder", "config_hash"):
            body.pop(name, None)
        found.append((record.seq, record.kind, record.ts, body))
    return found


# -- proof ---------------------------------------------------------------------------------------


def test_the_command_verifies_both_sessions_beside_the_running_cluster(
    real: RealCluster, undisturbed: SessionConfig, disturbed: Disturbed
) -> None:
    for config in (undisturbed, disturbed.config):
        said = sapphire(real.environment, "verify", config.session_id)
        assert said.returncode == 0, said.stderr
        assert f"session {config.session_id}: verified" in said.stdout
    unknown = sapphire(real.environment, "verify", "h00000000-000000-0000")
    assert unknown.returncode == 2
    assert unknown.stderr.count("\n") == 1


FLIP = (
    "UPDATE journal SET payload = set_byte(payload, length(payload) / 2,"
    " get_byte(payload, length(payload) / 2) # 1) WHERE chain = %s AND seq = %s"
)


@pytest.mark.parametrize("kind", ["input", "output", "bar", "order", "refused"])
def test_one_flipped_bit_is_found_and_named(
    real: RealCluster, disturbed: Disturbed, kind: str
) -> None:
    row = real.one(
        "SELECT chain, seq FROM journal WHERE session_id = %s AND kind = %s"
        " ORDER BY seq DESC LIMIT 1",
        disturbed.config.session_id,
        kind,
    )
    assert row is not None
    with psycopg.connect(real.superuser_url, autocommit=True) as superuser:
        assert superuser.execute(FLIP, row).rowcount == 1
        try:
            with pytest.raises(Violation, match=rf"{row[0]} record {row[1]} .*its hash"):
                check(real, disturbed.config)
            if kind == "output":
                said = sapphire(real.environment, "verify", disturbed.config.session_id)
                assert said.returncode == 1
                assert f"VIOLATION in session {disturbed.config.session_id}" in said.stderr
                assert f"{row[0]} record {row[1]}" in said.stderr
        finally:
            superuser.execute(FLIP, row)
    check(real, disturbed.config)


@pytest.mark.parametrize(
    ("change", "restore", "named"),
    [
        ("UPDATE approval SET max_lots = max_lots + 1", "max_lots = max_lots - 1", "approval"),
        ("UPDATE orders SET lots = lots + 1", "lots = lots - 1", "orders"),
        (
            "UPDATE account SET cash_micro = cash_micro + 1",
            "cash_micro = cash_micro - 1",
            "account",
        ),
        ("UPDATE fill SET fee_micro = fee_micro + 1", "fee_micro = fee_micro - 1", "fill"),
    ],
)
def test_a_table_that_says_other_than_the_journal_is_found(
    real: RealCluster, undisturbed: SessionConfig, change: str, restore: str, named: str
) -> None:
    table = change.split()[1]
    one = f" WHERE ctid = (SELECT ctid FROM {table} WHERE account = %s LIMIT 1) RETURNING ctid"
    with psycopg.connect(real.superuser_url, autocommit=True) as superuser:
        row = superuser.execute(change + one, (undisturbed.account,)).fetchone()
        assert row is not None
        try:
            with pytest.raises(Violation):
                check(real, undisturbed)
        finally:
            superuser.execute(f"UPDATE {table} SET {restore} WHERE ctid = %s", row)
    check(real, undisturbed)


# -- halt, and what stands beside a running cluster ------------------------------------------------


def _held_back(real: RealCluster, config: SessionConfig) -> bool:
    """Whether the gate has denied the wish of a recent round because of a halt."""
    with real.reader() as connection:
        rows = connection.execute(
            "SELECT payload FROM journal WHERE session_id = %s AND kind = 'output'"
            " ORDER BY seq DESC LIMIT 5",
            (config.session_id,),
        ).fetchall()
    decisions = [decision for row in rows for decision in output_decoder.decode(row[0]).decisions]
    return any(decision.code == Code.HALTED for decision in decisions)


def test_after_a_halt_no_decision_order_commits_until_the_resume(
    real: RealCluster, disturbed: Disturbed
) -> None:
    config = real.start_session(4.0)
    count = "SELECT count(*) FROM orders WHERE session_id = %s AND origin = 'decision'"

    def ordered() -> int:
        return real.number(count, config.session_id)

    wait_until(lambda: ordered() > 0, WAIT_S, "a first order", real.cluster.trader)
    print(f"\nPSS with a trading session: {real.cluster.memory_mb():,.0f} MB, this test included")
    # Everything that can die, dies: replay must not feel it.
    for name in ("market_prediction.cell0@", COORDINATOR, GATE):
        with real.trader_held():
            kill(real.actor(name))
            closed = real.rounds_closed(config)
        real.await_rounds(config, closed + 2)
    halted = sapphire(real.environment, "halt", "--reason", "integration test")
    assert halted.returncode == 0, halted.stderr
    then = ordered()
    # The gate must have wanted to trade in the meantime, or the silence proves nothing.
    wait_until(lambda: _held_back(real, config), WAIT_S, "a verdict HALTED", real.cluster.trader)
    real.await_rounds(config, real.rounds_closed(config) + 2)
    assert ordered() == then
    still_open = "SELECT count(*) FROM orders WHERE session_id = %s AND status = 'open'"
    assert real.number(still_open, config.session_id) == 0
    resumed = sapphire(real.environment, "resume", "--reason", "integration test")
    assert resumed.returncode == 0, resumed.stderr
    wait_until(lambda: ordered() > then, WAIT_S, "an order after it", real.cluster.trader)
    trader = real.cluster.trader
    assert trader is not None
    trader.terminate()
    real.finish(config, "stopped")
    with real.reader() as connection:
        seqs = connection.execute(
            "SELECT seq FROM journal WHERE chain = %s AND kind = 'state' ORDER BY seq",
            (OPERATIONS,),
        ).fetchall()
    halt_seq, resume_seq = (row[0] for row in seqs)
    seen = [r.seen_of(OPERATIONS) for r in real.account_records(config) if r.kind == ORDER]
    assert not any(halt_seq <= number < resume_seq for number in seen)
    assert min(seen) < halt_seq
    assert max(seen) >= resume_seq
    check(real, config)
    replayed = sapphire(real.environment, "replay", config.session_id)
    assert replayed.returncode == 0, replayed.stderr
    assert "equal to the bit" in replayed.stdout
    assert "HALTED (*), ACTIVE (*)" in replayed.stdout


def test_replay_and_parity_of_a_session_without_and_with_faults(
    real: RealCluster, undisturbed: SessionConfig, disturbed: Disturbed
) -> None:
    for config, same_as_a_backtest in ((undisturbed, 0), (disturbed.config, 1)):
        began = time.monotonic()
        replayed = sapphire(real.environment, "replay", config.session_id)
        assert replayed.returncode == 0, replayed.stderr
        middle = time.monotonic()
        parity = sapphire(real.environment, "parity", config.session_id)
        assert parity.returncode == same_as_a_backtest, parity.stderr
        print(f"\nreplay {middle - began:.1f} s, parity {time.monotonic() - middle:.1f} s")
        assert "Traceback" not in parity.stderr


def test_a_second_run_beside_it_is_refused_in_one_line(real: RealCluster) -> None:
    second = sapphire(real.environment, "run", "--to", "2002-05-15")
    assert second.returncode == 2
    assert second.stdout == ""
    assert second.stderr.count("\n") == 1
    assert "another sapphire runs in" in second.stderr
    assert sapphire(real.environment, "verify", "last").returncode == 0


def test_everything_is_gone_after_the_stop(real: RealCluster) -> None:
    settings = real.cluster.settings
    began = find_processes(real.home.hash)
    assert {"gcs_server", "raylet", "postgres"} <= {process.name for process in began}
    before = time.monotonic()
    real.cluster.stop()
    took = time.monotonic() - before
    print(f"\nstop: {took:.1f} s, {len(began)} processes")
    assert took < STOP_LIMIT_S
    assert find_processes(real.home.hash) == []
    assert [process for process in began if process.alive()] == []
    assert all(
        port_free(port)
        for port in (settings.coordinator_port, settings.trader_port, settings.dashboard_port)
    )


# -- the command itself ----------------------------------------------------------------------------


def _start_run(environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "cluster.cli", "run", "--to", "2002-05-15"],
            env=environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


def _database_told(home: Home, pid: int) -> bool:
    instance = home.read_instance()
    return instance is not None and instance.pid == pid and "database" in instance.addresses


def test_a_killed_command_is_cleaned_up_by_the_next_which_stops_on_sigterm(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").create()
    coordinator, trader, dashboard = free_ports(3)
    environment = command_environment(home.path, (coordinator, trader, dashboard))
    log = tmp_path / "run.log"
    try:
        first = _start_run(environment, log)
        wait_until(lambda: _database_told(home, first.pid), WAIT_S, "PostgreSQL", first, log)
        ray = lambda: any(p.name == "gcs_server" for p in find_processes(home.hash))  # noqa: E731
        wait_until(ray, WAIT_S, "Ray", first, log)
        first.kill()
        first.wait()
        left = find_processes(home.hash)
        assert {"postgres", "gcs_server"} <= {process.name for process in left}
        assert not home.is_locked()

        second = _start_run(environment, log)
        wait_until(lambda: _database_told(home, second.pid), WAIT_S, "a second start", second, log)
        assert [process for process in left if process.alive()] == []
        before = time.monotonic()
        second.send_signal(signal.SIGTERM)
        assert second.wait(STOP_LIMIT_S) == 128 + signal.SIGTERM
        took = time.monotonic() - before
        print(f"\nSIGTERM in the bring-up: {took:.1f} s")
        assert find_processes(home.hash) == []
        assert not home.is_locked()
        assert home.read_instance() is None
        assert log.read_text().rstrip().endswith("sapphire: stopped")
    finally:
        assert terminate_home(home.hash, 0.5, 3.0) == []
        shutil.rmtree(home.runtime_dir())
