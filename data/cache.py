"""Redis: recent bars. Only what can be lost stands here; nothing that decides reads it."""

from __future__ import annotations

import msgspec
import redis
import structlog

log = structlog.get_logger("cache")

RECENT = 256  # bars kept of each symbol
TIMEOUT_S = 0.5


class RecentBars:
    """The last bars of each symbol, for people and dashboards.

    A cache that does not answer is counted and left alone: the session goes on without it.
    """

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
        )
        self.failures = 0

    def push(self, session_id: str, bars: list[tuple[str, dict[str, object]]]) -> None:
        """Adds one (symbol, bar as a JSON object) each."""
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for symbol, bar in bars:
                    key = f"bars:{session_id}:{symbol}"
                    pipe.lpush(key, msgspec.json.encode(bar))
                    pipe.ltrim(key, 0, RECENT - 1)
                    pipe.expire(key, 86_400)
                pipe.execute()
        except redis.RedisError as error:
            if not self.failures:
                log.warning("cache does not answer", error=type(error).__name__)
            self.failures += 1

    def recent(self, session_id: str, symbol: str, count: int) -> list[dict[str, object]]:
        """Up to ``count`` bars, newest first; redis.RedisError when the cache is gone."""
        found = self._redis.lrange(f"bars:{session_id}:{symbol}", 0, count - 1)
        return [msgspec.json.decode(item) for item in found]
