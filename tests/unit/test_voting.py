"""From answers to votes, against the same rule stated in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from actors import voting
from actors.contract import OUT_FIXED, P_DOWN, P_UP, REASON, STATUS, Floats, Reason, Status

N, START, WIDTH = 3, 2, OUT_FIXED + 3
STOP = START + WIDTH
ODD = [math.nan, math.inf, -math.inf]


@njit
def is_sound(answers, count):
    return voting.is_sound(answers, count, START, STOP)


@njit
def take_answer(answers, count, agent, votes, status, reason):
    voting.take_answer(answers, count, START, agent, votes, status, reason)


@njit
def without_answer(code, count, agent, votes, status, reason):
    voting.without_answer(code, count, agent, votes, status, reason)


def sound(answers: Floats, count: int) -> bool:
    """The rule, in numpy."""
    mine = answers[:count, START:STOP]
    p, status = mine[:, P_DOWN : P_UP + 1], mine[:, STATUS]
    voted = status == Status.VOTED
    distributions = (p >= 0).all(axis=1) & (np.abs(p.sum(axis=1) - 1.0) <= 1e-9)
    return bool(
        np.isfinite(mine).all()
        and (voted | (status == Status.ABSTAINED)).all()
        and distributions[voted].all()
    )


def answers_of(seed: int, rows: int) -> Floats:
    """Sound answers; the columns before and after the agent's are nobody's business."""
    rng = np.random.default_rng(seed)
    answers = np.full((rows, STOP + 1), math.nan)
    mine = answers[:, START:STOP]
    mine[:] = rng.normal(size=mine.shape)
    mine[:, P_DOWN : P_UP + 1] = rng.dirichlet((0.3, 0.3, 0.3), rows)
    mine[:, STATUS] = rng.choice([Status.VOTED, Status.ABSTAINED], rows)
    mine[:, REASON] = np.where(mine[:, STATUS] == Status.VOTED, 0, Reason.WARMING_UP)
    # An abstention need not carry a distribution.
    mine[mine[:, STATUS] == Status.ABSTAINED, P_DOWN] = -3.0
    return answers


def room(rows: int) -> tuple[Floats, np.ndarray, np.ndarray]:
    full = np.full((rows, N), 77, np.int64)
    return np.full((rows, N, 3), 77.0), full, full.copy()


@settings(deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 6), data=st.data())
def test_sound_or_not_as_the_rule_says(seed: int, rows: int, data: st.DataObject) -> None:
    answers = answers_of(seed, rows)
    assert is_sound(answers, rows)
    row, column = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(START, STOP - 1))
    value = data.draw(st.one_of(st.sampled_from([*ODD, -0.0, 1.0, 2.0, 3.0, 0.5]), st.floats()))
    answers[row, column] = value
    assert is_sound(answers, rows) == sound(answers, rows)
    # Rows that are not of this round, what an earlier one left, do not count.
    assert is_sound(answers, row) == sound(answers, row)


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("column", range(START, STOP))
@pytest.mark.parametrize("status", [Status.VOTED, Status.ABSTAINED])
def test_no_number_is_never_sound(value: float, column: int, status: Status) -> None:
    answers = answers_of(1, 3)
    answers[1, START + STATUS] = status
    answers[1, START : START + 3] = (0.25, 0.25, 0.5)
    assert is_sound(answers, 3)
    answers[1, column] = value
    assert not is_sound(answers, 3)


@pytest.mark.parametrize("status", [Status.LATE, Status.FAILED, -1, 4, 0.5])
def test_an_unknown_status_is_never_sound(status: float) -> None:
    answers = answers_of(1, 2)
    answers[1, START + STATUS] = status
    assert not is_sound(answers, 2)


@pytest.mark.parametrize(
    ("p", "ok"),
    [
        ((0.2, 0.3, 0.5), True),
        ((0.0, 0.0, 1.0), True),
        ((0.2, 0.3, 0.5 + 9e-10), True),
        ((0.2, 0.3, 0.5 + 2e-9), False),
        ((0.2, 0.3, 0.5 - 2e-9), False),
        ((-1e-12, 0.5, 0.5 + 1e-12), False),
        ((1e308, 1e308, 1e308), False),
        ((0.0, 0.0, 0.0), False),
    ],
)
def test_a_vote_is_a_distribution(p: tuple[float, float, float], ok: bool) -> None:
    answers = answers_of(1, 1)
    answers[0, START : START + 3] = p
    answers[0, START + STATUS] = Status.VOTED
    assert is_sound(answers, 1) == ok
    answers[0, START + STATUS] = Status.ABSTAINED
    assert is_sound(answers, 1)


@settings(deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 6), agent=st.integers(0, N - 1))
def test_an_answer_is_written_to_its_agents_column_alone(seed: int, rows: int, agent: int) -> None:
    answers = answers_of(seed, rows)
    votes, status, reason = room(rows + 1)
    take_answer(answers, rows, agent, votes, status, reason)
    mine = answers[:, START:STOP]
    voted = mine[:, STATUS] == Status.VOTED
    expected, codes, reasons = room(rows + 1)
    expected[:rows, agent] = np.where(voted[:, None], mine[:, P_DOWN : P_UP + 1], 0.0)
    codes[:rows, agent] = mine[:, STATUS]
    reasons[:rows, agent] = mine[:, REASON]
    assert votes.tobytes() == expected.tobytes()
    assert status.tobytes() == codes.tobytes()
    assert reason.tobytes() == reasons.tobytes()


@pytest.mark.parametrize("code", [Status.LATE, Status.FAILED, Status.ABSTAINED])
def test_no_answer_has_zeros_and_its_status(code: Status) -> None:
    votes, status, reason = room(4)
    without_answer(int(code), 3, 1, votes, status, reason)
    expected, codes, reasons = room(4)
    expected[:3, 1], codes[:3, 1], reasons[:3, 1] = 0.0, code, 0
    assert votes.tobytes() == expected.tobytes()
    assert status.tobytes() == codes.tobytes()
    assert reason.tobytes() == reasons.tobytes()
