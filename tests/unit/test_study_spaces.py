"""Spaces beside the parameters that they search: their defaults are the ones in force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from actors import financial_sentiment, pool_state, rules, sizing, strategy_optimization
from actors.space import Space
from tuning import signal_backtest

SPACES = {
    "sizing": sizing.SPACE,
    "pool": pool_state.SPACE,
    "rules": rules.SPACE,
    "champion": strategy_optimization.SPACE,
    "sentiment": financial_sentiment.SPACE,
    "ema_cross": signal_backtest.SPACE,
}


def test_the_defaults_of_sizing_and_pool_change_nothing() -> None:
    assert sizing.SizingParams(**sizing.SPACE.default()) == sizing.SizingParams()
    assert pool_state.PoolParams(**pool_state.SPACE.default()) == pool_state.PoolParams()


def test_the_defaults_of_sentiment_are_its_declared_model() -> None:
    packed = financial_sentiment.pack(financial_sentiment.SPACE.default())
    assert packed.tolist() == financial_sentiment.DEFAULTS.tolist()


def test_a_sentiment_configuration_reaches_every_number() -> None:
    space = financial_sentiment.SPACE
    other = space.from_unit([0.9] * len(space))
    moved = financial_sentiment.pack(other) != financial_sentiment.DEFAULTS
    assert moved.tolist() == [True, True, True, False, True, False, False, False, True]


@pytest.mark.parametrize("name", SPACES)
def test_whatever_a_space_draws_is_accepted_by_what_it_is_for(name: str) -> None:
    space: Space = SPACES[name]
    rng = np.random.default_rng(7)
    for _ in range(300):
        config = space.sample(rng)
        if name == "sizing":
            replace(sizing.SizingParams(), **config)
        elif name == "pool":
            replace(pool_state.PoolParams(), **config)
        elif name == "sentiment":
            financial_sentiment.SPEC.check_params(financial_sentiment.pack(config))
        elif name == "ema_cross":
            signal_backtest.EmaCross(**config)
        else:
            champion = rules.rule_of(config)
            assert list(champion)[1:] == list(
                rules.PARAMETER_NAMES[rules.RULE_NAMES.index(str(champion["rule"]))]
            )
            tastes = {"trend_taste": 0.0, "vol_taste": 0.0, "link": [0.0] * 6}
            row = strategy_optimization.pack([{**tastes, **champion}])
            strategy_optimization.SPEC.check_params(row)


def test_every_rule_is_drawn() -> None:
    rng = np.random.default_rng(0)
    drawn = {rules.SPACE.sample(rng)["rule"] for _ in range(200)}
    assert drawn == set(rules.RULE_NAMES)
