"""How good the forecasts of a finished session were: Brier scores of the pool and of each agent.

The Brier score of a forecast (p_down, p_flat, p_up) with outcome o is sum_k (p_k - [k = o])^2
(Brier 1950): 0 is perfect, 2 is the worst, and the uniform forecast scores 2/3 whatever happens.
Outcomes follow ``tuning.labels``, the same rule by which the pool earns its weights.

A decision is scored when it fell in the traded period, at least one agent voted fresh, and its
horizon ended inside the data. Each agent is compared with the pool over the decisions where that
agent voted: who abstains on hard days must not look better for it.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actors.contract import Reason, Status
from data.bars import empty_bars
from tuning.labels import NO_LABEL, labels
from tuning.session_result import Floats, Ints, SessionResult
from tuning.statistics import mean_interval

UNIFORM_BRIER = 2.0 / 3.0


@dataclass(frozen=True)
class AgentScore:
    """One agent over the traded period. Brier figures are nan when nothing could be scored."""

    name: str
    votes: int
    abstentions: int
    late: int
    failed: int
    abstained_for: dict[str, int]  # reason -> count, where the reasons are known
    scored: int
    brier: float
    pool_brier: float  # the pool's, over the decisions where this agent voted
    weight: float  # in force in the last round


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of a session over K event times with at least one scored decision.

    The cumulative advantages sum, over event times, the mean over that time's decisions of
    (2/3 - Brier): a rising line forecasts better than knowing nothing. Where an agent did not vote
    its line stays level.
    """

    decisions: int  # in the traded period
    scored: int
    outcomes: tuple[int, int, int]  # scored decisions that went down, flat, up
    pool_brier: float
    equal_weight_brier: float
    pool_edge: tuple[float, float, float]  # 2/3 - pool's Brier: mean and 95 % interval
    pool_gain: tuple[float, float, float]  # equal weight's - pool's Brier: mean and 95 % interval
    equal_weight: float  # the weight of the equal-weight expert in the last round
    agents: tuple[AgentScore, ...]
    ts: Ints  # (K,)
    agent_advantage: Floats  # (K, n)
    pool_advantage: Floats  # (K,)
    equal_weight_advantage: Floats  # (K,)


def brier(p: Floats, outcomes: Ints) -> Floats:
    """Brier losses (m,) of forecasts (m, 3) for outcomes (m,) in {0, 1, 2}."""
    hit = np.zeros_like(p)
    hit[np.arange(len(outcomes)), outcomes] = 1.0
    return np.asarray(((p - hit) ** 2).sum(axis=1))


def decision_outcomes(result: SessionResult) -> Ints:
    """Outcome (D,) of each decision, ``labels.NO_LABEL`` where it is not known."""
    bars = empty_bars(len(result.d_ts))
    bars["symbol"] = result.d_symbol
    bars["close"] = result.d_close
    return labels(bars, result.horizon)


def score(result: SessionResult) -> Scores:
    """All scores of a session; works, with nan for figures, when nothing could be scored."""
    voted = result.d_status == Status.VOTED
    outcomes = decision_outcomes(result)
    rows = np.flatnonzero(result.in_traded_period() & voted.any(axis=1) & (outcomes != NO_LABEL))
    y, awake, votes = outcomes[rows], voted[rows], result.d_votes[rows]
    _check_forecasts(result.d_p[rows], "pooled forecast")
    _check_forecasts(votes[awake], "vote")

    pool_loss = brier(result.d_p[rows], y)
    mean_vote = np.where(awake[:, :, None], votes, 0.0).sum(axis=1) / awake.sum(axis=1)[:, None]
    equal_loss = brier(mean_vote, y)
    losses = np.full(awake.shape, np.nan)
    for j in range(len(result.agents)):
        losses[awake[:, j], j] = brier(votes[awake[:, j], j], y[awake[:, j]])

    times, group = np.unique(result.d_ts[rows], return_inverse=True)
    pool_edge = _mean_by(group, UNIFORM_BRIER - pool_loss, len(times))
    equal_edge = _mean_by(group, UNIFORM_BRIER - equal_loss, len(times))
    agent_edge = [
        _mean_by(group[awake[:, j]], UNIFORM_BRIER - losses[awake[:, j], j], len(times))
        for j in range(len(result.agents))
    ]
    lags = max(result.horizon - 1, 0)
    counts = np.bincount(y, minlength=3)
    return Scores(
        decisions=int(result.in_traded_period().sum()),
        scored=len(rows),
        outcomes=(int(counts[0]), int(counts[1]), int(counts[2])),
        pool_brier=_mean(pool_loss),
        equal_weight_brier=_mean(equal_loss),
        pool_edge=mean_interval(pool_edge, lags),
        pool_gain=mean_interval(pool_edge - equal_edge, lags),
        equal_weight=float(result.weights[-1, -1]),
        agents=tuple(
            _agent_score(result, j, losses[awake[:, j], j], pool_loss[awake[:, j]])
            for j in range(len(result.agents))
        ),
        ts=times,
        agent_advantage=np.cumsum(np.column_stack(agent_edge), axis=0),
        pool_advantage=np.cumsum(pool_edge),
        equal_weight_advantage=np.cumsum(equal_edge),
    )


def _agent_score(result: SessionResult, j: int, losses: Floats, pool_losses: Floats) -> AgentScore:
    traded = result.in_traded_period()
    status = result.d_status[traded, j]
    reasons: Counter[str] = Counter()
    if result.d_reason is not None:
        codes = result.d_reason[traded, j][status == Status.ABSTAINED]
        reasons.update(Reason(int(code)).name.lower() for code in codes)
    return AgentScore(
        name=result.agents[j],
        votes=int((status == Status.VOTED).sum()),
        abstentions=int((status == Status.ABSTAINED).sum()),
        late=int((status == Status.LATE).sum()),
        failed=int((status == Status.FAILED).sum()),
        abstained_for=dict(reasons.most_common()),
        scored=len(losses),
        brier=_mean(losses),
        pool_brier=_mean(pool_losses),
        weight=float(result.weights[-1, j]),
    )


def _check_forecasts(p: Floats, what: str) -> None:
    bad = ~np.isfinite(p).all(axis=1) | (p < -1e-9).any(axis=1) | (abs(p.sum(axis=1) - 1) > 1e-6)
    if bad.any():
        first = p[np.flatnonzero(bad)[0]].tolist()
        raise ValueError(f"{int(bad.sum())} × {what} is not a probability vector, first: {first}")


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else math.nan


def _mean_by(group: NDArray[np.intp], values: Floats, groups: int) -> Floats:
    """Mean of ``values`` in each group, 0 for a group without any."""
    count = np.bincount(group, minlength=groups)
    total = np.bincount(group, weights=values, minlength=groups)
    return np.asarray(total / np.maximum(count, 1))
