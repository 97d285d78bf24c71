"""One decision's story: from what the journal holds of it to a DecisionReading. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from actors.checks import MEANING, Code, Verdict
from actors.contract import AgentSpec, Reason, Status
from data.bars import UNKNOWN
from data.errors import InputError
from data.money import INT64_MAX, from_micro
from data.records import RoundInput, RoundOutput, SessionConfig
from data.round_output import Decision
from serve_apps.reading_records import (
    ApprovalReading,
    BarReading,
    DecisionReading,
    FillReading,
    Judgement,
    NewsReading,
    OrderReading,
    VoteReading,
)
from serve_apps.requests import SymbolTable

_ID = re.compile(r"([ -9;-~]{1,128}):([^\x00-\x1f]{1,64}):([0-9]{1,19})")


class DecisionId(NamedTuple):
    """A decision's name for people and addresses: SESSION:SYMBOL:TS, ts in UTC ns."""

    session_id: str
    symbol: str
    ts: int

    def __str__(self) -> str:
        return f"{self.session_id}:{self.symbol}:{self.ts}"


def parse_id(text: str) -> DecisionId:
    """The parts of a decision's name; InputError when it is none."""
    found = _ID.fullmatch(text)
    if found is None or int(found[3]) > INT64_MAX:
        example = "p20261125-190451-ab12:AAPL:1795482368000000000"
        raise InputError(f"decision id {text[:100]!r}: write SESSION:SYMBOL:TS, as {example}")
    return DecisionId(found[1], found[2], int(found[3]))


@dataclass(frozen=True)
class Told:
    """What the tables hold of one decision; rows as the queries of readings give them."""

    config: SessionConfig
    cell: int
    round: int
    given: RoundInput
    kind: str | None  # output, aborted; None while the round is open
    output: RoundOutput | None
    approval: Sequence[Any] | None  # side, max_lots, limit_ticks, epoch, net_lots, expires_at
    orders: Sequence[Sequence[Any]]  # id, side, lots, limit_ticks, status, filled_lots
    fills: Sequence[Sequence[Any]]  # order's id, fill's id, ts, lots, price_ticks, fee_micro


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC, to the microsecond."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def iso_ns(ts: int) -> str:
    """ISO 8601 of UTC nanoseconds, with all nine places."""
    return f"{np.datetime64(ts, 'ns')}Z"


def tell(name: DecisionId, told: Told, specs: Mapping[str, AgentSpec]) -> DecisionReading:
    """The story; LookupError when the records do not hold the decision that they should."""
    table = SymbolTable(told.config)
    number = table.numbers[name.symbol]
    output = told.output
    decision = _decision(output, number, name.ts) if output is not None else None
    approval = None
    if told.approval is not None:
        side, lots, limit, epoch, net_lots, expires = told.approval
        approval = ApprovalReading(
            side=int(side),
            max_lots=int(lots),
            limit=table.price(int(limit)),
            epoch=int(epoch),
            net_lots=int(net_lots),
            expires_at=iso(expires),
        )
    states = {None: "open", "output": "decided"}
    return DecisionReading(
        id=str(name),
        session_id=name.session_id,
        mode=told.config.mode,
        symbol=name.symbol,
        ts=name.ts,
        time=iso_ns(name.ts),
        horizon=told.config.horizon,
        cell=told.cell,
        round=told.round,
        state=states.get(told.kind, "aborted"),
        epoch=None if output is None else output.epoch,
        bar=_bar(told.given, number, name.ts, table),
        news=[
            NewsReading(id=item.id, ts=item.ts, text=item.text)
            for item in told.given.news
            if item.symbol == number
        ],
        votes=_votes(output, decision, specs) if output is not None and decision else [],
        equal_weight=None if output is None else output.weights[-1],
        judgement=None if decision is None else _judgement(decision, table),
        approval=approval,
        orders=[_order(row, told.fills, table) for row in told.orders],
    )


def _decision(output: RoundOutput, symbol: int, ts: int) -> Decision:
    for decision in output.decisions:
        if (decision.symbol, decision.ts) == (symbol, ts):
            return decision
    raise LookupError(f"round {output.round} does not decide symbol {symbol} at {ts}")


def _bar(given: RoundInput, symbol: int, ts: int, table: SymbolTable) -> BarReading:
    bars = given.rows()
    found = bars[(bars["symbol"] == symbol) & (bars["ts"] == ts)]
    if len(found) != 1:
        raise LookupError(f"round {given.round} has no bar of symbol {symbol} at {ts}")
    bar = {name: int(found[name][0]) for name in found.dtype.names}
    known = {key: None if value == UNKNOWN else value for key, value in bar.items()}
    return BarReading(
        open=table.price(bar["open"]),
        high=table.price(bar["high"]),
        low=table.price(bar["low"]),
        close=table.price(bar["close"]),
        volume=bar["volume"],
        buy_volume=known["buy_volume"],
        trades=known["trades"],
        bid=None if known["bid"] is None else table.price(bar["bid"]),
        ask=None if known["ask"] is None else table.price(bar["ask"]),
        bid_size=known["bid_size"],
        ask_size=known["ask_size"],
    )


def _votes(
    output: RoundOutput, decision: Decision, specs: Mapping[str, AgentSpec]
) -> list[VoteReading]:
    votes = []
    for k, agent in enumerate(output.agents):
        values = decision.evidence[k]
        spec = specs.get(agent)
        names = spec.evidence if spec is not None else ()
        if len(names) != len(values):  # recorded by other code
            names = tuple(f"evidence_{i}" for i in range(len(values)))
        votes.append(
            VoteReading(
                agent=agent,
                status=Status(decision.status[k]).name.lower(),
                reason=Reason(decision.reason[k]).name.lower(),
                p=decision.votes[k] if decision.status[k] == Status.VOTED else None,
                weight=output.weights[k],
                evidence={
                    name: value if math.isfinite(value) else None
                    for name, value in zip(names, values, strict=True)
                },
            )
        )
    return votes


def _judgement(decision: Decision, table: SymbolTable) -> Judgement:
    code = Code(decision.code)
    return Judgement(
        p=decision.p,
        dissent=decision.dissent,
        sigma=decision.sigma,
        agents_awake=decision.agents_awake,
        awake_weight=decision.awake_weight,
        toxicity=decision.toxicity,
        verdict=Verdict(decision.verdict).name.lower(),
        code=code.name.lower(),
        meaning=MEANING[code],
        side=decision.side,
        lots=decision.lots,
        target_lots=decision.target_lots,
        net_lots=decision.net_lots,
        limit=table.price(decision.limit_ticks),
    )


def _order(row: Sequence[Any], fills: Sequence[Sequence[Any]], table: SymbolTable) -> OrderReading:
    name, side, lots, limit, status, filled = row
    return OrderReading(
        client_order_id=name,
        side=int(side),
        lots=int(lots),
        limit=table.price(int(limit)),
        status=status,
        filled_lots=int(filled),
        fills=[
            FillReading(
                fill_id=fill_id,
                ts=int(ts),
                lots=int(count),
                price=table.price(int(price)),
                fee=str(from_micro(int(fee))),
            )
            for order, fill_id, ts, count, price, fee in fills
            if order == name
        ],
    )
