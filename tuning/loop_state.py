"""What the backtest's loop works on: its setup, its memory and what it keeps, as plain arrays.

m symbols, n agents in the order of ``actors.registry``, T moments, D bars (one decision each).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from actors.account_checks import ORDER
from actors.contract import Floats, no_params
from actors.judge import INTENT
from actors.pool_state import Ints, PoolArrays, PoolParams, PoolState
from actors.registry import AGENTS
from cloud_trader.account_step import BOOKS, FILL, POSITION, opened_books
from cloud_trader.venue import RESTING, TAPE

N_AGENTS = len(AGENTS)
OUT_STARTS = tuple(int(x) for x in np.cumsum([0, *(spec.out_width for spec in AGENTS)]))
OUT_WIDTH = OUT_STARTS[-1]

# An order as the loop keeps it; ``row`` is its number in the order of submission.
ORDER_LOG = np.dtype(
    [
        ("ts", "<i8"),
        ("symbol", "<i8"),
        ("side", "<i8"),
        ("lots", "<i8"),
        ("limit_ticks", "<i8"),
        ("reserved_micro", "<i8"),
        ("origin", "<i8"),
        ("code", "<i8"),  # actors.checks.Code: why it is smaller than approved, or was refused
        ("status", "<i8"),
        ("filled_lots", "<i8"),
    ]
)
DECISION_ORDER, OPERATOR_ORDER = range(2)
ORIGINS = ("decision", "operator")
OPEN, FILLED, EXPIRED, CANCELLED, REFUSED = range(5)
STATUSES = ("open", "filled", "expired", "cancelled", "refused")

FILL_LOG = np.dtype(
    [
        ("ts", "<i8"),
        ("order", "<i8"),  # row of the order log
        ("symbol", "<i8"),
        ("side", "<i8"),
        ("lots", "<i8"),
        ("price_ticks", "<i8"),
        ("fee_micro", "<i8"),
        ("open_ticks", "<i8"),  # of the bar that it met
        ("volume", "<i8"),
        ("spread_bps", "<f8"),  # half the spread that it paid
        ("sigma", "<f8"),  # per bar, known before that bar
    ]
)

# Slots of ``LoopState.counts``. LOG_ROWS counts accepted orders and refusals, RECENT_COUNT all
# orders that went through the ring ``recent``, LOCK_AT the locks that were applied.
ROUNDS, STEPS, ORDERS, FILLS, REFUSALS, RESTING_COUNT, HALT_TS, LOCK_AT, RECENT_COUNT, LOG_ROWS = (
    range(10)
)
COUNTS = 10
NEVER = int(np.iinfo(np.int64).min)  # a ts before all others


class Models(NamedTuple):
    """The parameters in force, in the order of the agents; an empty row means no model."""

    trend_momentum: Floats
    strategy_optimization: Floats
    financial_sentiment: Floats
    market_prediction: Floats
    volume_microstructure: Floats
    vpin_hft: Floats

    @classmethod
    def of(cls, params: Mapping[str, Floats]) -> Models:
        """From params by agent's name; LookupError for a name that no agent has."""
        odd = set(params) - set(cls._fields)
        if odd:
            raise LookupError(f"no agent is called {', '.join(sorted(odd))}")
        rows = (np.array(params.get(name, no_params()), np.float64) for name in cls._fields)
        return cls(*rows)


if Models._fields != tuple(spec.name for spec in AGENTS):
    raise TypeError("Models must list the agents in the order of actors.registry")


class Setup(NamedTuple):
    """What does not change in a backtest. Records as the compiled functions take them."""

    limits: np.void
    costs: np.void
    sizing: np.void
    pool: np.void
    first_traded: int  # ns UTC
    micro_per_tick: int
    latency_bars: int
    latency_ns: int
    bar_ns: int  # length of a bar of time, 0 for another clock
    heard: Ints  # (n,) 0 for an agent that is left out
    locks: Ints  # (k, 2) ts and symbol of quarantined bars, by ts
    news_ts: Ints  # (q,) grouped by symbol, by (ts, id) inside
    news_score: Floats  # (q,)


class AgentStates(NamedTuple):
    """One state row per symbol for each agent, (m, state_width)."""

    trend_momentum: Floats
    strategy_optimization: Floats
    financial_sentiment: Floats
    market_prediction: Floats
    volume_microstructure: Floats
    vpin_hft: Floats


