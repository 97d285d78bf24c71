"""The committee as a study's trial: fitted on a fold's training intervals, then run over its test.

Scope ``solo``: the searched agent alone, through pool, sizing, gate and account. The gate moves no
position whose toxicity nobody measured, so VPIN sits beside it with a flat forecast and no weight.
Scope ``committee``: all agents, of which the search changes some.

As in a session, models come in force at the first test moment, before it the agents only warm up
and nothing trades; pool and account begin afresh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from actors import vpin_hft
from actors.contract import Floats, Status
from actors.link import link_width
from actors.pool_state import PoolArrays, PoolParams
from actors.sizing import SizingParams
from actors.space import Config
from data.bars import Bars
from data.errors import InputError
from tuning.backtest_result import Result
from tuning.backtesting import BacktestParams, Run, moment_starts
from tuning.bar_check import check_bars
from tuning.labels import NO_LABEL, labels
from tuning.samples import label_end
from tuning.scoring import brier
from tuning.study.contract import Failure, Fold, FoldResult, Ints
from tuning.study.fits import EVERYTHING, Fits
from tuning.study.market import Market, Stretches, returns_from
from tuning.study.references import equal_holding
from tuning.study.targets import AGENT_NAMES, PART_SPACES, POOL, SIZING, Target

WARM_UP = 500  # moments before a test stretch, as before a session
SCOPES = ("solo", "committee")
_VPIN = "vpin_hft"
# So much of the prior is mixed back in at each step that weights never leave it.
_FROZEN = 1.0 - 1e-9
_NO_WEIGHT = 1e-300  # actors.pool_rule.WEIGHT_FLOOR


@dataclass(frozen=True, eq=False)
class _Window:
    """What one fold runs on."""

    fold: Fold
    bars: Bars
    first: int  # moment of ``bars`` at which the test begins
    scored: Ints  # bars that lie in the test, and their labels' ends too
    outcomes: Ints  # (scored,)


@dataclass(frozen=True, eq=False)
class _Cast:
    """Who plays, and how: configurations by part, fixed model rows, a pool, an only voice."""

    parts: Mapping[str, Config] = field(default_factory=dict)
    rows: Mapping[str, Floats] = field(default_factory=dict)
    pool: PoolParams | None = None
    voice: str | None = None

    def heard(self) -> tuple[str, ...]:
        if self.voice is None:
            return AGENT_NAMES
        return tuple(name for name in AGENT_NAMES if name in (self.voice, _VPIN))


class CommitteeEvaluator:
    """``tuning.study.contract.Evaluator`` of agents, pool and sizing.

    InputError for bars out of order, folds without bars, and a scope that the target has not.
    """

    def __init__(
        self,
        market: Market,
        folds: Sequence[Fold],
        target: Target,
        scope: str | None = None,
        warm_up: int = WARM_UP,
        seed: int = 0,
    ) -> None:
        check_bars(market.bars, len(market.symbols))
        scope = scope or ("solo" if target.agent else "committee")
        if scope not in SCOPES or (scope == "solo" and not target.agent):
            raise InputError(f"{target.name} cannot be evaluated with scope {scope!r}")
        self.market = market
        self.target = target
        self.space = target.space
        self.folds = tuple(folds)
        self.stretches = Stretches.of(market.bars, folds)
        self.test_ts = self.stretches.all_ts
        self.periods_per_year = market.bars_per_year
        self.voice = target.agent if scope == "solo" else None
        self.seed = seed
        self.warm_up = warm_up
        self._fits: Fits | None = None
        self._windows: list[_Window] = []

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_fits": None, "_windows": []}

    def prepare(self) -> None:
        """Copies what is read-only, fits what the search leaves alone, and compiles."""
        self._start()
        self.evaluate([self.space.default()], range(len(self.folds)))

    def evaluate(
        self, configs: Sequence[Config], folds: Sequence[int]
    ) -> list[list[FoldResult] | Failure]:
        """For each configuration its results in these folds, in their order."""
        self._start()
        return [self._one(_Cast(self.target.split(c), voice=self.voice), folds) for c in configs]

    def incumbent(self, row: Floats | None = None) -> list[FoldResult]:
        """What is in force without the search: the defaults (the seeded champions).

        ``row``: the searched agent's live model row instead, the same in every fold, whatever bars
        it was fitted on.
        """
        rows = {}
        if row is not None:
            if self.target.agent is None:
                raise InputError(f"{self.target.name} has no model row: its incumbent is fitted")
            rows = {self.target.agent: row}
        return self._sure(_Cast(rows=rows, voice=self.voice))

    def equal_weight(self) -> list[FoldResult]:
        """The whole committee at its defaults, every agent awake always counting the same.

        Nearly all prior weight stands on the expert that is the mean of those awake, and nearly
        all of the prior is mixed back in at each step.
        """
        even = PoolParams(self.market.horizon, mixing=_FROZEN, equal_weight_prior=_FROZEN)
        return self._sure(_Cast(pool=even))

    def buy_and_hold(self) -> list[FoldResult]:
        """Every symbol held in equal parts, after costs, bought anew in each fold."""
        return equal_holding(self.market, self.stretches)

    def model(self, config: Config, bars: Bars) -> Floats:
        """The searched agent's row, fitted on all of ``bars``: those before a locked segment.

        InputError for a target that is no agent, or too few bars.
        """
        agent = self.target.agent
        if agent is None:
            raise InputError(f"{self.target.name} has no model row: it belongs to a session")
        checked = self.space.check(config)
        row = Fits(bars, self.market.horizon, self.seed).row(agent, checked, EVERYTHING)
        if not len(row):
            raise InputError(f"{len(bars):,} bars are too few to fit {agent}")
        return row

    def _start(self) -> None:
        if self._fits is None:
            self.market = self.market.writable()
            self._fits = Fits(self.market.bars, self.market.horizon, self.seed)
            self._windows = _windows(self.market, self.folds, self.stretches, self.warm_up)

    def _sure(self, cast: _Cast) -> list[FoldResult]:
        answer = self._one(cast, range(len(self.folds)))
        if isinstance(answer, Failure):
            raise InputError(f"what is in force cannot be evaluated: {answer.why}")
        return answer

    def _one(self, cast: _Cast, folds: Sequence[int]) -> list[FoldResult] | Failure:
        self._start()
        try:
            return [self._fold(cast, self._windows[i], i) for i in folds]
        except (ArithmeticError, ValueError) as error:  # of a fit, a parameter or an amount
            return Failure(f"{type(error).__name__}: {error}".splitlines()[0])

    def _fold(self, cast: _Cast, window: _Window, number: int) -> FoldResult:
        market, fold = self.market, window.fold
        models = {agent: self._row(cast, agent, fold) for agent in cast.heard()}
        limits = market.limits
        if cast.voice:
            limits = limits.model_copy(update={"min_agents": 1, "min_weight_share": 0.0})
        params = BacktestParams(
            symbols=market.symbols,
            models=[(fold.test_from, models)],
            first_traded=fold.test_from,
            pool=self._pool(cast),
            sizing=self._sizing(cast),
            opening_micro=market.opening_micro,
            micro_per_tick=market.micro_per_tick,
            latency_bars=market.latency_bars,
            latency_ns=market.latency_ns,
            bar_ns=market.bar_ns,
            without=tuple(name for name in AGENT_NAMES if name not in models),
            locks=[lock for lock in market.locks if lock[0] >= int(window.bars["ts"][0])],
            news=market.news,
            keep=("decisions", "votes") if cast.voice else ("decisions",),
        )
        run = Run(window.bars, params, limits, market.costs)
        if cast.voice:
            _only(run.state.pool, AGENT_NAMES.index(cast.voice))
        run.advance(len(window.bars))
        return self._result(cast, run.result(), window, number)

    def _row(self, cast: _Cast, agent: str, fold: Fold) -> Floats:
        if agent in cast.rows:
            return cast.rows[agent]
        fits = self._fits
        if fits is None:
            raise TypeError("an evaluator that was not started")
        if cast.voice and agent != cast.voice:
            settings = fits.vpin_settings(PART_SPACES[_VPIN].default(), fold.train)
            return np.concatenate([settings, np.zeros(link_width(vpin_hft.FEATURE_COUNT))])
        row = fits.row(agent, cast.parts.get(agent), fold.train)
        if cast.voice and not len(row):
            raise InputError(f"fold {fold.number}: too few training rows to fit {agent}")
        return row

    def _pool(self, cast: _Cast) -> PoolParams:
        if cast.voice:
            return PoolParams(self.market.horizon, mixing=_FROZEN)
        base = cast.pool or PoolParams(self.market.horizon)
        return replace(base, **cast.parts.get(POOL, {}))  # type: ignore[arg-type]

    def _sizing(self, cast: _Cast) -> SizingParams:
        market = self.market
        base = SizingParams(
            horizon=market.horizon,
            bars_per_year=market.bars_per_year,
            risk_multiplier=market.limits.risk_multiplier,
        )
        return replace(base, **cast.parts.get(SIZING, {}))  # type: ignore[arg-type]

    def _result(self, cast: _Cast, result: Result, window: _Window, number: int) -> FoldResult:
        equity = result.equity_micro[window.first :]
        if int(equity.min()) <= 0:
            raise OverflowError("the account lost everything")
        if cast.voice:
            spoke = result.kept.status[:, AGENT_NAMES.index(cast.voice)] == Status.VOTED
        else:
            spoke = result.kept.awake > 0
        judged = spoke[window.scored]
        p = result.kept.p[window.scored[judged]]
        losses = brier(p, window.outcomes[judged])
        return FoldResult(
            fold=number,
            returns=returns_from(equity, self.market.opening_micro),
            brier_sum=float(losses.sum()),
            brier_count=len(losses),
            orders=result.counts["orders"],
        )


def _only(pool: PoolArrays, voice: int) -> None:
    """Gives one voter all weight, and as prior; with _FROZEN mixing it stays so."""
    for weights in (pool.prior, pool.weights):
        weights[:] = _NO_WEIGHT
        weights[voice] = 1.0


def _windows(
    market: Market, folds: Sequence[Fold], stretches: Stretches, warm_up: int
) -> list[_Window]:
    bars = market.bars
    starts = moment_starts(bars)
    outcomes = labels(bars, market.horizon)
    ends = label_end(bars, market.horizon)
    found = []
    for fold, (first, last) in zip(folds, stretches.rows.tolist(), strict=True):
        moment = int(np.searchsorted(starts, first))
        before = min(warm_up, moment)
        begin = int(starts[moment - before])
        inside = np.arange(first, last)
        known = (outcomes[first:last] != NO_LABEL) & (ends[first:last] < fold.test_until)
        rows = inside[known]
        found.append(_Window(fold, bars[begin:last], before, rows - begin, outcomes[rows]))
    return found
