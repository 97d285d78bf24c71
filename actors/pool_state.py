"""The pool's memory as plain arrays, so that one compiled function serves gate and backtest.

``PoolState`` bytes are exact and canonical: equal states have equal bytes.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from actors.space import Integer, Real, Space

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Slots of ``PoolArrays.window``.
OPEN, OPEN_TS, PENDING, WAITED, LAST_TS, STEPS = range(6)
# Entry of a symbol in the open window.
ABSENT, WAITING, KNOWN = range(3)
NEVER = -1  # age of a voter without a vote to fall back on

POOL_PARAMS = np.dtype(
    [
        ("horizon", "<i8"),
        ("drop_after", "<i8"),
        ("time_to_live", "<i8"),
        ("mixing", "<f8"),
        ("half_life", "<f8"),
    ]
)


@dataclass(frozen=True)
class PoolParams:
    """Declared constants of one pool (a group of symbols and a horizon)."""

    horizon: int = 5  # bars of the symbol's own clock
    mixing: float = 0.001  # share of the prior mixed back in per step; 0 in guarantee tests
    drop_after: int = 0  # ts of the group to wait for an outcome; 0 means 4 * horizon
    half_life: float = 2.0  # bars in which a stale vote loses half its voice
    time_to_live: int = 5  # bars after which a stale voter sleeps
    equal_weight_prior: float = 0.5  # prior of the equal-weight expert; the voters share the rest
    shadow_steps: int = 10  # weight steps for which a newcomer is scored before it is heard

    def __post_init__(self) -> None:
        if self.drop_after == 0:
            object.__setattr__(self, "drop_after", 4 * self.horizon)
        if self.horizon < 1 or self.drop_after < self.horizon or self.time_to_live < 0:
            raise ValueError("pool: horizon >= 1, drop_after >= horizon and time_to_live >= 0")
        if not (0 <= self.mixing < 1 and math.isfinite(self.half_life) and self.half_life > 0):
            raise ValueError("pool: mixing in [0, 1) and half_life above 0")
        if not 0 < self.equal_weight_prior < 1:
            raise ValueError("pool: equal_weight_prior strictly between 0 and 1")
        if self.shadow_steps < 1:
            raise ValueError("pool: shadow_steps at least 1")

    def prior(self, n_voters: int) -> Floats:
        """Starting weights, shape (n_voters + 1,), the equal-weight expert last."""
        if n_voters < 1:
            raise ValueError("pool: at least one voter")
        prior = np.full(n_voters + 1, (1.0 - self.equal_weight_prior) / n_voters)
        prior[-1] = self.equal_weight_prior
        return prior

    def record(self) -> np.void:
        """The same as one ``POOL_PARAMS`` record, for the compiled functions."""
        row = np.zeros(1, POOL_PARAMS)
        for name in POOL_PARAMS.names or ():
            row[name] = getattr(self, name)
        return row[0]


# What a study may search. ``half_life`` and ``time_to_live`` only matter where votes come late,
# which never happens in a backtest.
SPACE = Space(
    {
        "mixing": Real(1e-5, 0.1, PoolParams.mixing, log=True),
        "half_life": Real(0.5, 20.0, PoolParams.half_life, log=True),
        "time_to_live": Integer(0, 20, PoolParams.time_to_live),
        "equal_weight_prior": Real(0.05, 0.95, PoolParams.equal_weight_prior),
    }
)


class PoolArrays(NamedTuple):
    """The state itself; n voters, m symbols. Every array is written in place."""

    weights: Floats  # (n+1,) in force, equal-weight expert last
    prior: Floats  # (n+1,) declared starting weights; 0 for a voter in the shadow
    outcomes: Ints  # (3,) resolved outcomes, for the base rates
    window: Ints  # (6,) OPEN, OPEN_TS, PENDING, WAITED, LAST_TS, STEPS
    bars: Ints  # (m,) bars seen
    last_close: Ints  # (m,) ticks
    variance: Floats  # (m,) unnormalised, see actors.outcome.update_variance
    variance_weight: Floats  # (m,)
    vote_p: Floats  # (m, n, 3) each voter's last fresh vote
    vote_age: Ints  # (m, n) its age in the symbol's bars, or NEVER
    entry: Ints  # (m,) ABSENT, WAITING or KNOWN in the open window
    entry_close: Ints  # (m,) close at the decision, ticks
    entry_sigma: Floats  # (m,) per bar, known at the decision
    entry_bars: Ints  # (m,) bars since the decision
    entry_outcome: Ints  # (m,) 0, 1, 2 once KNOWN
    entry_p: Floats  # (m, n, 3) forecasts that were pooled
    entry_awake: Ints  # (m, n) 1 where the voter was awake
    entry_pool: Floats  # (m, 3) the pool's own forecast


class Shadow(NamedTuple):
    """Voters that are scored and not heard; see actors.pool_newcomer. n voters."""

    left: Ints  # (n,) weight steps until the voter enters; 0 for one that is heard
    windows: Ints  # (n,) windows that it was scored in
    own: Floats  # (n,) sum of its mean Brier losses in them
    pool: Floats  # (n,) sum of the pool's on the same symbols

    @classmethod
    def empty(cls, n: int) -> Shadow:
        """Nobody is in the shadow."""
        return cls(np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n), np.zeros(n))


_PER_SYMBOL = PoolArrays._fields[4:]
_MAGIC = b"SPHPOOL2"
_HEADER = struct.Struct("<8sqq")


def _empty(n: int, m: int, prior: Floats) -> PoolArrays:
    ages = np.full((m, n), NEVER, np.int64)
    return PoolArrays(
        weights=prior.copy(),
        prior=prior.copy(),
        outcomes=np.zeros(3, np.int64),
        window=np.array([0, 0, 0, 0, np.iinfo(np.int64).min, 0], np.int64),
        bars=np.zeros(m, np.int64),
        last_close=np.zeros(m, np.int64),
        variance=np.zeros(m),
        variance_weight=np.zeros(m),
        vote_p=np.zeros((m, n, 3)),
        vote_age=ages,
        entry=np.zeros(m, np.int64),
        entry_close=np.zeros(m, np.int64),
        entry_sigma=np.zeros(m),
        entry_bars=np.zeros(m, np.int64),
        entry_outcome=np.zeros(m, np.int64),
        entry_p=np.zeros((m, n, 3)),
        entry_awake=np.zeros((m, n), np.int64),
        entry_pool=np.zeros((m, 3)),
    )


def _byte_count(n: int, m: int) -> int:
    prior = np.zeros(n + 1)
    fixed = sum(a.nbytes for a in _empty(n, 0, prior))
    per_symbol = sum(a.nbytes for a in _empty(n, 1, prior)) - fixed
    shadow = sum(a.nbytes for a in Shadow.empty(n))
    return _HEADER.size + fixed + m * per_symbol + shadow


class PoolState:
    """Holder of one pool's arrays; ``arrays`` goes to the compiled functions, ``shadow`` does not:
    they only ever see voters that are heard.
    """

    def __init__(self, arrays: PoolArrays, shadow: Shadow | None = None) -> None:
        self.arrays = arrays
        self.shadow = Shadow.empty(len(arrays.weights) - 1) if shadow is None else shadow

    @classmethod
    def fresh(cls, n_voters: int, n_symbols: int, params: PoolParams | None = None) -> PoolState:
        """A pool that has seen nothing, with the declared starting weights."""
        if n_symbols < 0:
            raise ValueError("pool: n_symbols is negative")
        prior = (params or PoolParams()).prior(n_voters)
        return cls(_empty(n_voters, n_symbols, prior))

    @property
    def n_voters(self) -> int:
        return len(self.arrays.weights) - 1

    @property
    def n_symbols(self) -> int:
        return len(self.arrays.bars)

    def grow(self, n_symbols: int) -> None:
        """Room for at least ``n_symbols`` symbols; what is known stays."""
        old, known = self.arrays, self.n_symbols
        if n_symbols <= known:
            return
        new = _empty(self.n_voters, n_symbols, old.prior)
        for name in _PER_SYMBOL:
            getattr(new, name)[:known] = getattr(old, name)
        shared = {name: getattr(old, name) for name in PoolArrays._fields[:4]}
        self.arrays = new._replace(**shared)

    def copy(self) -> PoolState:
        """An independent copy."""
        return PoolState(
            PoolArrays._make(array.copy() for array in self.arrays),
            Shadow._make(array.copy() for array in self.shadow),
        )

    def to_bytes(self) -> bytes:
        """The whole state, exactly."""
        parts = [_HEADER.pack(_MAGIC, self.n_voters, self.n_symbols)]
        parts += [
            np.ascontiguousarray(a).astype(a.dtype.newbyteorder("<")).tobytes()
            for a in (*self.arrays, *self.shadow)
        ]
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> PoolState:
        """The state that ``to_bytes`` wrote; ValueError when the bytes are something else."""
        if len(data) < _HEADER.size:
            raise ValueError("pool state: too short")
        magic, n, m = _HEADER.unpack_from(data)
        if magic != _MAGIC or n < 1 or m < 0:
            raise ValueError("pool state: not a pool state of this version")
        if n > len(data) or len(data) != _byte_count(n, m):
            raise ValueError("pool state: length does not fit its header")
        arrays, at = [], _HEADER.size
        for empty in (*_empty(n, m, np.zeros(n + 1)), *Shadow.empty(n)):
            kind = empty.dtype.newbyteorder("<")
            loaded = np.frombuffer(data, kind, empty.size, at).reshape(empty.shape)
            arrays.append(loaded.astype(empty.dtype))
            at += empty.nbytes
        known = len(PoolArrays._fields)
        return cls(PoolArrays._make(arrays[:known]), Shadow._make(arrays[known:]))

    def summary(self) -> dict[str, Any]:
        """Weights and open window for the output record, plain JSON types."""
        arrays, window = self.arrays, self.arrays.window
        entries = [
            {
                "symbol": int(s),
                "close": int(arrays.entry_close[s]),
                "sigma": float(arrays.entry_sigma[s]),
                "bars": int(arrays.entry_bars[s]),
                "state": ("absent", "waiting", "known")[int(arrays.entry[s])],
                "outcome": int(arrays.entry_outcome[s]) if arrays.entry[s] == KNOWN else None,
                "p": arrays.entry_p[s].tolist(),
                "awake": arrays.entry_awake[s].tolist(),
                "pool": arrays.entry_pool[s].tolist(),
            }
            for s in np.flatnonzero(arrays.entry)
        ]
        opened = bool(window[OPEN])
        return {
            "weights": arrays.weights.tolist(),
            "outcomes": arrays.outcomes.tolist(),
            "steps": int(window[STEPS]),
            "window": {
                "ts": int(window[OPEN_TS]),
                "waited": int(window[WAITED]),
                "entries": entries,
            }
            if opened
            else None,
        }
