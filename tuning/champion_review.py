"""Champions reviewed on live evidence: what they and their predecessors say about the same bars.

The session's journal is stepped through once more. Up to the round in which the champion came in
force the agent has the models that the log names; there its memory is copied, and from then on one
copy hears the champion and the other the model that a demotion would bring back. So the champion's
votes are the session's own, and the other's are what the session would have had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import psycopg

from actors.agent import Agent
from actors.contract import P_DOWN, P_UP, STATUS, AgentSpec, Floats, Status, no_params
from actors.registry import AGENTS
from data import round_log
from data.bars import BAR, Bars
from data.errors import InputError
from data.models_in_force import ModelChange, models_in_force
from data.records import RoundInput, SessionConfig, input_decoder
from data.sessions import load_model, load_session
from tuning.champion_stack import Scope
from tuning.champions import Standing, demote, history, in_force
from tuning.decay import Compared, Decay, DecayRules, judge_decay
from tuning.labels import NO_LABEL, labels
from tuning.session_result import Ints

ReadModel = Callable[[str], Floats]
# What outcomes are told from; a session may have millions of bars.
_SEEN = np.dtype([(name, BAR[name]) for name in ("ts", "symbol", "close")])

_SESSIONS = """
SELECT s.session_id FROM session s LEFT JOIN session_end e USING (session_id)
WHERE s.mode <> 'historical' AND (e.ended_at IS NULL OR e.ended_at >= (
  SELECT committed_at FROM journal WHERE chain = 'operations' AND seq = %s))
ORDER BY s.opened_at, s.session_id
"""


@dataclass(frozen=True)
class Review:
    """What was found about one agent's champion, and the demotion if there was one."""

    agent: str
    standing: Standing
    decay: Decay | None  # None: what is in force is no champion
    demoted: ModelChange | None

    def __str__(self) -> str:
        if self.decay is None:
            return f"{self.agent}: no champion is in force"
        fate = "is demoted" if self.demoted else "stays"
        return f"{self.agent}: model {self.standing.model[:12]} {fate}: {self.decay.text}"


def review(
    connection: psycopg.Connection, agent: str, scope: Scope, rules: DecayRules, by: str
) -> Review:
    """Judges the champion in force and demotes it if it has decayed.

    It reads the sessions of the scope's kind that lived since the champion was promoted, or the
    one that the scope names.
    """
    spec = _spec(agent)
    standing = in_force(connection, agent, scope)
    if not standing.champion:
        return Review(agent, standing, None, None)
    names = [scope.session_id] if scope.session_id else _sessions(connection, standing.seq)
    read = _Models(connection)
    parts = []
    for name in names:
        config = load_session(connection, name)
        if scope.is_of(config):
            stretch = Stretch(config, spec, standing.model, standing.below, read)
            given = round_log.inputs(connection, config.cell, name, 0, 2**62)
            parts.append(stretch.compare(map(input_decoder.decode, given)))
    decay = judge_decay(together(parts), scope.horizon, rules)
    demoted = None
    if decay.decayed:
        demoted = demote(connection, agent, scope, standing.model, decay.text, by)
    return Review(agent, standing, decay, demoted)


def review_all(connection: psycopg.Connection, rules: DecayRules, by: str) -> list[Review]:
    """Reviews every champion that is in force, but those of sessions that have ended."""
    ended = {str(row[0]) for row in connection.execute("SELECT session_id FROM session_end")}
    asked: dict[tuple[str, Scope], None] = {}  # each once, in the order of their records
    for entry in history(connection):
        change, session_id = entry.recorded.change, entry.recorded.session_id
        if session_id not in ended:
            scope = Scope(change.group, change.horizon, change.bars_per_year, session_id)
            asked[change.agent, scope] = None
    found = []
    for agent, scope in asked:
        standing = in_force(connection, agent, scope)
        # What a session shares with all of its kind is reviewed there.
        if standing.champion and standing.session_id == scope.session_id:
            found.append(review(connection, agent, scope, rules, by))
    return found


