"""The microstructure agent's features against plain numpy and scipy over whole arrays."""

import numpy as np
import pytest
from scipy import stats

from actors import volume_microstructure as agent
from actors.agent import Agent
from actors.contract import OUT_FIXED, REASON, STATUS, Reason, Status
from data.daily_stocks import load_feed


@pytest.fixture(scope="module")
def msft():
    return load_feed(symbols=("MSFT",)).bars[:420]


def _votes(bars, params=None):
    one = Agent(agent.SPEC)
    if params is not None:
        one.set_model(params)
    return one.apply(bars)


def _weighted_deviations(values):
    """Deviation known AFTER each value, half-life 20, as plain weighted means."""
    result = []
    for t in range(1, len(values) + 1):
        weights = 0.5 ** (np.arange(t)[::-1] / 20.0)
        result.append(np.sqrt(np.average(values[:t] ** 2, weights=weights)))
    return np.array(result)


def _flows(bars):
    moves = np.log(bars["close"] / bars["open"])
    before = np.concatenate([[np.nan], _weighted_deviations(moves)[:-1]])
    bulk = bars["volume"] * stats.norm.cdf(moves / before)
    bulk[0] = bars["volume"][0] * (0.5 + 0.5 * np.sign(moves[0]))
    buys = np.where(bars["buy_volume"] >= 0, bars["buy_volume"], bulk)
    return 2.0 * buys - bars["volume"]


def _centred_rank(values):
    return np.sqrt(12.0) * (stats.percentileofscore(values, values[-1], "mean") / 100 - 0.5)


def _expected(bars):
    close, volume = bars["close"].astype(float), bars["volume"].astype(float)
    flows = _flows(bars)
    changes = np.concatenate([[0.0], np.diff(np.log(close))])
    sigma = _weighted_deviations(changes[1:])[-1]
    five = np.sqrt(15.0) * flows[-5:].sum() / volume[-5:].sum()
    twenty = np.sqrt(60.0) * flows[-20:].sum() / volume[-20:].sum()
    typical = (bars["high"] + bars["low"] + bars["close"])[-20:] / 3.0
    vwap = np.average(typical, weights=volume[-20:])
    ratios = np.abs(changes) / (close * volume)
    amihud = np.convolve(ratios, np.full(21, 1 / 21), "valid")
    fits = [
        stats.linregress(flows[t - 42 : t], changes[t - 42 : t]) for t in range(42, len(bars) + 1)
    ]
    means = [volume[t - 20 : t].mean() for t in range(42, len(bars) + 1)]
    impacts = np.array([fit.slope * mean for fit, mean in zip(fits, means, strict=True)])
    residuals = changes[-42:] - fits[-1].intercept - fits[-1].slope * flows[-42:]
    illiquidity = _centred_rank(amihud[-126:])
    return [
        five,
        twenty,
        np.log(close[-1] / vwap) / (sigma * np.sqrt(20 / 3)),
        illiquidity,
        _centred_rank(impacts[-126:]),
        residuals[-1] / residuals.std(),
        five * illiquidity,
        amihud[-1],
        fits[-1].slope,
    ]


@pytest.mark.parametrize("count", [127, 128, 250, 420])
def test_evidence_equals_the_plain_formulas(msft, count):
    evidence = _votes(msft[:count])[-1, OUT_FIXED:]
    assert evidence == pytest.approx(_expected(msft[:count]), rel=1e-8, abs=1e-18)


def test_known_sides_are_used_where_the_feed_has_them(msft):
    bars = msft[:200].copy()
    bars["buy_volume"][100:] = bars["volume"][100:] // 4
    evidence = _votes(bars)[-1, OUT_FIXED:]
    assert evidence == pytest.approx(_expected(bars), rel=1e-8, abs=1e-18)
    assert evidence[0] == pytest.approx(-0.5 * np.sqrt(15.0), rel=1e-6)


def test_first_vote_comes_after_the_declared_warm_up(msft):
    params = np.zeros(3 * (agent.FEATURE_COUNT + 1))
    votes = _votes(msft[:140], params)
    assert set(votes[: agent.WARM_UP, REASON]) == {Reason.WARMING_UP}
    assert set(votes[agent.WARM_UP :, STATUS]) == {Status.VOTED}
    # A link of zeros says equal thirds, and nothing else.
    assert votes[agent.WARM_UP :, :3] == pytest.approx(1 / 3)
    assert not votes[: agent.WARM_UP, :3].any()


def test_without_volume_it_abstains(msft):
    bars = msft[:140].copy()
    bars["volume"] = 0
    last = _votes(bars)[-1]
    assert (last[STATUS], last[REASON]) == (Status.ABSTAINED, Reason.DEGENERATE)
    assert np.isfinite(last).all()


def test_days_without_trades_leave_amihud_alone(msft):
    bars = msft[:200].copy()
    bars["volume"][150:155] = 0
    bars["volume"][199] = 0
    traded = bars["volume"] > 0
    changes = np.concatenate([[0.0], np.diff(np.log(bars["close"].astype(float)))])
    ratios = np.abs(changes[traded]) / bars["close"][traded].astype(float) / bars["volume"][traded]
    place = OUT_FIXED + agent.SPEC.evidence.index("amihud")
    assert _votes(bars)[-1, place] == pytest.approx(ratios[-21:].mean(), rel=1e-10)
