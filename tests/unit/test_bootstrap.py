"""The block bootstrap against arch, brute force, and the coverage that it promises."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tuning import bootstrap
from tuning.bootstrap import (
    FEWEST_RETURNS,
    MOST_RETURNS,
    benchmark_difference,
    block_length,
    compare,
    resampled_indices,
    sampled_rounds,
)

DAY = 86_400_000_000_000
MINUTE = 60_000_000_000


def autoregressive(rng: np.random.Generator, n: int, phi: float) -> np.ndarray:
    noise = rng.normal(size=n)
    for i in range(1, n):
        noise[i] += phi * noise[i - 1]
    return noise


@pytest.mark.parametrize("phi", [-0.5, 0.0, 0.3, 0.9, 0.99])
@pytest.mark.parametrize("n", [30, 101, 1000, 3213])
def test_block_length_equals_arch(phi: float, n: int) -> None:
    oracle = pytest.importorskip("arch.bootstrap").optimal_block_length
    for seed in range(5):
        series = autoregressive(np.random.default_rng(seed), n, phi)
        expected = max(1.0, oracle(series).iat[0, 0])
        assert block_length(series) == pytest.approx(expected, rel=1e-9)


def test_block_length_of_real_returns_equals_arch() -> None:
    oracle = pytest.importorskip("arch.bootstrap").optimal_block_length
    from data.daily_stocks import load_feed

    closes = load_feed(symbols=["MSFT"]).bars["close"].astype(float)
    returns = np.diff(np.log(closes))
    for series in (returns, np.abs(returns)):
        expected = max(1.0, oracle(series).iat[0, 0])
        assert block_length(series) == pytest.approx(expected, rel=1e-9)


def test_block_length_of_a_constant_is_one_and_of_too_little_refused() -> None:
    assert block_length(np.full(50, 0.25)) == 1.0
    with pytest.raises(ValueError, match="at least 8"):
        block_length(np.zeros(7))


def test_indices_are_blocks_of_the_declared_mean_length_that_wrap() -> None:
    n, block, resamples = 700, 12.0, 900
    rows = np.concatenate([*resampled_indices(np.random.default_rng(1), n, block, resamples)])
    assert rows.shape == (resamples, n)
    assert rows.min() == 0
    assert rows.max() == n - 1
    goes_on = rows[:, 1:] == (rows[:, :-1] + 1) % n
    assert (goes_on & (rows[:, 1:] == 0)).any()
    # A new block opens with probability 1/b and then follows its predecessor by chance 1/n.
    share = 1.0 - 1.0 / block + 1.0 / block / n
    deviation = math.sqrt(share * (1 - share) / goes_on.size)
    assert abs(goes_on.mean() - share) < 4.5 * deviation
    counts = np.bincount(rows.ravel(), minlength=n)
    assert counts.min() > 0.7 * resamples  # every place is drawn alike
    assert counts.max() < 1.3 * resamples


def test_blocks_of_one_are_the_independent_bootstrap() -> None:
    rows = next(resampled_indices(np.random.default_rng(2), 50, 1.0, 100))
    assert (rows[:, 1:] == (rows[:, :-1] + 1) % 50).mean() < 0.05


def test_chunks_change_nothing_but_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [len(part) for part in resampled_indices(np.random.default_rng(3), 3000, 9.0, 500)]
    assert sum(sizes) == 500
    assert max(sizes) * 3000 <= bootstrap._CHUNK
    monkeypatch.setattr(bootstrap, "_CHUNK", 1)
    ones = [len(part) for part in resampled_indices(np.random.default_rng(3), 3000, 9.0, 5)]
    assert ones == [1] * 5


def test_statistics_of_resamples_by_brute_force() -> None:
    rng = np.random.default_rng(4)
    ours, theirs = rng.normal(5e-4, 0.01, 200), rng.normal(2e-4, 0.012, 200)
    growth, sharpe, block = compare(ours, theirs, 252.0, np.random.default_rng(5), 300)
    rows = np.concatenate([*resampled_indices(np.random.default_rng(5), 200, block, 300)])
    grown, ratios = [], []
    for row in rows:
        grown.append(252 / 200 * (np.log1p(ours[row]).sum() - np.log1p(theirs[row]).sum()))
        ratio = [x[row].mean() / x[row].std(ddof=1) for x in (ours, theirs)]
        ratios.append((ratio[0] - ratio[1]) * math.sqrt(252))
    for found, values in ((growth, grown), (sharpe, ratios)):
        assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, (0.025, 0.975))))
        assert found.below_zero == np.mean(np.array(values) <= 0.0)
        assert found.low < found.value < found.high


def test_the_same_seed_gives_the_same_interval() -> None:
    rng = np.random.default_rng(6)
    ours, theirs = rng.normal(0, 0.01, (2, 400))
    first, second = (compare(ours, theirs, 252.0, np.random.default_rng(7)) for _ in range(2))
    assert first == second


def test_pairing_cancels_what_both_accounts_share() -> None:
    rng = np.random.default_rng(8)
    market = rng.normal(0, 0.02, 1000)
    ours, theirs = market + rng.normal(0, 0.001, 1000), market
    paired, _, _ = compare(ours, theirs, 252.0, np.random.default_rng(9), 500)
    apart, _, _ = compare(ours, rng.permutation(theirs), 252.0, np.random.default_rng(9), 500)
    assert (paired.high - paired.low) < 0.1 * (apart.high - apart.low)


def test_intervals_of_dependent_returns_cover_the_truth_about_as_often_as_they_say() -> None:
    """AR(1) with phi .3 and a true difference of 0: independent resampling would cover 85 %."""
    rng, inside = np.random.default_rng(10), 0
    for _ in range(300):
        ours = 0.001 * autoregressive(rng, 500, 0.3)
        growth, _, _ = compare(ours, np.zeros(500), 252.0, rng, 200)
        inside += growth.low <= 0.0 <= growth.high
    assert 0.89 * 300 <= inside <= 0.985 * 300


def test_a_return_without_variation_has_no_sharpe_difference() -> None:
    ours = np.random.default_rng(11).normal(0, 0.01, 100)
    growth, sharpe, _ = compare(ours, np.zeros(100), 252.0, np.random.default_rng(12), 50)
    assert math.isfinite(growth.low)
    assert math.isnan(sharpe.low)
    assert math.isnan(sharpe.below_zero)


def test_days_are_kept_of_intraday_rounds() -> None:
    ts = np.arange(45 * 1440, dtype=np.int64) * MINUTE + 20 * 365 * DAY
    kept, sampling = sampled_rounds(ts)
    assert sampling == "daily"
    assert kept[0] == 0
    assert (ts[kept[1:]] // MINUTE % 1440 == 1439).all()
    assert len(kept) == 46
    assert kept[-1] == len(ts) - 1


def test_daily_rounds_stay_and_one_long_day_is_thinned() -> None:
    kept, sampling = sampled_rounds(np.arange(100, dtype=np.int64) * DAY)
    assert sampling == "per round"
    np.testing.assert_array_equal(kept, np.arange(100))
    seconds = np.arange(80_000, dtype=np.int64) * 1_000_000_000
    kept, sampling = sampled_rounds(seconds)
    assert sampling == "16 rounds each"
    assert len(kept) - 1 <= MOST_RETURNS
    assert kept[-1] == len(seconds) - 1
    assert kept[0] == 0
    assert set(np.diff(kept[1:])) == {16}


def test_compressed_growth_is_the_growth_of_all_rounds() -> None:
    rng = np.random.default_rng(13)
    n = 40 * 1440
    ts = np.arange(n, dtype=np.int64) * MINUTE
    ours = (1e12 * np.exp(np.cumsum(rng.normal(0, 1e-4, n)))).astype(np.int64)
    theirs = (1e12 * np.exp(np.cumsum(rng.normal(0, 1e-4, n)))).astype(np.int64)
    found = benchmark_difference(ts, ours, theirs, 525_600.0, rng)
    whole = math.log(ours[-1] / ours[0]) - math.log(theirs[-1] / theirs[0])
    assert found.growth.value == pytest.approx(whole * 525_600 / (n - 1), rel=1e-9)
    assert (found.sampling, found.returns) == ("daily", 40)


@pytest.mark.parametrize("count", [1, FEWEST_RETURNS])
def test_too_little_or_a_ruined_account_is_undefined(count: int) -> None:
    ts = np.arange(count, dtype=np.int64) * DAY
    money = np.full(count, 10**12)
    found = benchmark_difference(ts, money, money, 252.0, np.random.default_rng(0))
    assert math.isnan(found.growth.low)
    ts = np.arange(90, dtype=np.int64) * DAY
    money = np.full(90, 10**12)
    ruined = money.copy()
    ruined[40] = 0
    found = benchmark_difference(ts, ruined, money, 252.0, np.random.default_rng(0))
    assert math.isnan(found.growth.value)