class Stretch:
    """One session's rounds with the champion in force, the last unbroken run of them.

    ``predecessor`` is the model to compare it with, "" for what the session itself declares; where
    that is none either, the champion is compared with the uniform forecast, which knows nothing.
    """

    def __init__(
        self,
        config: SessionConfig,
        spec: AgentSpec,
        champion: str,
        predecessor: str,
        read: ReadModel,
    ) -> None:
        self._config = config
        self._spec = spec
        self._champion = champion
        self._predecessor = predecessor
        self._read = read
        self._agent = Agent(spec)
        self._model = ""
        self._rival: Agent | None = None
        self._rival_model = ""
        self._bars: list[Bars] = []  # of the whole session, _SEEN of them
        self._seen = 0
        self._since = 0  # number of bars before the champion
        self._votes: list[tuple[Floats, Floats]] = []

    def compare(self, rounds: Iterable[RoundInput]) -> Compared:
        """Both forecasts where the champion voted and the outcome is known; may be empty."""
        for given in rounds:
            self._take(given)
        if self._rival is None:
            return together([])
        bars = np.concatenate(self._bars)
        outcome = labels(bars, self._config.horizon)[self._since :]
        known = outcome_known(bars, self._config.horizon)[self._since :]
        ours = np.concatenate([ours for ours, _ in self._votes])
        theirs = np.concatenate([theirs for _, theirs in self._votes])
        rows = (ours[:, 3] == Status.VOTED) & (theirs[:, 3] == Status.VOTED)
        rows &= outcome != NO_LABEL
        ts = bars["ts"][self._since :].astype(np.int64)
        return Compared(ts[rows], known[rows], outcome[rows], ours[rows, :3], theirs[rows, :3])

    def _take(self, given: RoundInput) -> None:
        bars = given.rows()
        model = given.models.get(self._spec.name, "")
        if model != self._champion:
            self._rival, self._votes = None, []
        elif self._rival is None:
            self._rival, self._rival_model = _copied(self._agent), ""
            self._since = self._seen
        if model != self._model:
            self._agent.set_model(self._params(model))
            self._model = model
        ours = self._agent.apply(bars, given.news)
        if self._rival is not None:
            theirs = self._rival_votes(self._rival, given, bars)
            self._votes.append((_forecast(ours), theirs))
        self._bars.append(np.array(bars[list(_SEEN.names or ())], _SEEN))
        self._seen += len(bars)

    def _rival_votes(self, rival: Agent, given: RoundInput, bars: Bars) -> Floats:
        model = self._predecessor
        if not model:
            own = models_in_force(self._config, (), int(bars["ts"].min()))
            model = own.get(self._spec.name, "")
        if model != self._rival_model:
            rival.set_model(self._params(model))
            self._rival_model = model
        votes = _forecast(rival.apply(bars, given.news))
        if not model:
            votes[:, :3], votes[:, 3] = 1.0 / 3.0, Status.VOTED
        return votes

    def _params(self, model: str) -> Floats:
        return self._read(model) if model else no_params()


def together(parts: Iterable[Compared]) -> Compared:
    """Several sessions' comparisons as one, in the order of time."""
    found = [part for part in parts if len(part.ts)]
    if not found:
        none = np.empty(0, np.int64)
        return Compared(none, none, none, np.empty((0, 3)), np.empty((0, 3)))
    order = np.argsort(np.concatenate([part.ts for part in found]), kind="stable")

    return Compared(
        np.concatenate([part.ts for part in found])[order],
        np.concatenate([part.known for part in found])[order],
        np.concatenate([part.outcome for part in found])[order],
        np.concatenate([part.champion for part in found])[order],
        np.concatenate([part.predecessor for part in found])[order],
    )


def outcome_known(bars: Bars, horizon: int) -> Ints:
    """ts of the symbol's bar ``horizon`` bars later (n,), the maximum of int64 where none is."""
    known = np.full(len(bars), np.iinfo(np.int64).max)
    for symbol in np.unique(bars["symbol"]):
        rows = np.flatnonzero(bars["symbol"] == symbol)
        if len(rows) > horizon:
            known[rows[:-horizon]] = bars["ts"][rows[horizon:]]
    return known


def _forecast(votes: Floats) -> Floats:
    """(n, 4): down, flat, up, and the status."""
    return np.concatenate([votes[:, P_DOWN : P_UP + 1], votes[:, STATUS : STATUS + 1]], axis=1)


def _copied(agent: Agent) -> Agent:
    """Another agent with the same memory and no model."""
    twin = Agent(agent.spec)
    waiting = [item for symbol in sorted(agent.pending) for item in agent.pending[symbol]]
    twin.restore(agent.state, waiting)
    return twin


class _Models:
    """Reads each model once."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._known: dict[str, Floats] = {}

    def __call__(self, name: str) -> Floats:
        if name not in self._known:
            self._known[name] = load_model(self._connection, name)
        return self._known[name]


def _spec(agent: str) -> AgentSpec:
    for spec in AGENTS:
        if spec.name == agent:
            return spec
    known = ", ".join(spec.name for spec in AGENTS)
    raise InputError(f"no agent is called {agent!r}: there are {known}")


def _sessions(connection: psycopg.Connection, seq: int) -> list[str]:
    """The sessions that are not historical and had not ended before operations record ``seq``."""
    return [str(row[0]) for row in connection.execute(_SESSIONS, (seq,))]
