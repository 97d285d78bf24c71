"""From a study's spec to its evaluator: the one way, so that all who ask get the same trials."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from actors.costs import CostModel
from actors.limits import RiskLimits, load_limits, recorded_limits
from data.errors import InputError
from data.feed import Feed
from data.money import MICRO
from tuning.study.committee_evaluator import WARM_UP, CommitteeEvaluator
from tuning.study.contract import Fold, StudySpec
from tuning.study.dataset import LOCKED_SHARE, Dataset, bar_length, check_unchanged, split_feed
from tuning.study.folds import make_folds
from tuning.study.market import COSTS, HORIZON, Market
from tuning.study.signal_evaluator import SignalEvaluator
from tuning.study.targets import SIGNAL, target_of

FEWEST_RETURNS = 60  # a quarter of daily bars
AnyEvaluator = SignalEvaluator | CommitteeEvaluator


class Evaluation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``StudySpec.evaluation``: the data and how a configuration is judged on them."""

    data: str | None = None  # source, as in data.feed.open_feed; None: the shipped sample
    symbols: list[str] = []  # all when empty
    since: int | None = None  # ns UTC, inclusive
    until: int | None = None  # exclusive
    locked_share: float = LOCKED_SHARE  # of the moments, at the end
    scheme: str = "anchored"  # of SCHEMES
    folds: int = 5  # groups for kfold and cpcv
    first_test_share: float = 0.5  # walk-forward: of the moments, before the first test
    gap: int = 0  # walk-forward: moments between the last training label and the test
    embargo: int | None = None  # kfold, cpcv: moments after a test that do not teach; None: 1 %
    tests: int = 2  # cpcv: groups tested at a time
    horizon: int = HORIZON  # bars
    warm_up: int = WARM_UP  # moments before a test stretch
    scope: str | None = None  # solo or committee; by default agents alone
    fraction: float | None = None  # ema_cross: of equity, in a new position
    latency_bars: int = 1
    latency_ns: int = 0
    opening_cash: int = 1_000_000
    limits: dict[str, Any] = {}  # RiskLimits.model_dump(mode="json"); those in force when empty
    costs: dict[str, Any] = {}  # fields of CostModel; the others as a session has them


def evaluation_of(spec: StudySpec) -> Evaluation:
    """InputError names an option that does not exist, or a value of the wrong kind."""
    try:
        return msgspec.convert(spec.evaluation, Evaluation)
    except msgspec.ValidationError as error:
        raise InputError(f"study {spec.name}, evaluation: {error}") from None


def open_dataset(spec: StudySpec, feed: Feed) -> Dataset:
    """The data of a study; InputError when they changed since it began."""
    asked = evaluation_of(spec)
    dataset = split_feed(feed, asked.since, asked.until, asked.locked_share)
    check_unchanged(dataset, spec.data_hash)
    return dataset


def embargo_of(asked: Evaluation, moments: int) -> int:
    """As asked, else a hundredth of the moments (Lopez de Prado 2018, ch. 7)."""
    return math.ceil(0.01 * moments) if asked.embargo is None else asked.embargo


def build(spec: StudySpec, feed: Feed) -> AnyEvaluator:
    """The evaluator of a spec over the bars that may be searched; InputError for contradictions."""
    asked, dataset = evaluation_of(spec), open_dataset(spec, feed)
    folds = make_folds(
        dataset.moments,
        asked.scheme,
        asked.folds,
        first_test_share=asked.first_test_share,
        gap=asked.gap,
        embargo=embargo_of(asked, len(dataset.moments)),
        tests=asked.tests,
        horizon=asked.horizon,
    )
    evaluator = _evaluator(spec, asked, dataset, folds, locked=False)
    if returns_of(evaluator) < FEWEST_RETURNS:
        raise InputError(
            f"{counted(evaluator)}: fewer than {FEWEST_RETURNS} tell no configuration from"
            " another; give a longer period or fewer folds"
        )
    return evaluator


def returns_of(evaluator: AnyEvaluator) -> int:
    """Moments that are tested out of sample; one that several folds test counts once."""
    return len(np.unique(evaluator.test_ts))


def counted(evaluator: AnyEvaluator) -> str:
    """How much is tested, in words."""
    return f"{returns_of(evaluator)} returns out of sample over {len(evaluator.folds)} folds"


def build_locked(spec: StudySpec, feed: Feed) -> AnyEvaluator:
    """The same with one fold: taught by all bars that were searched, tested on the locked segment.

    Whoever calls this opens the segment: the opening goes on record first.
    """
    asked, dataset = evaluation_of(spec), open_dataset(spec, feed)
    segment = dataset.segment
    fold = Fold(0, ((int(dataset.moments[0]), segment.since),), segment.since, segment.until)
    return _evaluator(spec, asked, dataset, [fold], locked=True)


def _evaluator(
    spec: StudySpec, asked: Evaluation, dataset: Dataset, folds: list[Fold], *, locked: bool
) -> AnyEvaluator:
    target = target_of(spec.target)
    market = _market(asked, dataset, locked=locked)
    if target.name == SIGNAL:
        if asked.scope is not None:
            raise InputError(f"scope {asked.scope!r} belongs to agents, not to {SIGNAL}")
        return SignalEvaluator(market, folds, asked.fraction)
    if asked.fraction is not None:
        raise InputError(f"fraction belongs to {SIGNAL}: sizing decides for {target.name}")
    return CommitteeEvaluator(market, folds, target, asked.scope, asked.warm_up, spec.seed)


def _market(asked: Evaluation, dataset: Dataset, *, locked: bool) -> Market:
    feed, bars = dataset.feed, dataset.everything if locked else dataset.bars
    first, last = int(bars["ts"][0]), int(bars["ts"][-1])
    return Market(
        symbols=feed.symbols,
        bars=bars,
        limits=_limits(asked),
        costs=_costs(asked),
        bars_per_year=feed.bars_per_year,
        micro_per_tick=feed.micro_per_tick,
        opening_micro=asked.opening_cash * MICRO,
        horizon=asked.horizon,
        latency_bars=asked.latency_bars,
        latency_ns=asked.latency_ns,
        bar_ns=bar_length(feed),
        locks=tuple(lock for lock in feed.quarantined_at if first <= lock[0] <= last),
    )


def _limits(asked: Evaluation) -> RiskLimits:
    return recorded_limits(asked.limits) if asked.limits else load_limits()


def _costs(asked: Evaluation) -> CostModel:
    try:
        return CostModel(**{**vars(COSTS), **asked.costs})
    except (TypeError, ValueError) as error:
        raise InputError(f"costs of the study: {error}") from None
