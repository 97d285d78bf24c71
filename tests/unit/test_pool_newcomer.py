"""What a newcomer loses, how it is scored, and what it enters with."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from session_support import FIRST, NAMES, live, made_rounds, small_config

from actors.contract import Status
from actors.outcome import outcome
from actors.pool import PoolParams, PoolState
from actors.pool_newcomer import newcomer, shadow_record
from actors.pool_state import ABSENT, NEVER, OPEN, PENDING
from actors.registry import AGENTS
from data.records import RoundInput, RoundOutput
from serve_apps.session_state import SessionState, window_record

PARAMS = PoolParams()


def test_its_weight_goes_to_the_other_voters_and_comes_back_as_its_prior() -> None:
    state = PoolState.fresh(6, 1)
    state.arrays.weights[:] = [0.3, 0.1, 0.1, 0.05, 0.03, 0.02, 0.4]
    newcomer(PARAMS, state, 0)
    expected = [0.0, 0.2, 0.2, 0.1, 0.06, 0.04, 0.4]
    assert state.arrays.weights.tolist() == pytest.approx(expected)
    assert state.arrays.prior.tolist() == pytest.approx([0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.5])
    assert state.shadow.left.tolist() == [10, 0, 0, 0, 0, 0]
    newcomer(PARAMS, state, 1)
    expected = [0.0, 0.0, 0.3, 0.15, 0.09, 0.06, 0.4]
    assert state.arrays.weights.tolist() == pytest.approx(expected)


def test_a_pool_of_newcomers_only_starts_at_once() -> None:
    """With nobody to be heard no window would open, and the shadow would never end."""
    state = PoolState.fresh(3, 1)
    state.arrays.weights[:] = [0.5, 0.2, 0.1, 0.2]
    for voter in range(3):
        newcomer(PARAMS, state, voter)
    assert state.shadow.left.tolist() == [0, 0, 0]
    assert state.arrays.weights.tolist() == pytest.approx([0.8 / 3] * 3 + [0.2])
    assert state.arrays.prior.tolist() == PARAMS.prior(3).tolist()


def test_a_voter_alone_in_a_pool_enters_at_once() -> None:
    state = PoolState.fresh(1, 1)
    newcomer(PARAMS, state, 0)
    assert state.arrays.weights.tolist() == [0.5, 0.5]


def test_weights_at_their_floor_are_shared_out_too() -> None:
    state = PoolState.fresh(3, 1)
    state.arrays.weights[:] = [0.5, 1e-300, 3e-300, 0.5]
    newcomer(PARAMS, state, 0)
    assert state.arrays.weights.tolist() == pytest.approx([0.0, 0.125, 0.375, 0.5])


def test_its_last_votes_and_its_part_in_the_window_are_cleared() -> None:
    config = small_config(horizon=4)
    state = SessionState(config, AGENTS)
    rounds = made_rounds(3, 60, mixed=False)
    live(state, rounds[:24])
    arrays = state.pool.arrays
    assert arrays.window[OPEN]
    assert arrays.entry_awake[:, 2].all()
    assert (arrays.vote_age[:, 2] >= 0).all()
    pending = arrays.window[PENDING]
    others = arrays.entry_p[:, 3].copy()
    newcomer(state.params, state.pool, 2)
    assert not arrays.entry_awake[:, 2].any()
    assert not arrays.entry_p[:, 2].any()
    assert not arrays.vote_p[:, 2].any()
    assert (arrays.vote_age[:, 2] == NEVER).all()
    assert arrays.entry_p[:, 3].tobytes() == others.tobytes()
    assert arrays.window[PENDING] == pending


def test_a_window_of_the_newcomer_alone_closes_without_a_step() -> None:
    """The mean of nobody has no loss: it would be a NaN in every weight."""
    state = SessionState(small_config(horizon=4, shadow_steps=2), AGENTS)
    rounds = made_rounds(4, 60, {23: [2]}, mixed=False)
    for asked in rounds[:23]:
        alone = {name: Status.FAILED for name in NAMES if name != NAMES[2]}
        live(state, [asked._replace(outs={**asked.outs, **alone})])
    arrays = state.pool.arrays
    assert (arrays.entry == ABSENT).all()
    assert arrays.window[PENDING] == 0
    steps = []
    for asked in rounds[23:]:
        (output,) = live(state, [asked])
        assert output is not None
        assert np.isfinite(output.weights).all()
        steps.append(output.stepped)
    assert steps.index(True) == 4  # a window opened at once, and took its horizon
    assert state.pool.shadow.left[2] == 0


def brier(p: np.ndarray, truth: int) -> float:
    return float(((p - np.eye(3)[truth]) ** 2).sum())


def test_its_loss_stands_beside_the_pools_on_the_same_windows() -> None:
    """Recomputed from the recorded votes, forecasts and closes alone."""
    horizon, steps, first = 2, 4, 30
    state = SessionState(small_config(horizon, steps), AGENTS)
    outputs = live(state, made_rounds(9, 60, {first: [1]}, mixed=False))
    seen = [output for output in outputs if output is not None]
    own, pool = [], []
    # A window opens in the round that closes the last one, and is scored a horizon later.
    for opened in range(first, 60):
        output = seen[opened - 1]
        before = seen[opened - 2]
        left = output.window["shadow"][NAMES[1]]["left"]
        starts = output.window["ts"] == opened * 86_400 * 10**9 != before.window["ts"]
        if not starts or left == 0:
            continue
        mine, theirs = losses(output, seen[opened - 1 + horizon], horizon)
        own.append(mine)
        pool.append(theirs)
    record = seen[-1].window["shadow"][NAMES[1]]
    assert record["left"] == 0
    assert len(own) == record["windows"] == steps - 1
    assert record["loss"] == pytest.approx(np.mean(own), rel=1e-12)
    assert record["pool"] == pytest.approx(np.mean(pool), rel=1e-12)


def losses(opened: RoundOutput, later: RoundOutput, horizon: int) -> tuple[float, float]:
    """Mean Brier losses of voter 1 and of the pool on the decisions of one round."""
    a, b = opened.arrays(), later.arrays()
    own, pool = [], []
    for i in range(len(a.table)):
        row = a.table[i]
        truth = outcome(int(row["close"]), int(b.table["close"][i]), float(row["sigma"]), horizon)
        own.append(brier(a.votes[i, 1], truth))
        pool.append(brier(row["p"], truth))
    return float(np.mean(own)), float(np.mean(pool))


def asked_with(versions: dict[str, str], number: int) -> RoundInput:
    (asked,) = made_rounds(1, 1, mixed=False)
    return msgspec.structs.replace(asked.given, versions=versions, round=number)


@pytest.mark.parametrize(
    ("named", "newcomers"),
    [
        ([FIRST, FIRST], []),
        ([{}, FIRST], []),
        ([FIRST, {}], []),
        ([FIRST, {}, FIRST], []),
        ([FIRST, FIRST | {NAMES[4]: "other"}], [4]),
        ([FIRST, {}, FIRST | {NAMES[4]: "other"}], [4]),
        ([FIRST, {NAMES[0]: "other"}], [0]),
        ([{NAMES[0]: "a"}, {NAMES[1]: "b"}, {NAMES[0]: "a", NAMES[1]: "b"}], []),
        ([FIRST, FIRST | {"nobody": "x"}, FIRST | {"nobody": "y"}], []),
        ([FIRST, dict.fromkeys(NAMES[:5], "other")], [0, 1, 2, 3, 4]),
    ],
)
def test_who_is_a_newcomer(named: list[dict[str, str]], newcomers: list[int]) -> None:
    state = SessionState(small_config(), AGENTS)
    (asked,) = made_rounds(1, 1, mixed=False)
    for number, versions in enumerate(named, 1):
        state.pool_votes(asked_with(versions, number), asked.outs)
    assert np.flatnonzero(state.pool.shadow.left).tolist() == newcomers


def test_an_aborted_round_may_bring_the_newcomer() -> None:
    state = SessionState(small_config(), AGENTS)
    state.skip(asked_with(FIRST, 1))
    state.skip(asked_with(FIRST | {NAMES[4]: "other"}, 2))
    assert np.flatnonzero(state.pool.shadow.left).tolist() == [4]


def test_a_second_change_starts_the_shadow_again() -> None:
    config = small_config(shadow_steps=5)
    once, twice = SessionState(config, AGENTS), SessionState(config, AGENTS)
    live(once, made_rounds(2, 40, {28: [3]}, mixed=False))
    live(twice, made_rounds(2, 40, {28: [3], 35: [3]}, mixed=False))
    assert once.pool.shadow.left[3] < twice.pool.shadow.left[3]
    assert once.pool.shadow.windows[3] > twice.pool.shadow.windows[3]


def test_the_record_names_those_who_are_or_were_in_the_shadow() -> None:
    state = PoolState.fresh(6, 1)
    assert shadow_record(state, NAMES) == {}
    newcomer(PARAMS, state, 1)
    waiting = {"left": 10, "windows": 0, "loss": None, "pool": None}
    assert shadow_record(state, NAMES) == {NAMES[1]: waiting}
    state.shadow.left[1], state.shadow.windows[1] = 0, 4
    state.shadow.own[1], state.shadow.pool[1] = 3.0, 2.0
    entered = {"left": 0, "windows": 4, "loss": 0.75, "pool": 0.5}
    assert shadow_record(state, NAMES) == {NAMES[1]: entered}


def test_the_shadow_is_part_of_the_pools_bytes() -> None:
    state = PoolState.fresh(6, 2)
    before = state.to_bytes()
    newcomer(PARAMS, state, 1)
    state.shadow.own[1] = 0.1
    again = PoolState.from_bytes(state.to_bytes())
    assert again.to_bytes() == state.to_bytes() != before
    assert [a.tolist() for a in again.shadow] == [a.tolist() for a in state.shadow]
    copied = state.copy()
    copied.shadow.left[1] = 3
    assert state.shadow.left[1] == 10
    with pytest.raises(ValueError, match="length"):
        PoolState.from_bytes(state.to_bytes()[:-8])
    with pytest.raises(ValueError, match="of this version"):
        PoolState.from_bytes(b"SPHPOOL1" + state.to_bytes()[8:])


def test_the_window_record_reads_back_with_its_shadow() -> None:
    state = SessionState(small_config(), AGENTS)
    outputs = live(state, made_rounds(2, 40, {28: [3]}, mixed=False))
    output = outputs[-1]
    assert output is not None
    assert RoundOutput.from_readable(output.readable()) == output
    plain = window_record(state.pool)
    assert output.window == plain | {"shadow": output.window["shadow"]}
