"""Rounds of the pool against hand computation and an independent plain-Python model."""

import math
import timeit

import numpy as np
import pytest

from actors.contract import Status
from actors.outcome import VOLATILITY_WARM_UP, outcome
from actors.pool import PoolParams, PoolState, pool_round
from actors.pool_rule import aa_pool, brier, weight_step
from data.bars import empty_bars

VOTED, ABSTAINED, LATE, FAILED = (int(s) for s in Status)
N = 6
RNG = np.random.default_rng(11)


def bars_of(ts, symbols, closes):
    bars = empty_bars(len(symbols))
    bars["ts"], bars["symbol"], bars["close"] = ts, symbols, closes
    return bars


def votes_of(count, *rows):
    return np.tile(np.array(rows, float), (count, 1, 1))


def step(params, state, ts, symbols, closes, votes, status=None):
    count, n = len(symbols), state.n_voters
    codes = np.zeros((count, n), np.int64) if status is None else np.tile(status, (count, 1))
    return pool_round(params, state, bars_of(ts, symbols, closes), votes, codes)


def warm(params, state, symbols, bars=VOLATILITY_WARM_UP + 1, start=1):
    """Alternating closes and no votes until volatility is known. Returns the next ts."""
    asleep = np.full(state.n_voters, ABSTAINED)
    nothing = np.zeros((len(symbols), state.n_voters, 3))
    for i in range(bars):
        closes = [10_000 + 100 * (i % 2)] * len(symbols)
        step(params, state, start + i, symbols, closes, nothing, asleep)
    return start + bars


UP, DOWN, EVEN = [0.1, 0.2, 0.7], [0.7, 0.2, 0.1], [1 / 3, 1 / 3, 1 / 3]


def test_prior_gives_half_to_equal_weights() -> None:
    weights = PoolState.fresh(6, 5).arrays.weights
    assert weights == pytest.approx([1 / 12] * 6 + [0.5], abs=1e-15)


def test_no_window_before_volatility_is_known() -> None:
    params, state = PoolParams(horizon=1), PoolState.fresh(2, 1)
    votes = votes_of(1, UP, DOWN)
    for i in range(VOLATILITY_WARM_UP):
        result = step(params, state, i + 1, [0], [10_000 + 100 * (i % 2)], votes)
        assert result.sigma[0] == 0.0
        assert result.window_ts is None
        assert result.p[0].sum() == pytest.approx(1.0)
    result = step(params, state, 100, [0], [10_000], votes)
    assert result.sigma[0] == pytest.approx(math.log(1.01), abs=1e-12)
    assert result.window_ts == 100


def test_a_window_takes_one_step_by_the_mean_of_its_symbols() -> None:
    """Two symbols, one up and one down after two bars: computed by hand from the rule."""
    params = PoolParams(horizon=2, mixing=0.001)
    state = PoolState.fresh(2, 2, params)
    ts = warm(params, state, [0, 1])
    votes = votes_of(2, UP, EVEN)
    opened = step(params, state, ts, [0, 1], [10_000, 10_000], votes)
    assert opened.window_ts == ts
    pooled = opened.p[0].copy()
    middle = step(params, state, ts + 1, [0, 1], [9_000, 9_000], votes)
    assert middle.stepped == 0
    assert middle.window_ts == ts
    result = step(params, state, ts + 2, [0, 1], [12_000, 8_000], votes)
    assert result.stepped == 1
    assert result.window_ts == ts + 2
    prior = np.array([0.25, 0.25, 0.5])
    mean = np.array([(a + b) / 2 for a, b in zip(UP, EVEN, strict=True)])
    losses = [(brier(np.array(p), 2) + brier(np.array(p), 0)) / 2 for p in (UP, EVEN, mean)]
    expected = prior * np.exp(-np.array(losses))
    expected = 0.999 * expected / expected.sum() + 0.001 * prior
    assert result.weights == pytest.approx(expected, abs=1e-14)
    assert state.arrays.outcomes.tolist() == [1, 0, 1]
    # The decisions of this very round already use the stepped weights.
    again = np.empty(3)
    aa_pool(result.weights, np.array([UP, EVEN, mean]), np.ones(3, np.bool_), again)
    assert result.p[0].tolist() == again.tolist()
    assert result.p[0].tolist() != pooled.tolist()


