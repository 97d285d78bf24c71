"""Order flow, impact and spread: hand vectors, plain formulas, and the recordings' own figures."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from recordings import binance, recording
from scipy import stats

from data.order_flow import amihud_illiquidity, order_flow, price_impact, quote_flow, roll_spread

NEW_YORK = ZoneInfo("America/New_York")


@pytest.mark.parametrize(
    ("bid", "bid_size", "ask", "ask_size", "flow"),
    [
        (100, 8, 101, 4, 3),
        (101, 2, 101, 4, 2),
        (99, 7, 101, 4, -5),
        (100, 5, 101, 1, 3),
        (100, 5, 100.5, 2, -2),
        (100, 5, 102, 9, 4),
        (100, 5, 101, 4, 0),
    ],
)
def test_hand_vectors_of_one_update(bid, bid_size, ask, ask_size, flow) -> None:
    assert quote_flow(100, 5, 101, 4, bid, bid_size, ask, ask_size) == flow


def plain_order_flow(b, qb, a, qa):
    return np.concatenate(
        [
            [0.0],
            (b[1:] >= b[:-1]) * qb[1:]
            - (b[1:] <= b[:-1]) * qb[:-1]
            - (a[1:] <= a[:-1]) * qa[1:]
            + (a[1:] >= a[:-1]) * qa[:-1],
        ]
    )


@pytest.fixture(scope="module")
def futures() -> tuple[np.ndarray, np.ndarray]:
    return binance("usdm_btcusdt_20240808")


def test_order_flow_of_real_quotes_equals_the_plain_formula(futures) -> None:
    _, bid, bid_size, ask, ask_size = futures[0].T
    expected = plain_order_flow(bid, bid_size, ask, ask_size)
    assert len(expected) > 60_000
    np.testing.assert_allclose(
        order_flow(bid, bid_size, ask, ask_size), expected, rtol=0, atol=1e-9
    )


def test_impact_in_seconds_of_the_futures_recording(futures) -> None:
    """Receive clock from the first quote on; the first second moves from the first mid."""
    quotes, trades = futures
    second = ((quotes[:, 0] - quotes[0, 0]) // 1e9).astype(int)
    seconds = second[-1] + 1
    mid = (quotes[:, 1] + quotes[:, 3]) / 2.0
    last = np.full(seconds, np.nan)
    last[second] = mid
    assert np.isfinite(last).all()
    change = np.diff(last, prepend=mid[0])
    imbalance = np.bincount(second, weights=order_flow(*quotes[:, 1:].T))
    fit = price_impact(imbalance, change)
    assert fit.r_squared == pytest.approx(0.3798, abs=5e-5)
    assert fit.slope == pytest.approx(0.195397, abs=5e-7)
    traded = ((trades[:, 0] - quotes[0, 0]) // 1e9).astype(int)
    inside = (traded >= 0) & (traded < seconds)
    signed = (trades[:, 2] * trades[:, 3])[inside]
    flow = np.bincount(traded[inside], weights=signed, minlength=seconds)
    assert price_impact(flow, change).r_squared == pytest.approx(0.5219, abs=5e-5)


@pytest.mark.parametrize(
    ("name", "agreement"), [("usdm_btcusdt_20240808", 0.9687), ("spot_btcusdt_20240809", 0.9593)]
)
def test_the_tick_rule_against_the_true_aggressor(name, agreement) -> None:
    """Of the trades that have a tick before them; the first ones of a recording have none."""
    _, trades = binance(name)
    tick = np.sign(np.diff(trades[:, 1], prepend=trades[0, 1]))
    latest = np.maximum.accumulate(np.where(tick != 0, np.arange(len(tick)), 0))
    known = tick[latest] != 0
    found = (tick[latest] == trades[:, 3])[known].mean()
    assert found == pytest.approx(agreement, abs=5e-5)


@pytest.fixture(scope="module")
def bac() -> pl.DataFrame:
    source = recording("us_equity_ticks", "BAC", "20131007_trades.parquet")
    first, last = (
        datetime(2013, 10, 7, *at, tzinfo=NEW_YORK).astimezone(UTC) for at in ((9, 30), (16, 0))
    )
    return pl.read_parquet(source).filter((pl.col("ts") >= first) & (pl.col("ts") < last))


def test_roll_spread_of_a_recorded_day(bac) -> None:
    prices = bac["price"].to_numpy()
    changes = np.diff(prices)
    covariance = np.cov(changes[1:], changes[:-1])[0, 1]
    assert roll_spread(prices) == pytest.approx(2.0 * math.sqrt(-covariance), rel=1e-12)
    assert roll_spread(prices) == pytest.approx(0.00428043645792035, rel=1e-12)


def test_kyle_lambda_of_a_recorded_day(bac) -> None:
    side = pl.col("price").diff().sign()
    minutes = (
        bac.with_columns(side=pl.when(side != 0).then(side).forward_fill().fill_null(0.0))
        .group_by(pl.col("ts").dt.truncate("1m"), maintain_order=True)
        .agg(pl.col("price").last(), flow=(pl.col("side") * pl.col("size")).sum())
        .with_columns(change=pl.col("price").diff())
        .drop_nulls()
    )
    fit = price_impact(minutes["flow"].to_numpy(), minutes["change"].to_numpy())
    assert fit.slope == pytest.approx(2.0513675391e-08, rel=1e-10)
    assert fit.r_squared == pytest.approx(0.151077, abs=5e-7)
    oracle = stats.linregress(minutes["flow"], minutes["change"])
    assert fit == pytest.approx((oracle.intercept, oracle.slope, oracle.rvalue**2), rel=1e-10)


def test_roll_finds_the_spread_of_a_bouncing_price() -> None:
    rng = np.random.default_rng(1)
    middle = 100.0 + np.cumsum(rng.normal(0, 0.001, 200_000))
    prices = middle + 0.01 * rng.choice([-1.0, 1.0], 200_000)
    assert roll_spread(prices) == pytest.approx(0.02, rel=0.01)
    assert math.isnan(roll_spread(np.arange(50.0) ** 2))  # a trend has no bounce


def test_amihud_by_hand_and_without_trades() -> None:
    assert amihud_illiquidity([0.01, -0.02, 0.5], [1e6, 1e6, 0.0]) == pytest.approx(1.5e-8)
    assert math.isnan(amihud_illiquidity([0.01], [0.0]))


def test_what_does_not_vary_has_no_impact() -> None:
    assert all(math.isnan(x) for x in price_impact([1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0]))
    assert all(math.isnan(x) for x in price_impact([1.0, 2.0, 3.0], [4.0] * 3))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: price_impact([1.0, 2.0], [1.0, 2.0]), "3 or more"),
        (lambda: price_impact([1.0, 2.0, math.nan], [1.0, 2.0, 3.0]), "finite"),
        (lambda: roll_spread([1.0, 2.0, 3.0]), "four"),
        (lambda: order_flow(*[np.ones(3)] * 3, np.ones(4)), "same length"),
        (lambda: amihud_illiquidity([1.0], [1.0, 2.0]), "same length"),
    ],
)
def test_bad_input_is_refused(call, words) -> None:
    with pytest.raises(ValueError, match=words):
        call()
