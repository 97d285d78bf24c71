"""VPIN: hand vectors, an independent equal-volume cut, its trailing distribution, bounded cost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from actors import vpin_hft as agent
from actors.agent import Agent
from actors.contract import OUT_FIXED, REASON, STATUS, Reason, Status
from data.bars import empty_bars
from data.daily_stocks import load_feed


def _votes(bars, params=None):
    one = Agent(agent.SPEC)
    if params is not None:
        one.set_model(params)
    return one.apply(bars)


def _pour(pairs, size):
    """State after bars of (volume, net) have been filled into buckets of one size."""
    state = np.zeros(agent.STATE_WIDTH)
    for volume, net in pairs:
        agent.fill_buckets(state, float(volume), float(net), float(size))
    return state


def test_hand_vector_of_two_buckets():
    # (70 bought, 30 sold), (20, 80): (40 + 60) / 200.
    state = _pour([(100, 40), (100, -60)] * 25, 100)
    assert agent.bucket_vpin(state) == 0.5


def _cut(pairs, size):
    """Net buying per full bucket: the cumulative net flow, read at equal steps of volume."""
    volumes, nets = np.array(pairs, float).T
    clock = np.concatenate([[0.0], np.cumsum(volumes)])
    flow = np.concatenate([[0.0], np.cumsum(nets)])
    edges = np.arange(int(clock[-1] // size) + 1) * float(size)
    return np.diff(np.interp(edges, clock, flow))


@given(
    st.lists(
        st.tuples(st.integers(1, 900), st.floats(-1.0, 1.0)).map(lambda v: (v[0], v[0] * v[1])),
        min_size=60,
        max_size=150,
    ),
    st.sampled_from([10, 37, 100]),
)
@settings(max_examples=60, deadline=None)
def test_buckets_equal_an_independent_cut(pairs, size):
    state = _pour(pairs, size)
    nets = _cut(pairs, size)
    if len(nets) < agent.BUCKETS:
        assert state[7] == len(nets)
        return
    expected = np.abs(nets[-agent.BUCKETS :]).sum() / (agent.BUCKETS * size)
    assert agent.bucket_vpin(state) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_huge_bar_is_exact_and_bounded():
    quiet = [(30, 6)] * 200
    huge = (10_000_037, -2_000_000)
    state = _pour([*quiet, huge], 100)
    before = _pour(quiet, 100)
    assert state[7] - before[7] <= agent.BUCKETS + 1, "the cost of one bar is capped"
    assert agent.bucket_vpin(state) == pytest.approx(2_000_000 / 10_000_037, rel=1e-9)
    # The remainder goes on as if every bucket had been filled one by one.
    total = 200 * 30 + huge[0]
    assert state[5] == pytest.approx(total % 100, abs=1e-6)


@pytest.fixture(scope="module")
def aapl():
    return load_feed(symbols=("AAPL",)).bars[:900]


def _plain_vpin(bars):
    """VPIN after each bar by the definition, buckets in a plain list, and where one completed."""
    moves, volumes = np.log(bars["close"] / bars["open"]), bars["volume"].astype(float)
    buckets, series, fresh = [], [], []
    room, size, net = 0.0, 0.0, 0.0
    for t in range(len(bars)):
        done = False
        if t >= 20:
            weights = 0.5 ** (np.arange(t)[::-1] / 20.0)
            sigma = np.sqrt(np.average(moves[:t] ** 2, weights=weights))
            opening = np.average(volumes[:t], weights=weights)
            share = 2 * stats.norm.cdf(moves[t] / sigma) - 1
            left = volumes[t]
            if not size:
                room = size = opening
            while left >= room:
                buckets.append((net + share * room, size))
                left, done, net = left - room, True, 0.0
                room = size = opening
            room, net = room - left, net + share * left
        window = np.array(buckets[-50:])
        full = len(window) == 50
        series.append(np.abs(window[:, 0]).sum() / window[:, 1].sum() if full else np.nan)
        fresh.append(done and full)
    return np.array(series), np.array(fresh)


def test_vpin_and_toxicity_on_real_bars_equal_the_definition(aapl):
    votes = _votes(aapl)
    series, fresh = _plain_vpin(aapl)
    usable = votes[:, REASON] == Reason.NO_MODEL
    assert usable.sum() > 700
    assert votes[usable, agent.VPIN_COLUMN] == pytest.approx(series[usable], rel=1e-9)
    values = series[fresh]
    for t in np.flatnonzero(usable)[::25]:
        known = values[: np.count_nonzero(fresh[: t + 1])]
        expected = stats.percentileofscore(known[:-1][-250:], known[-1], "mean") / 100
        assert votes[t, agent.TOXICITY_COLUMN] == pytest.approx(expected, abs=0.0041)


def test_the_gate_finds_toxicity_where_it_is_declared():
    assert agent.SPEC.evidence[agent.TOXICITY] == "toxicity"
    assert agent.TOXICITY_COLUMN == OUT_FIXED + agent.TOXICITY


def test_one_sided_flow_after_calm_is_toxic(aapl):
    bars = aapl[:500].copy()
    bars["buy_volume"] = bars["volume"] // 2
    calm = _votes(bars)[-1]
    assert calm[agent.VPIN_COLUMN] < 1e-6
    bars["buy_volume"][460:] = bars["volume"][460:]
    toxic = _votes(bars)[-1]
    assert toxic[agent.TOXICITY_COLUMN] > 0.99
    assert toxic[OUT_FIXED + agent.FEATURES.index("flow_5")] == pytest.approx(np.sqrt(15.0))


def test_a_freak_volume_does_not_freeze_the_buckets(aapl):
    bars = aapl[:400].copy()
    bars["volume"][300] *= 1_000_000
    values = _votes(bars)[301:, agent.VPIN_COLUMN]
    # The freak fills every bucket alike; all of them are replaced within the next bars.
    assert len(np.unique(values[-30:])) > 15
    assert values[-1] == pytest.approx(_votes(aapl[:400])[-1, agent.VPIN_COLUMN], abs=0.05)


def test_the_settings_alone_are_no_model(aapl):
    votes = _votes(aapl[:300], np.array([1.0, agent.DAILY_DECAY]))
    assert votes.tobytes() == _votes(aapl[:300]).tobytes()
    finer = _votes(aapl[:300], np.array([0.5, agent.DAILY_DECAY]))
    assert finer[-1, agent.VPIN_COLUMN] != votes[-1, agent.VPIN_COLUMN]


def test_bars_without_volume_abstain():
    bars = empty_bars(300)
    for field in ("open", "high", "low", "close"):
        bars[field] = 1000
    last = _votes(bars)[-1]
    assert (last[STATUS], last[REASON]) == (Status.ABSTAINED, Reason.DEGENERATE)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 7.8, 0.01]))
@settings(max_examples=25, deadline=None)
def test_evidence_is_finite_and_in_range(seed, bucket):
    rng = np.random.default_rng(seed)
    bars = empty_bars(250)
    bars["open"] = rng.integers(1, 1000, 250)
    bars["close"] = rng.integers(1, 1000, 250)
    bars["volume"] = rng.choice([0, 1, 10, 10**6, 10**15], 250)
    votes = _votes(bars, np.concatenate([[bucket, 0.96], np.zeros(12)]))
    assert np.isfinite(votes).all()
    for column in (agent.VPIN_COLUMN, agent.TOXICITY_COLUMN):
        assert votes[:, column].min() >= 0.0
        assert votes[:, column].max() <= 1.0
