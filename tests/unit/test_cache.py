"""Recent bars in a real Valkey, and a session that goes on when it is gone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest
import redis

from cluster.embedded_valkey import EmbeddedValkey
from cluster.home import Home
from cluster.processes import marker
from data.cache import RECENT, RecentBars

pytestmark = pytest.mark.integration


@pytest.fixture
def valkey(home: Home) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(home, marker(home.hash, "cache"))
    server.start()
    yield server
    server.stop()


def test_last_bars_newest_first_per_symbol_and_session(valkey: EmbeddedValkey) -> None:
    cache = RecentBars(valkey.url)
    for ts in range(RECENT + 10):
        cache.push("s", [("A", {"ts": ts, "close": "1.5"}), ("B", {"ts": -ts})])
    cache.push("other", [("A", {"ts": 7})])
    assert cache.recent("s", "A", 2) == [
        {"ts": RECENT + 9, "close": "1.5"},
        {"ts": RECENT + 8, "close": "1.5"},
    ]
    assert len(cache.recent("s", "A", 10**6)) == RECENT
    assert cache.recent("s", "B", 1) == [{"ts": -RECENT - 9}]
    assert cache.recent("other", "A", 5) == [{"ts": 7}]
    assert cache.recent("s", "C", 5) == []
    assert cache.failures == 0
    client = redis.Redis.from_url(valkey.url)
    assert all(0 < client.ttl(key) <= 86_400 for key in client.keys("*"))


def test_a_dead_cache_is_counted_and_holds_nothing_up(valkey: EmbeddedValkey) -> None:
    cache = RecentBars(valkey.url)
    cache.push("s", [("A", {"ts": 1})])
    valkey.stop()
    before = time.monotonic()
    for ts in range(5):
        cache.push("s", [("A", {"ts": ts})])
    assert time.monotonic() - before < 6
    assert cache.failures == 5
    with pytest.raises(redis.RedisError):
        cache.recent("s", "A", 1)


def test_a_hanging_cache_is_left_after_its_time_out(valkey: EmbeddedValkey) -> None:
    cache = RecentBars(valkey.url)
    cache.push("s", [("A", {"ts": 1})])
    assert valkey.pid is not None
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        before = time.monotonic()
        cache.push("s", [("A", {"ts": 2})])
        assert time.monotonic() - before < 5
        assert cache.failures == 1
    finally:
        os.kill(valkey.pid, signal.SIGCONT)
    cache.push("s", [("A", {"ts": 3})])
    assert cache.failures == 1
