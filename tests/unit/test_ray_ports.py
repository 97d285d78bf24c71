"""What an agent's bytes are taken for, and what an error says."""

from __future__ import annotations

import numpy as np
import pytest
from ray.exceptions import RayActorError
from support import plain_config

from actors.contract import Status
from actors.pool import PoolState
from actors.registry import AGENTS
from serve_apps.ray_ports import _rows, first_line
from serve_apps.session_state import prewarm, window_record


def test_an_answer_is_rows_of_its_agents_width() -> None:
    rows = np.arange(14.0).reshape(2, 7)
    taken = _rows(rows.tobytes(), 7)
    assert isinstance(taken, np.ndarray)
    assert taken.tobytes() == rows.tobytes()
    assert taken.shape == (2, 7)
    nothing = _rows(b"", 7)
    assert isinstance(nothing, np.ndarray)
    assert nothing.shape == (0, 7)


@pytest.mark.parametrize("answer", [b"x", bytes(8), bytes(8 * 13), bytes(8 * 14 + 1)])
def test_an_answer_that_is_no_whole_rows_is_a_failure(answer: bytes) -> None:
    assert _rows(answer, 7) is Status.FAILED


def test_an_error_is_told_in_one_line() -> None:
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(ValueError()) == "ValueError"
    assert "\n" not in first_line(RayActorError())
    assert first_line(RayActorError())


def test_a_round_is_loaded_before_the_first_one_for_any_agents() -> None:
    """It raises if an agent's answer could not pass through a round."""
    prewarm(AGENTS)
    prewarm(AGENTS[-1:])


def test_the_window_of_a_fresh_pool_is_empty() -> None:
    record = window_record(PoolState.fresh(6, len(plain_config().symbols)))
    assert (record["open"], record["ts"], record["steps"]) == (False, 0, 0)
    columns = ("symbols", "state", "close", "sigma", "bars", "outcome", "awake", "p", "pool")
    assert {name: record[name] for name in columns} == dict.fromkeys(columns, b"")
