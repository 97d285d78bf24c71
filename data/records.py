"""What the journal's payloads hold. JSON by msgspec: floats keep every bit (shortest form)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from data.bars import BAR, UNKNOWN, Bars
from data.news import News

encode = msgspec.json.Encoder(order="deterministic").encode


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


class RoundInput(msgspec.Struct, frozen=True, kw_only=True):
    """All that an agent may use in one round."""

    session_id: str
    cell: int
    round: int
    ts: int  # of the latest bar
    clock_ns: int  # session clock: the bar's own time in a historical session
    requests: list[str]
    bars: list[list[int]]  # rows in data.bars.BAR field order, (ts, symbol) order
    news: list[News]
    models: dict[str, str]
    locked: list[int]  # symbols whose bar was quarantined since the last round


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One symbol's part of a round's output."""

    symbol: int
    ts: int
    close: int  # ticks
    volume: int  # lots
    votes: list[list[float]]  # (n, 3)
    status: list[int]
    reason: list[int]
    evidence: list[list[float]]
    p: list[float]  # pooled; zeros when nobody was awake
    dissent: float
    sigma: float  # per bar
    agents_awake: int
    awake_weight: float
    toxicity: float
    verdict: int
    code: int
    side: int
    lots: int
    target_lots: int
    limit_ticks: int
    net_lots: int  # position plus open orders the verdict was computed from
    bid: int = UNKNOWN  # ticks, of the bar
    ask: int = UNKNOWN


class RoundOutput(msgspec.Struct, frozen=True, kw_only=True):
    """Votes, weights, pooled forecasts and verdicts of one round."""

    session_id: str
    cell: int
    round: int
    epoch: int
    clock_ns: int  # the session clock that staleness was judged by
    agents: list[str]
    decisions: list[Decision]
    weights: list[float]  # in force for these decisions; last: the equal-weight expert
    stepped: bool  # the weights took a step at the start of this round
    window: dict[str, Any]


class RoundAborted(msgspec.Struct, frozen=True, kw_only=True):
    """A round closed without verdicts: nothing of it may trade."""

    session_id: str
    cell: int
    round: int
    why: str


input_decoder = msgspec.json.Decoder(RoundInput)
output_decoder = msgspec.json.Decoder(RoundOutput)


def bars_to_rows(bars: Bars) -> list[list[int]]:
    """BAR array (n,) to rows of plain integers."""
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
