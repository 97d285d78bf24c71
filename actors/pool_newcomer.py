"""Newcomers: a voter whose step changed is scored in the shadow first, then enters the pool.

Its record belongs to the step that it had: it starts again. While it is in the shadow it has no
weight and sleeps in the pool, the other voters share its weight in their proportions, and its
forecasts are scored beside the pool's own. After ``shadow_steps`` weight steps it enters with its
declared prior, taken from the voters' share; the bound of its regret counts from there. The
equal-weight expert's weight is never touched.

All of it is plain Python round ``pool_round``: a session without newcomers pays one look.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.contract import Status
from actors.outcome import outcome
from actors.pool import PooledRound, pool_round
from actors.pool_rule import brier_of
from actors.pool_state import (
    ABSENT,
    KNOWN,
    NEVER,
    PENDING,
    WAITING,
    Floats,
    Ints,
    PoolArrays,
    PoolParams,
    PoolState,
)
from data.bars import Bars

_FAILED, _VOTED = int(Status.FAILED), int(Status.VOTED)
_ENTRY = ("entry_close", "entry_sigma", "entry_bars", "entry_outcome", "entry_p", "entry_pool")


def newcomer(params: PoolParams, state: PoolState, voter: int) -> None:
    """Puts a voter in the shadow, or back to its beginning there.

    When nobody would be left to be heard no window could open, and no shadow end: the pool of
    newcomers starts at once, from equal parts of the voters' share.
    """
    weights, shadow = state.arrays.weights, state.shadow
    _forget(state.arrays, voter)
    shadow.left[voter] = params.shadow_steps
    shadow.windows[voter], shadow.own[voter], shadow.pool[voter] = 0, 0.0, 0.0
    voters = weights[:-1]
    share = voters.sum()
    if shadow.left.all():
        shadow.left[:] = 0
        voters[:] = share / len(voters)
    else:
        voters[voter] = 0.0
        voters *= share / voters.sum()
    _declare(params, state)


def pool_with_newcomers(
    params: PoolParams, state: PoolState, bars: Bars, votes: Floats, status: NDArray[np.int64]
) -> PooledRound:
    """``actors.pool.pool_round`` in which voters in the shadow sleep, are scored, and enter.

    ``status`` is the voters' own and stays as it is.
    """
    inside = np.flatnonzero(state.shadow.left)
    if not len(inside):
        return pool_round(params, state, bars, votes, status)
    before = state.arrays._replace(
        entry=state.arrays.entry.copy(),
        **{name: getattr(state.arrays, name).copy() for name in _ENTRY},
    )
    heard = status.copy()
    heard[:, inside] = _FAILED
    pooled = pool_round(params, state, bars, votes, heard)
    if pooled.stepped:
        # The step keeps weights above zero: not these.
        state.arrays.weights[inside] = 0.0
        pooled.weights[inside] = 0.0
        _score(params, state, before, bars)
        state.shadow.left[inside] -= 1
        _enter(params, state, inside[state.shadow.left[inside] == 0])
    _forecast(state, bars, votes, status)
    return pooled


def shadow_record(state: PoolState, names: Sequence[str]) -> dict[str, Any]:
    """Of each voter that is or was in the shadow: weight steps left, windows scored, and its mean
    Brier loss beside the pool's (None before the first window). Empty without newcomers.
    """
    left, windows, own, pool = (array.tolist() for array in state.shadow)
    return {
        names[v]: {
            "left": left[v],
            "windows": windows[v],
            "loss": own[v] / windows[v] if windows[v] else None,
            "pool": pool[v] / windows[v] if windows[v] else None,
        }
        for v in range(state.n_voters)
        if left[v] or windows[v]
    }


def load_compiled() -> None:
    """Loads what is called here, so that the first newcomer's round does not wait for it."""
    brier_of(0.2, 0.3, 0.5, outcome(9, 9, 0.1, 5))


def _declare(params: PoolParams, state: PoolState) -> None:
    """The prior that is mixed in: the voters that are heard share it."""
    prior, inside = state.arrays.prior, state.shadow.left > 0
    prior[:] = params.prior(state.n_voters)
    if inside.any():
        prior[:-1] = np.where(inside, 0.0, prior[:-1].sum() / np.count_nonzero(~inside))


def _forget(arrays: PoolArrays, voter: int) -> None:
    """Clears the voter's last votes and its part in the open window.

    A symbol on which it alone was awake leaves the window: the mean of nobody has no loss.
    """
    arrays.vote_p[:, voter] = 0.0
    arrays.vote_age[:, voter] = NEVER
    arrays.entry_p[:, voter] = 0.0
    arrays.entry_awake[:, voter] = 0
    alone = np.flatnonzero((arrays.entry != ABSENT) & ~arrays.entry_awake.any(axis=1))
    arrays.window[PENDING] -= np.count_nonzero(arrays.entry[alone] == WAITING)
    arrays.entry[alone] = ABSENT
    for name in _ENTRY:
        getattr(arrays, name)[alone] = 0


def _enter(params: PoolParams, state: PoolState, who: Ints) -> None:
    """With the declared prior, at most an equal part of what the voters still have together."""
    if not len(who):
        return
    voters = state.arrays.weights[:-1]
    share = voters.sum()
    part = min(params.prior(state.n_voters)[0], share / state.n_voters)
    # These had none: the sum is of the others.
    voters *= (share - part * len(who)) / share
    voters[who] = part
    _declare(params, state)


def _forecast(state: PoolState, bars: Bars, votes: Floats, status: Ints) -> None:
    """Notes the forecasts in the shadow of a window that opened in this round.

    They stand beside those that were pooled, and ``entry_awake`` stays 0.
    """
    arrays = state.arrays
    inside = np.flatnonzero(state.shadow.left)
    for i, symbol in enumerate(bars["symbol"].tolist()):
        if arrays.entry[symbol] == WAITING and arrays.entry_bars[symbol] == 0:
            for v in inside:
                if status[i, v] == _VOTED:
                    arrays.entry_p[symbol, v] = votes[i, v]


def _score(params: PoolParams, state: PoolState, window: PoolArrays, bars: Bars) -> None:
    """Losses in the window that was just closed; ``window`` is as it was before the round."""
    outcomes = _outcomes(params, window, bars)
    shadow = state.shadow
    for v in np.flatnonzero(shadow.left):
        spoke = [s for s in outcomes if window.entry_p[s, v].any()]
        if spoke:
            own = sum(brier_of(*window.entry_p[s, v].tolist(), outcomes[s]) for s in spoke)
            pool = sum(brier_of(*window.entry_pool[s].tolist(), outcomes[s]) for s in spoke)
            shadow.windows[v] += 1
            shadow.own[v] += own / len(spoke)
            shadow.pool[v] += pool / len(spoke)


def _outcomes(params: PoolParams, window: PoolArrays, bars: Bars) -> dict[int, int]:
    """Known outcomes of the window by symbol, those that this round's bars made known included."""
    known = np.flatnonzero(window.entry == KNOWN)
    outcomes = dict(zip(known.tolist(), window.entry_outcome[known].tolist(), strict=True))
    for symbol, close in zip(bars["symbol"].tolist(), bars["close"].tolist(), strict=True):
        seen = symbol < len(window.entry) and window.entry[symbol] == WAITING
        if seen and window.entry_bars[symbol] + 1 == params.horizon:
            opened, sigma = int(window.entry_close[symbol]), float(window.entry_sigma[symbol])
            outcomes[symbol] = int(outcome(opened, close, sigma, params.horizon))
    return dict(sorted(outcomes.items()))
