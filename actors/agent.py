"""One agent in plain Python: state rows, the model in force, and the step over them. No Ray."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from actors.contract import AgentSpec, Floats, no_params
from data.bars import Bars
from data.compiled import lean_njit
from data.news import News

_ROOT = Path(__file__).resolve().parent.parent
_FLOORS = ("data", "actors")
# News without a relevance of its own is wholly about its symbol.
_RELEVANCE = 1.0


@lean_njit
def symbol_range(bars):
    """The lowest and the highest symbol index of the bars; (0, -1) without bars."""
    lowest, highest = 0, -1
    for i in range(len(bars)):
        lowest, highest = min(lowest, bars[i].symbol), max(highest, bars[i].symbol)
    return lowest, highest


class Agent:
    """One agent's whole memory: a state row per symbol, the model in force, the votes of the last
    round, and news that is not yet due.

    ``state``    float64 (symbols, state_width), one row per symbol index
    ``votes``    float64 (n, out_width), what the last ``apply`` returned
    ``pending``  per symbol, news later than that symbol's last bar, by (ts, id)
    """

    def __init__(self, spec: AgentSpec) -> None:
        self.spec = spec
        self.params: Floats = no_params()
        self._room: Floats = np.zeros((0, spec.state_width))  # state and rows yet unused
        self.state: Floats = self._room
        self.votes: Floats = np.zeros((0, spec.out_width))
        self.pending: dict[int, list[News]] = {}

    def set_model(self, params: Floats) -> None:
        """Puts a model in force from the next bar on; an empty array takes it out of force."""
        params = np.array(params, np.float64)
        self.spec.check_params(params)
        self.params = params

    def apply(self, bars: Bars, news: Sequence[News] = ()) -> Floats:
        """Steps through the bars in their order; returns one vote per bar, (n_bars, out_width).

        A news item is absorbed before the first bar of its symbol with ts >= the item's ts, and
        waits until then: an item that came ahead of its time changes no earlier vote.
        """
        spec = self.spec
        if not bars.flags.carray:
            bars = bars.copy()  # One compiled signature, also for bars read from a record.
        self._grow(bars, news)
        if spec.absorb is not None and news:
            self.keep(news)
        votes = np.zeros((len(bars), spec.out_width))
        done = 0
        for i in self._hearers(bars) if self.pending else ():
            symbol, ts = int(bars["symbol"][i]), int(bars["ts"][i])
            if self._is_due(symbol, ts):
                spec.step_all(self.params, self.state, bars[done:i], votes[done:i])
                done = i
                self._absorb_due(symbol, ts, self.state[symbol])
        spec.step_all(self.params, self.state, bars[done:], votes[done:])
        self.votes = votes
        return votes

    def _hearers(self, bars: Bars) -> list[int]:
        """The bars of symbols for which news waits."""
        waited_for = self.pending.keys()
        return [i for i, symbol in enumerate(bars["symbol"].tolist()) if symbol in waited_for]

    def _is_due(self, symbol: int, ts: int) -> bool:
        waiting = self.pending.get(symbol)
        return waiting is not None and waiting[0].ts <= ts

    def _grow(self, bars: Bars, news: Sequence[News]) -> None:
        lowest, highest = symbol_range(bars)
        if news:
            lowest = min(lowest, *(item.symbol for item in news))
            highest = max(highest, *(item.symbol for item in news))
        if lowest < 0:
            raise ValueError(f"{self.spec.name}: symbol index {lowest} is negative")
        known = len(self.state)
        if highest < known:
            return
        if highest >= len(self._room):
            # Twice as much, so that symbols that come one by one are not copied each time.
            room = np.zeros((max(highest + 1, 2 * known), self.spec.state_width))
            room[:known] = self.state
            self._room = room
        self.state = self._room[: highest + 1]

    def restore(self, state: Floats, pending: Sequence[News]) -> None:
        """Takes over a memory: state rows (symbols, state_width) and the news that waited."""
        self._room = np.array(state, np.float64, order="C")
        self.state, self.pending = self._room, {}
        self.keep(pending)

    def keep(self, news: Sequence[News]) -> None:
        """Items that wait for a bar of their symbol."""
        for item in news:
            self.pending.setdefault(item.symbol, []).append(item)
        for waiting in self.pending.values():
            waiting.sort(key=lambda item: (item.ts, item.id))

    def _absorb_due(self, symbol: int, ts: int, row: Floats) -> None:
        absorb, score_text = self.spec.absorb, self.spec.score_text
        if absorb is None or score_text is None:
            raise TypeError(f"{self.spec.name}: an agent that absorbs news also scores its text")
        waiting = self.pending.get(symbol, [])
        while waiting and waiting[0].ts <= ts:
            item = waiting.pop(0)
            absorb(self.params, row, item.ts, _RELEVANCE, score_text(item.text))
        if not waiting:
            self.pending.pop(symbol, None)


def code_hash(spec: AgentSpec) -> str:
    """sha256 (hex) over the agent's module, this one, and all they import from data and actors.

    Two agents with equal hashes run the same code; a changed comment changes the hash as well,
    which errs on the safe side: changed code enters the pool anew.
    """
    return _hash_of(sources(spec))


def step_hash(spec: AgentSpec) -> str:
    """The same over the step's module and what it imports alone: what decides the votes."""
    return _hash_of(_reached([_file(spec.step.__module__)]))


def module_hash(name: str) -> str:
    """The same over a loaded module of ours and what it imports from data and actors."""
    return _hash_of(_reached([_file(name)]))


def sources(spec: AgentSpec) -> list[Path]:
    """The files behind ``code_hash``, sorted."""
    return _reached([_file(spec.step.__module__), Path(__file__).resolve()])


def _hash_of(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.relative_to(_ROOT).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _file(name: str) -> Path:
    start = sys.modules[name].__file__
    if start is None:
        raise ValueError(f"module {name} has no source file")
    return Path(start).resolve()


def _reached(queue: list[Path]) -> list[Path]:
    found: set[Path] = set()
    while queue:
        path = queue.pop()
        if path not in found:
            found.add(path)
            queue += _imports(path)
    return sorted(found)


def _imports(path: Path) -> tuple[Path, ...]:
    return _imports_as_of(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=256)  # An actor that starts asks for the same files three times.
def _imports_as_of(path: Path, _changed_ns: int) -> tuple[Path, ...]:
    return tuple(_read_imports(path))


def _read_imports(path: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            # ``from actors import link`` names a module, ``from actors.link import link`` does not.
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.split(".")[0] in _FLOORS:
                base = _ROOT.joinpath(*name.split("."))
                for candidate in (base.with_suffix(".py"), base / "__init__.py"):
                    if candidate.is_file():
                        yield candidate
