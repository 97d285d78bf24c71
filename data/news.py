"""A news item as it travels in a round and stands in the journal."""

from __future__ import annotations

import msgspec


class News(msgspec.Struct, frozen=True):
    """One text about one symbol.

    ``symbol`` is the index in the session's symbol table, ``ts`` the UTC nanosecond at which the
    text became known to us (not the time that its author printed on it).
    """

    id: str
    symbol: int
    ts: int
    text: str
