"""Model rows of the agents for a study: fitted on training intervals alone, each fitted once.

An agent's samples are collected in one pass over all bars that the study may see: a row's features
know that row's bars and those before it, its label the next ``horizon`` bars. A fit takes the rows
whose label begins and ends inside a training interval, so nothing after an interval reaches it;
with training rows after a test stretch, their features' look-back is what the embargo is for.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from actors import financial_sentiment, strategy_optimization, vpin_hft
from actors.agent import Agent
from actors.contract import OUT_FIXED, STATUS, Floats, Status, no_params
from actors.rules import rule_of
from actors.space import Config
from data.bars import Bars
from tuning import fit_microstructure, fit_predictor, fit_trend, fit_vpin
from tuning.labels import NO_LABEL, labels
from tuning.model_schedule import stride_of
from tuning.samples import Samples, collect, humble_link, label_end
from tuning.seed_champions import DECLARED
from tuning.study import predictor_settings
from tuning.study.targets import PART_SPACES

Interval = tuple[int, int]
T = TypeVar("T")

EVERYTHING: tuple[Interval, ...] = ((int(np.iinfo(np.int64).min), int(np.iinfo(np.int64).max)),)
SEEDED: Config = {}  # of strategy_optimization: the declared set
_FIRST_SIGNAL = OUT_FIXED + strategy_optimization.SPEC.evidence.index("signal_0")
_TREND_RULES = ("ema_cross", "donchian")
# Rows and samples of one agent that are remembered; a search asks for new ones all the time.
_REMEMBERED = 256


def within(samples: Samples, train: Sequence[Interval]) -> Samples:
    """The rows whose label begins and ends inside one of the half-open intervals."""
    keep = np.zeros(len(samples.y), np.bool_)
    for since, until in train:
        keep |= (samples.begin >= since) & (samples.end < until)
    return samples.only(keep)


class Fits:
    """Rows by agent, configuration and training intervals, over ``bars`` (n,).

    Deterministic: equal bars, horizon, seed, configuration and intervals give equal bits.
    """

    def __init__(self, bars: Bars, horizon: int, seed: int) -> None:
        self._bars = bars
        self._horizon = horizon
        self._seed = seed
        self._known: dict[str, dict[Hashable, Any]] = {}
        self._fitters: dict[str, Callable[[Config, tuple[Interval, ...]], Floats]] = {
            "trend_momentum": self._trend,
            "strategy_optimization": self._champions,
            "financial_sentiment": self._sentiment,
            "market_prediction": self._predictor,
            "volume_microstructure": self._microstructure,
            "vpin_hft": self._vpin,
        }

    def row(self, agent: str, config: Config | None, train: tuple[Interval, ...]) -> Floats:
        """The agent's params; None stands for its defaults (the seeded set of champions).

        Empty where the training rows are too few. ValueError where a fit has no minimum.
        """
        if config is None:
            default = agent == "strategy_optimization"
            config = SEEDED if default else PART_SPACES[agent].default()
        else:
            config = {**PART_SPACES[agent].default(), **config} if _is_flat(agent) else config
        key = (tuple(config.items()), train)
        chosen = config
        return self._once(agent, key, lambda: self._fitters[agent](chosen, train))

    def _once(self, what: str, key: Hashable, make: Callable[[], T]) -> T:
        """Remembers the last _REMEMBERED of a kind."""
        known = self._known.setdefault(what, {})
        if key not in known:
            if len(known) >= _REMEMBERED:
                known.pop(next(iter(known)))
            known[key] = make()
        found: T = known[key]
        return found

    def _trend(self, config: Config, train: tuple[Interval, ...]) -> Floats:
        samples = self._once(
            "trend samples", (), lambda: fit_trend.training_samples(self._bars, self._horizon)
        )
        return humble_link(within(samples, train), self._horizon, float(config["prior_slope"]))

    def _microstructure(self, config: Config, train: tuple[Interval, ...]) -> Floats:
        samples = self._once(
            "micro samples",
            (),
            lambda: fit_microstructure.training_samples(self._bars, self._horizon),
        )
        return humble_link(within(samples, train), self._horizon, float(config["prior_slope"]))

    def _sentiment(self, config: Config, _: tuple[Interval, ...]) -> Floats:
        return financial_sentiment.pack(config)

    def _vpin(self, config: Config, train: tuple[Interval, ...]) -> Floats:
        settings = self.vpin_settings(config, train)
        samples = self._once(
            "vpin samples",
            tuple(settings.tolist()),
            lambda: collect(
                vpin_hft.SPEC, self._bars, self._horizon, vpin_hft.FEATURE_COUNT, settings
            ),
        )
        link = humble_link(within(samples, train), self._horizon, float(config["prior_slope"]))
        return np.concatenate([settings, link]) if len(link) else no_params()

    def vpin_settings(self, config: Config, train: tuple[Interval, ...]) -> Floats:
        """Bucket and decay (2,), from how many of the training bars make a day."""
        bucket, days = float(config["bucket"]), float(config["half_life_days"])
        return fit_vpin.settings(self._bars[self._taught(train)], bucket, days)

    def _predictor(self, config: Config, train: tuple[Interval, ...]) -> Floats:
        samples = self._once(
            "predictor samples",
            (),
            lambda: fit_predictor.training_samples(self._bars, self._horizon),
        )
        trained = self._once(
            "boosters",
            (predictor_settings.booster_key(config), train),
            lambda: predictor_settings.train(
                self._thinned(within(samples, train), train), self._horizon, self._seed, config
            ),
        )
        if trained is None:
            return no_params()
        prior = float(config["shrinkage_prior"])
        return predictor_settings.assemble(trained, self._horizon, prior)

    def _thinned(self, samples: Samples, train: tuple[Interval, ...]) -> Samples:
        """Of a long past every second, fourth, ... moment, as a retraining takes them."""
        stride = stride_of(int(np.count_nonzero(self._taught(train))))
        place = np.searchsorted(np.unique(self._bars["ts"]), samples.begin)
        return samples.only(place % stride == 0)

    def _taught(self, train: tuple[Interval, ...]) -> NDArray[np.bool_]:
        """The bars (n,) that lie in the intervals."""
        ts = self._bars["ts"]
        taught = np.zeros(len(ts), np.bool_)
        for since, until in train:
            taught |= (ts >= since) & (ts < until)
        return taught

    def _champions(self, config: Config, train: tuple[Interval, ...]) -> Floats:
        declared = [dict(each) for each in DECLARED] if config == SEEDED else [champion_of(config)]
        key = tuple(tuple(each.items()) for each in declared)
        samples = self._once("signals", key, lambda: self._signals(declared))
        slope = float(config.get("prior_slope", fit_trend.PRIOR_SLOPE))
        taught = within(samples, train)
        for i, champion in enumerate(declared):
            signal = np.ascontiguousarray(taught.x[:, i : i + 1])
            own = Samples(signal, taught.y, taught.begin, taught.end)
            link = humble_link(own, self._horizon, slope)
            if len(link) == 0:
                return no_params()
            champion["link"] = list(link)
        return strategy_optimization.pack(declared)

    def _signals(self, declared: list[dict[str, Any]]) -> Samples:
        """Signals (n, champions) where the agent would have voted; as in ``seed_champions``."""
        runner = Agent(strategy_optimization.SPEC)
        empty = [0.0] * strategy_optimization.LINK_WIDTH
        runner.set_model(strategy_optimization.pack([{**each, "link": empty} for each in declared]))
        votes = runner.apply(self._bars)
        outcomes = labels(self._bars, self._horizon)
        usable = (votes[:, STATUS] == Status.VOTED) & (outcomes != NO_LABEL)
        columns = slice(_FIRST_SIGNAL, _FIRST_SIGNAL + len(declared))
        return Samples(
            np.ascontiguousarray(votes[usable, columns]),
            outcomes[usable],
            self._bars["ts"][usable].astype(np.int64),
            label_end(self._bars, self._horizon)[usable],
        )


def champion_of(config: Config) -> dict[str, Any]:
    """One champion, its link yet to be fitted; tastes by the kind of its rule where none is given.

    The declared tastes: trend rules prefer efficient markets, reversion rules inefficient ones.
    """
    rule = rule_of(config)
    kind = next(
        each
        for each in DECLARED
        if (each["rule"] in _TREND_RULES) == (rule["rule"] in _TREND_RULES)
    )
    tastes = {name: config.get(name, kind[name]) for name in ("trend_taste", "vol_taste")}
    return {**rule, **tastes}


def _is_flat(agent: str) -> bool:
    """Whether a part of a configuration can be filled up with defaults: nothing is conditional."""
    return all(each.when is None for each in PART_SPACES[agent].parameters.values())
