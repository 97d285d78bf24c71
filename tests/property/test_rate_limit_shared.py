"""Over any replicas, limits and moments, a second never grants more than its limit."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.embedded_valkey import EmbeddedValkey
from cluster.home import Home
from cluster.processes import marker
from serve_apps.rate_limit import PIECES, RateLimiter

pytestmark = pytest.mark.integration

# (replica, how many ask at once, how far the clock moves afterwards, in quarters of a second)
steps = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 60), st.integers(0, 3)), min_size=1, max_size=12
)
modest = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def valkey(home: Home) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(home, marker(home.hash, "rate-property"))
    server.start()
    yield server
    server.stop()


async def play(
    url: str, rate: int, replicas: int, plan: list[tuple[int, int, int]]
) -> tuple[Counter[tuple[int, int]], Counter[int]]:
    """(granted by replica and second, asked in each second) for a new token."""
    token, now = secrets.token_hex(6), 1_000.0
    # Patient: a slow machine must not look like a dead Valkey.
    limiters = [RateLimiter(url, lambda: now, 20.0) for _ in range(replicas)]
    granted: Counter[tuple[int, int]] = Counter()
    asked: Counter[int] = Counter()
    try:
        for replica, count, quarters in plan:
            number = replica % replicas
            answers = await asyncio.gather(
                *(limiters[number].take(token, rate) for _ in range(count))
            )
            granted[number, int(now)] += sum(answers)
            asked[int(now)] += count
            now += quarters / 4
    finally:
        for limiter in limiters:
            await limiter.close()
    return granted, asked


@modest
@given(rate=st.integers(1, 150), replicas=st.integers(1, 4), plan=steps)
def test_all_replicas_together_keep_the_limit(
    valkey: EmbeddedValkey, rate: int, replicas: int, plan: list[tuple[int, int, int]]
) -> None:
    granted, asked = asyncio.run(play(valkey.url, rate, replicas, plan))
    # What another replica has claimed and not spent: the piece in hand and the one after it.
    kept = (replicas - 1) * 2 * max(1, rate // PIECES)
    for second, wanted in asked.items():
        total = sum(granted[number, second] for number in range(replicas))
        assert total <= rate
        assert total >= min(wanted, rate - kept)


@modest
@given(rate=st.integers(1, 150), replicas=st.integers(1, 4), plan=steps)
def test_without_valkey_each_replica_keeps_it(
    rate: int, replicas: int, plan: list[tuple[int, int, int]]
) -> None:
    granted, _ = asyncio.run(play("redis://127.0.0.1:1/0", rate, replicas, plan))
    asked: Counter[tuple[int, int]] = Counter()
    now = 1_000.0
    for replica, count, quarters in plan:
        asked[replica % replicas, int(now)] += count
        now += quarters / 4
    for key, wanted in asked.items():
        assert granted[key] == min(wanted, rate)
