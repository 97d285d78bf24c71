"""Streaming microstructure statistics against plain numpy, scipy, TA-Lib and hand vectors."""

import math
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
import talib
from scipy import stats

from data import microstructure as m
from data.daily_stocks import load_feed
from data.features import wilder_step

RNG = np.random.default_rng(11)
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def test_bulk_classification_hand_vector():
    assert m.bulk_buy_volume(100.0, 2.5, 2.5) == pytest.approx(84.1344746, abs=5e-8)
    assert m.bulk_buy_volume(100.0, -2.5, 2.5) == pytest.approx(15.8655254, abs=5e-8)


@pytest.mark.parametrize(("move", "buys"), [(1.0, 70.0), (-1.0, 0.0), (0.0, 35.0)])
def test_bulk_classification_without_variation_follows_the_sign(move, buys):
    assert m.bulk_buy_volume(70.0, move, 0.0) == buys


def test_signed_volume_prefers_what_the_feed_knows():
    assert m.signed_volume(100, 30, 5.0, 1.0) == -40.0
    assert m.signed_volume(100, 0, 5.0, 1.0) == -100.0
    assert m.signed_volume(100, -1, 1.0, 1.0) == pytest.approx(68.2689492, abs=1e-7)


def test_normal_cdf_equals_scipy():
    x = np.linspace(-8.0, 8.0, 161)
    assert np.allclose([m.normal_cdf(v) for v in x], stats.norm.cdf(x), rtol=1e-12, atol=0.0)


def test_range_volatilities():
    # ln 2 squared over 4 ln 2 is ln 2 / 4.
    assert m.parkinson_variance(2.0, 1.0) == pytest.approx(math.log(2.0) / 4.0, rel=1e-14)
    open_, high, low, close = 100.0, 104.0, 97.0, 103.0
    expected = 0.5 * np.log(high / low) ** 2 - (2 * np.log(2) - 1) * np.log(close / open_) ** 2
    assert m.garman_klass_variance(open_, high, low, close) == pytest.approx(expected, rel=1e-14)


def test_vwap_equals_the_plain_formula():
    prices, volumes = RNG.uniform(10, 20, 17), RNG.uniform(0, 5, 17)
    state = np.concatenate([prices, volumes])
    expected = np.average(prices[-6:], weights=volumes[-6:])
    traded = volumes[-6:].sum()
    assert m.volume_weighted_price(state, 11, 28, 6, traded) == pytest.approx(expected, rel=1e-13)


def test_vwap_without_trades_is_zero():
    state = np.concatenate([np.full(5, 10.0), np.zeros(5)])
    assert m.volume_weighted_price(state, 0, 5, 5, 0.0) == 0.0


def test_kyle_equals_linregress():
    flows = RNG.normal(0, 1e6, 31)
    returns = 3e-9 * flows + RNG.normal(0, 0.01, 31)
    state = np.concatenate([returns, flows])
    start, slope, deviation = m.kyle_regression(state, 11, 42, 20)
    fit = stats.linregress(flows[-20:], returns[-20:])
    assert slope == pytest.approx(fit.slope, rel=1e-10)
    assert start == pytest.approx(fit.intercept, rel=1e-8)
    residuals = returns[-20:] - fit.intercept - fit.slope * flows[-20:]
    assert deviation == pytest.approx(np.sqrt(np.mean(residuals**2)), rel=1e-9)


@pytest.mark.parametrize("flow", [0.0, 5.0, 0.1, 1e8 / 3])
def test_kyle_without_variation_has_no_slope(flow):
    state = np.concatenate([RNG.normal(size=9), np.full(9, flow)])
    assert m.kyle_regression(state, 0, 9, 9) == (0.0, 0.0, 0.0)


def test_kyle_on_recorded_trades():
    """BAC on 2013-10-07: the figure of the project's quantitative facts, to 10 digits."""
    source = SHARED / "us_equity_ticks" / "BAC" / "20131007_trades.parquet"
    if not source.is_file():
        pytest.skip("needs recorded trades in ../shared/data, absent here")
    new_york = ZoneInfo("America/New_York")
    first = datetime(2013, 10, 7, 9, 30, tzinfo=new_york).astimezone(UTC)
    last = datetime(2013, 10, 7, 16, 0, tzinfo=new_york).astimezone(UTC)
    trades = pl.read_parquet(source).filter((pl.col("ts") >= first) & (pl.col("ts") < last))
    side = pl.col("price").diff().sign()
    minutes = (
        trades.with_columns(side=pl.when(side != 0).then(side).forward_fill().fill_null(0.0))
        .with_columns(flow=pl.col("side") * pl.col("size"))
        .group_by(pl.col("ts").dt.truncate("1m"), maintain_order=True)
        .agg(pl.col("price").last(), pl.col("flow").sum())
        .with_columns(change=pl.col("price").diff())
        .drop_nulls()
    )
    n = len(minutes)
    state = np.concatenate([minutes["change"].to_numpy(), minutes["flow"].to_numpy()])
    _, slope, _ = m.kyle_regression(state, 0, n, n)
    assert slope == pytest.approx(2.0513675391e-08, rel=1e-10)


def test_amihud_ratio_by_hand():
    assert m.amihud_ratio(-0.02, 50.0, 1000.0) == pytest.approx(4e-7, rel=1e-15)


def test_relative_strength_equals_talib_on_real_closes():
    bars = load_feed(symbols=("IBM",)).bars
    closes = bars["close"].astype(float)
    expected = talib.RSI(closes, 14)
    gain = loss = 0.0
    worst = 0.0
    for i in range(1, len(closes)):
        move = closes[i] - closes[i - 1]
        gain = wilder_step(gain, i, max(move, 0.0), 14)
        loss = wilder_step(loss, i, max(-move, 0.0), 14)
        if i >= 14:
            worst = max(worst, abs(m.relative_strength(gain, loss) - expected[i]))
    assert len(closes) > 3000
    assert worst < 1e-9


def test_relative_strength_of_a_standstill_is_neutral():
    assert m.relative_strength(0.0, 0.0) == 50.0