class LoopState(NamedTuple):
    """The loop's whole memory; a copy of it is a snapshot."""

    agents: AgentStates
    pool: PoolArrays
    tape: np.ndarray  # (m,) TAPE
    books: np.ndarray  # (1,) BOOKS
    positions: np.ndarray  # (m,) POSITION
    resting: np.ndarray  # (capacity,) RESTING, the first counts[RESTING_COUNT] are open orders
    recent: Ints  # (r,) ring of the last orders' ts
    news_at: Ints  # (m,) next item of each symbol
    news_end: Ints  # (m,)
    counts: Ints  # (COUNTS,)

    def copy(self) -> LoopState:
        """An independent copy."""
        agents = AgentStates._make(array.copy() for array in self.agents)
        pool = PoolArrays._make(array.copy() for array in self.pool)
        return LoopState(agents, pool, *(array.copy() for array in self[2:]))


class Scratch(NamedTuple):
    """Room for one moment of at most k bars; nothing in it outlives the moment."""

    outs: Floats  # (k, OUT_WIDTH)
    votes: Floats  # (k, n, 3)
    status: Ints  # (k, n)
    reason: Ints  # (k, n)
    bar_of: Ints  # (m,) the moment's bar of a symbol, -1 without
    fills: np.ndarray  # (capacity,) FILL
    intent: np.ndarray  # (1,) INTENT
    order: np.ndarray  # (1,) ORDER
    verdicts: Ints  # (k, 6) VERDICT to NET
    locked: Ints  # (locks,) symbols


class Kept(NamedTuple):
    """What is kept of each moment and decision; an array of length 0 is not kept."""

    equity: Ints  # (T,) micro-units
    weights: Floats  # (T, n + 1)
    p: Floats  # (D, 3)
    numbers: Floats  # (D, 4) DISSENT to TOXICITY
    votes: Floats  # (D, n, 3)
    status: NDArray[np.int8]  # (D, n)
    reason: NDArray[np.int8]  # (D, n)
    awake: NDArray[np.int8]  # (D,) agents awake
    verdict: NDArray[np.int8]  # (D,)
    code: NDArray[np.int8]  # (D,)
    judged: Ints  # (D, 6) VERDICT to NET
    outs: Floats  # (D, OUT_WIDTH) the agents' whole answers


# Columns of ``Kept.numbers``, and of ``Scratch.verdicts`` and ``Kept.judged``: signed change in
# lots, wanted lots, worst price in ticks, lots that it was judged from (open orders included).
DISSENT, SIGMA, AWAKE_WEIGHT, TOXICITY = range(4)
VERDICT, CODE, DELTA, TARGET, LIMIT, NET = range(6)


def halted_at(counts: Ints) -> int | None:
    """ts of the halt by MAX_DRAWDOWN, None when there was none."""
    return None if counts[HALT_TS] == NEVER else int(counts[HALT_TS])


def fresh_state(
    symbols: int,
    pool: PoolParams,
    opening_micro: int,
    orders_per_minute: int,
    capacity: int,
    news_counts: Ints,
) -> LoopState:
    """The memory of a loop that has seen nothing. ``news_counts`` (m,): items of each symbol."""
    agents = AgentStates._make(np.zeros((symbols, spec.state_width)) for spec in AGENTS)
    books = np.zeros(1, BOOKS)
    books[0] = opened_books(opening_micro)
    ends = np.cumsum(news_counts).astype(np.int64)
    counts = np.zeros(COUNTS, np.int64)
    counts[HALT_TS] = NEVER
    return LoopState(
        agents=agents,
        pool=PoolState.fresh(N_AGENTS, symbols, pool).arrays,
        tape=np.zeros(symbols, TAPE),
        books=books,
        positions=np.zeros(symbols, POSITION),
        resting=np.zeros(capacity, RESTING),
        # More than the limit need not be remembered: the rate check compares with it.
        recent=np.full(orders_per_minute + 1, NEVER, np.int64),
        news_at=ends - news_counts,
        news_end=ends,
        counts=counts,
    )


def scratch(bars: int, symbols: int, capacity: int, locks: int) -> Scratch:
    """Room for moments of at most ``bars`` bars."""
    return Scratch(
        outs=np.zeros((bars, OUT_WIDTH)),
        votes=np.zeros((bars, N_AGENTS, 3)),
        status=np.zeros((bars, N_AGENTS), np.int64),
        reason=np.zeros((bars, N_AGENTS), np.int64),
        bar_of=np.full(symbols, -1, np.int64),
        fills=np.zeros(capacity, FILL),
        intent=np.zeros(1, INTENT),
        order=np.zeros(1, ORDER),
        verdicts=np.zeros((bars, 6), np.int64),
        locked=np.zeros(locks, np.int64),
    )
