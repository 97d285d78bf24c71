"""A round's output record: packed arrays in a MessagePack envelope.

One decision is one row of ``DECISION`` beside its agents' votes, statuses, reasons and evidence;
floats keep every bit. ``arrays`` gives numpy views for the path of a round, ``decisions`` gives
objects for people and checks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from data.bars import UNKNOWN

DECISION = np.dtype(
    [
        ("symbol", "<i8"),
        ("ts", "<i8"),
        ("close", "<i8"),  # ticks
        ("volume", "<i8"),  # lots
        ("bid", "<i8"),  # ticks, UNKNOWN without a quote
        ("ask", "<i8"),
        ("p", "<f8", (3,)),  # pooled down, flat, up; zeros when nobody was awake
        ("dissent", "<f8"),
        ("sigma", "<f8"),  # per bar
        ("agents_awake", "<i8"),
        ("awake_weight", "<f8"),
        ("toxicity", "<f8"),
        ("verdict", "<i8"),
        ("code", "<i8"),
        ("side", "<i8"),
        ("lots", "<i8"),
        ("target_lots", "<i8"),
        ("limit_ticks", "<i8"),
        ("net_lots", "<i8"),  # position plus open orders the verdict was computed from
    ]
)
# Statuses (actors.contract.Status) of an agent that gave no answer: it has no evidence either.
_LATE, _FAILED = 2, 3


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One symbol's part of a round's output, as an object."""

    symbol: int
    ts: int
    close: int  # ticks
    volume: int  # lots
    votes: list[list[float]]  # (n, 3)
    status: list[int]
    reason: list[int]
    evidence: list[list[float]]
    p: list[float]
    dissent: float
    sigma: float
    agents_awake: int
    awake_weight: float
    toxicity: float
    verdict: int
    code: int
    side: int
    lots: int
    target_lots: int
    limit_ticks: int
    net_lots: int
    bid: int = UNKNOWN
    ask: int = UNKNOWN


class OutputArrays(NamedTuple):
    """Read-only views of a round's m decisions by n agents."""

    table: NDArray[np.void]  # (m,) of DECISION
    votes: NDArray[np.float64]  # (m, n, 3)
    status: NDArray[np.uint8]  # (m, n)
    reason: NDArray[np.uint8]  # (m, n)
    evidence: list[NDArray[np.float64]]  # n of (m, width)


class RoundOutput(msgspec.Struct, frozen=True, kw_only=True):
    """Votes, weights, pooled forecasts and verdicts of one round."""

    session_id: str
    cell: int
    round: int
    epoch: int
    clock_ns: int  # the session clock that staleness was judged by
    agents: list[str]
    widths: list[int]  # of the agents' evidence
    table: bytes
    votes: bytes
    status: bytes
    reason: bytes
    evidence: bytes  # float64 (m, sum of widths)
    weights: list[float]  # in force for these decisions; last: the equal-weight expert
    stepped: bool  # the weights took a step at the start of this round
    window: dict[str, Any]

    def arrays(self) -> OutputArrays:
        """Views of the packed columns; ValueError when their lengths do not fit each other."""
        table = np.frombuffer(self.table, DECISION)
        shape = (len(table), len(self.agents))
        evidence = np.frombuffer(self.evidence, np.float64).reshape(len(table), sum(self.widths))
        return OutputArrays(
            table,
            np.frombuffer(self.votes, np.float64).reshape(*shape, 3),
            np.frombuffer(self.status, np.uint8).reshape(shape),
            np.frombuffer(self.reason, np.uint8).reshape(shape),
            np.split(evidence, np.cumsum(self.widths)[:-1], axis=1),
        )

    def votes_digest(self) -> bytes:
        """SHA-256 over all that comes before the gate: votes, weights, window."""
        digest = hashlib.sha256()
        for part in (self.votes, self.status, self.reason, self.evidence):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        digest.update(msgspec.msgpack.encode((self.weights, self.stepped)))
        return digest.digest()

    @property
    def decisions(self) -> list[Decision]:
        """The decisions as objects, in (ts, symbol) order."""
        arrays = self.arrays()
        names = DECISION.names or ()
        votes, status, reason = (a.tolist() for a in arrays[1:4])
        evidence = [part.tolist() for part in arrays.evidence]
        return [
            Decision(
                votes=votes[i],
                status=status[i],
                reason=reason[i],
                evidence=[
                    [] if status[i][k] in (_LATE, _FAILED) else part[i]
                    for k, part in enumerate(evidence)
                ],
                **{
                    name: value.tolist() if name == "p" else value
                    for name, value in zip(names, row, strict=True)
                },
            )
            for i, row in enumerate(arrays.table.tolist())
        ]

    def with_decisions(self, decisions: Sequence[Decision]) -> RoundOutput:
        """The same record with other decisions, of the same agents."""
        return msgspec.structs.replace(self, **packed_decisions(decisions, self.widths))

    def readable(self) -> dict[str, Any]:
        """Plain types, decisions unpacked: for comparisons that name a field, and for people."""
        fields = {name: getattr(self, name) for name in _PLAIN}
        fields["window"] = {
            key: np.frombuffer(value, np.float64 if key in _WINDOW_FLOATS else np.int64).tolist()
            if isinstance(value, bytes)
            else value
            for key, value in self.window.items()
        }
        return fields | {"decisions": msgspec.to_builtins(self.decisions)}

    @classmethod
    def from_readable(cls, fields: dict[str, Any]) -> RoundOutput:
        """The inverse of ``readable``."""
        plain = {name: fields[name] for name in _PLAIN}
        decisions = msgspec.convert(fields["decisions"], list[Decision])
        window = {
            key: np.array(value, np.float64 if key in _WINDOW_FLOATS else np.int64).tobytes()
            if isinstance(value, list)
            else value
            for key, value in fields["window"].items()
        }
        return cls(**plain, **packed_decisions(decisions, plain["widths"]), window=window)


_PACKED = ("table", "votes", "status", "reason", "evidence")
_PLAIN = tuple(name for name in RoundOutput.__struct_fields__ if name not in (*_PACKED, "window"))
_WINDOW_FLOATS = ("sigma", "p", "pool")


def packed_decisions(decisions: Sequence[Decision], widths: Sequence[int]) -> dict[str, Any]:
    """The packed columns of decisions whose agents have evidence of these widths."""
    table = np.zeros(len(decisions), DECISION)
    for name in (DECISION.names or ()) if decisions else ():
        table[name] = [getattr(decision, name) for decision in decisions]
    rows = []
    for decision in decisions:
        row: list[float] = []
        for part, width in zip(decision.evidence, widths, strict=True):
            row += part or [0.0] * width
        rows.append(row)
    return {
        "table": table.tobytes(),
        "votes": np.array([d.votes for d in decisions], np.float64).tobytes(),
        "status": np.array([d.status for d in decisions], np.uint8).tobytes(),
        "reason": np.array([d.reason for d in decisions], np.uint8).tobytes(),
        "evidence": np.array(rows, np.float64).tobytes(),
    }