def test_only_the_windows_own_decisions_are_scored() -> None:
    """Votes cast while a window is open change nothing of its step."""
    params = PoolParams(horizon=3)
    a, b = PoolState.fresh(2, 1, params), PoolState.fresh(2, 1, params)
    ts = warm(params, a, [0])
    warm(params, b, [0])
    closes = [10_000, 10_100, 10_200, 11_000]
    for i, close in enumerate(closes):
        first = step(params, a, ts + i, [0], [close], votes_of(1, UP, DOWN))
        other = votes_of(1, UP, DOWN) if i == 0 else votes_of(1, DOWN, UP)
        second = step(params, b, ts + i, [0], [close], other)
    assert first.stepped == second.stepped == 1
    assert first.weights.tolist() == second.weights.tolist()


def test_a_sleeper_takes_the_pools_loss_and_a_missing_symbol_is_dropped() -> None:
    params = PoolParams(horizon=1, drop_after=3, mixing=0.0)
    state = PoolState.fresh(3, 2, params)
    ts = warm(params, state, [0, 1])
    status = np.array([VOTED, VOTED, FAILED])
    opened = step(params, state, ts, [0, 1], [10_000] * 2, votes_of(2, UP, DOWN, EVEN), status)
    pooled = opened.p[0].copy()
    votes = votes_of(1, UP, DOWN, EVEN)
    for i in (1, 2):
        waiting = step(params, state, ts + i, [0], [11_000], votes, status)
        assert waiting.stepped == 0
    closed = step(params, state, ts + 3, [0], [11_000], votes, status)
    assert closed.stepped == 1
    mean = (np.array(UP) + np.array(DOWN)) / 2
    losses = np.array([*(brier(np.array(p), 2) for p in (UP, DOWN)), brier(pooled, 2)])
    losses = np.append(losses, brier(mean, 2))
    expected = params.prior(3)
    weight_step(expected, losses, expected.copy(), 0.0)
    assert closed.weights == pytest.approx(expected, abs=1e-15)
    assert state.arrays.outcomes.tolist() == [0, 0, 1]


def test_a_window_without_any_outcome_closes_without_a_step() -> None:
    params = PoolParams(horizon=1, drop_after=2)
    state = PoolState.fresh(1, 2, params)
    ts = warm(params, state, [0])
    step(params, state, ts, [0], [10_000], votes_of(1, UP))
    for i in (1, 2):
        result = step(params, state, ts + i, [1], [10_000], votes_of(1, UP))
    assert result.stepped == 0
    assert result.window_ts is None
    assert result.weights.tolist() == params.prior(1).tolist()


def test_a_window_takes_the_first_ts_of_its_round_and_no_other() -> None:
    params = PoolParams(horizon=1)
    state = PoolState.fresh(1, 3, params)
    ts = warm(params, state, [0, 1, 2])
    step(params, state, [ts, ts, ts + 1], [0, 1, 2], [10_000] * 3, votes_of(3, UP))
    assert state.arrays.entry.tolist() == [1, 1, 0]
    state = PoolState.fresh(1, 3, params)
    ts = warm(params, state, [0, 1, 2])
    step(params, state, ts, [0], [10_000], votes_of(1, UP))
    step(params, state, ts, [1], [10_000], votes_of(1, UP))
    assert state.arrays.entry.tolist() == [1, 0, 0]  # same ts, but another round


