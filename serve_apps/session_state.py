"""What a coordinator knows of the session it serves: a function of the log alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from actors.contract import STATUS, AgentSpec, Floats, Status
from actors.judge import UNMEASURED
from actors.pool import PooledRound, PoolParams, PoolState, pool_round
from actors.voting import is_sound, take_answer, without_answer
from actors.vpin_hft import SPEC as VPIN
from actors.vpin_hft import TOXICITY_COLUMN
from data.bars import Bars
from data.records import (
    Decision,
    RoundInput,
    RoundOutput,
    SessionConfig,
    input_decoder,
    output_decoder,
    rows_to_bars,
)
from data.round_log import LoggedRound


class LogMismatch(RuntimeError):
    """The log does not give the weights that it records: nothing of it may be trusted."""


class SessionState:
    """Pool state, last bars and the last round of one session."""

    def __init__(self, config: SessionConfig, agents: Sequence[AgentSpec]) -> None:
        self.config = config
        self.agents = tuple(agents)
        self.params = PoolParams(**config.pool)
        self.pool = PoolState.fresh(len(agents), len(config.symbols), self.params)
        self.last_ts = np.zeros(len(config.symbols), np.int64)
        self.last_round = 0

    def models_for(self, bars: Bars) -> dict[str, str]:
        """The models in force for a round: none before the moment the session declares."""
        in_force = int(bars["ts"].min()) >= self.config.models_from
        return dict(self.config.models) if in_force else {}

    def pool_votes(self, given: RoundInput, outs: dict[str, Floats | Status]) -> RoundOutput:
        """Pools what the agents answered; a Status in place of votes says why there are none.

        The result has neutral verdicts: the gate fills them.
        """
        bars = rows_to_bars(given.bars)
        # A vote that is no forecast never enters, and never stops the round.
        outs = {spec.name: _sound(outs[spec.name], len(bars), spec) for spec in self.agents}
        votes, status, reason = self._pack(outs, len(bars))
        pooled = pool_round(self.params, self.pool, bars, votes, status)
        self._advance(bars, given.round)
        decisions = [
            self._decision(bars[i], i, votes, status, reason, outs, pooled)
            for i in range(len(bars))
        ]
        return RoundOutput(
            session_id=given.session_id,
            cell=given.cell,
            round=given.round,
            epoch=0,
            clock_ns=given.clock_ns,
            agents=[spec.name for spec in self.agents],
            decisions=decisions,
            weights=[float(w) for w in pooled.weights],
            stepped=bool(pooled.stepped),
            window=self.pool.summary(),
        )

    def skip(self, given: RoundInput) -> None:
        """Advances over a round that was closed as aborted: its bars count, its votes do not."""
        absent: dict[str, Floats | Status] = {spec.name: Status.FAILED for spec in self.agents}
        self.pool_votes(given, absent)

    def replay(self, rounds: Iterable[LoggedRound]) -> LoggedRound | None:
        """Rebuilds from the log; returns the last round when it is still open.

        LogMismatch when a recorded weight differs from the recomputed one.
        """
        for logged in rounds:
            given = input_decoder.decode(logged.input)
            if logged.kind is None or logged.output is None:
                return logged
            if logged.kind == "aborted":
                self.skip(given)
                continue
            output = output_decoder.decode(logged.output)
            bars = rows_to_bars(given.bars)
            votes = np.array([d.votes for d in output.decisions])
            status = np.array([d.status for d in output.decisions], np.int64)
            pooled = pool_round(self.params, self.pool, bars, votes, status)
            self._advance(bars, given.round)
            if [float(w) for w in pooled.weights] != output.weights:
                raise LogMismatch(f"round {given.round}: recorded weights are not the log's")
        return None

    def _advance(self, bars: Bars, number: int) -> None:
        self.last_ts[bars["symbol"]] = bars["ts"]
        self.last_round = number

    def _pack(
        self, outs: dict[str, Floats | Status], count: int
    ) -> tuple[Floats, np.ndarray, np.ndarray]:
        votes = np.zeros((count, len(self.agents), 3))
        status = np.zeros((count, len(self.agents)), np.int64)
        reason = np.zeros((count, len(self.agents)), np.int64)
        for k, spec in enumerate(self.agents):
            out = outs[spec.name]
            if isinstance(out, Status):
                without_answer(int(out), count, k, votes, status, reason)
            else:
                take_answer(out, count, 0, k, votes, status, reason)
        return votes, status, reason

    def _decision(
        self,
        bar: np.void,
        i: int,
        votes: Floats,
        status: np.ndarray,
        reason: np.ndarray,
        outs: dict[str, Floats | Status],
        pooled: PooledRound,
    ) -> Decision:
        evidence: list[list[float]] = []
        for spec in self.agents:
            out = outs[spec.name]
            fixed = spec.out_width - len(spec.evidence)
            evidence.append([] if isinstance(out, Status) else out[i, fixed:].tolist())
        vpin = outs[VPIN.name]
        toxicity = UNMEASURED
        if not isinstance(vpin, Status) and vpin[i, STATUS] == Status.VOTED:
            toxicity = float(vpin[i, TOXICITY_COLUMN])
        return Decision(
            symbol=int(bar["symbol"]),
            ts=int(bar["ts"]),
            close=int(bar["close"]),
            volume=int(bar["volume"]),
            votes=votes[i].tolist(),
            status=status[i].tolist(),
            reason=reason[i].tolist(),
            evidence=evidence,
            p=pooled.p[i].tolist(),
            dissent=float(pooled.dissent[i]),
            sigma=float(pooled.sigma[i]),
            agents_awake=int(pooled.agents_awake[i]),
            awake_weight=float(pooled.awake_weight[i]),
            toxicity=toxicity,
            verdict=0,
            code=0,
            side=0,
            lots=0,
            target_lots=0,
            limit_ticks=0,
            net_lots=0,
            bid=int(bar["bid"]),
            ask=int(bar["ask"]),
        )


def _sound(out: Floats | Status, count: int, spec: AgentSpec) -> Floats | Status:
    """The answer, FAILED in its place when it has another shape or is no forecast."""
    if isinstance(out, Status):
        return out
    if out.shape != (count, spec.out_width) or out.dtype != np.float64:
        return Status.FAILED
    out = np.array(out, order="C")  # what came through Ray is read-only: one signature for both
    return out if is_sound(out, count, 0, spec.out_width) else Status.FAILED


def rebuild(
    config: SessionConfig, agents: Sequence[AgentSpec], rounds: Iterable[LoggedRound]
) -> tuple[SessionState, LoggedRound | None]:
    """The state after the log's rounds, and the round that is still open, if any."""
    state = SessionState(config, agents)
    open_round = state.replay(rounds)
    return state, open_round
