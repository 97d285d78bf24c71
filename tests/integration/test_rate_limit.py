"""The rate limiter against a real Valkey: dead, hanging, back again; and how rarely it asks."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator

import pytest
import redis

from cluster.embedded_valkey import EmbeddedValkey
from cluster.home import Home
from cluster.processes import marker
from serve_apps import rate_limit
from serve_apps.rate_limit import KEY_LIFE_S, PIECES, RateLimiter

pytestmark = pytest.mark.integration


class Ticks:
    """A clock that a test moves."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def valkey(home: Home) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(home, marker(home.hash, "rate"))
    server.start()
    yield server
    server.stop()


PATIENT_S = 20.0  # a slow machine must not look like a dead Valkey


def play(
    url: str,
    story: Callable[[RateLimiter, Ticks], Awaitable[None]],
    timeout_s: float = PATIENT_S,
) -> None:
    async def main() -> None:
        clock = Ticks()
        limiter = RateLimiter(url, clock, timeout_s)
        try:
            await story(limiter, clock)
        finally:
            await limiter.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


async def granted(limiter: RateLimiter, token: str, rate: int, asks: int) -> int:
    """How many of ``asks`` at once are granted."""
    return sum(await asyncio.gather(*(limiter.take(token, rate) for _ in range(asks))))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def test_a_second_grants_the_limit_and_asks_valkey_once_a_piece(valkey: EmbeddedValkey) -> None:
    async def story(limiter: RateLimiter, clock: Ticks) -> None:
        for _ in range(3):
            assert await granted(limiter, "a", 1_000, 1_500) == 1_000
            clock.now += 1
        assert limiter.claims <= 3 * (PIECES + 1)
        assert await granted(limiter, "b", 3, 10) == 3

    play(valkey.url, story)
    client = redis.Redis.from_url(valkey.url)
    keys = sorted(client.keys("rate:*"))
    assert keys == [b"rate:a:1000", b"rate:a:1001", b"rate:a:1002", b"rate:b:1003"]
    assert all(0 < client.ttl(key) <= KEY_LIFE_S for key in keys)


def test_the_next_piece_is_claimed_before_one_ends(valkey: EmbeddedValkey) -> None:
    async def story(limiter: RateLimiter, clock: Ticks) -> None:
        rate = 40 * PIECES
        await limiter.take("a", rate)
        claims = limiter.claims
        for _ in range(31):
            await limiter.take("a", rate)
        assert limiter.claims == claims + 1
        await until(lambda: limiter._buckets["a"].claim is None)
        assert limiter._buckets["a"].left == 80 - 32

    play(valkey.url, story)


def test_a_claim_that_comes_after_its_second_is_not_spent(valkey: EmbeddedValkey) -> None:
    async def story(limiter: RateLimiter, clock: Ticks) -> None:
        asked = asyncio.create_task(limiter.take("a", 1))
        while limiter.claims == 0:
            await asyncio.sleep(0)
        clock.now += 1  # the claim of the second before is on its way
        assert await granted(limiter, "a", 1, 5) + await asked == 1

    play(valkey.url, story)
    client = redis.Redis.from_url(valkey.url)
    assert sorted(client.keys("rate:*")) == [b"rate:a:1000", b"rate:a:1001"]


def test_a_dead_valkey_leaves_the_same_limit_in_each_replica(valkey: EmbeddedValkey) -> None:
    async def story(limiter: RateLimiter, clock: Ticks) -> None:
        assert await granted(limiter, "a", 100, 60) == 60
        valkey.stop()
        # Of the second that began with Valkey too: what was granted counts.
        assert await granted(limiter, "a", 100, 300) == 40
        assert not limiter.shared
        claims = limiter.claims
        for _ in range(3):
            clock.now += 1
            assert await granted(limiter, "a", 100, 300) == 100
            assert await granted(limiter, "b", 7, 300) == 7
        assert limiter.claims == claims  # no request waits for a server that is away

    play(valkey.url, story)


def test_a_hanging_valkey_is_left_alone_and_taken_up_again(
    valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limit, "LAST_PAUSE_S", 0.2)

    async def story(limiter: RateLimiter, clock: Ticks) -> None:
        assert await limiter.take("a", 5)
        assert valkey.pid is not None
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            clock.now += 1
            assert await granted(limiter, "a", 5, 20) == 5
            assert not limiter.shared
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
        await until(lambda: limiter.shared)
        # The second that was counted alone stays so to its end.
        claims = limiter.claims
        assert await granted(limiter, "a", 5, 20) == 0
        assert limiter.claims == claims
        clock.now += 1
        other = RateLimiter(valkey.url, clock, PATIENT_S)
        first, second = await asyncio.gather(
            granted(limiter, "a", 5, 20), granted(other, "a", 5, 20)
        )
        assert first + second == 5
        await other.close()

    play(valkey.url, story, timeout_s=0.5)


def test_a_wrong_address_is_no_open_door() -> None:
    async def story(limiter: RateLimiter, clock: Ticks) -> None:
        assert await granted(limiter, "a", 10, 50) == 10
        assert not limiter.shared

    play("redis://127.0.0.1:1/0", story)


def test_buckets_of_old_tokens_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "MOST_BUCKETS", 4)

    async def story(limiter: RateLimiter, clock: Ticks) -> None:
        for number in range(20):
            clock.now += 1
            assert await limiter.take(f"t{number}", 1)
            assert not await limiter.take(f"t{number}", 1)
            assert len(limiter._buckets) <= 4

    play("redis://127.0.0.1:1/0", story)
