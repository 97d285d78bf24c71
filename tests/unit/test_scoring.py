"""Scores against hand computation and an independent pass over the decisions."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from session_results import HORIZON, ROUNDS, WARM_UP, session

from actors.contract import Status
from tuning.scoring import brier, decision_outcomes, score


def independent_outcomes(result):
    """Outcome by decision row, written from the definition: {row: 0, 1, 2}."""
    decay = 0.5 ** (1 / 20)
    found = {}
    for symbol in range(len(result.symbols)):
        rows = np.flatnonzero(result.d_symbol == symbol)
        closes = result.d_close[rows].astype(float)
        moves = np.diff(np.log(closes))
        for i in range(20, len(rows) - result.horizon):
            weights = decay ** np.arange(i)[::-1]
            sigma = math.sqrt((weights * moves[:i] ** 2).sum() / weights.sum())
            change = math.log(closes[i + result.horizon] / closes[i])
            band = 0.43 * sigma * math.sqrt(result.horizon)
            found[rows[i]] = 2 if change > band else 0 if change < -band else 1
    return found


def test_brier_by_hand():
    p = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(brier(p, np.array([2, 1, 0])), [0.38, 2.0, 2 / 3], rtol=1e-15)


def test_outcomes_equal_the_definition():
    result = session()
    outcomes, expected = decision_outcomes(result), independent_outcomes(result)
    assert {int(i): int(outcomes[i]) for i in np.flatnonzero(outcomes >= 0)} == {
        int(i): o for i, o in expected.items()
    }
    assert len(set(expected.values())) == 3


def test_scores_equal_an_independent_pass():
    result = session(3)
    rng = np.random.default_rng(5)
    result.d_status[:, 1] = rng.choice([0, 1, 2, 3], 2 * ROUNDS)
    result.d_votes[:, 1] = rng.dirichlet((1, 1, 1), 2 * ROUNDS)
    result.d_p[:] = 0.6 * result.d_votes[:, 0] + 0.4 * result.d_votes[:, 1]
    outcomes = independent_outcomes(result)
    rows = [i for i in sorted(outcomes) if result.d_ts[i] >= result.first_traded]

    def loss(p, i):
        return sum((p[k] - (k == outcomes[i])) ** 2 for k in range(3))

    pool = [loss(result.d_p[i], i) for i in rows]
    equal, own, pool_beside = [], [], []
    for i in rows:
        spoke = result.d_status[i, 1] == 0
        equal.append(loss(result.d_votes[i].mean(0) if spoke else result.d_votes[i, 0], i))
        if spoke:
            own.append(loss(result.d_votes[i, 1], i))
            pool_beside.append(loss(result.d_p[i], i))
    scores = score(result)
    assert scores.scored == len(rows) == 2 * (ROUNDS - WARM_UP - HORIZON)
    assert sum(scores.outcomes) == len(rows)
    assert scores.pool_brier == pytest.approx(np.mean(pool), rel=1e-12)
    assert scores.equal_weight_brier == pytest.approx(np.mean(equal), rel=1e-12)
    second = scores.agents[1]
    assert second.scored == len(own) < len(rows)
    assert second.brier == pytest.approx(np.mean(own), rel=1e-12)
    assert second.pool_brier == pytest.approx(np.mean(pool_beside), rel=1e-12)
    status = result.d_status[2 * WARM_UP :, 1]
    assert (second.votes, second.abstentions, second.late, second.failed) == tuple(
        (status == k).sum() for k in Status
    )
    # Two decisions on every date: the sum over dates of the mean is half of the sum.
    assert scores.pool_advantage[-1] == pytest.approx(sum(2 / 3 - x for x in pool) / 2)
    assert scores.pool_edge[0] == pytest.approx(2 / 3 - np.mean(pool))


def test_a_perfect_and_a_uniform_forecaster():
    result = session()
    outcomes = decision_outcomes(result)
    result.d_p[:] = np.eye(3)[np.maximum(outcomes, 0)]
    result.d_votes[:, 0] = 1 / 3
    scores = score(result)
    assert scores.pool_brier == 0.0
    assert scores.agents[0].brier == pytest.approx(2 / 3)
    assert scores.equal_weight_brier == pytest.approx(2 / 3)
    assert np.abs(scores.agent_advantage[:, 0]).max() < 1e-12
    np.testing.assert_allclose(scores.pool_advantage, 2 / 3 * np.arange(1, len(scores.ts) + 1))


def test_the_silent_agent_has_no_score_and_a_level_line():
    scores = score(session())
    silent = scores.agents[1]
    assert (silent.votes, silent.scored) == (0, 0)
    assert math.isnan(silent.brier)
    assert math.isnan(silent.pool_brier)
    assert silent.abstained_for == {"no_news": silent.abstentions}
    assert not scores.agent_advantage[:, 1].any()


def test_what_lies_in_an_abstainers_row_is_never_read():
    result = session()
    before = score(result)
    result.d_votes[:, 1] = 9.9
    after = score(result)
    assert after.equal_weight_brier == before.equal_weight_brier
    assert after.agents == before.agents or math.isnan(before.agents[1].brier)
    np.testing.assert_array_equal(after.agent_advantage, before.agent_advantage)


def test_decisions_of_the_warm_up_do_not_count():
    result = session()
    before = score(result)
    result.d_p[: 2 * WARM_UP] = result.d_p[: 2 * WARM_UP, ::-1]
    result.d_votes[: 2 * WARM_UP, 0] = result.d_votes[: 2 * WARM_UP, 0, ::-1]
    after = score(result)
    assert (after.pool_brier, after.equal_weight_brier) == (
        before.pool_brier,
        before.equal_weight_brier,
    )


def test_a_later_price_changes_no_earlier_outcome():
    result = session()
    before = decision_outcomes(result)
    cut = 2 * 90
    changed = replace(result, d_close=result.d_close.copy())
    changed.d_close[cut:] *= 3
    known = cut - 2 * HORIZON
    np.testing.assert_array_equal(decision_outcomes(changed)[:known], before[:known])
    assert (decision_outcomes(changed)[known:] != before[known:]).any()


def test_nothing_to_score_is_nan_not_zero():
    result = session()
    result.d_status[:] = int(Status.FAILED)
    result.d_p[:] = 0.0
    scores = score(result)
    assert scores.scored == 0
    assert math.isnan(scores.pool_brier)
    assert math.isnan(scores.equal_weight_brier)
    assert len(scores.ts) == 0
    assert scores.agent_advantage.shape == (0, 2)
    assert scores.agents[0].failed == scores.decisions == 2 * (ROUNDS - WARM_UP)


@pytest.mark.parametrize("bad", [(0.5, 0.5, 0.5), (0.0, 0.0, 0.0), (math.nan, 0.5, 0.5)])
def test_a_vote_that_is_no_probability_is_refused(bad):
    result = session()
    result.d_votes[100, 0] = bad
    with pytest.raises(ValueError, match="vote is not a probability"):
        score(result)
