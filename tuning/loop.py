"""The compiled loop: the step functions of the live system, composed over many symbols.

At each ts, in the live trader's order: orders meet their bars, fills and marks, the drawdown watch,
the round (six agents, pool, gate on one account view), then the order transactions in (ts, symbol)
order. Every rule is the function that the live actors call; only their order stands here.
"""

from __future__ import annotations

from actors import (
    financial_sentiment,
    market_prediction,
    strategy_optimization,
    trend_momentum,
    volume_microstructure,
    vpin_hft,
)
from actors.checks import Verdict, collar_price
from actors.contract import STATUS, Reason, Status
from actors.judge import UNMEASURED, judge_intent, set_account, set_forecast, set_market
from actors.pool import pool_step
from actors.voting import all_finite, are_votes, take_answer, without_answer
from cloud_trader.account_step import (
    HALTED,
    drawdown_reached,
    hold_open,
    judge_order,
    let_go,
    net_lots,
    settle,
)
from cloud_trader.venue import known_sigma, known_spread_bps, meet_bar, read_bar
from data.compiled import inline_njit, lean_njit
from data.money import add_checked
from tuning.loop_state import (
    AWAKE_WEIGHT,
    CANCELLED,
    CODE,
    DECISION_ORDER,
    DELTA,
    DISSENT,
    EXPIRED,
    FILLED,
    FILLS,
    HALT_TS,
    LIMIT,
    LOCK_AT,
    NET,
    OPEN,
    OPERATOR_ORDER,
    ORDER_ROW,
    ORDERS,
    OUT_STARTS,
    RECENT,
    REFUSALS,
    REFUSED,
    RESTING_COUNT,
    ROUNDS,
    SIGMA,
    STEPPED,
    TARGET,
    TOXICITY,
    VERDICT,
)

MINUTE_NS = 60_000_000_000
N = len(OUT_STARTS) - 1
_S0, _S1, _S2, _S3, _S4, _S5, _END = OUT_STARTS
_TREND, _STRATEGY, _SENTIMENT, _PREDICTION, _MICRO, _VPIN = range(N)
_TOXICITY = _S5 + vpin_hft.TOXICITY_COLUMN
_VPIN_STATUS = _S5 + STATUS
_VOTED, _FAILED = int(Status.VOTED), int(Status.FAILED)
_ABSTAINED, _NO_MODEL = int(Status.ABSTAINED), int(Reason.NO_MODEL)
_APPROVED, _REDUCED = int(Verdict.APPROVED), int(Verdict.REDUCED)
_FULL_RELEVANCE = 1.0

_trend, _strategy = trend_momentum.step, strategy_optimization.step
_sentiment, _absorb = financial_sentiment.step, financial_sentiment.absorb
_prediction, _micro, _vpin = market_prediction.step, volume_microstructure.step, vpin_hft.step


@inline_njit
def vote(setup, models, state, scratch, bars):
    """All agents' answers to a round, from their states alone, in ``scratch.outs`` (k, width)."""
    agents, outs = state.agents, scratch.outs
    for i in range(len(bars)):
        bar, out = bars[i], outs[i]
        s = bar.symbol
        out[:] = 0.0
        if setup.heard[_TREND]:
            _trend(models.trend_momentum, agents.trend_momentum[s], bar, out[_S0:_S1])
        if setup.heard[_STRATEGY]:
            _strategy(
                models.strategy_optimization, agents.strategy_optimization[s], bar, out[_S1:_S2]
            )
        if setup.heard[_SENTIMENT]:
            row = agents.financial_sentiment[s]
            while state.news_at[s] < state.news_end[s]:
                item = state.news_at[s]
                if setup.news_ts[item] > bar.ts:
                    break
                _absorb(
                    models.financial_sentiment,
                    row,
                    setup.news_ts[item],
                    _FULL_RELEVANCE,
                    setup.news_score[item],
                )
                state.news_at[s] += 1
            _sentiment(models.financial_sentiment, row, bar, out[_S2:_S3])
        if setup.heard[_PREDICTION]:
            _prediction(models.market_prediction, agents.market_prediction[s], bar, out[_S3:_S4])
        if setup.heard[_MICRO]:
            _micro(models.volume_microstructure, agents.volume_microstructure[s], bar, out[_S4:_S5])
        if setup.heard[_VPIN]:
            _vpin(models.vpin_hft, agents.vpin_hft[s], bar, out[_S5:_END])


