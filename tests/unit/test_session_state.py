"""Votes that are no forecasts: they fail their agent and never stop a round."""

from __future__ import annotations

import numpy as np
import pytest
from support import by_moment, plain_config, random_bars

from actors.contract import STATUS, Floats, Status
from actors.registry import AGENTS
from data.records import RoundInput
from serve_apps.session_state import UNMEASURED, SessionState


def answers(count: int) -> dict[str, Floats | Status]:
    outs: dict[str, Floats | Status] = {}
    for spec in AGENTS:
        out = np.zeros((count, spec.out_width))
        out[:, :3] = (0.2, 0.3, 0.5)
        outs[spec.name] = out
    return outs


@pytest.mark.parametrize("fault", ["nan", "sum", "negative", "shape", "status"])
def test_a_vote_that_is_no_forecast_counts_as_failed(fault: str) -> None:
    bars = by_moment(random_bars(1, 2))[0]
    state = SessionState(plain_config(), AGENTS)
    outs = answers(2)
    spec = AGENTS[0]
    bad = np.array(outs[spec.name])
    if fault == "nan":
        bad[0, 1] = np.nan
    elif fault == "sum":
        bad[1, 0] = 0.3
    elif fault == "negative":
        bad[0, :3] = (-0.2, 0.7, 0.5)
    elif fault == "shape":
        bad = bad[:1]
    else:
        bad[0, STATUS] = 7
    outs[spec.name] = bad
    given = RoundInput(
        session_id="s", cell=0, round=1, ts=int(bars["ts"][0]), clock_ns=0, requests=[],
        bars=bars.tobytes(), news=[], models={}, locked=[],
    )  # fmt: skip
    output = state.pool_votes(given, outs)
    for decision in output.decisions:
        assert decision.status[0] == Status.FAILED
        assert decision.status[1:] == [Status.VOTED] * 5
        assert decision.agents_awake == 5


def test_toxicity_that_nobody_measured_is_outside_its_range() -> None:
    bars = by_moment(random_bars(1, 1))[0]
    state = SessionState(plain_config(("AAA",)), AGENTS)
    outs = answers(1)
    outs["vpin_hft"] = Status.LATE
    given = RoundInput(
        session_id="s", cell=0, round=1, ts=int(bars["ts"][0]), clock_ns=0, requests=[],
        bars=bars.tobytes(), news=[], models={}, locked=[],
    )  # fmt: skip
    (decision,) = state.pool_votes(given, outs).decisions
    assert decision.toxicity == UNMEASURED
    assert not 0.0 <= UNMEASURED <= 1.0


def test_the_declared_prior_is_the_starting_weight() -> None:
    config = plain_config(pool={**plain_config().pool, "equal_weight_prior": 0.3})
    weights = SessionState(config, AGENTS).pool.arrays.weights
    assert weights[-1] == 0.3
    assert weights[:-1].tolist() == pytest.approx([0.7 / len(AGENTS)] * len(AGENTS))
