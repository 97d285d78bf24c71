"""Floor 1: market data, its schemas, money, the PostgreSQL store and the Redis cache."""

from data import jit_cache

# Every other floor imports this one, so numba finds its cache before it is first imported.
jit_cache.activate()
