"""What a coordinator knows of the session it serves: a function of the log alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from actors.agent import module_hash
from actors.contract import OUT_FIXED, STATUS, AgentSpec, Floats, Status
from actors.judge import UNMEASURED
from actors.pool import PooledRound, PoolParams, PoolState, pool_round
from actors.pool_newcomer import load_compiled, newcomer, pool_with_newcomers, shadow_record
from actors.pool_state import OPEN, OPEN_TS, STEPS, WAITED
from actors.snapshot import Snapshot
from actors.voting import is_sound, take_answer, without_answer
from actors.vpin_hft import SPEC as VPIN
from actors.vpin_hft import TOXICITY_COLUMN
from data.bars import Bars, make_bar
from data.records import (
    RoundInput,
    RoundOutput,
    SessionConfig,
    input_decoder,
    output_decoder,
)
from data.round_log import LoggedRound
from data.round_output import DECISION

# Columns of the window record: name -> array of PoolArrays, over the symbols inside.
_ENTRIES = {
    "state": "entry",
    "close": "entry_close",
    "sigma": "entry_sigma",
    "bars": "entry_bars",
    "outcome": "entry_outcome",
    "awake": "entry_awake",
    "p": "entry_p",
    "pool": "entry_pool",
}


POOL = "pool"  # the part's name among the snapshots


class _Memory(msgspec.Struct, frozen=True):
    pool: bytes
    last_ts: bytes
    versions: dict[str, str]
    newcomers: bool


@cache
def pool_code() -> str:
    """Hash of the code that a pool's memory belongs to, as it was when first asked for: files may
    change under a running process.
    """
    return module_hash(__name__)


class LogMismatch(RuntimeError):
    """The log does not give the weights that it records: nothing of it may be trusted."""


class SessionState:
    """Pool state, last bars and the last round of one session."""

    def __init__(self, config: SessionConfig, agents: Sequence[AgentSpec]) -> None:
        self.config = config
        self.agents = tuple(agents)
        self._code = pool_code()
        self._vpin = [spec.name for spec in self.agents].index(VPIN.name)
        self.params = PoolParams(**config.pool)
        self.pool = PoolState.fresh(len(agents), len(config.symbols), self.params)
        self.last_ts = np.zeros(len(config.symbols), np.int64)
        self.last_round = 0
        self.versions: dict[str, str] = {}  # agent -> hash of its step, as last seen
        self._newcomers = False  # whether the session ever had one: spares every other the look

    def pool_votes(
        self,
        given: RoundInput,
        outs: Mapping[str, Floats | Status],
        clock_ns: int | None = None,
    ) -> RoundOutput:
        """Pools what the agents answered; a Status in place of votes says why there are none.

        The result has neutral verdicts: the gate fills them. ``clock_ns`` is the session clock that
        it will judge by, the input's own unless the round is completed later.
        """
        bars = given.rows()
        names = [spec.name for spec in self.agents]
        count, widths = len(bars), [len(spec.evidence) for spec in self.agents]
        # A vote that is no forecast never enters, and never stops the round.
        sound = [_sound(outs[spec.name], count, spec) for spec in self.agents]
        votes, status, reason = self._pack(sound, count)
        pooled = self._pool(given, bars, votes, status)
        window = window_record(self.pool)
        if self._newcomers:
            window["shadow"] = shadow_record(self.pool, names)
        return RoundOutput(
            session_id=given.session_id,
            cell=given.cell,
            round=given.round,
            epoch=0,
            clock_ns=given.clock_ns if clock_ns is None else clock_ns,
            agents=names,
            widths=widths,
            table=_table(bars, pooled, _toxicity(sound[self._vpin], count)).tobytes(),
            votes=votes.tobytes(),
            status=status.astype(np.uint8).tobytes(),
            reason=reason.astype(np.uint8).tobytes(),
            evidence=_evidence(sound, count, widths).tobytes(),
            weights=pooled.weights.tolist(),
            stepped=bool(pooled.stepped),
            window=window,
        )

    def memory(self) -> Snapshot:
        """All of it after the last round, for a restart by the same code."""
        pool, last_ts = self.pool.to_bytes(), self.last_ts.tobytes()
        kept = _Memory(pool, last_ts, self.versions, self._newcomers)
        return Snapshot(
            POOL, self.last_round, self._code, msgspec.msgpack.encode(kept, order="deterministic")
        )

    def restore(self, kept: Snapshot) -> None:
        """Takes on what ``memory`` gave; ValueError when it is of another session's shape."""
        memory = msgspec.msgpack.decode(kept.payload, type=_Memory)
        pool = PoolState.from_bytes(memory.pool)
        last_ts = np.frombuffer(memory.last_ts, np.int64).copy()
        if (pool.n_voters, pool.n_symbols, len(last_ts)) != (
            self.pool.n_voters,
            self.pool.n_symbols,
            len(self.last_ts),
        ):
            raise ValueError("the memory is not this session's")
        self.pool, self.last_ts, self.last_round = pool, last_ts, kept.round
        self.versions, self._newcomers = memory.versions, memory.newcomers

    def skip(self, given: RoundInput) -> None:
        """Advances over a round that was closed as aborted: its bars count, its votes do not."""
        absent = {spec.name: Status.FAILED for spec in self.agents}
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
            bars, arrays = given.rows(), output.arrays()
            status = arrays.status.astype(np.int64)
            pooled = self._pool(given, bars, arrays.votes.copy(), status)
            if pooled.weights.tolist() != output.weights:
                raise LogMismatch(f"round {given.round}: recorded weights are not the log's")
        return None

    def _pool(
        self, given: RoundInput, bars: Bars, votes: Floats, status: NDArray[np.int64]
    ) -> PooledRound:
        """The one place where a round, of whatever origin, moves the session on."""
        if given.versions != self.versions:
            self._change_versions(given.versions)
        pool = pool_with_newcomers if self._newcomers else pool_round
        pooled = pool(self.params, self.pool, bars, votes, status)
        self.last_ts[bars["symbol"]] = bars["ts"]
        self.last_round = given.round
        return pooled

    def _change_versions(self, now: Mapping[str, str]) -> None:
        """An agent whose step is not the one last seen is a newcomer; one not named is as it was.

        The first version seen of an agent is no change.
        """
        for voter, spec in enumerate(self.agents):
            before = self.versions.get(spec.name)
            if before is not None and now.get(spec.name, before) != before:
                newcomer(self.params, self.pool, voter)
                self._newcomers = True
        self.versions = {**self.versions, **now}

    def _pack(
        self, outs: Sequence[Floats | Status], count: int
    ) -> tuple[Floats, np.ndarray, np.ndarray]:
        votes = np.zeros((count, len(self.agents), 3))
        status = np.zeros((count, len(self.agents)), np.int64)
        reason = np.zeros((count, len(self.agents)), np.int64)
        for k, out in enumerate(outs):
            if isinstance(out, Status):
                without_answer(int(out), count, k, votes, status, reason)
            else:
                take_answer(out, count, 0, k, votes, status, reason)
        return votes, status, reason


