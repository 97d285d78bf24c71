"""From agents' answers to what the pool takes: soundness, votes and statuses. Compiled.

``answers`` (k, width) hold the answers to a round of k bars; one agent's are the columns from
``start`` to ``stop``, see ``actors.contract``.
"""

from __future__ import annotations

import sys

from actors.contract import P_DOWN, REASON, STATUS, Status
from data.compiled import inline_njit

_VOTED, _ABSTAINED, _FAILED = int(Status.VOTED), int(Status.ABSTAINED), int(Status.FAILED)


_LARGEST = sys.float_info.max


@inline_njit
def is_sound(answers, start, stop):
    """Whether every number is finite, every status known, and every vote a distribution."""
    for i in range(answers.shape[0]):
        # No comparison holds for a NaN. A count, because the compiler makes it many at a time.
        odd = 0
        for j in range(start, stop):
            odd += 0 if abs(answers[i, j]) <= _LARGEST else 1
        status = answers[i, start + STATUS]
        if odd > 0 or (status != _VOTED and status != _ABSTAINED):  # noqa: PLR1714
            return False
        if status == _VOTED:
            p = start + P_DOWN
            down, flat, up = answers[i, p], answers[i, p + 1], answers[i, p + 2]
            if min(down, flat, up) < 0.0 or abs(down + flat + up - 1.0) > 1e-9:
                return False
    return True


@inline_njit
def take_answer(answers, start, agent, votes, status, reason):
    """Writes one agent's sound answer to votes (k, n, 3), status (k, n) and reason (k, n).

    Only a vote has probabilities: those of an abstention are zeros.
    """
    for i in range(answers.shape[0]):
        voted = answers[i, start + STATUS] == _VOTED
        for c in range(3):
            votes[i, agent, c] = answers[i, start + P_DOWN + c] if voted else 0.0
        status[i, agent] = int(answers[i, start + STATUS])
        reason[i, agent] = int(answers[i, start + REASON])


@inline_njit
def without_answer(code, agent, votes, status, reason):
    """Marks an agent that gave no usable answer to the round with the status ``code``."""
    for i in range(status.shape[0]):
        for c in range(3):
            votes[i, agent, c] = 0.0
        status[i, agent] = code
        reason[i, agent] = 0
