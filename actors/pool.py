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
from numpy.typing import NDArray

from actors.contract import Status
from actors.outcome import VOLATILITY_WARM_UP, outcome, update_variance
from actors.pool_rule import aa_pool, brier_of, dissent, fade, weight_step
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
from data.compiled import lean_njit, proven_inline_njit, proven_njit

__all__ = ["PoolParams", "PoolState", "PooledRound", "empty_round", "pool_round", "pool_step"]

Flags = NDArray[np.bool_]

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
    # Room to work in, so that a compiled round allocates nothing; of no meaning afterwards.
    forecasts: Floats  # (n+1, 3) of voters and EW
    awake: Flags  # (n+1,)
    effective: Floats  # (n,) weights with EW's spread over the voters awake
    losses: Floats  # (n+1,)
    triple: Floats  # (3,)

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
        forecasts=np.zeros((n_voters + 1, 3)),
        awake=np.zeros(n_voters + 1, np.bool_),
        effective=np.zeros(n_voters),
        losses=np.zeros(n_voters + 1),
        triple=np.zeros(3),
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


@lean_njit
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


@proven_inline_njit
def _is_distribution(p):
    # Written so that a NaN fails every comparison.
    return p[0] >= 0.0 and p[1] >= 0.0 and p[2] >= 0.0 and abs(p[0] + p[1] + p[2] - 1.0) <= 1e-6


@proven_inline_njit
def pool_step(params, arrays, bars, votes, status, result):
    """The compiled round; arguments as in ``pool_round``, already checked, room for the symbols.

    ``result`` has room for at least as many bars as there are.
    """
    for i in range(len(bars)):
        _observe(params, arrays, bars[i].symbol, bars[i].ts, bars[i].close)
    window = arrays.window
    stepped = 0
    if window[OPEN] > 0 and (window[PENDING] == 0 or window[WAITED] >= params.drop_after):
        stepped = _close_window(params, arrays, result)
    for i in range(len(bars)):
        symbol = bars[i].symbol
        sigma = _sigma(arrays, symbol)
        result.sigma[i] = sigma
        speaking = _speak(params, arrays, symbol, votes, status, i, result)
        result.agents_awake[i] = speaking
        _pool_one(arrays.weights, speaking, result, i)
        if speaking > 0 and sigma > 0.0:
            _enter_window(arrays, bars[i].ts, symbol, sigma, result, i)
    # A window takes the decisions of its own round only.
    if window[OPEN] == 1:
        window[OPEN] = 2
    for v in range(len(arrays.weights)):
        result.weights[v] = arrays.weights[v]
    result.info[0] = stepped
    result.info[1] = 1 if window[OPEN] > 0 else 0
    result.info[2] = window[OPEN_TS]


@proven_inline_njit
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


@proven_njit
def _close_window(params, arrays, result):
    """Takes the one weight step, by the outcomes that are known. Returns steps taken."""
    known = 0
    losses = result.losses
    for v in range(len(losses)):
        losses[v] = 0.0
    for s in range(len(arrays.entry)):
        if arrays.entry[s] == KNOWN:
            known += 1
            _add_losses(arrays, s, losses)
            arrays.outcomes[arrays.entry_outcome[s]] += 1
    if known > 0:
        for v in range(len(losses)):
            losses[v] /= known
        weight_step(arrays.weights, losses, arrays.prior, params.mixing)
        arrays.window[STEPS] += 1
    _clear_window(arrays)
    return 1 if known > 0 else 0


@proven_inline_njit
def _add_losses(arrays, s, losses):
    n = len(losses) - 1
    result = arrays.entry_outcome[s]
    pool, p = arrays.entry_pool, arrays.entry_p
    own = brier_of(pool[s, 0], pool[s, 1], pool[s, 2], result)
    p0, p1, p2 = 0.0, 0.0, 0.0
    awake = 0
    for v in range(n):
        if arrays.entry_awake[s, v] == 1:
            losses[v] += brier_of(p[s, v, 0], p[s, v, 1], p[s, v, 2], result)
            p0 += p[s, v, 0]
            p1 += p[s, v, 1]
            p2 += p[s, v, 2]
            awake += 1
        else:
            losses[v] += own
    losses[n] += brier_of(p0 / awake, p1 / awake, p2 / awake, result)


