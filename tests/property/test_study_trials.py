"""Trials are pure: the same bits in any company and order, and nothing seen ahead."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.agent import Agent
from actors.contract import STATUS, Status
from actors.limits import RiskLimits
from actors.registry import AGENTS
from data.bars import Bars
from tests.loop_support import CHEAP, DAY, made_bars
from tuning.labels import NO_LABEL, labels
from tuning.samples import Samples, label_end
from tuning.scoring import brier
from tuning.study.committee_evaluator import CommitteeEvaluator
from tuning.study.contract import Evaluator, Failure, FoldResult
from tuning.study.fits import Fits, within
from tuning.study.folds import make_folds
from tuning.study.market import Market
from tuning.study.signal_evaluator import SignalEvaluator
from tuning.study.targets import TARGETS

SIZES = {"ema_cross": 500, "sizing": 900, "strategy_optimization": 900}
FEW = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


@cache
def bars_of(target: str) -> Bars:
    return made_bars(21, SIZES[target], 2, missing=0.05)


def evaluator_on(target: str, bars: Bars) -> Evaluator:
    moments = np.unique(bars_of(target)["ts"])
    folds = make_folds(moments, "anchored", 3, first_test_share=0.6)
    market = Market(("A", "B"), bars, RiskLimits(allow_short=True), CHEAP)
    if target == "ema_cross":
        return SignalEvaluator(market, folds)
    return CommitteeEvaluator(market, folds, TARGETS[target])


@cache
def evaluator(target: str) -> Evaluator:
    return evaluator_on(target, bars_of(target))


def bits(answer: list[FoldResult] | Failure) -> list[tuple]:
    assert not isinstance(answer, Failure), answer
    return [(r.fold, r.returns.tobytes(), r.brier_sum, r.brier_count, r.orders) for r in answer]


@pytest.mark.parametrize("target", SIZES)
@FEW
@given(
    seeds=st.lists(st.integers(0, 10**6), min_size=2, max_size=6, unique=True),
    cut=st.integers(1, 5),
    folds=st.permutations([0, 1, 2]),
)
def test_the_same_bits_in_any_company(
    target: str, seeds: list[int], cut: int, folds: list[int]
) -> None:
    trial = evaluator(target)
    configs = [trial.space.sample(np.random.default_rng(seed)) for seed in seeds]
    together = [bits(answer) for answer in trial.evaluate(configs, [0, 1, 2])]
    parts = trial.evaluate(configs[cut:], folds) + trial.evaluate(configs[:cut], folds)
    apart = [bits(answer) for answer in parts]
    for expected, found in zip(together[cut:] + together[:cut], apart, strict=True):
        assert sorted(found) == expected
        assert [one[0] for one in found] == folds


@pytest.mark.parametrize("target", SIZES)
@FEW
@given(seed=st.integers(0, 10**6), fold=st.integers(0, 2))
def test_no_later_bar_reaches_a_fold(target: str, seed: int, fold: int) -> None:
    trial, bars = evaluator(target), bars_of(target).copy()
    late = bars["ts"] >= trial.folds[fold].test_until
    factor = np.random.default_rng(seed).integers(2, 5)
    for name in ("open", "high", "low", "close"):
        bars[name][late] *= factor
    bars["volume"][late] += 7
    config = [trial.space.sample(np.random.default_rng(seed))]
    expected = bits(trial.evaluate(config, [fold])[0])
    assert bits(evaluator_on(target, bars).evaluate(config, [fold])[0]) == expected


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    scheme=st.sampled_from(["anchored", "rolling", "kfold", "cpcv"]),
    folds=st.integers(3, 5),
    embargo=st.integers(0, 10),
)
def test_a_fit_takes_no_row_whose_label_touches_the_test(
    scheme: str, folds: int, embargo: int
) -> None:
    bars = bars_of("sizing")
    moments = np.unique(bars["ts"])
    ends = label_end(bars, 5)
    known = ends < np.iinfo(np.int64).max
    rows = Samples(
        np.zeros((int(known.sum()), 1)),
        np.zeros(int(known.sum()), np.int64),
        bars["ts"][known].astype(np.int64),
        ends[known],
    )
    for fold in make_folds(moments, scheme, folds, embargo=embargo):
        taught = within(rows, fold.train)
        before = taught.end < fold.test_from
        after = taught.begin >= fold.test_until
        assert len(taught.y)
        assert (before | after).all()
        if scheme in ("anchored", "rolling"):
            assert before.all()
        else:
            assert (taught.begin[after] >= fold.test_until + embargo * DAY).all()


@pytest.mark.parametrize("name", ["trend_momentum", "volume_microstructure", "vpin_hft"])
def test_the_brier_score_of_a_solo_agent_is_its_own(name: str) -> None:
    bars = bars_of("sizing")
    moments = np.unique(bars["ts"])
    (fold,) = make_folds(moments, "anchored", 1, first_test_share=0.7)
    market = Market(("A", "B"), bars, RiskLimits(), CHEAP)
    (result,) = CommitteeEvaluator(market, [fold], TARGETS[name]).incumbent()
    spec = next(spec for spec in AGENTS if spec.name == name)
    agent = Agent(spec)
    # Without a model up to the test, as in a session.
    warm = bars[(bars["ts"] >= moments[np.searchsorted(moments, fold.test_from) - 500])]
    agent.apply(warm[warm["ts"] < fold.test_from])
    agent.set_model(Fits(bars, 5, 0).row(name, None, fold.train))
    tested = bars["ts"] >= fold.test_from
    votes, outcomes = agent.apply(bars[tested]), labels(bars, 5)[tested]
    scored = (votes[:, STATUS] == Status.VOTED) & (outcomes != NO_LABEL)
    scored &= label_end(bars, 5)[tested] < fold.test_until
    losses = brier(votes[scored, :3], outcomes[scored])
    assert result.brier_count == len(losses) > 100
    assert result.brier_sum == pytest.approx(losses.sum(), rel=1e-9)
