"""What the coordinator's GETs answer, as JSON. Prices and amounts are decimal strings."""

from __future__ import annotations

import msgspec


class BarReading(msgspec.Struct, frozen=True, kw_only=True):
    """The bar of a decision; None = not known to its feed."""

    open: str
    high: str
    low: str
    close: str
    volume: int
    buy_volume: int | None
    trades: int | None
    bid: str | None
    ask: str | None
    bid_size: int | None
    ask_size: int | None


class NewsReading(msgspec.Struct, frozen=True, kw_only=True):
    """A text about the symbol that came in with the decision's round."""

    id: str
    ts: int
    text: str


class VoteReading(msgspec.Struct, frozen=True, kw_only=True):
    """One agent's vote."""

    agent: str
    status: str  # voted, abstained, late, failed
    reason: str  # why it abstained; "none" otherwise
    p: list[float] | None  # down, flat, up; None unless it voted
    weight: float  # in force for this decision
    evidence: dict[str, float | None]  # named by the agent; None = no number


class ApprovalReading(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate allowed the trader to do."""

    side: int
    max_lots: int
    limit: str
    epoch: int
    net_lots: int
    expires_at: str  # ISO 8601, UTC


class FillReading(msgspec.Struct, frozen=True, kw_only=True):
    """One execution."""

    fill_id: str
    ts: int
    lots: int
    price: str
    fee: str


class OrderReading(msgspec.Struct, frozen=True, kw_only=True):
    """An order that followed the decision."""

    client_order_id: str
    side: int
    lots: int
    limit: str
    status: str
    filled_lots: int
    fills: list[FillReading]


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """The pooled forecast and what the gate made of it."""

    p: list[float]  # pooled (down, flat, up); zeros when no voter was awake
    dissent: float
    sigma: float  # per bar
    agents_awake: int
    awake_weight: float
    toxicity: float
    verdict: str
    code: str
    meaning: str  # the code in words
    side: int
    lots: int
    target_lots: int
    net_lots: int  # position plus open orders that it was judged from
    limit: str


class DecisionReading(msgspec.Struct, frozen=True, kw_only=True):
    """One decision's story, from the journal."""

    id: str  # SESSION:SYMBOL:TS
    session_id: str
    mode: str
    symbol: str
    ts: int
    time: str  # ts as ISO 8601, UTC
    horizon: int  # bars that the forecast looks ahead
    cell: int
    round: int
    state: str  # decided, open, aborted
    epoch: int | None  # of the gate that judged it
    bar: BarReading
    news: list[NewsReading]
    votes: list[VoteReading]
    equal_weight: float | None  # of the equal-weight expert
    judgement: Judgement | None  # None unless it is decided
    approval: ApprovalReading | None
    orders: list[OrderReading]


class VoteCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many votes had which status."""

    voted: int
    abstained: int
    late: int
    failed: int


class AgentReading(msgspec.Struct, frozen=True, kw_only=True):
    """One agent, as the journal shows it."""

    name: str
    title: str
    weight: float | None  # None before the first round
    last: VoteCounts  # in the last round
    recent: VoteCounts  # in the last ``recent_rounds`` rounds
    version: str  # hash of its step function in the last round; "" when not recorded
    warm_up: int  # bars of a symbol before its first vote
    evidence: list[str]


class AgentsReading(msgspec.Struct, frozen=True, kw_only=True):
    """All agents of the cell, at its last round."""

    cell: int
    session_id: str | None
    round: int
    rounds: int  # of the session so far
    recent_rounds: int
    agents: list[AgentReading]


class AgentDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One agent of the cell, at its last round."""

    cell: int
    session_id: str | None
    round: int
    rounds: int
    recent_rounds: int
    agent: AgentReading


class WeightsAt(msgspec.Struct, frozen=True, kw_only=True):
    """The weights in force for one round."""

    round: int
    clock_ns: int
    stepped: bool  # they took a step at the start of this round
    weights: dict[str, float]


class WeightsReading(msgspec.Struct, frozen=True, kw_only=True):
    """The weights of the last rounds, newest first."""

    cell: int
    session_id: str | None
    history: list[WeightsAt]


class TradingReading(msgspec.Struct, frozen=True, kw_only=True):
    """What trading state holds for a scope: '*' everywhere, else one account."""

    scope: str
    state: str
    reason: str
    since: str


class LeaseReading(msgspec.Struct, frozen=True, kw_only=True):
    """Who trades the session's account."""

    account: str
    epoch: int
    holder: str
    expires_at: str
    held: bool  # it has not run out


class OpenApproval(msgspec.Struct, frozen=True, kw_only=True):
    """An approval that an order may still use."""

    decision: str
    side: int
    max_lots: int
    ordered_lots: int
    limit: str
    expires_at: str


class GateReading(msgspec.Struct, frozen=True, kw_only=True):
    """The gate of the cell, and what stands between it and an order."""

    cell: int
    epoch: int  # 0: no gate has started
    holder: str
    taken_at: str | None
    session_id: str | None
    trading: list[TradingReading]
    lease: LeaseReading | None
    approvals: list[OpenApproval]  # of the last rounds


class LastRound(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last round of the cell; 0 before the first."""

    round: int
    session_id: str = ""


class SessionReading(msgspec.Struct, frozen=True, kw_only=True):
    """The open session of the cell."""

    session_id: str
    mode: str
    account: str
    cell: int
    symbols: list[str]
    currency: str
    tick: str
    horizon: int
    first_traded: int
    clock_ns: int  # wall clock; of the last bars in a historical session


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a round could be served now, and if not, why."""

    ready: bool
    why: str
