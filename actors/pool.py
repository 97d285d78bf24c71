"""One round of the pool: observe every bar, step the weights at most once, pool every decision.

The rule is in ``actors.pool_rule``, the memory in ``actors.pool_state``. Weights are scored in
windows, one open at a time: the first ts decided while none is open opens one with that ts's
decisions; when all their outcomes are known, or dropped after ``drop_after`` ts of the group, the
weights take ONE step by the mean loss over the window's symbols (Hoelder's inequality then keeps
the guarantee for any number of symbols that move together). The step comes before the first
decision of the round that made it possible.

Experts are the n voters and EW, the equal-weighted mean of those awake, last in every weight
vector. Voters are awake when they voted, or when they are LATE and their last fresh vote, faded
towards the base rates, is not older than ``time_to_live`` bars. An abstention withdraws the last
vote; a failure only sleeps.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from actors.contract import Status
from actors.outcome import VOLATILITY_WARM_UP, outcome, update_variance
from actors.pool_rule import aa_pool, brier, dissent, fade, weight_step
from actors.pool_state import (
    ABSENT,
    KNOWN,
    LAST_TS,
    NEVER,
    OPEN,
    OPEN_TS,
    PENDING,
    STEPS,
    WAITED,
    WAITING,
    Floats,
    Ints,
    PoolParams,
    PoolState,
)
from data.bars import Bars

__all__ = ["PoolParams", "PoolState", "PooledRound", "empty_round", "pool_round", "pool_step"]

_VOTED, _ABSTAINED, _LATE = int(Status.VOTED), int(Status.ABSTAINED), int(Status.LATE)


class PooledRound(NamedTuple):
    """What a round decided, one row per bar (m bars)."""

    p: Floats  # (m, 3) down, flat, up; zeros where nobody was awake
    dissent: Floats  # (m,) in [0, 1]
    sigma: Floats  # (m,) per-bar volatility known at the bar; 0 while it is warming up
    agents_awake: Ints  # (m,)
    awake_weight: Floats  # (m,) share of the agents' weight (EW left out) that is awake
    weights: Floats  # (n+1,) in force for every decision of the round
    info: Ints  # (3,) steps taken before the decisions (0 or 1), window open (0/1), its ts

    @property
    def stepped(self) -> int:
        return int(self.info[0])

    @property
    def window_ts(self) -> int | None:
        """The ts of the window open after this round, if one is."""
        return int(self.info[2]) if self.info[1] else None


def empty_round(count: int, n_voters: int) -> PooledRound:
    """Room for the result of a round of ``count`` bars."""
    return PooledRound(
        p=np.zeros((count, 3)),
        dissent=np.zeros(count),
        sigma=np.zeros(count),
        agents_awake=np.zeros(count, np.int64),
        awake_weight=np.zeros(count),
        weights=np.zeros(n_voters + 1),
        info=np.zeros(3, np.int64),
    )


def pool_round(
    params: PoolParams,
    state: PoolState,
    bars: Bars,
    votes: Floats,
    status: NDArray[np.int64],
) -> PooledRound:
    """Pools one round and moves ``state`` on.

    ``bars`` (m,) in (ts, symbol) order with at most one bar of a symbol, ``votes`` (m, n, 3),
    ``status`` (m, n) of ``actors.contract.Status``. ValueError, with the state untouched, when
    shapes, order, prices or a vote are wrong: a forecast that is no distribution never enters.
    """
    votes = np.ascontiguousarray(votes, np.float64)
    status = np.ascontiguousarray(status, np.int64)
    _check(state, bars, votes, status)
    if len(bars):
        state.grow(int(bars["symbol"].max()) + 1)
    result = empty_round(len(bars), state.n_voters)
    pool_step(params.record(), state.arrays, np.ascontiguousarray(bars), votes, status, result)
    return result


def _check(state: PoolState, bars: Bars, votes: Floats, status: Ints) -> None:
    count, n = len(bars), state.n_voters
    if votes.shape != (count, n, 3) or status.shape != (count, n):
        raise ValueError(
            f"pool: {count} bars and {n} voters need votes ({count}, {n}, 3) and status"
            f" ({count}, {n}), not {votes.shape} and {status.shape}"
        )
    code = _fault(bars, votes, status)
    if code:
        raise ValueError(f"pool: {_FAULTS[code]}")


_FAULTS = {
    1: "a bar without a positive close or a symbol",
    2: "bars are not in (ts, symbol) order",
    3: "two bars of one symbol in a round",
    4: "a vote is no probability distribution",
    5: "an unknown vote status",
}


@njit(cache=True)
def _fault(bars, votes, status):
    for i in range(len(bars)):
        if bars[i].close <= 0 or bars[i].symbol < 0:
            return 1
        for j in range(i):
            if bars[j].symbol == bars[i].symbol:
                return 3
        if i > 0:
            later = bars[i].ts > bars[i - 1].ts
            if not later and (bars[i].ts < bars[i - 1].ts or bars[i].symbol < bars[i - 1].symbol):
                return 2
        for v in range(status.shape[1]):
            if status[i, v] < 0 or status[i, v] > 3:
                return 5
            if status[i, v] == _VOTED and not _is_distribution(votes[i, v]):
                return 4
    return 0


@njit(cache=True)
def _is_distribution(p):
    # Written so that a NaN fails every comparison.
    return p[0] >= 0.0 and p[1] >= 0.0 and p[2] >= 0.0 and abs(p[0] + p[1] + p[2] - 1.0) <= 1e-6


@njit(cache=True)
def pool_step(params, arrays, bars, votes, status, result):
    """The compiled round; arguments as in ``pool_round``, already checked, room for the symbols."""
    n = len(arrays.weights) - 1
    for i in range(len(bars)):
        _observe(params, arrays, bars[i].symbol, bars[i].ts, bars[i].close)
    stepped = _close_window(params, arrays)
    base = _base_rates(arrays)
    forecasts = np.zeros((n + 1, 3))
    awake = np.zeros(n + 1, np.bool_)
    for i in range(len(bars)):
        symbol = bars[i].symbol
        result.sigma[i] = _sigma(arrays, symbol)
        speaking = _speak(params, arrays, symbol, base, votes[i], status[i], forecasts, awake)
        result.agents_awake[i] = speaking
        _pool_one(arrays.weights, forecasts, awake, speaking, result, i)
        if speaking > 0 and result.sigma[i] > 0.0:
            _enter_window(
                arrays, bars[i].ts, symbol, result.sigma[i], forecasts, awake, result.p[i]
            )
    # A window takes the decisions of its own round only.
    if arrays.window[OPEN] == 1:
        arrays.window[OPEN] = 2
    result.weights[:] = arrays.weights
    result.info[0] = stepped
    result.info[1] = 1 if arrays.window[OPEN] > 0 else 0
    result.info[2] = arrays.window[OPEN_TS]


@njit(cache=True)
def _observe(params, arrays, symbol, ts, close):
    """A bar moves volatility and clocks, and may make an outcome of the open window known."""
    window = arrays.window
    if ts > window[LAST_TS]:
        window[LAST_TS] = ts
        if window[OPEN] > 0:
            window[WAITED] += 1
    if arrays.bars[symbol] > 0:
        arrays.variance[symbol], arrays.variance_weight[symbol] = update_variance(
            arrays.variance[symbol],
            arrays.variance_weight[symbol],
            math.log(close / arrays.last_close[symbol]),
        )
    arrays.bars[symbol] += 1
    arrays.last_close[symbol] = close
    for v in range(arrays.vote_age.shape[1]):
        if arrays.vote_age[symbol, v] != NEVER:
            arrays.vote_age[symbol, v] += 1
    if arrays.entry[symbol] == WAITING:
        arrays.entry_bars[symbol] += 1
        if arrays.entry_bars[symbol] == params.horizon:
            arrays.entry_outcome[symbol] = outcome(
                arrays.entry_close[symbol], close, arrays.entry_sigma[symbol], params.horizon
            )
            arrays.entry[symbol] = KNOWN
            window[PENDING] -= 1


@njit(cache=True)
def _close_window(params, arrays):
    """Takes the one weight step when every outcome is known or dropped. Returns steps taken."""
    window = arrays.window
    if window[OPEN] == 0:
        return 0
    if window[PENDING] > 0 and window[WAITED] < params.drop_after:
        return 0
    known = 0
    losses = np.zeros(len(arrays.weights))
    for s in range(len(arrays.entry)):
        if arrays.entry[s] == KNOWN:
            known += 1
            _add_losses(arrays, s, losses)
            arrays.outcomes[arrays.entry_outcome[s]] += 1
    if known > 0:
        losses /= known
        weight_step(arrays.weights, losses, arrays.prior, params.mixing)
        window[STEPS] += 1
    _clear_window(arrays)
    return 1 if known > 0 else 0


@njit(cache=True)
def _add_losses(arrays, s, losses):
    n = len(losses) - 1
    result = arrays.entry_outcome[s]
    own = brier(arrays.entry_pool[s], result)
    mean = np.zeros(3)
    awake = 0
    for v in range(n):
        if arrays.entry_awake[s, v] == 1:
            losses[v] += brier(arrays.entry_p[s, v], result)
            mean += arrays.entry_p[s, v]
            awake += 1
        else:
            losses[v] += own
    losses[n] += brier(mean / awake, result)


@njit(cache=True)
def _clear_window(arrays):
    arrays.window[OPEN] = 0
    arrays.window[OPEN_TS] = 0
    arrays.window[PENDING] = 0
    arrays.window[WAITED] = 0
    for s in range(len(arrays.entry)):
        if arrays.entry[s] != ABSENT:
            arrays.entry[s] = ABSENT
            arrays.entry_close[s] = 0
            arrays.entry_sigma[s] = 0.0
            arrays.entry_bars[s] = 0
            arrays.entry_outcome[s] = 0
            arrays.entry_p[s] = 0.0
            arrays.entry_awake[s] = 0
            arrays.entry_pool[s] = 0.0


@njit(cache=True)
def _base_rates(arrays):
    """Rates of the resolved outcomes with one of each added (Laplace)."""
    base = np.empty(3)
    total = 3.0 + arrays.outcomes[0] + arrays.outcomes[1] + arrays.outcomes[2]
    for k in range(3):
        base[k] = (1.0 + arrays.outcomes[k]) / total
    return base


@njit(cache=True)
def _sigma(arrays, symbol):
    """Volatility per bar; 0 until VOLATILITY_WARM_UP returns are known."""
    if arrays.bars[symbol] <= VOLATILITY_WARM_UP or arrays.variance_weight[symbol] <= 0.0:
        return 0.0
    return math.sqrt(arrays.variance[symbol] / arrays.variance_weight[symbol])


@njit(cache=True)
def _speak(params, arrays, symbol, base, votes, status, forecasts, awake):
    """Fills forecasts and awake flags of voters and EW. Returns the number of voters awake."""
    n = len(status)
    speaking = 0
    forecasts[n] = 0.0
    for v in range(n):
        awake[v] = False
        forecasts[v] = 0.0
        if status[v] == _VOTED:
            arrays.vote_p[symbol, v] = votes[v]
            arrays.vote_age[symbol, v] = 0
            forecasts[v] = votes[v]
            awake[v] = True
        elif status[v] == _ABSTAINED:
            arrays.vote_p[symbol, v] = 0.0
            arrays.vote_age[symbol, v] = NEVER
        elif status[v] == _LATE:
            age = arrays.vote_age[symbol, v]
            if age != NEVER and age <= params.time_to_live:
                fade(arrays.vote_p[symbol, v], base, age, params.half_life, forecasts[v])
                awake[v] = True
        if awake[v]:
            forecasts[n] += forecasts[v]
            speaking += 1
    awake[n] = speaking > 0
    if speaking > 0:
        forecasts[n] /= speaking
    return speaking


@njit(cache=True)
def _pool_one(weights, forecasts, awake, speaking, result, i):
    """Pooled forecast, dissent and awake weight of one bar.

    Dissent is measured among the voters: EW's weight is spread over those awake, which leaves the
    linear pool as it is and does not let a mean of opinions pass for agreement.
    """
    n = len(weights) - 1
    aa_pool(weights, forecasts, awake, result.p[i])
    total, heard = 0.0, 0.0
    for v in range(n):
        total += weights[v]
        if awake[v]:
            heard += weights[v]
    result.awake_weight[i] = heard / total
    if speaking > 0:
        effective = weights[:n] + weights[n] / speaking
        result.dissent[i] = dissent(effective, forecasts[:n], awake[:n], np.empty(3))


@njit(cache=True)
def _enter_window(arrays, ts, symbol, sigma, forecasts, awake, pooled):
    """Opens a window at the first ts decided, or joins the one just opened at this ts."""
    window = arrays.window
    if window[OPEN] == 0:
        window[OPEN] = 1
        window[OPEN_TS] = ts
        window[WAITED] = 0
    elif window[OPEN] != 1 or window[OPEN_TS] != ts:
        return
    n = len(awake) - 1
    window[PENDING] += 1
    arrays.entry[symbol] = WAITING
    arrays.entry_close[symbol] = arrays.last_close[symbol]
    arrays.entry_sigma[symbol] = sigma
    arrays.entry_bars[symbol] = 0
    for v in range(n):
        arrays.entry_p[symbol, v] = forecasts[v]
        arrays.entry_awake[symbol, v] = 1 if awake[v] else 0
    arrays.entry_pool[symbol] = pooled
