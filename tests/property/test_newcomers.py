"""Newcomers of the pool: whoever enters or leaves, whenever."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from session_support import NAMES, live, made_rounds, small_config

from actors.contract import Status
from actors.pool import PoolParams, PoolState, pool_round
from actors.pool_newcomer import newcomer, pool_with_newcomers
from actors.pool_state import KNOWN, PENDING, WAITING
from actors.registry import AGENTS
from data.records import RoundOutput, encode
from serve_apps.session_state import SessionState

COUNT = 90
changes = st.dictionaries(
    st.integers(2, COUNT), st.lists(st.integers(0, 5), min_size=1, max_size=6), max_size=6
)
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=30, deadline=None)
@given(seeds, changes, st.integers(1, 4))
def test_weights_stay_a_distribution_whoever_is_in_the_shadow(
    seed: int, changed: dict[int, list[int]], steps: int
) -> None:
    state = SessionState(small_config(shadow_steps=steps), AGENTS)
    for asked in made_rounds(seed, COUNT, changed):
        (output,) = live(state, [asked])
        arrays, inside = state.pool.arrays, state.pool.shadow.left > 0
        for weights in (arrays.weights, arrays.prior, output and output.weights):
            if weights is not None:
                assert np.sum(weights) == pytest.approx(1.0, abs=1e-12)
                assert np.all(np.isfinite(weights))
                assert np.min(weights) >= 0.0
        assert np.all(arrays.weights[:-1][inside] == 0.0)
        assert np.all(arrays.prior[:-1][inside] == 0.0)
        assert np.all(arrays.weights[:-1][~inside] > 0.0)
        assert not inside.all()
        assert arrays.prior[-1] == 0.5
        assert arrays.window[PENDING] == np.count_nonzero(arrays.entry == WAITING)
        entered = arrays.entry != 0
        assert np.all(arrays.entry_awake[entered].any(axis=1))
        assert not arrays.entry_awake[:, inside].any()


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, COUNT), st.lists(st.integers(0, 5), min_size=1, max_size=9))
def test_nobody_but_voters_pays_for_an_exit(seed: int, cut: int, who: list[int]) -> None:
    """The equal-weight expert keeps its weight, the others their proportions."""
    params = PoolParams(horizon=2)
    state = SessionState(small_config(), AGENTS)
    live(state, made_rounds(seed, cut))
    for voter in who:
        before = state.pool.arrays.weights.copy()
        inside = state.pool.shadow.left > 0
        newcomer(params, state.pool, voter)
        after = state.pool.arrays.weights
        assert after[-1] == before[-1]
        now = state.pool.shadow.left > 0
        assert now[voter] or not now.any()
        if now.any():
            heard = np.flatnonzero(~now)
            assert np.all((inside | (np.arange(6) == voter)) == now)
            ratio = after[heard] / before[heard]
            assert ratio == pytest.approx(np.full(len(heard), ratio[0]), rel=1e-12)


def weights_of(outputs: list[RoundOutput | None]) -> np.ndarray:
    return np.array([output.weights for output in outputs if output is not None])


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(1, 5), st.integers(0, 5))
def test_nobody_but_voters_pays_for_an_entry(seed: int, steps: int, voter: int) -> None:
    """At the step that ends the shadow: EW's weight is what the step made it, one voter comes in
    with its prior or less, and the others keep their proportions.
    """
    params = PoolParams(horizon=1, shadow_steps=steps)
    pool, twin = PoolState.fresh(6, 3, params), PoolState.fresh(6, 3, params)
    entries = 0
    for number, asked in enumerate(made_rounds(seed, 60, mixed=False), 1):
        bars = asked.given.rows()
        votes = np.stack([np.asarray(asked.outs[name])[:, :3] for name in NAMES], axis=1)
        status = np.zeros(votes.shape[:2], np.int64)
        if number == 30:
            newcomer(params, pool, voter)
        twin = pool.copy()
        inside = np.flatnonzero(pool.shadow.left)
        pooled = pool_with_newcomers(params, pool, bars, votes, status)
        asleep = status.copy()
        asleep[:, inside] = Status.FAILED
        plain = pool_round(params, twin, bars, votes, asleep)
        assert pooled.p.tobytes() == plain.p.tobytes()
        if len(inside) and not pool.shadow.left.any():
            entries += 1
            weights, without = pool.arrays.weights, twin.arrays.weights
            assert weights[-1] == without[-1]
            share = without[:-1].sum()
            assert weights[voter] == pytest.approx(min(1 / 12, share / 6))
            others = np.arange(6) != voter
            ratio = weights[:-1][others] / without[:-1][others]
            assert ratio == pytest.approx(np.full(5, ratio[0]), rel=1e-12)
            assert pool.arrays.prior.tobytes() == params.prior(6).tobytes()
    assert entries == 1


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(25, 40), st.integers(0, 5))
def test_a_voter_in_the_shadow_has_no_influence(seed: int, first: int, voter: int) -> None:
    """Two newcomers that say quite different things leave the same round behind."""
    config = small_config(shadow_steps=100)
    one = made_rounds(seed, 70, {first: [voter]})
    loud = [asked._replace(outs=dict(asked.outs)) for asked in one]
    for asked in loud[first - 1 :]:
        out = np.zeros((len(asked.given.rows()), AGENTS[voter].out_width))
        out[:, 2] = 1.0
        asked.outs[NAMES[voter]] = out  # type: ignore[index]
    calm = live(SessionState(config, AGENTS), one)
    other = live(SessionState(config, AGENTS), loud)
    heard = 0
    for mine, theirs in zip(calm, other, strict=True):
        if mine is None or theirs is None:
            assert mine is theirs
            continue
        assert mine.weights == theirs.weights
        a, b = mine.arrays(), theirs.arrays()
        for name in ("p", "dissent", "agents_awake", "awake_weight", "sigma"):
            assert a.table[name].tobytes() == b.table[name].tobytes()
        if mine.round >= first:
            # Its own status stands in the record, but it is not counted.
            assert (b.status[:, voter] == Status.VOTED).all()
            assert (b.table["agents_awake"] <= 5).all()
            heard += int((a.votes != b.votes).any())
    assert heard > 10


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_without_newcomers_nothing_is_other_than_in_the_plain_pool(seed: int) -> None:
    rounds = made_rounds(seed, 50)
    silent = [
        asked._replace(given=msgspec.structs.replace(asked.given, versions={})) for asked in rounds
    ]
    state = SessionState(small_config(), AGENTS)
    outputs = live(state, rounds)
    again = live(SessionState(small_config(), AGENTS), silent)
    assert [o and encode(o) for o in outputs] == [o and encode(o) for o in again]
    assert all("shadow" not in output.window for output in outputs if output is not None)
    params, pool = state.params, PoolState.fresh(6, 3, state.params)
    for asked, output in zip(rounds, outputs, strict=True):
        bars = asked.given.rows()
        if output is None:
            status = np.full((len(bars), 6), Status.FAILED, np.int64)
            pool_round(params, pool, bars, np.zeros((len(bars), 6, 3)), status)
        else:
            arrays = output.arrays()
            plain = pool_round(params, pool, bars, arrays.votes, arrays.status.astype(np.int64))
            assert output.weights == plain.weights.tolist()
            assert arrays.table["p"].tobytes() == plain.p.tobytes()
    assert pool.to_bytes() == state.pool.to_bytes()
    assert (state.pool.arrays.entry != KNOWN).any()
