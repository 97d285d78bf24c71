"""Floor 1: market data, its schemas, money, the PostgreSQL store and the Redis cache."""

from data import jit_cache

# Every other floor's package imports this one first, so numba finds its cache directory before a
# compiled module is imported.
jit_cache.activate()
