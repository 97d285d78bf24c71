"""Search spaces: a configuration and its place in the unit cube are one and the same thing."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.space import Choice, Integer, Real, Space, When
from tests.study_support import toy_space

UNIT = st.floats(0.0, 1.0, exclude_max=True)


@st.composite
def _reals(draw: st.DrawFn) -> Real:
    log = draw(st.booleans())
    low = draw(st.floats(1e-3 if log else -1e3, 1e3))
    return Real(low, low + draw(st.floats(0.0, 1e3)), low, log)


@st.composite
def _integers(draw: st.DrawFn) -> Integer:
    log = draw(st.booleans())
    low = draw(st.integers(1 if log else -500, 500))
    return Integer(low, low + draw(st.integers(0, 500)), low, log)


@given(_reals(), UNIT)
def test_a_number_is_found_where_it_was_put(parameter: Real, u: float) -> None:
    value = parameter.at(u)
    assert parameter.holds(value)
    place = parameter.unit(value)
    assert 0.0 <= place <= 1.0
    assert math.isclose(float(parameter.at(place)), float(value), rel_tol=1e-9, abs_tol=1e-9)


@given(_integers(), UNIT)
def test_every_whole_number_comes_back(parameter: Integer, u: float) -> None:
    value = parameter.at(u)
    assert isinstance(value, int)
    assert parameter.holds(value)
    assert 0.0 <= parameter.unit(value) <= 1.0
    assert parameter.at(0.0) == parameter.low
    assert parameter.at(math.nextafter(1.0, 0.0)) == parameter.high


@given(st.integers(1, 40), st.integers(1, 30))
def test_points_are_distinct_values_with_both_ends(width: int, most: int) -> None:
    for parameter in (Integer(3, 3 + width, 3), Real(0.5, 0.5 + width, 0.5, log=True)):
        points = parameter.points(most)
        assert 1 <= len(points) == len(set(points)) <= most
        assert all(parameter.holds(point) for point in points)
        if most > 1:
            assert points[0] == parameter.low
            assert math.isclose(float(points[-1]), parameter.high)


@given(st.integers(0, 2**32))
def test_samples_keep_constraints_and_conditions(seed: int) -> None:
    space = toy_space()
    config = space.sample(np.random.default_rng(seed))
    assert space.check(config) == config
    assert not space.broken(config)
    assert ("y" in config) == (config["rule"] == "b")
    place = space.unit(config)
    assert place.shape == (4,)
    if "y" not in config:
        assert place[3] == 0.5
    back = space.from_unit(np.minimum(place, np.nextafter(1.0, 0.0)).tolist())
    assert (back["rule"], set(back)) == (config["rule"], set(config))
    assert math.isclose(float(back["x"]), float(config["x"]), abs_tol=1e-12)


@given(st.integers(1, 4))
def test_a_grid_holds_each_allowed_combination_once(points: int) -> None:
    space = Space(
        {
            "rule": Choice(("a", "b"), "a"),
            "k": Integer(1, 9, 3),
            "y": Real(0.0, 1.0, 0.5, when=When(parameter="rule", equals="b")),
        }
    )
    grid = space.grid(points)
    assert len(grid) == len({tuple(config.items()) for config in grid}) == points + points**2
    assert all(space.check(config) == config for config in grid)
