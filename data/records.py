"""What the journal's payloads hold: rounds packed in MessagePack, everything else JSON by msgspec.

Both keep every bit of a float, and equal records give equal bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from data.bars import BAR, Bars
from data.news import News
from data.round_output import Decision, RoundOutput

_json = msgspec.json.Encoder(order="deterministic").encode
_packed = msgspec.msgpack.Encoder(order="deterministic").encode


__all__ = [
    "Decision",
    "ModelSet",
    "RoundAborted",
    "RoundInput",
    "RoundOutput",
    "SessionConfig",
    "bars_to_rows",
    "content_hash",
    "encode",
    "input_decoder",
    "output_decoder",
    "rows_to_bars",
]


class ModelSet(msgspec.Struct, frozen=True, kw_only=True):
    """Models that come in force at a moment; an agent that is not named keeps its own."""

    since: int  # ns UTC; none of them knows a bar at or after it
    models: dict[str, str]  # agent -> model id


class SessionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that shapes a session and is not a bar. Prices in ticks of ``tick``."""

    session_id: str
    account: str
    cell: int
    mode: str  # historical, paper, live
    group: str
    symbols: list[str]  # the index in this list is the symbol number of the bars
    currency: str
    tick: str  # Decimal, in the account's currency
    micro_per_tick: int
    opening_micro: int
    horizon: int  # bars of the symbol's own clock
    bars_per_year: int
    first_traded: int  # ns UTC: no approval before
    models_from: int  # ns UTC: the models are in force from here
    models: dict[str, str]  # agent -> model id
    data_name: str
    data_hash: str
    rounds: int  # expected; 0 when open-ended
    seed: int
    limits: dict[str, Any]
    sizing: dict[str, Any]
    costs: dict[str, Any]
    pool: dict[str, Any]
    vote_deadline_s: float
    approval_ttl_s: float
    fingerprint: dict[str, str]
    schedule: list[ModelSet] = []  # ascending in since; see data.models_in_force


class RoundInput(msgspec.Struct, frozen=True, kw_only=True):
    """All that an agent may use in one round."""

    session_id: str
    cell: int
    round: int
    ts: int  # of the latest bar
    clock_ns: int  # session clock: the bar's own time in a historical session
    requests: list[str]
    bars: bytes  # data.bars.BAR records in (ts, symbol) order
    news: list[News]
    models: dict[str, str]
    locked: list[int]  # symbols whose bar was quarantined since the last round
    versions: dict[str, str] = {}  # agent -> hash of its step function

    def rows(self) -> Bars:
        """The bars, (n,); a copy, because compiled code would take a read-only array for another
        type and compile itself anew.
        """
        return np.frombuffer(self.bars, BAR).copy()


class RoundAborted(msgspec.Struct, frozen=True, kw_only=True):
    """A round closed without verdicts: nothing of it may trade."""

    session_id: str
    cell: int
    round: int
    why: str


input_decoder = msgspec.msgpack.Decoder(RoundInput)
output_decoder = msgspec.msgpack.Decoder(RoundOutput)


def encode(record: object) -> bytes:
    """The payload of a record, or any other value as canonical JSON."""
    return _packed(record) if isinstance(record, RoundInput | RoundOutput) else _json(record)


def bars_to_rows(bars: Bars) -> list[list[int]]:
    """BAR array (n,) to rows of plain integers, for JSON records."""
    return [[int(value) for value in row] for row in bars.tolist()]


def rows_to_bars(rows: Sequence[Sequence[int]]) -> Bars:
    """Rows of integers in BAR's field order to a BAR array (n,)."""
    return np.array([tuple(row) for row in rows], BAR)


def content_hash(*parts: bytes) -> str:
    """SHA-256 hex over length-prefixed parts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()
