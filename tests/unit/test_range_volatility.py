"""Volatility from ranges: plain numpy on real bars, and the published sample of arch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from recordings import bars

from data.daily_stocks import load_feed
from data.microstructure import garman_klass_variance, parkinson_variance
from data.range_volatility import rogers_satchell_variance, yang_zhang_variance

YEAR = math.sqrt(252.0)


def ours(o, h, low, c) -> dict[str, float]:
    """Annualised volatilities, each from the mean of its variances per bar."""
    rows = list(zip(o, h, low, c, strict=True))
    per_bar = {
        "parkinson": [parkinson_variance(high, lo) for _, high, lo, _ in rows],
        "garman_klass": [garman_klass_variance(*row) for row in rows],
        "rogers_satchell": [rogers_satchell_variance(*row) for row in rows],
    }
    found = {name: math.sqrt(np.mean(values)) * YEAR for name, values in per_bar.items()}
    return found | {"yang_zhang": math.sqrt(yang_zhang_variance(o, h, low, c)) * YEAR}


def plain(o, h, low, c) -> dict[str, float]:
    """The same from the papers, in numpy."""
    rs = np.log(h / c) * np.log(h / o) + np.log(low / c) * np.log(low / o)
    gk = 0.5 * np.log(h / low) ** 2 - (2 * np.log(2) - 1) * np.log(c / o) ** 2
    n = len(c) - 1
    k = 0.34 / (1.34 + (n + 1) / (n - 1))
    yz = (
        np.var(np.log(o[1:] / c[:-1]), ddof=1)
        + k * np.var(np.log(c[1:] / o[1:]), ddof=1)
        + (1 - k) * rs[1:].mean()
    )
    variances = {
        "parkinson": np.mean(np.log(h / low) ** 2) / (4 * np.log(2)),
        "garman_klass": gk.mean(),
        "rogers_satchell": rs.mean(),
        "yang_zhang": yz,
    }
    return {name: math.sqrt(value) * YEAR for name, value in variances.items()}


@pytest.mark.parametrize(
    ("file", "symbol"),
    [
        ("us_equity_bars/daily.parquet", "SPY"),
        ("us_equity_bars/hour.parquet", "SPY"),
        ("crypto_bars/coinbase_minute.parquet", "BTCUSD"),
    ],
)
def test_equals_plain_numpy_on_recorded_bars(file: str, symbol: str) -> None:
    data = bars(file, symbol, 3000)
    columns = [data[name] for name in ("open", "high", "low", "close")]
    assert len(columns[0]) > 2000
    assert ours(*columns) == pytest.approx(plain(*columns), rel=1e-9)


def test_equals_plain_numpy_on_the_sample_stocks() -> None:
    feed = load_feed(symbols=["AAPL"]).bars
    columns = [feed[name].astype(float) for name in ("open", "high", "low", "close")]
    assert ours(*columns) == pytest.approx(plain(*columns), rel=1e-9)


def test_published_figures_of_the_standard_and_poors_500() -> None:
    sample = pytest.importorskip("arch.data.sp500").load()
    columns = [sample[name].to_numpy() for name in ("Open", "High", "Low", "Close")]
    closes = np.diff(np.log(columns[3])).std(ddof=1) * YEAR
    assert ours(*columns) | {"close": closes} == pytest.approx(
        {
            "close": 0.1911035646,
            "parkinson": 0.1591334201,
            "garman_klass": 0.1484364317,
            "rogers_satchell": 0.1463597447,
            "yang_zhang": 0.1544924436,
        },
        abs=5e-11,
    )


def test_drift_alone_is_no_volatility_for_rogers_and_satchell() -> None:
    assert rogers_satchell_variance(100.0, 110.0, 100.0, 110.0) == 0.0
    assert rogers_satchell_variance(100.0, 103.0, 98.0, 101.0) > 0.0


def test_yang_zhang_sees_gaps_that_ranges_miss() -> None:
    rng = np.random.default_rng(3)
    close = np.exp(np.cumsum(rng.normal(0, 0.02, 5000)))
    flat = yang_zhang_variance(close, close, close, close)
    assert flat == pytest.approx(0.02**2, rel=0.05)


def test_too_few_bars_or_prices_of_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="three bars"):
        yang_zhang_variance(*np.ones((4, 2)))
    with pytest.raises(ValueError, match="positive"):
        yang_zhang_variance(*np.zeros((4, 9)))