def _table(bars: Bars, pooled: PooledRound, toxicity: Floats) -> NDArray[np.void]:
    table = np.zeros(len(bars), DECISION)
    for name in ("symbol", "ts", "close", "volume", "bid", "ask"):
        table[name] = bars[name]
    for name in ("p", "dissent", "sigma", "agents_awake", "awake_weight"):
        table[name] = getattr(pooled, name)
    table["toxicity"] = toxicity
    return table


def _toxicity(vpin: Floats | Status, count: int) -> Floats:
    if isinstance(vpin, Status):
        return np.full(count, UNMEASURED)
    return np.where(vpin[:, STATUS] == Status.VOTED, vpin[:, TOXICITY_COLUMN], UNMEASURED)


def _evidence(outs: Sequence[Floats | Status], count: int, widths: Sequence[int]) -> Floats:
    """Side by side, (count, sum of widths); zeros for an agent that gave no answer."""
    parts = [
        np.zeros((count, width)) if isinstance(out, Status) else out[:, OUT_FIXED:]
        for out, width in zip(outs, widths, strict=True)
    ]
    return np.concatenate(parts, axis=1)


def prewarm(agents: Sequence[AgentSpec]) -> None:
    """Loads the compiled functions of a round, so that the first one does not wait for them."""
    bar = make_bar(ts=1, open=9, high=9, low=9, close=9, volume=9)
    votes = np.zeros((1, len(agents), 3))
    status, reason = np.zeros((1, len(agents)), np.int64), np.zeros((1, len(agents)), np.int64)
    for k, spec in enumerate(agents):
        answer = np.zeros((1, spec.out_width))
        answer[0, STATUS] = Status.ABSTAINED
        _sound(answer, 1, spec)
        take_answer(answer, 1, 0, k, votes, status, reason)
        without_answer(int(Status.FAILED), 1, k, votes, status, reason)
    pool_round(PoolParams(), PoolState.fresh(len(agents), 1), bar, votes, status)
    load_compiled()


def window_record(pool: PoolState) -> dict[str, Any]:
    """The open window, its arrays packed over the symbols that are in it."""
    arrays, window = pool.arrays, pool.arrays.window
    inside = np.flatnonzero(arrays.entry)
    record: dict[str, Any] = {
        "open": bool(window[OPEN]),
        "ts": int(window[OPEN_TS]),
        "waited": int(window[WAITED]),
        "steps": int(window[STEPS]),
        "outcomes": arrays.outcomes.tobytes(),
        "symbols": inside.tobytes(),
    }
    for name, column in _ENTRIES.items():
        record[name] = getattr(arrays, column)[inside].tobytes()
    return record


def _sound(out: Floats | Status, count: int, spec: AgentSpec) -> Floats | Status:
    """The answer, FAILED in its place when it has another shape or is no forecast."""
    if isinstance(out, Status):
        return out
    if out.shape != (count, spec.out_width) or out.dtype != np.float64:
        return Status.FAILED
    out = np.array(out, order="C")  # what came through Ray is read-only: one signature for both
    return out if is_sound(out, count, 0, spec.out_width) else Status.FAILED


def rebuild(
    config: SessionConfig,
    agents: Sequence[AgentSpec],
    rounds: Callable[[int], Iterable[LoggedRound]],
    kept: Snapshot | None = None,
) -> tuple[SessionState, LoggedRound | None]:
    """The state after the log's rounds, and the round that is still open, if any.

    ``rounds`` gives those after a number: all of them, or those after the memory ``kept``.
    """
    state = SessionState(config, agents)
    if kept is not None:
        state.restore(kept)
    open_round = state.replay(rounds(state.last_round))
    return state, open_round
