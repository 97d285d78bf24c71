"""The short form of ``make chaos``: one agent killed under load, every answer and vote checked.

The file's name puts it before the tests that stop the cluster they share.
"""

from __future__ import annotations

import pytest
from cluster_fixture import RealCluster, kill
from load_support import (
    Client,
    Prices,
    check_answers,
    check_journal,
    check_votes,
    load,
    missed,
    outputs_of,
    recovery_s,
    warm_up,
)

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(300)]

SYMBOLS = [f"S{i:02d}" for i in range(20)]
RATE, SECONDS, AFTER_S = 60.0, 12.0, 3.0
MOMENTS = 120


def test_rounds_go_on_and_the_agent_comes_back_as_if_nothing_had_been(real: RealCluster) -> None:
    config, token = real.start_service(SYMBOLS)
    client = Client(real.cluster.coordinator_url, token, config)
    prices = Prices(config, 5)
    warm_up(client, prices, MOMENTS)
    victim = real.actor("vpin_hft.cell0@")
    sent, struck = load(client, prices, RATE, SECONDS, AFTER_S, lambda: void(kill(victim)))
    real.end_service(config)
    with real.reader() as connection:
        rounds = outputs_of(connection, config)
    check_answers(sent, client)
    check_journal(sent, rounds, config)
    assert all(each.statuses == (200,) for each in sent), "a round waited for the dead agent"
    assert any(missed(output) for _, output, when in rounds if when >= struck)
    print(f"\nvoting with all agents again after {recovery_s(rounds, struck):.1f} s")
    assert real.actor("vpin_hft.cell0@").pid != victim.pid
    compared, voted = check_votes(real.database.read, rounds)
    assert 0 < voted < compared


def void(_: object) -> None:
    """A fault gives nothing back."""
