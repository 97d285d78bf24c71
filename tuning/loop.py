"""The compiled loop: the step functions of the live system, composed over many symbols.

At each ts, in the live trader's order: orders meet their bars, fills and marks, the drawdown watch,
the round (six agents, pool, gate on one account view), then the order transactions in (ts, symbol)
order.
"""

from __future__ import annotations

from actors.pool import pool_step
from cloud_trader.account_step import settle
from data.compiled import inline_njit, lean_njit
from tuning.loop_account import has_room, meet, place, watch_drawdown
from tuning.loop_round import N, collect, judge, toxicity_of, vote
from tuning.loop_state import (
    AWAKE_WEIGHT,
    CODE,
    DISSENT,
    LOCK_AT,
    OUT_WIDTH,
    ROUNDS,
    SIGMA,
    STEPS,
    TOXICITY,
    VERDICT,
)


@inline_njit
def _locks_until(setup, state, scratch, ts):
    """Symbols whose bad bar was quarantined since the last moment, up to ``ts``."""
    count = 0
    while state.counts[LOCK_AT] < len(setup.locks) and setup.locks[state.counts[LOCK_AT], 0] <= ts:
        scratch.locked[count] = setup.locks[state.counts[LOCK_AT], 1]
        state.counts[LOCK_AT] += 1
        count += 1
    return count


@inline_njit
def moment(setup, models, state, scratch, pooled, orders, fills, bars):
    """One ts with all its bars; the logs have room for what it may add."""
    ts = bars[0].ts
    locked = _locks_until(setup, state, scratch, ts)
    count, freed = meet(setup, state, scratch, orders, fills, bars)
    if ts >= setup.first_traded:
        settle(
            state.books[0],
            state.positions,
            scratch.fills[:count],
            freed,
            bars,
            scratch.locked[:locked],
            ts,
            setup.micro_per_tick,
        )
        watch_drawdown(setup, state, scratch, orders, ts)
    vote(setup, models, state, scratch, bars)
    collect(setup, scratch, len(bars))
    pool_step(
        setup.pool,
        state.pool,
        bars,
        scratch.votes,
        scratch.status,
        pooled,
    )
    state.counts[STEPS] += pooled.info[0]
    judge(setup, state, scratch, pooled, bars, ts)
    place(setup, state, scratch, orders, bars)


@inline_njit
def keep(kept, state, scratch, pooled, number, first, count):
    """Copies what is kept of a moment: ``number`` counts moments, ``first`` its first decision."""
    if len(kept.equity) > 0:
        kept.equity[number] = state.books[0].equity_micro
    if len(kept.weights) > 0:
        for a in range(N + 1):
            kept.weights[number, a] = pooled.weights[a]
    for i in range(count):
        if len(kept.p) > 0:
            _keep_decision(kept, scratch, pooled, first + i, i)
        if len(kept.votes) > 0:
            _keep_votes(kept, scratch, first + i, i)
        if len(kept.outs) > 0:
            for c in range(OUT_WIDTH):
                kept.outs[first + i, c] = scratch.outs[i, c]


@lean_njit
def _keep_decision(kept, scratch, pooled, d, i):
    for c in range(3):
        kept.p[d, c] = pooled.p[i, c]
    kept.verdict[d] = scratch.verdicts[i, VERDICT]
    kept.code[d] = scratch.verdicts[i, CODE]
    kept.numbers[d, DISSENT] = pooled.dissent[i]
    kept.numbers[d, SIGMA] = pooled.sigma[i]
    kept.numbers[d, AWAKE_WEIGHT] = pooled.awake_weight[i]
    kept.numbers[d, TOXICITY] = toxicity_of(scratch, i)
    kept.awake[d] = pooled.agents_awake[i]
    for c in range(6):
        kept.judged[d, c] = scratch.verdicts[i, c]


@lean_njit
def _keep_votes(kept, scratch, d, i):
    for agent in range(N):
        for c in range(3):
            kept.votes[d, agent, c] = scratch.votes[i, agent, c]
        kept.status[d, agent] = scratch.status[i, agent]
        kept.reason[d, agent] = scratch.reason[i, agent]


@lean_njit
def run_segment(setup, models, state, scratch, pooled, kept, orders, fills, bars, start, stop):
    """The moments of ``bars[start:stop]`` under one set of models.

    Returns the first row that was not reached: ``stop``, or less when a log is full.
    """
    while start < stop:
        end = start + 1
        while end < stop and bars[end].ts == bars[start].ts:
            end += 1
        if not has_room(state, orders, fills, end - start):
            return start
        rows = bars[start:end]
        moment(setup, models, state, scratch, pooled, orders, fills, rows)
        keep(kept, state, scratch, pooled, state.counts[ROUNDS], start, end - start)
        state.counts[ROUNDS] += 1
        start = end
    return start