def test_a_late_vote_fades_to_the_base_rates_then_sleeps() -> None:
    params = PoolParams(horizon=50, half_life=2.0, time_to_live=3)
    state = PoolState.fresh(1, 1, params)
    state.arrays.outcomes[:] = [4, 1, 2]
    base = np.array([5, 2, 3]) / 10
    step(params, state, 1, [0], [10_000], votes_of(1, UP))
    for age in (1, 2, 3):
        late = step(params, state, 1 + age, [0], [10_000], votes_of(1, EVEN), [LATE])
        assert late.agents_awake[0] == 1
        assert late.p[0] == pytest.approx(base + 2 ** (-age / 2) * (np.array(UP) - base))
    gone = step(params, state, 5, [0], [10_000], votes_of(1, EVEN), [LATE])
    assert gone.agents_awake[0] == 0
    assert gone.p[0].tolist() == [0.0, 0.0, 0.0]


def test_an_abstention_withdraws_the_last_vote_and_a_failure_does_not() -> None:
    params = PoolParams()
    for between, awake in ((ABSTAINED, 0), (FAILED, 1)):
        state = PoolState.fresh(1, 1, params)
        step(params, state, 1, [0], [10_000], votes_of(1, UP))
        assert step(params, state, 2, [0], [10_000], votes_of(1, UP), [between]).agents_awake == 0
        assert step(params, state, 3, [0], [10_000], votes_of(1, UP), [LATE]).agents_awake == awake


def test_awake_weight_is_the_share_among_agents() -> None:
    params, state = PoolParams(), PoolState.fresh(3, 1)
    state.arrays.weights[:] = [0.1, 0.2, 0.1, 0.6]
    result = step(params, state, 1, [0], [9_999], votes_of(1, UP, UP, UP), [VOTED, FAILED, VOTED])
    assert result.awake_weight[0] == pytest.approx(0.5)
    assert result.agents_awake[0] == 2
    # Opinions that agree are no dissent.
    assert result.dissent[0] == pytest.approx(0.0, abs=1e-12)


def test_a_voter_that_is_always_right_is_soon_followed() -> None:
    params = PoolParams(horizon=1, mixing=0.0)
    state = PoolState.fresh(6, 1, params)
    ts = warm(params, state, [0])
    right, wrong = [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]
    votes, close, regret = votes_of(1, right, *[wrong] * 5), 10_000, 0.0
    for i in range(40):
        result = step(params, state, ts + i, [0], [close], votes)
        regret += brier(result.p[0], 2)
        close = int(close * 1.05)
    assert 1.0 < regret <= math.log(12)
    assert result.weights[0] > 0.999


def model_rounds(rounds, horizon, mixing, n):
    """The rule once more in plain Python, one bar a symbol and ts, everybody voting."""
    weights = np.array([0.5 / n] * n + [0.5])
    prior, closes, window, found = weights.copy(), {}, None, []
    for bars, votes, _ in rounds:
        for bar in bars:
            closes.setdefault(int(bar["symbol"]), []).append(int(bar["close"]))
        if window and all(len(closes[s]) > at + horizon for s, (at, *_) in window.items()):
            losses = np.zeros(n + 1)
            for s, (at, sigma, experts) in window.items():
                result = outcome(closes[s][at], closes[s][at + horizon], sigma, horizon)
                losses += [((e - np.eye(3)[result]) ** 2).sum() for e in experts]
            weights = weights * np.exp(-losses / len(window))
            weights = (1 - mixing) * weights / weights.sum() + mixing * prior
            window = None
        if window is None:
            entries = {}
            for bar, vote in zip(bars, votes, strict=True):
                series = closes[int(bar["symbol"])]
                returns = np.diff(np.log(series))
                if len(returns) >= VOLATILITY_WARM_UP:
                    decay = 0.5 ** (np.arange(len(returns))[::-1] / 20)
                    sigma = math.sqrt((decay * returns**2).sum() / decay.sum())
                    experts = np.vstack([vote, vote.mean(0)])
                    entries[int(bar["symbol"])] = (len(series) - 1, sigma, experts)
            window = entries or None
        found.append(weights.copy())
    return found


