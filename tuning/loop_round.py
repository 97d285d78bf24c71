"""One round of the loop, compiled: six agents, their votes, and the gate on one account view.

Every rule is the function that the live actors call; only their order stands here.
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
from actors.contract import Reason, Status
from actors.judge import UNMEASURED, judge_intent, set_account, set_forecast, set_market
from actors.voting import all_finite, are_votes, take_answer, without_answer
from cloud_trader.account_step import net_lots
from data.compiled import inline_njit
from tuning.loop_state import CODE, DELTA, LIMIT, NET, OUT_STARTS, RECENT_COUNT, TARGET, VERDICT

MINUTE_NS = 60_000_000_000
N = len(OUT_STARTS) - 1
_S0, _S1, _S2, _S3, _S4, _S5, _END = OUT_STARTS
_TREND, _STRATEGY, _SENTIMENT, _PREDICTION, _MICRO, _VPIN = range(N)
_TOXICITY = _S5 + vpin_hft.TOXICITY_COLUMN
_VOTED, _FAILED = int(Status.VOTED), int(Status.FAILED)
_ABSTAINED, _NO_MODEL = int(Status.ABSTAINED), int(Reason.NO_MODEL)
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
    count, size = state.counts[RECENT_COUNT], len(state.recent)
    found = 0
    while found < min(count, size) and state.recent[(count - 1 - found) % size] > since:
        found += 1
    return found
