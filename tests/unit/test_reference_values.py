"""Statistics, VPIN and Amihud's ratio on real prices, against other people's code and numpy."""

from __future__ import annotations

import empyrical
import numpy as np
import pytest
from recordings import bars
from scipy import stats

from actors import vpin_hft as vpin
from data import microstructure as m
from data.daily_stocks import load_feed
from data.order_flow import amihud_illiquidity
from tuning import statistics as ours

CASES = [
    ("sample", "AAPL"),
    ("sample", "GOOG"),
    ("us_equity_bars/daily.parquet", "SPY"),
    ("us_equity_bars/daily.parquet", "AIG"),  # splits and a fall of 60 % in a day, unadjusted
    ("crypto_bars/coinbase_minute.parquet", "ETHUSD"),
]


def columns(source: str, symbol: str) -> dict[str, np.ndarray]:
    if source != "sample":
        return bars(source, symbol, 4000)
    feed = load_feed(symbols=[symbol]).bars
    return {name: feed[name].astype(float) for name in ("open", "high", "low", "close", "volume")}


@pytest.mark.parametrize(("source", "symbol"), CASES)
def test_performance_statistics_equal_empyrical_on_real_prices(source: str, symbol: str) -> None:
    closes = columns(source, symbol)["close"]
    returns = ours.returns_of(closes)
    assert len(returns) > 1500
    for found, expected in (
        (ours.annualised_sharpe(returns), empyrical.sharpe_ratio(returns)),
        (ours.sortino(returns), empyrical.sortino_ratio(returns)),
        (ours.calmar(returns), empyrical.calmar_ratio(returns)),
        (ours.max_drawdown(returns), empyrical.max_drawdown(returns)),
        (ours.volatility(returns), empyrical.annual_volatility(returns)),
        (ours.cagr(returns), empyrical.cagr(returns)),
    ):
        assert found == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize(("source", "symbol"), CASES)
def test_range_variances_of_single_bars_on_real_prices(source: str, symbol: str) -> None:
    data = columns(source, symbol)
    o, h, low, c = (data[name] for name in ("open", "high", "low", "close"))
    parkinson = np.log(h / low) ** 2 / (4 * np.log(2))
    garman_klass = 0.5 * np.log(h / low) ** 2 - (2 * np.log(2) - 1) * np.log(c / o) ** 2
    found = [m.parkinson_variance(*row) for row in zip(h, low, strict=True)]
    np.testing.assert_allclose(found, parkinson, rtol=1e-12, atol=1e-18)
    found = [m.garman_klass_variance(*row) for row in zip(o, h, low, c, strict=True)]
    np.testing.assert_allclose(found, garman_klass, rtol=1e-9, atol=1e-18)


@pytest.mark.parametrize(("source", "symbol"), CASES[:3])
def test_amihud_on_real_bars_is_the_mean_of_the_streaming_ratio(source: str, symbol: str) -> None:
    data = columns(source, symbol)
    moves = np.diff(np.log(data["close"]))
    closes, volumes = data["close"][1:], data["volume"][1:]
    traded = volumes > 0
    expected = np.mean(np.abs(moves[traded]) / (closes[traded] * volumes[traded]))
    assert amihud_illiquidity(moves, closes * volumes) == pytest.approx(expected, rel=1e-12)
    rows = zip(moves[traded], closes[traded], volumes[traded], strict=True)
    ratios = [m.amihud_ratio(*row) for row in rows]
    assert np.mean(ratios) == pytest.approx(expected, rel=1e-12)


def test_vpin_of_real_minutes_is_the_plain_sum_over_equal_buckets() -> None:
    """Bulk classification, pro-rata buckets of a two-hundredth of the day, by numpy alone."""
    data = bars("crypto_bars/coinbase_minute.parquet", "BTCUSD", 1440)
    moves, volumes = np.log(data["close"] / data["open"]), data["volume"]
    weights = 0.98 ** np.arange(len(moves))
    state = np.zeros(vpin.STATE_WIDTH)
    nets, size = [], volumes.sum() / 200
    for t in range(30, len(moves)):
        sigma = np.sqrt(np.average(moves[:t] ** 2, weights=weights[:t][::-1]))
        if not volumes[t] > 0:
            nets.append(0.0)
            continue
        share = 2.0 * stats.norm.cdf(moves[t] / sigma) - 1.0
        nets.append(volumes[t] * share)
        net = 2.0 * m.bulk_buy_volume(volumes[t], moves[t], sigma) - volumes[t]
        assert net == pytest.approx(nets[-1], rel=1e-9, abs=1e-9 * volumes[t])
        vpin.fill_buckets(state, volumes[t], net, size)
    clock = np.concatenate([[0.0], np.cumsum(volumes[30:])])
    flow = np.concatenate([[0.0], np.cumsum(nets)])
    edges = np.arange(int(clock[-1] // size) + 1) * size
    buckets = np.diff(np.interp(edges, clock, flow))
    assert len(buckets) > 100
    expected = np.abs(buckets[-vpin.BUCKETS :]).sum() / (vpin.BUCKETS * size)
    assert 0.05 < expected < 0.95
    assert vpin.bucket_vpin(state) == pytest.approx(expected, rel=1e-9)