@inline_njit
def collect(setup, scratch, count):
    """From answers to votes, statuses and reasons; an agent left out has no model."""
    outs, votes, status, reason = scratch.outs, scratch.votes, scratch.status, scratch.reason
    # One pass over everybody: only where it finds something is each agent looked at by itself.
    clean = all_finite(outs, count, 0, _END)
    for agent in range(N):
        if setup.heard[agent] == 0:
            without_answer(_ABSTAINED, count, agent, votes, status, reason)
            for i in range(count):
                reason[i, agent] = _NO_MODEL
            continue
        start, stop = OUT_STARTS[agent], OUT_STARTS[agent + 1]
        finite = clean or all_finite(outs, count, start, stop)
        if finite and are_votes(outs, count, start):
            take_answer(outs, count, start, agent, votes, status, reason)
        else:
            without_answer(_FAILED, count, agent, votes, status, reason)


@inline_njit
def toxicity_of(scratch, i):
    """VPIN's toxicity of bar ``i`` where it voted, else UNMEASURED."""
    if scratch.status[i, _VPIN] == _VOTED:
        return scratch.outs[i, _TOXICITY]
    return UNMEASURED


@inline_njit
def judge(setup, state, scratch, pooled, bars, clock_ns):
    """The gate: every symbol of the round, all on the account's view before its orders."""
    books, intent = state.books[0], scratch.intent[0]
    recent = orders_since(state, clock_ns - MINUTE_NS)
    for i in range(len(bars)):
        bar = bars[i]
        position = state.positions[bar.symbol]
        set_forecast(
            intent,
            pooled.p[i],
            pooled.dissent[i],
            pooled.agents_awake[i],
            pooled.awake_weight[i],
            pooled.sigma[i],
            toxicity_of(scratch, i),
        )
        set_market(
            intent,
            clock_ns,
            bar.ts,
            setup.first_traded,
            bar.close,
            bar.volume,
            bar.bid,
            bar.ask,
            setup.micro_per_tick,
        )
        set_account(
            intent, books.equity_micro, books.state, net_lots(position), position.locked, recent
        )
        verdict, code, delta, target, limit = judge_intent(
            setup.limits, setup.costs, setup.sizing, intent
        )
        row = scratch.verdicts[i]
        row[VERDICT], row[CODE], row[DELTA], row[TARGET], row[LIMIT] = (
            verdict,
            code,
            delta,
            target,
            limit,
        )
        row[NET] = net_lots(position)


@inline_njit
def orders_since(state, since):
    """Orders with ts later than ``since``, as far back as the ring remembers."""
    count, size = state.counts[RECENT], len(state.recent)
    found = 0
    while found < min(count, size) and state.recent[(count - 1 - found) % size] > since:
        found += 1
    return found


@inline_njit
def write_order(state, orders, ts, symbol, side, lots, limit, reserved, origin, code, status):
    """Logs an order, or its refusal, when orders are kept (a log of length 0 keeps nothing)."""
    row = state.counts[ORDER_ROW]
    state.counts[ORDER_ROW] = row + 1
    if len(orders) == 0:
        return
    entry = orders[row]
    entry.ts = ts
    entry.symbol = symbol
    entry.side = side
    entry.lots = lots
    entry.limit_ticks = limit
    entry.reserved_micro = reserved
    entry.origin = origin
    entry.code = code
    entry.status = status
    entry.filled_lots = 0


@lean_njit
def submit(setup, state, scratch, orders, ts, symbol, side, lots, limit, origin):
    """The order transaction of one approved change, or of an operator's order."""
    books, position = state.books[0], state.positions[symbol]
    code, allowed, reserved = judge_order(
        setup.limits,
        setup.costs,
        books,
        state.positions,
        scratch.order[0],
        symbol,
        side,
        lots,
        limit,
        origin,
        setup.micro_per_tick,
    )
    if allowed == 0:
        state.counts[REFUSALS] += 1
        write_order(state, orders, ts, symbol, side, lots, limit, 0, origin, code, REFUSED)
        return
    waiting = state.counts[RESTING_COUNT]
    if waiting == len(state.resting):
        raise RuntimeError("more open orders than there is room for")
    order = state.resting[waiting]
    order.symbol = symbol
    order.side = side
    order.lots = allowed
    order.limit_ticks = limit
    order.reserved_micro = reserved
    order.decided_ts = ts
    order.waited = 0
    order.from_decision = 1 if origin == DECISION_ORDER else 0
    order.number = state.counts[ORDER_ROW]
    hold_open(books, position, side, allowed, reserved)
    state.counts[RESTING_COUNT] = waiting + 1
    state.counts[ORDERS] += 1
    state.recent[state.counts[RECENT] % len(state.recent)] = ts
    state.counts[RECENT] += 1
    write_order(state, orders, ts, symbol, side, allowed, limit, reserved, origin, code, OPEN)


