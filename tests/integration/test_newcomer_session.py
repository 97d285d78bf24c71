"""A whole session in which an agent's version changes: recorded, rebuilt, replayed to the bit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from support import (
    CELL,
    GateInProcess,
    House,
    TableLog,
    Voters,
    limits,
    migrated,
    open_gate,
    open_session,
    plain_config,
    random_bars,
    rechain,
    run_session,
    save_models,
)

from actors.contract import Status
from actors.registry import AGENTS
from cloud_trader.difference import Difference
from cloud_trader.replay import replay_session
from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from data import round_log
from data.records import RoundOutput, SessionConfig, output_decoder
from serve_apps.session_state import rebuild
from tuning.parity import NotComparable, check_parity

pytestmark = pytest.mark.integration

WARM, CHANGE, LENGTH = 150, 175, 215
BARS = random_bars(LENGTH)
STAMPS = np.unique(BARS["ts"]).tolist()
NAMES = [spec.name for spec in AGENTS]
WHO = NAMES.index("volume_microstructure")


class VersionedVoters(Voters):
    """Voters that say which versions they are."""

    steps: dict[str, str]

    def versions(self) -> dict[str, str]:
        """See serve_apps.round_ports.Agents."""
        return self.steps


@pytest.fixture(scope="module")
def session(postgres: EmbeddedPostgres, home: Home) -> Iterator[tuple[House, SessionConfig]]:
    with migrated(postgres, home) as house:
        config = open_session(
            house,
            risk=limits(min_weight_share=0.2, min_agents=2),
            models=save_models(house),
            first_traded=STAMPS[WARM],
            pool={**plain_config().pool, "shadow_steps": 3},
        )
        voters = VersionedVoters(TableLog(house.roles.read))

        def before(ts: int) -> None:
            newer = {NAMES[WHO]: "newer"} if ts >= STAMPS[CHANGE] else {}
            voters.steps = dict.fromkeys(NAMES, "first") | newer

        run_session(
            house, config, BARS, GateInProcess(open_gate(house)), before=before, voters=voters
        )
        yield house, config


def outputs_of(house: House, config: SessionConfig) -> list[RoundOutput]:
    with house.connect() as link:
        logged = list(round_log.rounds(link, CELL, config.session_id))
    return [output_decoder.decode(one.output) for one in logged if one.output]


def test_the_newcomer_is_in_the_shadow_and_then_enters(
    session: tuple[House, SessionConfig],
) -> None:
    outputs = outputs_of(*session)
    assert all("shadow" not in output.window for output in outputs[:CHANGE])
    shown = [output.window["shadow"] for output in outputs[CHANGE:]]
    assert all(list(record) == [NAMES[WHO]] for record in shown)
    left = [record[NAMES[WHO]]["left"] for record in shown]
    assert left[0] == 3
    assert sorted(set(left)) == [0, 1, 2, 3]
    assert left == sorted(left, reverse=True)
    entered = CHANGE + left.index(0)
    assert outputs[entered].stepped
    own, weights = [], []
    for output in outputs[CHANGE : entered + 1]:
        arrays = output.arrays()
        assert (arrays.status[:, WHO] == Status.VOTED).all()
        voted = (arrays.status == Status.VOTED).sum(axis=1)
        assert arrays.table["agents_awake"].tolist() == (voted - 1).tolist()
        assert output.weights[WHO] == 0.0
        own.append(arrays.votes[:, WHO])
        weights.append(output.weights)
    after = outputs[entered + 1]
    arrays = after.arrays()
    voted = (arrays.status == Status.VOTED).sum(axis=1)
    assert arrays.table["agents_awake"].tolist() == voted.tolist()
    assert 0.0 < after.weights[WHO] <= 1 / 12
    assert after.weights[-1] == outputs[entered].weights[-1]
    last = shown[-1][NAMES[WHO]]
    # The window that was open at the change was not its own.
    assert last["windows"] == 2
    assert 0.0 < last["loss"] < 2.0
    assert 0.0 < last["pool"] < 2.0


def test_it_replays_to_the_bit(session: tuple[House, SessionConfig]) -> None:
    house, config = session
    with house.connect() as link:
        found = replay_session(link, config, exact=True)
    assert (found.rounds, found.decisions) == (LENGTH, 2 * LENGTH)
    assert found.account.orders > 4


def test_a_coordinator_that_starts_gives_the_same(session: tuple[House, SessionConfig]) -> None:
    house, config = session
    with house.connect() as link:
        rounds = list(round_log.rounds(link, CELL, config.session_id))

    def after(number: int) -> list[round_log.LoggedRound]:
        return [one for one in rounds if one.round > number]

    whole, _ = rebuild(config, AGENTS, after)
    outputs = outputs_of(house, config)
    for cut in (CHANGE - 1, CHANGE, CHANGE + 1, CHANGE + 9, LENGTH - 1):
        half, _ = rebuild(config, AGENTS, lambda _, cut=cut: rounds[:cut])  # type: ignore[misc]
        again, _ = rebuild(config, AGENTS, after, half.memory())
        assert again.memory() == whole.memory()
    shadow = outputs[-1].window["shadow"][NAMES[WHO]]
    assert whole.pool.shadow.windows[WHO] == shadow["windows"]
    assert whole.pool.arrays.weights[WHO] == outputs[-1].weights[WHO]


def test_it_has_no_parity_and_says_so(session: tuple[House, SessionConfig]) -> None:
    house, config = session
    with house.connect() as link, pytest.raises(NotComparable, match="version changed"):
        check_parity(link, config)


def test_a_version_taken_out_of_the_log_is_found(session: tuple[House, SessionConfig]) -> None:
    """Without the change the recorded weights are not the log's: nobody may hide a newcomer."""
    house, config = session
    with house.connect() as link, link.transaction(force_rollback=True):
        row = link.execute("SELECT seq FROM round_input WHERE round = %s", (CHANGE + 1,)).fetchone()
        assert row is not None
        for offset in range(LENGTH - CHANGE):
            seq = row[0] + 2 * offset
            rechain(link, f"cell/{CELL}", seq, lambda body: body.update(versions={}))
        with pytest.raises(Difference, match=f"round {CHANGE + 1}"):
            replay_session(link, config, exact=True)
