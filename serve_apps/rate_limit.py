"""The rate limit of each token: a count for each second in Valkey, shared by all replicas.

A round trip for each request would be far too dear. A replica claims a piece of the second's limit
(a twentieth of it) and spends that by itself; what it does not spend in that second is lost. So a
second never grants more than the limit, and may refuse up to a piece for each replica too early.

Without Valkey each replica counts alone up to the same limit: neither unlimited nor closed. Valkey
is tried again in the background, with growing pauses; a second that was counted alone stays so to
its end. Windows are fixed seconds of the clock: two neighbouring ones may each be full.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import redis.asyncio
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

log = structlog.get_logger("rate_limit")

PIECES = 20  # claims that make up a second's limit
TIMEOUT_S = 0.05
FIRST_PAUSE_S = 0.1
LAST_PAUSE_S = 5.0
KEY_LIFE_S = 10  # outlives the second by more than clocks of replicas differ
CONNECTIONS = 8
MOST_BUCKETS = 2_000
_MOST_WAITS = 64  # more than a second's limit has pieces (at most 2 * PIECES)


@dataclass
class _Bucket:
    """One token's present second in this replica."""

    second: int = -1
    left: int = 0  # claimed and not spent
    spent: int = 0
    full: bool = False  # Valkey has no more of this second
    alone: bool = False  # counted by this replica alone
    claim: asyncio.Task[None] | None = field(default=None, repr=False)

    def enter(self, second: int) -> None:
        """Starts again when the second is another one."""
        if second != self.second:
            self.second, self.left, self.spent = second, 0, 0
            self.full = self.alone = False


class RateLimiter:
    """``take`` answers in about a microsecond, or after one claim (``timeout_s`` at most).

    ``clock`` gives seconds since 1970; replicas agree on a window as far as their clocks do.
    """

    def __init__(
        self, url: str, clock: Callable[[], float] = time.time, timeout_s: float = TIMEOUT_S
    ) -> None:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = redis.asyncio.Redis.from_pool(pool)
        self._clock = clock
        self._timeout_s = timeout_s
        self._buckets: dict[str, _Bucket] = {}
        self._probe: asyncio.Task[None] | None = None
        self.shared = True  # False while Valkey does not answer
        self.claims = 0

    async def take(self, token_id: str, rate_per_s: int) -> bool:
        """Takes one request off the token's second; False when the second has none left."""
        bucket = self._buckets.get(token_id) or self._new_bucket(token_id)
        for _ in range(_MOST_WAITS):
            bucket.enter(int(self._clock()))
            if bucket.left:
                bucket.left -= 1
                bucket.spent += 1
                # The next piece is claimed before this one ends: nobody waits for it then.
                if bucket.left < rate_per_s // (4 * PIECES) and self._may_claim(bucket):
                    self._start_claim(token_id, bucket, rate_per_s)
                return True
            if bucket.full:
                return False
            if bucket.alone or not self.shared:
                bucket.alone = True
                if bucket.spent >= rate_per_s:
                    return False
                bucket.spent += 1
                return True
            claim = bucket.claim or self._start_claim(token_id, bucket, rate_per_s)
            await asyncio.shield(claim)  # others wait for the same one
        return False

    async def close(self) -> None:
        """Ends what runs in the background, and the connections."""
        tasks = {bucket.claim for bucket in self._buckets.values()} | {self._probe}
        running = {task for task in tasks if task is not None}
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=1.0)
        await self._redis.aclose()

    def _new_bucket(self, token_id: str) -> _Bucket:
        if len(self._buckets) >= MOST_BUCKETS:  # Live tokens are fewer: the rest are of old ones.
            now = int(self._clock())
            self._buckets = {
                name: bucket
                for name, bucket in self._buckets.items()
                if bucket.second == now or bucket.claim is not None
            }
        return self._buckets.setdefault(token_id, _Bucket())

    def _may_claim(self, bucket: _Bucket) -> bool:
        return self.shared and bucket.claim is None and not bucket.full and not bucket.alone

    def _start_claim(self, token_id: str, bucket: _Bucket, rate_per_s: int) -> asyncio.Task[None]:
        self.claims += 1
        task = asyncio.create_task(self._claim(token_id, bucket, rate_per_s))
        bucket.claim = task
        return task

    async def _claim(self, token_id: str, bucket: _Bucket, rate_per_s: int) -> None:
        """Adds one piece to the bucket, unless its second has passed meanwhile."""
        second = bucket.second
        piece = max(1, rate_per_s // PIECES)
        try:
            total = await self._count(f"rate:{token_id}:{second}", piece)
        except (RedisError, OSError, TimeoutError) as error:
            self._lost(error)
            return
        finally:
            bucket.claim = None
        if bucket.second != second or bucket.alone:
            return
        granted = max(0, min(piece, rate_per_s - (total - piece)))
        bucket.left += granted
        bucket.full = granted < piece

    async def _count(self, key: str, piece: int) -> int:
        async with asyncio.timeout(self._timeout_s), self._redis.pipeline(transaction=True) as pipe:
            pipe.incrby(key, piece)
            pipe.expire(key, KEY_LIFE_S)
            total, _ = await pipe.execute()
        return int(total)

    def _lost(self, error: Exception) -> None:
        if self.shared:
            log.warning("Valkey does not answer: limits are counted here", why=type(error).__name__)
            self.shared = False
            self._probe = asyncio.create_task(self._wait_for_valkey())

    async def _wait_for_valkey(self) -> None:
        pause = FIRST_PAUSE_S
        while not self.shared:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE_S)
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._redis.ping()
            except (RedisError, OSError, TimeoutError):
                continue
            self.shared = True
            log.info("Valkey answers again: limits are shared")