@proven_inline_njit
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
            for v in range(arrays.entry_awake.shape[1]):
                arrays.entry_awake[s, v] = 0
                for k in range(3):
                    arrays.entry_p[s, v, k] = 0.0
            for k in range(3):
                arrays.entry_pool[s, k] = 0.0


@proven_inline_njit
def _base_rates(arrays, base):
    """Writes the rates of the resolved outcomes with one of each added (Laplace)."""
    total = 3.0 + arrays.outcomes[0] + arrays.outcomes[1] + arrays.outcomes[2]
    for k in range(3):
        base[k] = (1.0 + arrays.outcomes[k]) / total


@proven_inline_njit
def _sigma(arrays, symbol):
    """Volatility per bar; 0 until VOLATILITY_WARM_UP returns are known."""
    if arrays.bars[symbol] <= VOLATILITY_WARM_UP or arrays.variance_weight[symbol] <= 0.0:
        return 0.0
    return math.sqrt(arrays.variance[symbol] / arrays.variance_weight[symbol])


@proven_inline_njit
def _speak(params, arrays, symbol, votes, status, i, result):
    """Fills forecasts and awake flags of voters and EW. Returns the number of voters awake."""
    n = status.shape[1]
    forecasts, awake = result.forecasts, result.awake
    vote_p, vote_age = arrays.vote_p, arrays.vote_age
    speaking = 0
    p0, p1, p2 = 0.0, 0.0, 0.0
    for v in range(n):
        code = status[i, v]
        speaks = code == _VOTED
        if code == _VOTED:
            vote_age[symbol, v] = 0
            for k in range(3):
                vote_p[symbol, v, k] = votes[i, v, k]
                forecasts[v, k] = votes[i, v, k]
        elif code == _LATE and 0 <= vote_age[symbol, v] <= params.time_to_live:
            speaks = True
            _base_rates(arrays, result.triple)
            fade(
                vote_p[symbol, v],
                result.triple,
                vote_age[symbol, v],
                params.half_life,
                forecasts[v],
            )
        else:
            if code == _ABSTAINED:
                vote_age[symbol, v] = NEVER
                for k in range(3):
                    vote_p[symbol, v, k] = 0.0
            for k in range(3):
                forecasts[v, k] = 0.0
        awake[v] = speaks
        if speaks:
            speaking += 1
            p0 += forecasts[v, 0]
            p1 += forecasts[v, 1]
            p2 += forecasts[v, 2]
    awake[n] = speaking > 0
    heard = max(speaking, 1)
    forecasts[n, 0], forecasts[n, 1], forecasts[n, 2] = p0 / heard, p1 / heard, p2 / heard
    return speaking


@proven_inline_njit
def _pool_one(weights, speaking, result, i):
    """Pooled forecast, dissent and awake weight of one bar.

    Dissent is measured among the voters: EW's weight is spread over those awake, which leaves the
    linear pool as it is and does not let a mean of opinions pass for agreement.
    """
    n = len(weights) - 1
    forecasts, awake, pooled = result.forecasts, result.awake, result.triple
    aa_pool(weights, forecasts, awake, pooled)
    for k in range(3):
        result.p[i, k] = pooled[k]
    spread = weights[n] / max(speaking, 1)
    total, heard = 0.0, 0.0
    for v in range(n):
        total += weights[v]
        if awake[v]:
            heard += weights[v]
        result.effective[v] = weights[v] + spread
    result.awake_weight[i] = heard / total
    result.dissent[i] = dissent(result.effective, forecasts, awake, pooled)


@proven_inline_njit
def _enter_window(arrays, ts, symbol, sigma, result, i):
    """Opens a window at the first ts decided, or joins the one just opened at this ts."""
    window = arrays.window
    if window[OPEN] == 0:
        window[OPEN] = 1
        window[OPEN_TS] = ts
        window[WAITED] = 0
    elif window[OPEN] != 1 or window[OPEN_TS] != ts:
        return
    window[PENDING] += 1
    arrays.entry[symbol] = WAITING
    arrays.entry_close[symbol] = arrays.last_close[symbol]
    arrays.entry_sigma[symbol] = sigma
    arrays.entry_bars[symbol] = 0
    for v in range(arrays.entry_awake.shape[1]):
        arrays.entry_awake[symbol, v] = 1 if result.awake[v] else 0
        for k in range(3):
            arrays.entry_p[symbol, v, k] = result.forecasts[v, k]
    for k in range(3):
        arrays.entry_pool[symbol, k] = result.p[i, k]
