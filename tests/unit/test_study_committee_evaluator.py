"""The committee as a trial: no look-ahead, fits from training alone, honest references."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from actors.limits import RiskLimits
from data.bars import Bars
from data.errors import InputError
from tests.loop_support import CHEAP, made_bars
from tuning.backtesting import BacktestParams, backtest
from tuning.fit_models import fit_models
from tuning.study.committee_evaluator import CommitteeEvaluator
from tuning.study.contract import Failure, Fold, FoldResult
from tuning.study.fits import Fits
from tuning.study.market import Market
from tuning.study.targets import AGENT_NAMES, TARGETS

BARS = made_bars(5, 1_000, 2, missing=0.0)
TS = np.unique(BARS["ts"])
START = int(TS[0])
LIMITS = RiskLimits(allow_short=True)
FOLDS = [
    Fold(0, ((START, int(TS[600])),), int(TS[600]), int(TS[780])),
    Fold(1, ((START, int(TS[800])),), int(TS[800]), int(TS[-1]) + 1),
]


def market(bars: Bars = BARS) -> Market:
    return Market(("A", "B"), bars, LIMITS, CHEAP)


def evaluator(target: str, bars: Bars = BARS, scope: str | None = None) -> CommitteeEvaluator:
    return CommitteeEvaluator(market(bars), FOLDS, TARGETS[target], scope)


def good(answer: list[FoldResult] | Failure) -> list[FoldResult]:
    assert not isinstance(answer, Failure), answer
    return answer


def same(a: list[FoldResult], b: list[FoldResult]) -> bool:
    return all(
        x.returns.tobytes() == y.returns.tobytes()
        and (x.brier_sum, x.brier_count, x.orders) == (y.brier_sum, y.brier_count, y.orders)
        for x, y in zip(a, b, strict=True)
    )


def altered_from(ts: int) -> Bars:
    """The same history up to ``ts`` (exclusive), another one after it."""
    bars = BARS.copy()
    late = bars["ts"] >= ts
    bars[late] = made_bars(77, 1_000, 2, missing=0.0)[late]
    return bars


@pytest.mark.parametrize("agent", AGENT_NAMES)
def test_the_defaults_are_the_models_of_a_session(agent: str) -> None:
    fold = FOLDS[0]
    early = BARS[BARS["ts"] < fold.test_from]
    expected = fit_models(early, 5, 3)
    found = Fits(BARS, 5, 3).row(agent, None, fold.train)
    if agent == "financial_sentiment":
        assert agent not in expected
    else:
        assert found.tobytes() == expected[agent].tobytes()


@pytest.mark.parametrize("agent", [name for name in AGENT_NAMES if name != "financial_sentiment"])
def test_a_fit_sees_nothing_after_its_intervals(agent: str) -> None:
    train = FOLDS[0].train
    config = TARGETS[agent].space.default()
    before = Fits(BARS, 5, 0).row(agent, config, train)
    # Labels that end at the interval's end are left out, so that bar may differ too.
    after = Fits(altered_from(train[0][1]), 5, 0).row(agent, config, train)
    assert len(before) > 0
    assert before.tobytes() == after.tobytes()
    later = Fits(altered_from(train[0][1] - 30 * 86_400 * 10**9), 5, 0).row(agent, config, train)
    assert before.tobytes() != later.tobytes()


@pytest.mark.parametrize("target", ["sizing", "trend_momentum", "committee"])
def test_bars_after_a_test_stretch_change_nothing_in_it(target: str) -> None:
    config = [TARGETS[target].space.from_unit([0.7] * len(TARGETS[target].space))]
    before = good(evaluator(target).evaluate(config, [0])[0])
    after = good(evaluator(target, altered_from(FOLDS[0].test_until)).evaluate(config, [0])[0])
    assert before[0].orders > 0
    assert before[0].brier_count > 200
    assert same(before, after)


def test_the_default_committee_is_the_backtest_of_a_session() -> None:
    fold = FOLDS[1]
    found = evaluator("sizing").incumbent()[1]
    early = BARS[BARS["ts"] < fold.test_from]
    warm = BARS[BARS["ts"] >= TS[300]]
    params = BacktestParams(
        symbols=("A", "B"),
        models=[(fold.test_from, fit_models(early, 5, 0))],
        first_traded=fold.test_from,
    )
    expected = backtest(warm, params, LIMITS, CHEAP)
    equity = expected.equity_micro[expected.ts >= fold.test_from].astype(float)
    before = np.concatenate([[params.opening_micro], equity[:-1]])
    assert found.returns.tolist() == (equity / before - 1.0).tolist()
    assert found.orders == expected.counts["orders"] > 0


def test_an_agent_alone_decides_by_its_own_forecast() -> None:
    solo, whole = evaluator("trend_momentum"), evaluator("trend_momentum", scope="committee")
    config = [{"prior_slope": 0.3}]
    alone = good(solo.evaluate(config, [0, 1])[0])
    among = good(whole.evaluate(config, [0, 1])[0])
    assert not same(alone, among)
    assert min(result.orders for result in alone) > 0
    # A louder slope is heard alone.
    assert not same(alone, good(solo.evaluate([{"prior_slope": 0.01}], [0, 1])[0]))


def test_references_are_what_they_say() -> None:
    pool = evaluator("pool")
    even, incumbent = pool.equal_weight(), pool.incumbent()
    assert not same(even, incumbent)
    again = evaluator("trend_momentum").equal_weight()
    assert same(even, again), "an agent's study has the same equal-weight committee"
    held = pool.buy_and_hold()
    assert [len(result.returns) for result in held] == [180, 200]


def test_an_incumbent_may_be_a_model_row() -> None:
    trend = evaluator("trend_momentum")
    row = trend.model({"prior_slope": 0.2}, BARS[BARS["ts"] < TS[600]])
    found = trend.incumbent(row)
    expected = good(trend.evaluate([{"prior_slope": 0.2}], [0])[0])
    assert same(found[:1], expected)
    with pytest.raises(InputError, match="no model row"):
        evaluator("sizing").incumbent(row)


def test_a_champion_stands_alone_and_the_seeded_set_is_its_incumbent() -> None:
    champions = evaluator("strategy_optimization")
    config = {
        "rule": "bollinger", "bollinger_period": 10, "bollinger_width": 1.5, "prior_slope": 0.2,
    }  # fmt: skip
    row = champions.model(config, BARS)
    assert len(row) == 11
    assert row[:5].tolist() == [3.0, 10.0, 1.5, -0.5, -0.25]
    humble = champions.model({**config, "prior_slope": 0.02}, BARS)
    assert 0.0 < abs(humble[-1]) < abs(row[-1])
    seeded = fit_models(BARS[BARS["ts"] < FOLDS[0].test_from], 5, 0)["strategy_optimization"]
    assert same(champions.incumbent()[:1], champions.incumbent(seeded)[:1])


def test_too_few_rows_and_wild_parameters_are_failures() -> None:
    early = replace(FOLDS[0], train=((START, int(TS[280])),))
    few = CommitteeEvaluator(market(), [early], TARGETS["trend_momentum"])
    answer = few.evaluate([{"prior_slope": 0.1}], [0])[0]
    assert isinstance(answer, Failure)
    assert answer.why == "InputError: fold 0: too few training rows to fit trend_momentum"
    wild = evaluator("sizing").evaluate([{"vol_target": float("nan")}, {"band": 0.01}], [0])
    assert isinstance(wild[0], Failure)
    assert "vol_target=nan" in wild[0].why
    assert not isinstance(wild[1], Failure)


def test_it_travels_and_gives_the_same_bits_in_any_company() -> None:
    sizing = evaluator("sizing")
    configs = [sizing.space.sample(np.random.default_rng(seed)) for seed in range(3)]
    together = [good(answer) for answer in sizing.evaluate(configs, [0, 1])]
    travelled = pickle.loads(pickle.dumps(sizing))  # noqa: S301
    travelled.market.bars.flags.writeable = False
    travelled.prepare()
    for config, expected in zip(reversed(configs), reversed(together), strict=True):
        assert same(good(travelled.evaluate([config], [1])[0]), expected[1:])
        assert same(good(travelled.evaluate([config], [0])[0]), expected[:1])


def test_contradictions_are_refused() -> None:
    with pytest.raises(InputError, match="cannot be evaluated with scope 'solo'"):
        evaluator("pool", scope="solo")
    with pytest.raises(InputError, match="it belongs to a session"):
        evaluator("sizing").model({}, BARS)
