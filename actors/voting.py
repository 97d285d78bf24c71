"""From agents' answers to what the pool takes: soundness, votes and statuses. Compiled.

The first ``count`` rows of ``answers`` hold the answers to a round of that many bars; one agent's
are the columns from ``start`` to ``stop``, see ``actors.contract``.
"""

from __future__ import annotations

import sys

from actors.contract import P_DOWN, REASON, STATUS, Status
from data.compiled import inline_njit

_VOTED, _ABSTAINED, _FAILED = int(Status.VOTED), int(Status.ABSTAINED), int(Status.FAILED)


_LARGEST = sys.float_info.max


@inline_njit
def all_finite(answers, count, start, stop):
    """Whether no number of the columns is NaN or infinite."""
    odd = 0
    for i in range(count):
        # No comparison holds for a NaN. A count, because the compiler makes it many at a time.
        for j in range(start, stop):
            odd += 0 if abs(answers[i, j]) <= _LARGEST else 1
    return odd == 0


@inline_njit
def are_votes(answers, count, start):
    """Whether every status is known, and every vote a distribution."""
    for i in range(count):
        status = answers[i, start + STATUS]
        if status == _VOTED:
            p = start + P_DOWN
            down, flat, up = answers[i, p], answers[i, p + 1], answers[i, p + 2]
            # Written so that a NaN fails.
            if not (min(down, flat, up) >= 0.0 and abs(down + flat + up - 1.0) <= 1e-9):
                return False
        elif status != _ABSTAINED:
            return False
    return True


@inline_njit
def is_sound(answers, count, start, stop):
    """Whether one agent's answer is made of finite numbers, known statuses and distributions."""
    return all_finite(answers, count, start, stop) and are_votes(answers, count, start)


@inline_njit
def take_answer(answers, count, start, agent, votes, status, reason):
    """Writes one agent's sound answer to votes (k, n, 3), status (k, n), reason (k, n), k >= count.

    Only a vote has probabilities: those of an abstention are zeros.
    """
    for i in range(count):
        voted = answers[i, start + STATUS] == _VOTED
        for c in range(3):
            votes[i, agent, c] = answers[i, start + P_DOWN + c] if voted else 0.0
        status[i, agent] = int(answers[i, start + STATUS])
        reason[i, agent] = int(answers[i, start + REASON])


@inline_njit
def without_answer(code, count, agent, votes, status, reason):
    """Marks an agent that gave no usable answer to the round with the status ``code``."""
    for i in range(count):
        for c in range(3):
            votes[i, agent, c] = 0.0
        status[i, agent] = code
        reason[i, agent] = 0
