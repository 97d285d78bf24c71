"""A backtest: arrays in, arrays out, through the loop that shares every step with live trading.

    result = backtest(bars, BacktestParams(symbols=("BTCUSD",), models=models), limits, costs)

Nothing here reads a clock, a file, randomness or the environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from actors.costs import CostModel
from actors.limits import RiskLimits
from actors.pool import empty_round
from actors.pool_state import Ints, PoolParams
from actors.registry import AGENTS
from actors.sentiment import score_text
from actors.sizing import SizingParams
from data.bars import Bars
from data.errors import InputError
from data.money import MICRO
from data.news import News
from tuning.backtest_result import Result
from tuning.bar_check import check_bars, most_waiting
from tuning.loop import run_segment
from tuning.loop_account import cancel
from tuning.loop_state import (
    FILL_LOG,
    FILLS,
    LOG_ROWS,
    N_AGENTS,
    NEVER,
    ORDER_LOG,
    OUT_WIDTH,
    ROUNDS,
    Kept,
    LoopState,
    Models,
    Setup,
    fresh_state,
    scratch,
)

# What may be kept beside the equity, from small to large.
KEEPABLE = ("orders", "weights", "decisions", "votes", "evidence")
_FIRST_ROWS = 1_024


@dataclass(frozen=True, kw_only=True)
class BacktestParams:
    """Everything that shapes a backtest besides bars, limits and costs.

    ``models``: params by agent, or several such sets with the moment (ns UTC) from which each is in
    force; before the first nobody has a model. A set must not know the bars that it is used on.
    """

    symbols: tuple[str, ...]
    models: Mapping[str, np.ndarray] | Sequence[tuple[int, Mapping[str, np.ndarray]]] = ()
    first_traded: int = 0  # ns UTC: no approval before
    pool: PoolParams = field(default_factory=PoolParams)
    sizing: SizingParams = field(default_factory=SizingParams)
    opening_micro: int = 1_000_000 * MICRO
    micro_per_tick: int = 100
    latency_bars: int = 1  # an order meets the n-th bar of its symbol after the decision
    latency_ns: int = 0  # and none that began before decision + this
    bar_ns: int = 0  # length of the bars, 0 when unknown: then each begins where the last ended
    without: tuple[str, ...] = ()  # agents that are left out
    locks: Sequence[tuple[int, int]] = ()  # (ts, symbol) of quarantined bars
    news: Sequence[News] = ()
    keep: tuple[str, ...] = ("orders",)  # of KEEPABLE; the equity always
    keep_equity: bool = True

    def __post_init__(self) -> None:
        names = {spec.name for spec in AGENTS}
        odd = [name for name in self.without if name not in names]
        if odd:
            raise InputError(f"without {', '.join(odd)}: agents are {', '.join(sorted(names))}")
        odd = [name for name in self.keep if name not in KEEPABLE]
        if odd:
            raise InputError(f"keep {', '.join(odd)}: choose of {', '.join(KEEPABLE)}")
        if self.latency_bars < 1 or min(self.latency_ns, self.bar_ns) < 0:
            raise InputError("latency: at least 1 bar, and 0 ms or more")
        if not self.symbols or self.opening_micro <= 0 or self.micro_per_tick <= 0:
            raise InputError("a backtest needs a symbol, cash, and a tick that is worth something")
        if self.pool.horizon != self.sizing.horizon:
            raise InputError("pool and sizing must look the same number of bars ahead")
        for what, named in (
            ("news: an item", [item.symbol for item in self.news]),
            ("locks: a quarantined bar", [symbol for _, symbol in self.locks]),
        ):
            if any(not 0 <= symbol < len(self.symbols) for symbol in named):
                raise InputError(f"{what} names no symbol: give 0 to {len(self.symbols) - 1}")
        self.model_sets()

    def model_sets(self) -> list[tuple[int, Models]]:
        """(moment from which it is in force, models), in that order.

        InputError when unordered, for an unknown agent, and for what is no row of finite numbers.
        """
        given = [(0, self.models)] if isinstance(self.models, Mapping) else self.models
        sets = [(int(since), _checked(models)) for since, models in given]
        if any(a >= b for (a, _), (b, _) in pairwise(sets)):
            raise InputError("models: each set must come in force later than the one before")
        return sets


def backtest(bars: Bars, params: BacktestParams, limits: RiskLimits, costs: CostModel) -> Result:
    """Runs the committee over ``bars`` (n,) in (ts, symbol) order; InputError when they are not.

    The same arguments give the same result to the bit. OverflowError when an amount leaves int64.
    """
    check_bars(bars, len(params.symbols))
    run = Run(bars, params, limits, costs)
    run.advance(len(bars))
    return run.result()


class Run:
    """A backtest in parts: ``advance`` to a row, take a ``state`` copy, go on."""

    def __init__(
        self, bars: Bars, params: BacktestParams, limits: RiskLimits, costs: CostModel
    ) -> None:
        self._bars = np.ascontiguousarray(bars)
        self._params = params
        self._costs = costs
        symbols = len(params.symbols)
        starts = self._starts = moment_starts(bars)
        widest = int(np.diff(np.append(starts, len(bars))).max(initial=1))
        capacity = most_waiting(self._bars, symbols, params.latency_bars, params.latency_ns)
        news_ts, news_score, news_counts = _news_arrays(params.news, symbols)
        self._setup = Setup(
            limits=limits.record(),
            costs=costs.record(),
            sizing=params.sizing.record(),
            pool=params.pool.record(),
            first_traded=params.first_traded,
            micro_per_tick=params.micro_per_tick,
            latency_bars=params.latency_bars,
            latency_ns=params.latency_ns,
            bar_ns=params.bar_ns,
            heard=np.array([spec.name not in params.without for spec in AGENTS], np.int64),
            locks=np.array(sorted(params.locks), np.int64).reshape(-1, 2),
            news_ts=news_ts,
            news_score=news_score,
        )
        self._scratch = scratch(widest, symbols, capacity, len(self._setup.locks))
        self._pooled = empty_round(widest, N_AGENTS)
        self.state = fresh_state(
            symbols,
            params.pool,
            params.opening_micro,
            limits.max_orders_per_minute,
            capacity,
            news_counts,
        )
        self._moments = bars["ts"][starts]
        self._models = params.model_sets()
        if not self._models or self._models[0][0] > 0:
            self._models.insert(0, (NEVER, Models.of({})))
        self._kept = _room(params, len(self._moments), len(bars))
        rows = 2 * (capacity + widest) + _FIRST_ROWS if "orders" in params.keep else 0
        self._orders = np.zeros(rows, ORDER_LOG)
        self._fills = np.zeros(rows, FILL_LOG)
        self._row = 0

    def advance(self, row: int) -> None:
        """Goes on up to bar ``row`` (exclusive), which must begin a moment or be the end.

        ValueError for a row behind the one reached: what was stepped is not stepped again.
        """
        bars = self._bars
        if not self._row <= row <= len(bars):
            raise ValueError(f"bar {row}: the run stands at {self._row} of {len(bars)}")
        if 0 < row < len(bars) and bars["ts"][row] == bars["ts"][row - 1]:
            raise ValueError(f"bar {row} is in the middle of its moment")
        for start, stop, models in self._segments(self._row, row):
            at = start
            while at < stop:
                at = run_segment(
                    self._setup,
                    models,
                    self.state,
                    self._scratch,
                    self._pooled,
                    self._kept,
                    self._orders,
                    self._fills,
                    bars,
                    at,
                    stop,
                )
                if at < stop:
                    self._orders, self._fills = _longer(self._orders), _longer(self._fills)
        self._row = row

    def restore(self, state: LoopState) -> None:
        """Goes on from a copy of ``state``, taken of the same backtest, at the row it had reached.

        What was kept and logged before that row is this run's own: zeros when it never went there.
        """
        rounds = int(state.counts[ROUNDS])
        self._row = int(self._starts[rounds]) if rounds < len(self._starts) else len(self._bars)
        self.state = state.copy()
        while 0 < len(self._orders) < state.counts[LOG_ROWS]:
            self._orders, self._fills = _longer(self._orders), _longer(self._fills)

    def result(self) -> Result:
        """What came out so far, the orders that still wait taken back; the run itself can go on."""
        state, orders = self.state.copy(), self._orders.copy()
        counts = state.counts
        cancel(state, orders, False)
        return Result(
            params=self._params,
            costs=self._costs,
            ts=self._moments,
            d_ts=self._bars["ts"],
            d_symbol=self._bars["symbol"],
            d_close=self._bars["close"],
            kept=self._kept,
            orders=orders[: counts[LOG_ROWS]],
            fills=self._fills[: counts[FILLS]],
            state=state,
        )

    def _segments(self, first: int, last: int) -> Iterable[tuple[int, int, Models]]:
        """(first row, last row, models) of each stretch under one set of models."""
        sets = self._models
        edges = np.searchsorted(self._bars["ts"], [since for since, _ in sets]).tolist()
        edges[0] = 0
        ends = [*edges[1:], len(self._bars)]
        for (_, models), start, end in zip(sets, edges, ends, strict=True):
            if max(start, first) < min(end, last):
                yield max(start, first), min(end, last), models


def _checked(params: Mapping[str, np.ndarray]) -> Models:
    try:
        models = Models.of(params)
    except LookupError as error:
        raise InputError(f"models: {error}") from None
    for spec, row in zip(AGENTS, models, strict=True):
        try:
            spec.check_params(row)
        except ValueError as error:
            raise InputError(f"models: {error}") from None
    return models


def _longer(log: np.ndarray) -> np.ndarray:
    """A log of twice the length, the first half the same."""
    return np.concatenate([log, np.zeros(len(log), log.dtype)])


def moment_starts(bars: Bars) -> Ints:
    """First row of each ts, of bars in ts order."""
    if not len(bars):
        return np.zeros(0, np.int64)
    return np.concatenate([[0], np.flatnonzero(np.diff(bars["ts"])) + 1])


def _news_arrays(news: Sequence[News], symbols: int) -> tuple[Ints, np.ndarray, Ints]:
    """Scored items grouped by symbol, by (ts, id) inside; and how many each symbol has."""
    ordered = sorted(news, key=lambda item: (item.symbol, item.ts, item.id))
    counts = np.bincount([item.symbol for item in ordered], minlength=symbols).astype(np.int64)
    return (
        np.array([item.ts for item in ordered], np.int64),
        np.array([score_text(item.text) for item in ordered], np.float64),
        counts,
    )


def _room(params: BacktestParams, moments: int, bars: int) -> Kept:
    def rows(what: str, count: int) -> int:
        return count if what in params.keep else 0

    deep = "votes" in params.keep or "evidence" in params.keep
    decisions = bars if deep else rows("decisions", bars)
    voted = bars if "evidence" in params.keep else rows("votes", bars)
    return Kept(
        equity=np.zeros(moments if params.keep_equity else 0, np.int64),
        weights=np.zeros((moments if decisions else rows("weights", moments), N_AGENTS + 1)),
        p=np.zeros((decisions, 3)),
        numbers=np.zeros((decisions, 4)),
        votes=np.zeros((voted, N_AGENTS, 3)),
        status=np.zeros((voted, N_AGENTS), np.int8),
        reason=np.zeros((voted, N_AGENTS), np.int8),
        awake=np.zeros(decisions, np.int8),
        verdict=np.zeros(decisions, np.int8),
        code=np.zeros(decisions, np.int8),
        judged=np.zeros((decisions, 6), np.int64),
        outs=np.zeros((rows("evidence", bars), OUT_WIDTH)),
    )
