"""From a spec to its evaluator: the data cut, the folds, and every contradiction in one line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from data.bars import Bars
from data.errors import InputError
from data.feed import Feed
from tests.loop_support import made_bars
from tuning.study.build import build, build_locked, evaluation_of, open_dataset
from tuning.study.contract import StudySpec
from tuning.study.dataset import bar_length, split_feed
from tuning.study.targets import TARGETS

BARS = made_bars(8, 500, 2)
TS = np.unique(BARS["ts"])


def feed(bars: Bars = BARS) -> Feed:
    return Feed(("A", "B"), bars, (), ((int(TS[5]), 0), (int(TS[490]), 1)), "made up", "")


def spec(target: str = "ema_cross", **evaluation: Any) -> StudySpec:
    return StudySpec(
        name="study",
        target=target,
        objectives=["sharpe"],
        searcher="random",
        scheduler="none",
        trials=1,
        generation=1,
        seed=0,
        evaluation=evaluation,
    )


def test_the_last_part_is_locked_away() -> None:
    dataset = split_feed(feed(), locked_share=0.2)
    assert dataset.segment.since == TS[400]
    assert dataset.segment.until == TS[-1] + 1
    assert dataset.bars["ts"].max() == TS[399]
    assert (
        np.concatenate([dataset.bars, BARS[BARS["ts"] >= TS[400]]]).tobytes()
        == dataset.everything.tobytes()
    )


def test_the_segment_s_content_is_that_of_its_bars_alone() -> None:
    early, late = BARS.copy(), BARS.copy()
    early["volume"][0] += 1
    late["volume"][-1] += 1
    whole, first, last = (split_feed(feed(bars)) for bars in (BARS, early, late))
    assert whole.segment == first.segment
    assert whole.segment.content != last.segment.content
    assert len({whole.data_hash, first.data_hash, last.data_hash}) == 3


def test_a_study_never_sees_the_locked_segment() -> None:
    for target in TARGETS:
        evaluator = build(spec(target), feed())
        assert evaluator.market.bars["ts"].max() == TS[399]
        assert evaluator.test_ts.max() == TS[399]
        assert evaluator.market.locks == ((int(TS[5]), 0),)
        assert [fold.number for fold in evaluator.folds] == [0, 1, 2, 3, 4]


def test_the_locked_fold_is_taught_by_all_that_was_searched() -> None:
    evaluator = build_locked(spec("sizing"), feed())
    (fold,) = evaluator.folds
    assert fold.train == ((int(TS[0]), int(TS[400])),)
    assert evaluator.test_ts.tolist() == TS[400:].tolist()
    assert len(evaluator.market.locks) == 2


def test_later_bars_change_nothing_where_the_end_is_named() -> None:
    until = int(TS[450])
    named = msgspec.structs.replace(spec(until=until), data_hash="")
    known = open_dataset(named, feed(BARS[BARS["ts"] < until])).data_hash
    again = msgspec.structs.replace(named, data_hash=known)
    assert open_dataset(again, feed()).data_hash == known


def test_changed_data_are_noticed() -> None:
    recorded = msgspec.structs.replace(spec(), data_hash=open_dataset(spec(), feed()).data_hash)
    build(recorded, feed())
    altered = BARS.copy()
    altered["close"][7] += 1
    with pytest.raises(InputError, match="made up has changed since the study began"):
        build(recorded, feed(altered))


@pytest.mark.parametrize(
    ("target", "evaluation", "said"),
    [
        ("nothing", {}, "nothing is called 'nothing' to search"),
        ("ema_cross", {"colour": 1}, "unknown field `colour`"),
        ("ema_cross", {"folds": "five"}, "Expected `int`"),
        ("ema_cross", {"scheme": "sideways"}, "scheme 'sideways': give one of"),
        ("ema_cross", {"folds": 190}, "too little data"),
        ("ema_cross", {"locked_share": 0.0}, "locked share 0.0"),
        ("ema_cross", {"until": 5}, "holds 0 moments"),
        ("ema_cross", {"scope": "solo"}, "belongs to agents"),
        ("sizing", {"fraction": 0.5}, "fraction belongs to ema_cross"),
        ("sizing", {"scope": "solo"}, "scope 'solo'"),
        ("sizing", {"costs": {"half_spread_bps": -1.0}}, "half_spread_bps=-1.0"),
        ("sizing", {"costs": {"tax": 1.0}}, "tax"),
        ("sizing", {"limits": {"max_gross": 1.0}}, "recorded limits do not fit"),
    ],
)
def test_contradictions_end_in_one_line(target: str, evaluation: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as told:
        build(spec(target, **evaluation), feed())
    assert "\n" not in str(told.value)


def test_given_costs_and_limits_are_those_of_the_market() -> None:
    market = build(spec(costs={"half_spread_bps": 7.0}, latency_bars=2), feed()).market
    assert (market.costs.half_spread_bps, market.costs.commission_ppm) == (7.0, 50)
    assert market.latency_bars == 2
    assert evaluation_of(spec()).limits == {}


def test_a_bar_is_as_long_as_its_clock_says() -> None:
    assert bar_length(feed()) == 23_400_000_000_000
    assert bar_length(replace(feed(), clock="1d", bars_per_year=365.0)) == 86_400_000_000_000
    assert bar_length(replace(feed(), clock="1m")) == 60_000_000_000
