"""From agents' answers to what the pool takes: soundness, votes and statuses. Compiled.

``answer`` is one agent's answer to a round of k bars, (k, out_width), see ``actors.contract``.
"""

from __future__ import annotations

import math

from actors.contract import P_DOWN, REASON, STATUS, Status
from data.compiled import lean_njit

_VOTED, _ABSTAINED, _FAILED = int(Status.VOTED), int(Status.ABSTAINED), int(Status.FAILED)


@lean_njit
def is_sound(answer):
    """Whether every number is finite, every status known, and every vote a distribution."""
    for i in range(answer.shape[0]):
        # Any sum with a NaN or an infinity times zero is no number.
        total = 0.0
        for j in range(answer.shape[1]):
            total += answer[i, j] * 0.0
        if math.isnan(total):
            return False
        status = answer[i, STATUS]
        if status == _VOTED:
            down, flat, up = answer[i, P_DOWN], answer[i, P_DOWN + 1], answer[i, P_DOWN + 2]
            if min(down, flat, up) < 0.0 or abs(down + flat + up - 1.0) > 1e-9:
                return False
        elif status != _ABSTAINED:
            return False
    return True


@lean_njit
def take_answer(answer, agent, votes, status, reason):
    """Writes one agent's sound answer to votes (k, n, 3), status (k, n) and reason (k, n).

    Only a vote has probabilities: those of an abstention are zeros.
    """
    for i in range(answer.shape[0]):
        voted = answer[i, STATUS] == _VOTED
        for c in range(3):
            votes[i, agent, c] = answer[i, P_DOWN + c] if voted else 0.0
        status[i, agent] = int(answer[i, STATUS])
        reason[i, agent] = int(answer[i, REASON])


@lean_njit
def without_answer(code, agent, votes, status, reason):
    """Marks an agent that gave no usable answer to the round with the status ``code``."""
    for i in range(status.shape[0]):
        for c in range(3):
            votes[i, agent, c] = 0.0
        status[i, agent] = code
        reason[i, agent] = 0
