"""What an agent is: a compiled step function over one state row per symbol.

``step(params, state, bar, out)``
    params  float64 (P,): the model in force; length 0 means that no model is in force
    state   float64 (S,): this symbol's row, all zeros before its first bar
    bar     one ``data.bars.BAR`` record
    out     float64 (OUT_FIXED + len(evidence),), zeroed by the caller:
            [p_down, p_flat, p_up, status, reason, *evidence]

A step reads nothing else: no clock, file, database, randomness or other symbol. It always updates
its state, also when it abstains, so its votes depend on the bars alone, bit for bit: not on how
they were cut into batches, and not on anything after them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

OUT_FIXED = 5
P_DOWN, P_FLAT, P_UP, STATUS, REASON = range(OUT_FIXED)

Floats = NDArray[np.float64]


class Status(IntEnum):
    """What became of a vote. Abstain is not hold: an abstention carries no probabilities."""

    VOTED = 0
    ABSTAINED = 1
    LATE = 2
    FAILED = 3


class Reason(IntEnum):
    """Why an agent abstained."""

    NONE = 0
    WARMING_UP = 1
    NO_MODEL = 2
    NO_NEWS = 3
    NO_CHAMPION = 4
    DEGENERATE = 5  # no variation in the input: a ratio would be undefined


def _anything(_: Floats) -> bool:
    return True


@dataclass(frozen=True)
class AgentSpec:
    """One agent: its step, the shape of its state and what it may need."""

    name: str
    title: str
    step: Callable[..., None]
    step_all: Callable[..., None]  # (params, states, bars, outs): step over many bars, in order
    state_width: int
    warm_up: int  # bars of a symbol before its first vote
    evidence: tuple[str, ...]
    # News: absorb(params, state, ts, relevance, score), before the bars; None = ignores news.
    absorb: Callable[..., None] | None = None
    score_text: Callable[[str], float] | None = None
    # Whether a row of params has the shape that the step reads: compiled code checks no bounds.
    fits: Callable[[Floats], bool] = _anything

    def check_params(self, params: Floats) -> None:
        """ValueError unless ``params`` is empty or one row that the step can read."""
        if params.ndim != 1 or not np.isfinite(params).all():
            raise ValueError(
                f"{self.name}: a model is one row of finite numbers, got shape {params.shape}"
            )
        if len(params) and not self.fits(params):
            raise ValueError(f"{self.name}: a row of {len(params)} numbers is no model of it")

    @property
    def out_width(self) -> int:
        return OUT_FIXED + len(self.evidence)


def no_params() -> Floats:
    """The parameters of an agent without a model."""
    return np.empty(0, np.float64)


def vote_fields(out: Floats) -> dict[str, Any]:
    """One row of ``out`` in words, for people and logs."""
    return {
        "p": [float(out[P_DOWN]), float(out[P_FLAT]), float(out[P_UP])],
        "status": Status(int(out[STATUS])).name.lower(),
        "reason": Reason(int(out[REASON])).name.lower(),
    }
