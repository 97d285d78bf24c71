"""From a study to a verdict: planted momentum passes every rule, noise never opens its segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from actors.limits import load_limits
from data.bars import Bars, empty_bars
from data.errors import InputError
from data.feed import Feed, feed_hash
from tuning.study.build import build
from tuning.study.contract import StudySpec, Trial
from tuning.study.database import Sqlite
from tuning.study.promotion import (
    LOCKED,
    Incumbent,
    Verdict,
    check_terms,
    decide,
    locked_record,
    locked_view,
)
from tuning.study.rules import FAILED, PASSED, PromotionRules
from tuning.study.runner import HERE, Place, run_study
from tuning.study.segments import SegmentSpent, open_segment, openings
from tuning.study.spec import make_spec, with_data
from tuning.study.store import EVIDENCE, StudyStore

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

DAY, SIGMA, SYMBOLS, DATES = 86_400_000_000_000, 0.01, ("AAA", "BBB", "CCC"), 3_200


def _bars(seed: int, momentum: float) -> Bars:
    """Random walks whose drift wanders: AR(1), deviation ``momentum`` SIGMA."""
    rng = np.random.default_rng(seed)
    bars = empty_bars(DATES * len(SYMBOLS))
    for number in range(len(SYMBOLS)):
        drift = np.zeros(DATES)
        pushes = rng.normal(0.0, momentum * SIGMA * np.sqrt(1.0 - 0.95**2), DATES)
        for i in range(1, DATES):
            drift[i] = 0.95 * drift[i - 1] + pushes[i]
        steps = drift + rng.normal(0.0, SIGMA, DATES) - SIGMA**2 / 2
        close = np.rint(500_000 * np.exp(np.cumsum(steps)))
        rows = bars[number :: len(SYMBOLS)]
        rows["ts"] = np.arange(1, DATES + 1) * DAY
        rows["symbol"], rows["close"] = number, close
        before = np.concatenate([[500_000.0], close[:-1]])
        rows["open"] = np.rint(before * np.exp(rng.normal(0.0, 0.001, DATES)))
        rows["high"] = np.maximum(rows["open"], close) + 5
        rows["low"] = np.minimum(rows["open"], close) - 5
        rows["volume"] = rng.integers(5_000_000, 20_000_000, DATES)
    return bars


def _feed(seed: int, momentum: float) -> Feed:
    bars = _bars(seed, momentum)
    return Feed(SYMBOLS, bars, (), (), "planted", feed_hash(bars, SYMBOLS))


def _study(store: StudyStore, name: str, feed: Feed) -> tuple[StudySpec, list[Trial]]:
    asked = make_spec(name, "strategy_optimization", trials=120, generation=20)
    spec = with_data(asked, feed)
    store.create(spec)
    trials = run_study(store, spec, build(spec, feed), Place(executor=HERE), lambda _: None)
    return spec, trials


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> StudyStore:
    return StudyStore(Sqlite(tmp_path_factory.mktemp("promotion") / "studies.db"))


@pytest.fixture(scope="module")
def planted(store: StudyStore) -> tuple[StudySpec, Feed, list[Trial]]:
    feed = _feed(1, 0.6)
    spec, trials = _study(store, "planted", feed)
    return spec, feed, trials


def _decide(
    spec: StudySpec, feed: Feed, trials: Sequence[Trial], ledger: Sqlite, elsewhere: int = 0
) -> Verdict:
    return decide(
        spec, feed, trials, ledger, Incumbent(), PromotionRules(), 1_000, elsewhere=elsewhere
    )


def test_planted_momentum_passes_and_its_look_is_on_record(
    planted: tuple[StudySpec, Feed, list[Trial]], store: StudyStore, tmp_path: Path
) -> None:
    spec, feed, trials = planted
    ledger = Sqlite(tmp_path / "ledger.db")
    verdict = _decide(spec, feed, trials, ledger)
    assert {
        reason.rule: reason.outcome for reason in verdict.reasons if reason.outcome != PASSED
    } == {}
    assert verdict.passed
    assert verdict.candidate is not None
    segment = verdict.locked.segment
    # The bars of the judgement count as used.
    assert verdict.candidate.trained_until == segment.until
    assert len(verdict.locked.winner) == len(verdict.locked.incumbent) == DATES // 5
    assert len(openings(ledger)) == 1
    again = _decide(spec, feed, trials, ledger)
    assert len(openings(ledger)) == 1
    assert again.reasons == verdict.reasons
    # Later reports know what the segment showed.
    store.note(spec.name, EVIDENCE, {LOCKED: locked_record(verdict.locked)})
    known = locked_view(spec, feed, store.database)
    assert known.result == verdict.locked.result
    # Trials of other studies count as tried.
    more = _decide(spec, feed, trials, ledger, elsewhere=1_000_000)
    deflated = {reason.rule: reason for reason in more.reasons}["deflated_sharpe"]
    assert deflated.outcome == FAILED
    ledger.close()


def test_a_spent_segment_cannot_promote(
    planted: tuple[StudySpec, Feed, list[Trial]], tmp_path: Path
) -> None:
    spec, feed, trials = planted
    ledger = Sqlite(tmp_path / "ledger.db")
    segment = locked_view(spec, feed, ledger).segment
    for name in ("one", "two", "three"):
        open_segment(ledger, replace(segment, content=name), name, [name], 3, 1)
    # Three candidates shown already cost the winner little; the fourth look is one too many.
    with pytest.raises(SegmentSpent, match="only bars after"):
        _decide(spec, feed, trials, ledger)
    assert len(openings(ledger)) == 3
    ledger.close()


def test_a_winner_of_noise_never_opens_the_segment(store: StudyStore, tmp_path: Path) -> None:
    feed = _feed(5, 0.0)
    spec, trials = _study(store, "noise", feed)
    ledger = Sqlite(tmp_path / "ledger.db")
    verdict = _decide(spec, feed, trials, ledger)
    assert not verdict.passed
    assert verdict.candidate is None
    assert openings(ledger) == []
    ledger.close()


def test_an_unfinished_study_cannot_promote(
    planted: tuple[StudySpec, Feed, list[Trial]], tmp_path: Path
) -> None:
    spec, feed, trials = planted
    ledger = Sqlite(tmp_path / "ledger.db")
    with pytest.raises(InputError, match="has 60 of 120 trials"):
        _decide(spec, feed, trials[:60], ledger)
    ledger.close()


@pytest.mark.parametrize(
    ("evaluation", "words"),
    [
        ({"symbols": ["AAA"]}, "searched only AAA"),
        ({"costs": {"commission_ppm": 0}}, "costs or a latency of its own"),
        ({"latency_bars": 2}, "costs or a latency of its own"),
        ({"limits": {"min_agents": 1}}, "other limits than those in force"),
        ({"data": __file__}, "does not say what sessions it is for"),
        ({"data": "gs://bucket/bars.parquet"}, "does not say what sessions it is for"),
    ],
)
def test_other_terms_than_the_houses_cannot_promote(
    evaluation: dict[str, object], words: str
) -> None:
    spec = make_spec("mine", "strategy_optimization")
    limits = load_limits().model_dump(mode="json")
    changed = msgspec.structs.replace(spec, evaluation={"limits": limits} | evaluation)
    with pytest.raises(InputError, match=words):
        check_terms(changed, "")
    if "data" in evaluation:
        check_terms(changed, "one-session")
