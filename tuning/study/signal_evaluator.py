"""The EMA cross as a study's trial: many configurations in one compiled call, costs on.

A rule that is not fitted needs no training rows. For each fold the account is opened anew with the
opening cash at the first test moment, while the averages have run over all bars before it (see
``tuning.study.cross_kernel`` for why). The first test return is 0 unless the opening moves it: the
first decision falls at the first test close.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from actors.space import Config, Space
from cloud_trader.venue import TAPE
from data.errors import InputError
from data.money import PPM
from tuning.bar_check import check_bars, most_waiting
from tuning.loop_state import FILL_LOG, ORDER_LOG
from tuning.signal_backtest import SPACE
from tuning.signal_loop import SignalSetup, SignalState, fresh_signal, signal_scratch
from tuning.study.contract import Failure, Floats, Fold, FoldResult, Ints
from tuning.study.cross_kernel import read_tapes, run_crosses
from tuning.study.market import Market, Stretches, distinct, returns_from
from tuning.study.references import equal_holding

# Equity of so many (configuration, moment) pairs is held at once: 32 MB.
_CELLS = 4_000_000


class SignalEvaluator:
    """``tuning.study.contract.Evaluator`` of EMA crosses over all symbols of a market.

    ``fraction`` of equity goes into each new position; by default every symbol has an equal part.
    """

    def __init__(
        self,
        market: Market,
        folds: Sequence[Fold],
        fraction: float | None = None,
        space: Space = SPACE,
    ) -> None:
        check_bars(market.bars, len(market.symbols))
        self.space = space
        self.folds = tuple(folds)
        self.market = market
        self.stretches = Stretches.of(market.bars, folds)
        self.test_ts = self.stretches.all_ts
        self.periods_per_year = market.bars_per_year
        self.fraction = 1.0 / len(market.symbols) if fraction is None else fraction
        if not 0.0 < self.fraction <= 1.0:
            raise InputError(f"fraction of equity above 0, up to 1, not {self.fraction}")
        distinct(self.stretches, range(len(self.folds)))
        self._engine: _Engine | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_engine": None}

    def prepare(self) -> None:
        """Copies what is read-only and compiles."""
        self.market = self.market.writable()
        self._engine = _Engine(self.market, self.stretches, self.fraction)
        self.evaluate([self.space.default()], [0])

    def evaluate(
        self, configs: Sequence[Config], folds: Sequence[int]
    ) -> list[list[FoldResult] | Failure]:
        """For each configuration its results in these folds, in their order."""
        engine = self._engine or _Engine(self.market.writable(), self.stretches, self.fraction)
        self._engine = engine
        answers: list[list[FoldResult] | Failure] = []
        size = max(1, _CELLS // len(self.test_ts))
        for at in range(0, len(configs), size):
            answers += engine.run(configs[at : at + size], folds)
        return answers

    def incumbent(self) -> list[FoldResult]:
        """The declared default."""
        results = self.evaluate([self.space.default()], range(len(self.folds)))[0]
        if isinstance(results, Failure):
            raise InputError(f"the default configuration fails: {results.why}")
        return results

    def buy_and_hold(self) -> list[FoldResult]:
        """Every symbol held in equal parts, after costs, bought anew in each fold."""
        return equal_holding(self.market, self.stretches)


class _Engine:
    """The arrays that one worker runs in."""

    def __init__(self, market: Market, stretches: Stretches, fraction: float) -> None:
        count = len(market.symbols)
        capacity = most_waiting(market.bars, count, market.latency_bars, market.latency_ns)
        self.market = market
        self.stretches = stretches
        self.setup = SignalSetup(
            limits=market.limits.record(),
            costs=market.costs.record(),
            micro_per_tick=market.micro_per_tick,
            latency_bars=market.latency_bars,
            latency_ns=market.latency_ns,
            bar_ns=market.bar_ns,
            fast=0.0,
            slow=0.0,
            fraction_ppm=round(fraction * PPM),
        )
        self.state: SignalState = fresh_signal(count, market.opening_micro, capacity)
        self.fresh: SignalState = fresh_signal(count, market.opening_micro, capacity)
        self.scratch = signal_scratch(count, capacity)
        self.logs = (np.zeros(0, ORDER_LOG), np.zeros(0, FILL_LOG))
        order = distinct(stretches, range(len(stretches.rows)))
        tapes = np.zeros((len(order), count), TAPE)
        read_tapes(market.bars, stretches.rows[order, 0], np.zeros(count, TAPE), tapes)
        self.tape_of = {int(stretches.rows[fold, 0]): tapes[i] for i, fold in enumerate(order)}

    def run(
        self, configs: Sequence[Config], folds: Sequence[int]
    ) -> list[list[FoldResult] | Failure]:
        """One compiled call; where an amount overflows, one for each configuration."""
        order = distinct(self.stretches, folds)
        try:
            equity, orders = self._equity(configs, order)
        except OverflowError as error:
            if len(configs) == 1:
                return [Failure(f"OverflowError: {error}".splitlines()[0])]
            return [answer for config in configs for answer in self.run([config], folds)]
        edges = self._moments(order).tolist()
        lowest = equity.min(axis=1)
        first_row = self.stretches.rows[:, 0].tolist()
        place = {first_row[fold]: i for i, fold in enumerate(order)}
        returns = [
            returns_from(equity[:, a:b], self.market.opening_micro) for a, b in pairwise(edges)
        ]
        columns = [(fold, place[first_row[fold]]) for fold in folds]
        counts = orders.tolist()
        return [
            [FoldResult(f, returns[i][c], orders=counts[c][i]) for f, i in columns]
            if lowest[c] > 0
            else Failure("the account lost everything")
            for c in range(len(configs))
        ]

    def _moments(self, order: Sequence[int]) -> Ints:
        lengths = [len(self.stretches.ts[fold]) for fold in order]
        return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    def _equity(self, configs: Sequence[Config], order: Sequence[int]) -> tuple[Ints, Ints]:
        """Equity (k, T) and accepted orders (k, f) of these stretches."""
        rows = np.ascontiguousarray(self.stretches.rows[order])
        moments = self._moments(order)
        lengths: Floats = np.array([[c["fast"], c["slow"]] for c in configs], np.float64)
        equity = np.empty((len(configs), int(moments[-1])), np.int64)
        orders = np.empty((len(configs), len(order)), np.int64)
        tapes = np.stack([self.tape_of[int(row)] for row in rows[:, 0]])
        run_crosses(
            self.setup,
            self.state,
            self.fresh,
            self.scratch,
            self.logs,
            tapes,
            self.market.bars,
            rows,
            moments,
            lengths.reshape(-1, 2),
            equity,
            orders,
        )
        return equity, orders
