"""From the journal to the live view: looks at the session, builds LiveState."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg

from actors.checks import Code, Verdict
from actors.contract import Reason, Status
from actors.costs import CostModel
from cluster.live_view import AgentView, LiveState, VerdictView
from cluster.plan import Plan
from cluster.session_watch import SessionWatch, Snapshot
from cluster.settings import ClusterSettings
from data.records import Decision, RoundOutput, SessionConfig
from tuning.benchmark import buy_and_hold

SHOWN_VERDICTS = 5


class LiveSource:
    """What to show now. Before the session starts: the phase of the bring-up."""

    def __init__(self, settings: ClusterSettings, plan: Plan | None, began: float) -> None:
        self._plan = plan
        self._began = began
        self._addresses: dict[str, Any] = {
            "dashboard": f"http://127.0.0.1:{settings.dashboard_port}",
            "coordinator": f"http://127.0.0.1:{settings.coordinator_port}",
            "trader": f"http://127.0.0.1:{settings.trader_port}",
        }
        self._watch: SessionWatch | None = None
        self._config: SessionConfig | None = None
        self._hold: dict[int, int] = {}
        self._verdicts: list[VerdictView] = []
        self._started = began

    def phase(self, text: str) -> LiveState:
        """A state that only names what is being done."""
        return LiveState(phase=text, elapsed=time.monotonic() - self._began, **self._addresses)

    def watch(self, connection: psycopg.Connection, config: SessionConfig) -> None:
        """From now on ``look`` reads this session."""
        self._watch = SessionWatch(connection, config)
        self._config = config
        self._started = time.monotonic()
        if self._plan is not None:
            ts, equity = buy_and_hold(
                self._plan.feed.bars,
                config.first_traded,
                config.opening_micro,
                config.micro_per_tick,
                CostModel(**config.costs),
            )
            self._hold = dict(zip(ts.tolist(), equity.tolist(), strict=True))

    def look(self) -> tuple[LiveState, tuple[str, str] | None]:
        """The state to show, and (status, detail) once the session has ended."""
        if self._watch is None or self._config is None:
            raise RuntimeError("watch a session first")
        seen = self._watch.look()
        return self._state(self._config, seen), seen.ended

    def _state(self, config: SessionConfig, seen: Snapshot) -> LiveState:
        now = time.monotonic()
        left = None
        if seen.rounds_done > 20 and config.rounds:
            pace = (now - self._started) / seen.rounds_done
            left = pace * (config.rounds - seen.rounds_done)
        agents: tuple[AgentView, ...] = ()
        if seen.output is not None:
            agents = _agents(config, seen.output)
            self._remember(config, seen.output)
        drawdown = None
        if seen.equity_micro is not None and seen.peak_micro:
            drawdown = (seen.equity_micro - seen.peak_micro) / seen.peak_micro
        warming = seen.ts is None or seen.ts < config.first_traded
        return LiveState(
            phase="warm-up: no approvals yet" if warming else "trading on paper",
            elapsed=now - self._began,
            done=seen.rounds_done,
            total=config.rounds,
            left=left,
            event_date=_date(seen.ts) if seen.ts else "",
            equity_micro=seen.equity_micro,
            buy_and_hold_micro=self._hold.get(seen.ts) if seen.ts else None,
            drawdown=drawdown,
            gate_state=seen.state,
            epoch=seen.epoch,
            agents=agents,
            verdicts=tuple(self._verdicts),
            **self._addresses,
        )

    def _remember(self, config: SessionConfig, output: RoundOutput) -> None:
        fresh = [_verdict(config, decision) for decision in output.decisions]
        known = set(self._verdicts)
        self._verdicts = [
            *[verdict for verdict in fresh if verdict not in known],
            *self._verdicts,
        ][:SHOWN_VERDICTS]


def _date(ts: int) -> str:
    return datetime.fromtimestamp(ts / 1e9, UTC).date().isoformat()


def _verdict(config: SessionConfig, decision: Decision) -> VerdictView:
    text = ""
    if decision.lots:
        price = Decimal(decision.limit_ticks) * Decimal(config.tick)
        word = "buy" if decision.side > 0 else "sell"
        text = f"{word} {decision.lots:,} to {price:.2f}"
    return VerdictView(
        date=_date(decision.ts),
        symbol=config.symbols[decision.symbol],
        verdict=Verdict(decision.verdict).name.lower(),
        code=Code(decision.code).name.lower() if decision.code else "",
        text=text,
    )


def _agents(config: SessionConfig, output: RoundOutput) -> tuple[AgentView, ...]:
    decision = output.decisions[0]
    views = []
    for k, name in enumerate(output.agents):
        voted = decision.status[k] == Status.VOTED
        note = Status(decision.status[k]).name.lower()
        if decision.status[k] == Status.ABSTAINED:
            note = f"abstains: {Reason(decision.reason[k]).name.lower()}"
        p = decision.votes[k]
        views.append(
            AgentView(
                name=name,
                weight=output.weights[k],
                symbol=config.symbols[decision.symbol],
                p=(p[0], p[1], p[2]) if voted else None,
                note="" if voted else note,
            )
        )
    return tuple(views)
