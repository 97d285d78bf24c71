"""exp and ln of four against numpy's long doubles, and the same bits in every lane."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.vector_math import EXP_LIMIT, exp4, log4

RNG = np.random.default_rng(3)


def _in_fours(function, values):
    return np.array([function(*four) for four in values.reshape(-1, 4)]).ravel()


def _worst_ulp(found, expected):
    return float(np.max(np.abs(found - expected) / np.spacing(np.abs(expected.astype(float)))))


@pytest.mark.parametrize("reach", [0.3, 4.0, EXP_LIMIT])
def test_exp_is_right_to_one_and_a_half_units(reach):
    x = RNG.uniform(-reach, reach, 20_000)
    assert _worst_ulp(_in_fours(exp4, x), np.exp(x.astype(np.longdouble))) < 1.5


@pytest.mark.parametrize("ends", [(0.0, 1.0), (0.7, 1.5), (1e-300, 1e300)])
def test_log_is_right_to_one_and_a_half_units(ends):
    x = RNG.uniform(*ends, 20_000)
    assert _worst_ulp(_in_fours(log4, x), np.log(x.astype(np.longdouble))) < 1.5


def test_exact_values_and_ends():
    assert exp4(0.0, 1.0, -EXP_LIMIT, EXP_LIMIT) == pytest.approx(
        (1.0, math.e, math.exp(-EXP_LIMIT), math.exp(EXP_LIMIT)), rel=1e-15
    )
    assert exp4(0.0, 0.0, 0.0, 0.0) == (1.0, 1.0, 1.0, 1.0)
    assert log4(1.0, 2.0, 2.0**-1000, 2.3e-308) == pytest.approx(
        (0.0, math.log(2.0), -1000 * math.log(2.0), math.log(2.3e-308)), rel=1e-15
    )
    assert log4(1.0, 1.0, 1.0, 1.0) == (0.0, 0.0, 0.0, 0.0)


@settings(deadline=None)
@given(st.floats(-EXP_LIMIT, EXP_LIMIT), st.floats(2.3e-308, 1e308), st.integers(0, 3))
def test_a_lane_does_not_matter(x, y, lane):
    for function, value, other in ((exp4, x, 1.0), (log4, y, 2.0)):
        given_ = [other] * 4
        given_[lane] = value
        assert function(*given_)[lane] == function(value, value, value, value)[0]
