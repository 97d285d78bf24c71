"""The pool's guarantee on any sequence, and its indifference to restarts."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from actors.contract import Status
from actors.outcome import VOLATILITY_WARM_UP
from actors.pool import PoolParams, PoolState, pool_round
from actors.pool_rule import brier
from actors.pool_state import KNOWN, WAITING
from data.bars import empty_bars

N = 6
PARAMS = PoolParams(horizon=1, mixing=0.0)
EW_BOUND, VOTER_BOUND = math.log(2), math.log(2 * N)


def one_round(ts, closes, symbols=None):
    symbols = np.arange(len(closes)) if symbols is None else symbols
    bars = empty_bars(len(closes))
    bars["ts"], bars["symbol"], bars["close"] = ts, symbols, closes
    return bars


class Market:
    """Symbols that move together or apart, one bar a ts, down / flat / up as told."""

    def __init__(self, symbols: int) -> None:
        self.close = np.full(symbols, 1e9)
        self.ts = 0

    def warm(self, state: PoolState) -> None:
        asleep = np.full((len(self.close), N), Status.ABSTAINED, np.int64)
        for i in range(VOLATILITY_WARM_UP + 1):
            self.move(np.where(i % 2, 2, 0) * np.ones(len(self.close), np.int64))
            pool_round(PARAMS, state, self.bars(), np.zeros((len(self.close), N, 3)), asleep)

    def move(self, outcomes) -> None:
        # Volatility never exceeds the one size of move, so a move is always beyond the band.
        factor = np.array([0.999, 1.0, 1.001])[outcomes]
        self.close = np.rint(self.close * factor)
        self.ts += 1

    def bars(self):
        return one_round(self.ts, self.close)


def play(symbols, windows, seed, forecaster, together, sleepers):
    """Regret of the pool against EW and each voter, in sums of window means, at every window.

    ``forecaster(rng, p)`` turns random votes into the adversary's kind. The losses are recomputed
    here from what went in and came out of the rounds, not read from the pool's own books.
    """
    rng = np.random.default_rng(seed)
    state, market = PoolState.fresh(N, symbols, PARAMS), Market(symbols)
    market.warm(state)
    mine = theirs_ew = 0.0
    own_where = np.zeros(N)
    theirs = np.zeros(N)
    for _ in range(windows):
        shape = (1, N) if together else (symbols, N)
        votes = np.broadcast_to(forecaster(rng, shape), (symbols, N, 3)).copy()
        status = np.where(rng.random(shape) < sleepers, Status.ABSTAINED, Status.VOTED)
        status = np.broadcast_to(status, (symbols, N)).astype(np.int64).copy()
        status[:, 0] = Status.VOTED
        round_ = pool_round(PARAMS, state, market.bars(), votes, status)
        entries = np.flatnonzero(state.arrays.entry == WAITING)
        outcomes = adversary(rng, round_.p, together)
        if len(entries):
            window = window_losses(round_.p, votes, status, outcomes, entries)
            mine += window[0]
            theirs_ew += window[1]
            own_where += window[2]
            theirs += window[3]
            assert mine - theirs_ew <= EW_BOUND + 1e-9
            assert (own_where - theirs).max() <= VOTER_BOUND + 1e-9
        market.move(outcomes)
        moved = realised(state, market)
        assert (moved[entries] == outcomes[entries]).all()
    assert state.arrays.window[5] >= windows - 1
    return mine - theirs_ew, (own_where - theirs).max()


def realised(state, market):
    """Outcomes as the market really moved, against the volatility in the window."""
    ratio = np.log(market.close / np.maximum(state.arrays.entry_close, 1))
    band = 0.43 * state.arrays.entry_sigma
    return np.where(ratio > band, 2, np.where(ratio < -band, 0, 1))


def window_losses(p, votes, status, outcomes, entries):
    """Means over the window's symbols: pool, EW, and by voter the pool's and its own if awake."""
    truth = np.eye(3)[outcomes[entries]]
    awake = status[entries] == Status.VOTED
    own = ((p[entries] - truth) ** 2).sum(1)
    mean = (votes[entries] * awake[..., None]).sum(1) / awake.sum(1)[:, None]
    ew = ((mean - truth) ** 2).sum(1)
    single = ((votes[entries] - truth[:, None]) ** 2).sum(2)
    where = (own[:, None] * awake).mean(0)
    return own.mean(), ew.mean(), where, (single * awake).mean(0)


def adversary(rng, p, together):
    """Mostly the outcome that hurts the pool most, sometimes chance."""
    worst = p.argmin(axis=1)
    random = rng.integers(0, 3, len(p))
    chosen = np.where(rng.random(len(p)) < 0.7, worst, random)
    return np.full(len(p), chosen[0]) if together else chosen


def mixed(rng, shape):
    return rng.dirichlet([0.3, 0.3, 0.3], shape)


def extreme(rng, shape):
    return np.eye(3)[rng.integers(0, 3, shape)]


def stubborn(rng, shape):
    return np.broadcast_to(np.eye(3)[np.arange(N) % 3] * 0.9 + 0.1 / 3, (*shape, 3))


@settings(max_examples=20, deadline=None)
@given(
    symbols=st.integers(1, 256),
    seed=st.integers(0, 2**32 - 1),
    forecaster=st.sampled_from([mixed, extreme, stubborn]),
    together=st.booleans(),
    sleepers=st.sampled_from([0.0, 0.3, 0.8]),
)
@example(symbols=1, seed=1, forecaster=stubborn, together=True, sleepers=0.0)
@example(symbols=256, seed=2, forecaster=stubborn, together=True, sleepers=0.0)
@example(symbols=256, seed=3, forecaster=mixed, together=False, sleepers=0.3)
def test_regret_stays_within_the_guarantee(symbols, seed, forecaster, together, sleepers) -> None:
    play(symbols, 800 // symbols + 15, seed, forecaster, together, sleepers)


def test_one_step_per_symbol_would_break_it() -> None:
    """The guarantee is no accident of the test: the wrong rule exceeds the bound here."""
    weights = PARAMS.prior(N)
    state, market = PoolState.fresh(N, 50, PARAMS), Market(50)
    market.warm(state)
    rng = np.random.default_rng(4)
    mine = ew = 0.0
    for _ in range(60):
        votes = mixed(rng, (1, N))[0]
        experts = np.vstack([votes, votes.mean(axis=0)])
        state.arrays.weights[:] = weights
        full = np.broadcast_to(votes, (50, N, 3)).copy()
        round_ = pool_round(PARAMS, state, market.bars(), full, np.zeros((50, N), np.int64))
        outcome = adversary(rng, round_.p, True)
        mine += brier(round_.p[0], outcome[0])
        ew += brier(experts[-1], outcome[0])
        weights = weights * np.exp(-50 * np.array([brier(e, outcome[0]) for e in experts]))
        weights = np.maximum(weights / weights.sum(), 1e-300)
        market.move(outcome)
    assert mine - ew > EW_BOUND


@st.composite
def streams(draw):
    """Rounds of bars with gaps, several ts at once, late, failed and abstained votes."""
    seed = draw(st.integers(0, 2**32 - 1))
    symbols = draw(st.integers(1, 6))
    horizon = draw(st.integers(1, 4))
    return seed, symbols, horizon, draw(st.integers(0, 79))


def rounds_of(seed, symbols, count=80):
    rng = np.random.default_rng(seed)
    close = np.full(symbols, 1_000_000.0)
    made = []
    for ts in range(1, count + 1):
        present = np.flatnonzero(rng.random(symbols) < 0.8)
        close *= np.exp(rng.normal(0, 0.01, symbols))
        bars = one_round(ts, np.rint(close[present]).astype(np.int64), present)
        votes = rng.dirichlet([2.0, 2.0, 2.0], (len(present), N))
        status = rng.choice([0, 0, 0, 1, 2, 2, 3], (len(present), N)).astype(np.int64)
        made.append((bars, votes, status))
    return made


@settings(max_examples=30, deadline=None)
@given(streams())
def test_a_restart_in_the_middle_changes_no_bit(stream) -> None:
    seed, symbols, horizon, cut = stream
    params = PoolParams(horizon=horizon)
    straight = PoolState.fresh(N, symbols, params)
    restarted = PoolState.fresh(N, 0, params)  # grows as symbols appear
    for i, (bars, votes, status) in enumerate(rounds_of(seed, symbols)):
        if i == cut:
            restarted = PoolState.from_bytes(restarted.to_bytes())
        a = pool_round(params, straight, bars, votes, status)
        b = pool_round(params, restarted, bars, votes, status)
        assert all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))
        assert a.weights.sum() == pytest.approx(1.0, abs=1e-12)
        sums = a.p.sum(axis=1)
        assert np.all((np.abs(sums - 1) < 1e-9) | ((a.agents_awake == 0) & (sums == 0)))
    restarted.grow(symbols)
    assert straight.to_bytes() == restarted.to_bytes()


@settings(max_examples=30, deadline=None)
@given(streams())
def test_the_past_does_not_see_the_future(stream) -> None:
    seed, symbols, horizon, cut = stream
    params = PoolParams(horizon=horizon)
    full, prefix = PoolState.fresh(N, symbols, params), PoolState.fresh(N, symbols, params)
    rounds = rounds_of(seed, symbols)
    other = rounds_of(seed + 1, symbols)
    for i in range(len(rounds)):
        a = pool_round(params, full, *rounds[i])
        b = pool_round(params, prefix, *(rounds[i] if i < cut else other[i]))
        if i < cut:
            assert all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))
    assert cut == len(rounds) or full.to_bytes() != prefix.to_bytes()


@settings(max_examples=20, deadline=None)
@given(streams())
def test_a_window_closes_in_time(stream) -> None:
    """Whatever is missing, no window waits longer than it declared."""
    seed, symbols, horizon, _ = stream
    params = PoolParams(horizon=horizon)
    state = PoolState.fresh(N, symbols, params)
    for bars, votes, status in rounds_of(seed, symbols):
        pool_round(params, state, bars, votes, status)
        arrays = state.arrays
        assert arrays.window[3] < params.drop_after
        pending = np.count_nonzero(arrays.entry == WAITING)
        assert arrays.window[2] == pending
        assert np.all(arrays.entry_bars[arrays.entry == KNOWN] == horizon)
