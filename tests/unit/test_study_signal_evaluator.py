"""The EMA cross as a trial: the same account as the backtest's, and nothing seen ahead."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from actors.limits import RiskLimits
from data.bars import Bars
from data.errors import InputError
from tests.loop_support import COSTS, made_bars
from tuning.benchmark import buy_and_hold
from tuning.signal_backtest import EmaCross, ema_cross_backtest
from tuning.study.contract import Failure, Fold, FoldResult
from tuning.study.market import Market
from tuning.study.signal_evaluator import SignalEvaluator

BARS = made_bars(1, 600, 2)
TS = np.unique(BARS["ts"])
END = int(TS[-1]) + 1
FOLDS = [
    Fold(0, (), int(TS[200]), int(TS[350])),
    Fold(1, (), int(TS[350]), int(TS[500])),
    Fold(2, (), int(TS[520]), END),
]


def market(bars: Bars = BARS, **changes: object) -> Market:
    return replace(Market(("A", "B"), bars, RiskLimits(), COSTS), **changes)


def good(answer: list[FoldResult] | Failure) -> list[FoldResult]:
    assert not isinstance(answer, Failure), answer
    return answer


def test_from_the_first_bar_it_is_the_backtest() -> None:
    whole = Fold(0, (), int(TS[0]), END)
    evaluator = SignalEvaluator(market(), [whole], fraction=0.4)
    config = {"fast": 5, "slow": 20}
    found = good(evaluator.evaluate([config], [0])[0])[0]
    params = EmaCross(**config, fraction=0.4, symbols=2)
    expected = ema_cross_backtest(BARS, params, RiskLimits(), COSTS)
    equity = np.concatenate([[params.opening_micro], expected.equity_micro]).astype(float)
    assert found.returns.tolist() == (equity[1:] / equity[:-1] - 1.0).tolist()
    assert found.orders == expected.counts["orders"] > 20


def test_a_fold_s_account_begins_afresh_and_its_averages_do_not() -> None:
    evaluator = SignalEvaluator(market(), FOLDS)
    results = good(evaluator.evaluate([{"fast": 5, "slow": 60}], [0, 1, 2])[0])
    assert [len(result.returns) for result in results] == [150, 150, 80]
    assert all(result.returns[0] == 0.0 for result in results)
    # 60 bars of warming up would leave the first month without an order.
    assert all(np.count_nonzero(result.returns[:25]) for result in results)


def test_bars_after_a_stretch_change_nothing_in_it() -> None:
    altered = BARS.copy()
    late = altered["ts"] >= FOLDS[0].test_until
    for name in ("open", "high", "low", "close"):
        altered[name][late] *= 3
    config = [{"fast": 3, "slow": 10}]
    before = good(SignalEvaluator(market(), FOLDS).evaluate(config, [0, 1])[0])
    after = good(SignalEvaluator(market(altered), FOLDS).evaluate(config, [0, 1])[0])
    assert before[0].returns.tobytes() == after[0].returns.tobytes()
    assert before[1].returns.tobytes() != after[1].returns.tobytes()


def test_folds_may_share_a_stretch_but_not_overlap() -> None:
    shared = [*FOLDS, replace(FOLDS[0], number=3)]
    evaluator = SignalEvaluator(market(), shared)
    results = good(evaluator.evaluate([evaluator.space.default()], [3, 2, 0])[0])
    assert [result.fold for result in results] == [3, 2, 0]
    assert results[0].returns.tobytes() == results[2].returns.tobytes()
    with pytest.raises(InputError, match="overlap"):
        SignalEvaluator(market(), [*FOLDS, Fold(3, (), int(TS[340]), int(TS[360]))])


def test_a_fold_without_bars_is_refused() -> None:
    with pytest.raises(InputError, match="fold 0: its test stretch holds no bar"):
        SignalEvaluator(market(), [Fold(0, (), END, END + 5)])


def test_it_travels_read_only_and_is_prepared_there() -> None:
    evaluator = SignalEvaluator(market(), FOLDS)
    expected = good(evaluator.evaluate([{"fast": 4, "slow": 30}], [1])[0])[0]
    frozen = BARS.copy()
    frozen.flags.writeable = False
    travelled = pickle.loads(pickle.dumps(SignalEvaluator(market(frozen), FOLDS)))  # noqa: S301
    travelled.market.bars.flags.writeable = False
    travelled.prepare()
    found = good(travelled.evaluate([{"fast": 4, "slow": 30}], [1])[0])[0]
    assert found.returns.tobytes() == expected.returns.tobytes()


def test_one_that_overflows_fails_alone() -> None:
    # One lot is worth more than int64 holds; the slower cross does not know its average yet.
    huge = market(micro_per_tick=10**13, opening_micro=9 * 10**18)
    evaluator = SignalEvaluator(huge, [Fold(0, (), int(TS[100]), int(TS[160]))], fraction=1.0)
    answers = evaluator.evaluate([{"fast": 3, "slow": 10}, {"fast": 2, "slow": 249}], [0])
    assert isinstance(answers[0], Failure)
    assert answers[0].why.startswith("OverflowError")
    assert good(answers[1])[0].orders == 0


def test_buying_and_holding_is_done_in_every_fold() -> None:
    evaluator = SignalEvaluator(market(), FOLDS)
    held = evaluator.buy_and_hold()
    first, last = evaluator.stretches.rows[1]
    _, equity = buy_and_hold(BARS[first:last], int(TS[350]), 10**12, 100, COSTS)
    assert held[1].returns[0] == 0.0
    assert np.prod(1.0 + held[1].returns) == pytest.approx(equity[-1] / 10**12, rel=1e-12)
    assert len(held[1].returns) == len(
        good(evaluator.evaluate([{"fast": 3, "slow": 9}], [1])[0])[0].returns
    )
