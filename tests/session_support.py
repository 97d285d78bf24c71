"""Rounds of a made-up session: bars with gaps, votes of every kind, versions that change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from support import plain_config

from actors.contract import REASON, STATUS, Floats, Reason, Status
from actors.registry import AGENTS
from actors.snapshot import Snapshot
from data.bars import empty_bars
from data.records import RoundInput, RoundOutput, SessionConfig, encode
from data.round_log import LoggedRound
from serve_apps.session_state import SessionState, rebuild

NAMES = [spec.name for spec in AGENTS]
SYMBOLS = ("AAA", "BBB", "CCC")
DAY = 86_400 * 10**9
FIRST = {name: f"{name} 1" for name in NAMES}


class Asked(NamedTuple):
    """One round as it reaches the coordinator; aborted when nothing came of it."""

    given: RoundInput
    outs: Mapping[str, Floats | Status]
    aborted: bool


def small_config(horizon: int = 2, shadow_steps: int = 3) -> SessionConfig:
    """Three symbols, short windows, a short shadow."""
    config = plain_config(SYMBOLS)
    pool = {**config.pool, "horizon": horizon, "shadow_steps": shadow_steps, "drop_after": 6}
    return msgspec.structs.replace(config, session_id="s", horizon=horizon, pool=pool)


def made_rounds(
    seed: int,
    count: int,
    changes: Mapping[int, Sequence[int]] | None = None,
    mixed: bool = True,
) -> list[Asked]:
    """``changes``: round -> voters whose step is another one from there on. Unless ``mixed``,
    every agent votes on every symbol, and no round is aborted.
    """
    rng = np.random.default_rng(seed)
    close = np.full(len(SYMBOLS), 1_000_000.0)
    versions = dict(FIRST)
    made = []
    for number in range(1, count + 1):
        changed = (changes or {}).get(number, ())
        for voter in changed:
            versions[NAMES[voter]] = f"{NAMES[voter]} {number + 1}"
        close *= np.exp(rng.normal(0, 0.01, len(SYMBOLS)))
        present = np.flatnonzero(rng.random(len(SYMBOLS)) < 0.8) if mixed else np.arange(3)
        if not len(present):
            present = np.array([0])
        bars = empty_bars(len(present))
        bars["ts"], bars["symbol"] = number * DAY, present
        for field in ("open", "high", "low", "close", "volume"):
            bars[field] = np.rint(close[present])
        # What is not named has not changed.
        named = {} if mixed and not changed and rng.random() < 0.1 else dict(versions)
        given = RoundInput(
            session_id="s", cell=0, round=number, ts=number * DAY, clock_ns=number * DAY,
            requests=[], bars=bars.tobytes(), news=[], models={}, locked=[], versions=named,
        )  # fmt: skip
        outs = {name: _answer(rng, k, len(present), mixed) for k, name in enumerate(NAMES)}
        made.append(Asked(given, outs, mixed and rng.random() < 0.05))
    return made


def _answer(rng: np.random.Generator, k: int, count: int, mixed: bool) -> Floats | Status:
    fate = rng.choice(["votes", "late", "failed"], p=[0.8, 0.1, 0.1]) if mixed else "votes"
    out = np.zeros((count, AGENTS[k].out_width))
    out[:, :3] = rng.dirichlet([1.0, 1.0, 1.0], count)
    out[:, :3] /= out[:, :3].sum(axis=1, keepdims=True)
    out[:, STATUS + 2 :] = rng.random((count, AGENTS[k].out_width - STATUS - 2))
    if mixed:
        silent = rng.random(count) < 0.2
        out[silent, STATUS], out[silent, REASON] = Status.ABSTAINED, Reason.NO_MODEL
    return {"late": Status.LATE, "failed": Status.FAILED}.get(str(fate), out)


def live(state: SessionState, rounds: Sequence[Asked]) -> list[RoundOutput | None]:
    """The outputs of the rounds; None for an aborted one."""
    outputs: list[RoundOutput | None] = []
    for given, outs, aborted in rounds:
        if aborted:
            state.skip(given)
        outputs.append(None if aborted else state.pool_votes(given, outs))
    return outputs


def logged(rounds: Sequence[Asked], outputs: Sequence[RoundOutput | None]) -> list[LoggedRound]:
    """The same rounds as a log has them."""
    return [
        LoggedRound(
            asked.given.round,
            encode(asked.given),
            "aborted" if output is None else "output",
            b"{}" if output is None else encode(output),
        )
        for asked, output in zip(rounds, outputs, strict=True)
    ]


class ReadLog:
    """The session's log, and the numbers after which it was asked for."""

    def __init__(self, rounds: Sequence[LoggedRound]) -> None:
        self._rounds = rounds
        self.after: list[int] = []

    def __call__(self, after: int) -> list[LoggedRound]:
        self.after.append(after)
        return [logged for logged in self._rounds if logged.round > after]


def rebuilt(config: SessionConfig, log: ReadLog, kept: Snapshot | None = None) -> SessionState:
    """A coordinator's state after a start."""
    state, still_open = rebuild(config, AGENTS, log, kept)
    assert still_open is None
    return state
