"""What may be searched: spaces by name, joined spaces, and what a winner may become."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from actors import rules
from actors.space import Space
from data.errors import InputError
from tuning.fit_models import FITTERS
from tuning.seed_champions import DECLARED
from tuning.study.contract import OBJECTIVES
from tuning.study.fits import champion_of
from tuning.study.targets import AGENT_NAMES, TARGETS, joined, target_of


def test_every_part_of_a_session_can_be_searched() -> None:
    assert list(TARGETS) == ["ema_cross", *AGENT_NAMES, "pool", "sizing", "committee"]
    for target in TARGETS.values():
        assert target.objective in OBJECTIVES
        assert target.promotes == (target.name in AGENT_NAMES)
        assert target.agent == (target.name if target.name in AGENT_NAMES else None)
        assert target_of(target.name) is target
    assert set(FITTERS) <= set(AGENT_NAMES)


@pytest.mark.parametrize("name", TARGETS)
def test_spaces_travel_and_stay_the_same(name: str) -> None:
    space = TARGETS[name].space
    again = pickle.loads(pickle.dumps(space))  # noqa: S301
    assert again.describe() == space.describe()
    config = space.sample(np.random.default_rng(3))
    assert again.check(config) == config


def test_the_committee_s_configuration_is_split_by_part() -> None:
    committee = TARGETS["committee"]
    parts = committee.split(committee.space.default())
    assert tuple(parts) == committee.parts
    assert parts["sizing"] == TARGETS["sizing"].space.default()
    assert parts["trend_momentum"] == {"prior_slope": 0.05}
    assert sum(len(part) for part in parts.values()) == len(committee.space)
    assert TARGETS["pool"].split({"mixing": 0.1}) == {"pool": {"mixing": 0.1}}


def test_joined_spaces_keep_their_conditions_and_constraints() -> None:
    both: Space = joined({"a": rules.SPACE, "b": rules.SPACE})
    rng = np.random.default_rng(0)
    for _ in range(200):
        config = both.sample(rng)
        both.check(config)
        for part in "ab":
            inside = {k[2:]: v for k, v in config.items() if k.startswith(f"{part}.")}
            assert rules.SPACE.check(inside) == inside
    crossed = {**both.default(), "b.fast": 60, "b.slow": 40}
    assert both.broken(crossed) == "b: fast < slow"


def test_the_seeded_champions_lie_in_the_space_and_keep_their_tastes() -> None:
    for declared in DECLARED:
        rule = str(declared["rule"])
        config = {"rule": rule}
        for name in rules.PARAMETER_NAMES[rules.RULE_NAMES.index(rule)]:
            key = name if name in rules.SPACE.parameters else f"{rule}_{name}"
            config[key] = declared[name]
        assert champion_of(rules.SPACE.check(config)) == declared


def test_an_unknown_target_is_named() -> None:
    with pytest.raises(InputError, match="nothing is called 'moon' to search: give one of ema_"):
        target_of("moon")
