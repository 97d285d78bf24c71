"""News as it travels in a round: a text about one symbol and the moment at which it was known."""

from __future__ import annotations

from typing import Protocol

import msgspec


class TimedText(Protocol):
    """What an agent needs of a news item, whichever record carries it."""

    @property
    def id(self) -> str: ...
    @property
    def symbol(self) -> int: ...
    @property
    def ts(self) -> int: ...
    @property
    def text(self) -> str: ...


class NewsItem(msgspec.Struct, frozen=True):
    """One text about one symbol.

    ``symbol`` is the index in the session's symbol table, ``ts`` the UTC nanosecond at which the
    text became known to us (not the time that its author printed on it).
    """

    id: str
    symbol: int
    ts: int
    text: str