def test_equals_an_independent_model_over_a_long_stream() -> None:
    rng = np.random.default_rng(5)
    close, rounds = np.full(4, 50_000.0), []
    for t in range(300):
        close = close * np.exp(rng.normal(0, 0.02, 4))
        bars = bars_of(t + 1, np.arange(4), np.rint(close).astype(int))
        rounds.append((bars, rng.dirichlet([2, 2, 2], (4, N)), np.zeros((4, N), np.int64)))
    params = PoolParams(horizon=5)
    state = PoolState.fresh(N, 4, params)
    expected = model_rounds(rounds, 5, 0.001, N)
    for (bars, votes, status), weights in zip(rounds, expected, strict=True):
        assert pool_round(params, state, bars, votes, status).weights == pytest.approx(
            weights, abs=1e-10
        )
    assert state.arrays.window[5] >= 50


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b, v, s: (b[:1], v, s), "need votes"),
        (lambda b, v, s: (b[::-1], v, s), "order"),
        (lambda b, v, s: (b[[0, 0]], v, s), "two bars"),
        (lambda b, v, s: (b, v * 0.9, s), "distribution"),
        (lambda b, v, s: (b, v * np.nan, s), "distribution"),
        (lambda b, v, s: (b, v, s + 9), "status"),
        (lambda b, v, s: (bars_of(1, [0, 1], [0, 5]), v, s), "positive close"),
    ],
)
def test_bad_rounds_are_refused_and_change_nothing(change, words) -> None:
    state = PoolState.fresh(2, 2)
    before = state.to_bytes()
    good = bars_of(1, [0, 1], [5, 5]), votes_of(2, UP, DOWN), np.zeros((2, 2), np.int64)
    with pytest.raises(ValueError, match=words):
        pool_round(PoolParams(), state, *change(*good))
    assert state.to_bytes() == before
    pool_round(PoolParams(), state, *good)


def test_an_empty_round_is_possible() -> None:
    result = pool_round(
        PoolParams(), PoolState.fresh(2, 1), empty_bars(0), np.zeros((0, 2, 3)), np.zeros((0, 2))
    )
    assert result.p.shape == (0, 3)
    assert result.weights.sum() == pytest.approx(1.0)


def test_bytes_are_exact_and_foreign_bytes_are_refused() -> None:
    state = PoolState.fresh(3, 2)
    warm(PoolParams(), state, [0, 1])
    data = state.to_bytes()
    assert PoolState.from_bytes(data).to_bytes() == data
    for bad in (b"", data[:-1], data + b"\0", b"X" + data[1:], data[:8] + b"\xff" * 8 + data[16:]):
        with pytest.raises(ValueError, match="pool state"):
            PoolState.from_bytes(bad)


def test_summary_shows_weights_and_window() -> None:
    params = PoolParams(horizon=2)
    state = PoolState.fresh(1, 1, params)
    assert state.summary()["window"] is None
    ts = warm(params, state, [0])
    step(params, state, ts, [0], [10_000], votes_of(1, UP))
    window = state.summary()["window"]
    assert window["ts"] == ts
    assert window["entries"][0]["state"] == "waiting"
    assert window["entries"][0]["p"] == [UP]


@pytest.mark.parametrize(
    "wrong",
    [
        {"horizon": 0},
        {"mixing": 1.0},
        {"half_life": 0.0},
        {"drop_after": 2},
        {"equal_weight_prior": 1.0},
        {"shadow_steps": 0},
        {"time_to_live": -1},
    ],
)
def test_wrong_parameters_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match="pool"):
        PoolParams(**wrong)


def test_a_round_of_five_bars_is_fast() -> None:
    state, params = PoolState.fresh(6, 5), PoolParams()
    bars = bars_of(1, np.arange(5), [10_000] * 5)
    votes, status = RNG.dirichlet([2, 2, 2], (5, 6)), np.zeros((5, 6), np.int64)
    pool_round(params, state, bars, votes, status)
    # The best of many short runs, so that a busy machine does not fail it.
    best = min(
        timeit.repeat(lambda: pool_round(params, state, bars, votes, status), number=20, repeat=50)
    )
    assert best / 20 < 200e-6