@inline_njit
def place(setup, state, scratch, orders, bars):
    """The order transactions of a round, in (ts, symbol) order."""
    for i in range(len(bars)):
        verdict, delta = scratch.verdicts[i, VERDICT], scratch.verdicts[i, DELTA]
        if verdict in (_APPROVED, _REDUCED) and delta != 0:
            submit(
                setup,
                state,
                scratch,
                orders,
                bars[i].ts,
                bars[i].symbol,
                1 if delta > 0 else -1,
                abs(delta),
                scratch.verdicts[i, LIMIT],
                DECISION_ORDER,
            )


@inline_njit
def _close_order(state, orders, order, filled, status):
    """Takes an order out of the books; returns the cash that it no longer reserves."""
    let_go(state.positions[order.symbol], order.side, order.lots)
    if len(orders) > 0:
        orders[order.number].status = status
        orders[order.number].filled_lots = filled
    return order.reserved_micro


@inline_njit
def meet(setup, state, scratch, orders, fills, bars):
    """Open orders meet the moment's bars. Returns (number of fills, freed cash)."""
    for i in range(len(bars)):
        scratch.bar_of[bars[i].symbol] = i
    count, left, freed = 0, 0, 0
    for k in range(state.counts[RESTING_COUNT]):
        order = state.resting[k]
        at = scratch.bar_of[order.symbol]
        met, lots, price, fee = False, 0, 0, 0
        if at >= 0:
            met, lots, price, fee = meet_bar(
                setup.costs,
                state.tape[order.symbol],
                order,
                bars[at],
                setup.latency_bars,
                setup.latency_ns,
                setup.micro_per_tick,
            )
        if not met:
            state.resting[left] = order
            left += 1
            continue
        status = FILLED if lots == order.lots else EXPIRED
        freed = add_checked(freed, _close_order(state, orders, order, lots, status))
        if lots > 0:
            fill = scratch.fills[count]
            fill.symbol = order.symbol
            fill.side = order.side
            fill.lots = lots
            fill.price_ticks = price
            fill.fee_micro = fee
            _write_fill(setup, state, fills, order, bars[at], fill)
            count += 1
    state.counts[RESTING_COUNT] = left
    for i in range(len(bars)):
        scratch.bar_of[bars[i].symbol] = -1
        read_bar(state.tape[bars[i].symbol], bars[i])
    return count, freed


@inline_njit
def _write_fill(setup, state, fills, order, bar, fill):
    row = state.counts[FILLS]
    state.counts[FILLS] = row + 1
    if len(fills) == 0:
        return
    tape, entry = state.tape[order.symbol], fills[row]
    entry.ts = bar.ts
    entry.order = order.number
    entry.symbol = fill.symbol
    entry.side = fill.side
    entry.lots = fill.lots
    entry.price_ticks = fill.price_ticks
    entry.fee_micro = fill.fee_micro
    entry.open_ticks = bar.open
    entry.volume = bar.volume
    entry.spread_bps = known_spread_bps(setup.costs, tape)
    entry.sigma = known_sigma(tape)


@lean_njit
def cancel(state, orders, decisions_only):
    """Takes back the open orders, or those of decisions."""
    left = 0
    for k in range(state.counts[RESTING_COUNT]):
        order = state.resting[k]
        if decisions_only and order.from_decision == 0:
            state.resting[left] = order
            left += 1
            continue
        books = state.books[0]
        freed = _close_order(state, orders, order, 0, CANCELLED)
        books.reserved_micro = add_checked(books.reserved_micro, -freed)
    state.counts[RESTING_COUNT] = left


@lean_njit
def flatten(setup, state, scratch, orders, ts):
    """Operator orders that close every position, each limited by the collar at its mark."""
    for symbol in range(len(state.positions)):
        position = state.positions[symbol]
        net = net_lots(position)
        if net != 0:
            side = -1 if net > 0 else 1
            limit = collar_price(setup.limits, side, position.mark_ticks)
            submit(setup, state, scratch, orders, ts, symbol, side, abs(net), limit, OPERATOR_ORDER)


@inline_njit
def watch_drawdown(setup, state, scratch, orders, ts):
    """A drawdown at its limit takes decisions' orders back, flattens, and halts for good."""
    books = state.books[0]
    if books.state != HALTED:
        if not drawdown_reached(books, setup.limits.max_drawdown_ppm):
            return
        books.state = HALTED
        state.counts[HALT_TS] = ts
        cancel(state, orders, True)
    flatten(setup, state, scratch, orders, ts)


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
    state.counts[STEPPED] += pooled.info[0]
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
            for c in range(_END):
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


@inline_njit
def has_room(state, orders, fills, bars):
    """Whether the logs can take what a moment of ``bars`` bars may add at most."""
    if len(orders) == 0:
        return True
    new_orders = bars + len(state.positions)
    new_fills = state.counts[RESTING_COUNT]
    return state.counts[ORDER_ROW] + new_orders <= len(orders) and state.counts[
        FILLS
    ] + new_fills <= len(fills)


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
