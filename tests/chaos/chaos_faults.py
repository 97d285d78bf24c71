"""Every part of a running cluster killed under 300 requests a second. ``make chaos`` runs it.

The name keeps it out of the normal suite: it takes minutes, and its bounds are times.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from cluster_fixture import COORDINATOR, GATE, RunningCluster
from load_support import (
    Client,
    Prices,
    check_answers,
    check_journal,
    check_votes,
    load,
    outputs_of,
    recovery_s,
    warm_up,
)

from cluster.home import Home
from cluster.processes import Process, wait_until
from data.sessions import load_session
from data.store import connect

SYMBOLS = [f"S{i:03d}" for i in range(60)]
RATE = 300.0
BEFORE_S, AFTER_S = 4.0, 14.0
SOON_S, LATER_S = 5.0, 8.0  # agents, coordinator and Valkey; gate and PostgreSQL

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(600)]


@dataclass
class Row:
    """One fault's figures."""

    fault: str
    requests: int
    refused: int  # answers 503, of all tries
    lost: int  # requests without a decision: 503 to the deadline, or their round was aborted
    p99_ms: float
    slowest_s: float
    voting_again_s: float
    bound_s: float


class World:
    """The cluster, its session, and what was measured."""

    def __init__(self, running: RunningCluster, client: Client) -> None:
        self.running = running
        self.client = client
        self.prices = Prices(client.config, 11)
        self.rows: list[Row] = []

    def strike(
        self, fault: str, bound_s: float, victim: Process, number: signal.Signals = signal.SIGKILL
    ) -> None:
        """Load with a signal to ``victim`` in its midst; checks all answers, notes the figures."""
        sent, struck = load(
            self.client,
            self.prices,
            RATE,
            BEFORE_S + AFTER_S,
            BEFORE_S,
            lambda: victim.send(number),
        )
        with self.running.reader() as connection:
            rounds = outputs_of(connection, self.client.config)
        times = sorted(each.seconds for each in sent)
        counts = Counter(status for each in sent for status in each.statuses)
        lost = sum(each.statuses[-1] != 200 for each in sent)
        row = Row(
            fault,
            len(sent),
            counts[503],
            lost,
            1e3 * times[int(0.99 * len(times))],
            times[-1],
            recovery_s(rounds, struck),
            bound_s,
        )
        self.rows.append(row)
        print(f"\n{row}")
        check_answers(sent, self.client)
        check_journal(sent, rounds, self.client.config)
        assert not victim.alive()

    def table(self) -> str:
        """All figures as a table of Markdown."""
        head = "fault | requests | tries with 503 | lost | p99 ms | slowest s"
        lines = [f"| {head} | voting again s | bound s |", "|---|---|---|---|---|---|---|---|"]
        lines += [
            f"| {r.fault} | {r.requests} | {r.refused} | {r.lost} | {r.p99_ms:.0f}"
            f" | {r.slowest_s:.1f} | {r.voting_again_s:.1f} | {r.bound_s:.0f} |"
            for r in self.rows
        ]
        return "\n".join(lines)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    running = RunningCluster(Home(tmp_path_factory.mktemp("chaos") / "home"), SYMBOLS)
    try:
        running.up()
        with running.reader() as connection:
            config = load_session(connection, running.session_id)
        made = World(running, Client(running.coordinator, running.token(), config))
        warm_up(made.client, made.prices)
        yield made
        print(f"\n\n{made.table()}\n")
    finally:
        running.down()


@pytest.mark.parametrize("agent", ["vpin_hft", "strategy_optimization"])
def test_an_agent_is_killed(world: World, agent: str) -> None:
    world.strike(f"kill -9 {agent}", SOON_S, world.running.actor(f"{agent}.cell0@"))
    assert world.rows[-1].voting_again_s <= SOON_S
    assert world.rows[-1].lost == 0


def test_the_gate_is_killed(world: World) -> None:
    world.strike("kill -9 risk gate", LATER_S, world.running.actor(GATE))
    assert world.rows[-1].voting_again_s <= LATER_S
    assert world.rows[-1].lost == 0


def test_the_coordinator_is_killed(world: World) -> None:
    world.strike("kill -9 coordinator", SOON_S, world.running.actor(COORDINATOR))
    assert world.rows[-1].voting_again_s <= SOON_S
    assert world.rows[-1].lost <= len(SYMBOLS)  # at most those of the one open round


def test_valkey_is_killed(world: World) -> None:
    world.strike("kill -9 Valkey", SOON_S, world.running.part("valkey"))
    assert world.rows[-1].voting_again_s <= SOON_S
    assert world.rows[-1].lost == 0


def test_postgresql_is_stopped_and_comes_back(world: World) -> None:
    server = world.running.part("postgres")
    world.strike("stop -m fast PostgreSQL", LATER_S, server, signal.SIGINT)
    assert world.rows[-1].voting_again_s <= LATER_S


def test_postgresql_is_killed(world: World) -> None:
    world.strike("kill -9 PostgreSQL", LATER_S, world.running.part("postgres"))
    assert world.rows[-1].voting_again_s <= LATER_S


def test_afterwards_every_vote_is_that_of_an_undisturbed_run(world: World) -> None:
    with world.running.reader() as connection:
        rounds = outputs_of(connection, world.client.config)
    compared, voted = check_votes(world.running.addresses["database"], rounds)
    print(f"\n{len(rounds):,} rounds, {compared:,} votes equal bit for bit, {voted:,} forecasts")
    assert voted > compared / 2


@pytest.mark.parametrize("command", ["verify", "replay"])
def test_afterwards_the_session_can_be_proven(world: World, command: str) -> None:
    done = world.running.command(command, world.client.config.session_id, timeout_s=300)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)


def test_afterwards_status_is_well_and_counts_the_restarts(world: World) -> None:
    found: dict[str, object] = {}

    def healthy() -> bool:
        done = world.running.command("status", "--json")
        found.update(json.loads(done.stdout))
        return done.returncode == 0

    try:
        wait_until(healthy, 20.0, "a healthy status")
    finally:
        print(json.dumps(found, indent=1))
    with connect(world.running.addresses["database"], name="chaos") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert world.running.instance().restarts.keys() >= {"PostgreSQL", "Valkey"}
