"""The payloads of an account's chain. Prices in ticks, quantities in lots, money in micro-units."""

from __future__ import annotations

import msgspec

OPENED, BAR, ORDER, REFUSED, CANCELLED, ENDED = (
    "opened",
    "bar",
    "order",
    "refused",
    "cancelled",
    "ended",
)
DECISION, OPERATOR = "decision", "operator"


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """The account begins with cash and nothing else."""

    account: str
    opening_micro: int
    holder: str
    config_hash: str  # SHA-256 of the session's configuration as recorded


class FillEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One fill."""

    fill_id: str
    client_order_id: str
    symbol: str
    side: int
    lots: int
    price_ticks: int
    fee_micro: int


class ClosedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An order that came to its end: filled or expired (its rest)."""

    client_order_id: str
    status: str
    filled_lots: int


class BarEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Fills, marks and the books after them, at one ts."""

    ts: int
    fills: list[FillEntry]
    closed: list[ClosedEntry]
    marks: dict[str, int]  # last close of each symbol held or marked now
    positions: dict[str, int]  # all that are not zero
    cash_micro: int
    reserved_micro: int
    equity_micro: int
    peak_micro: int
    day: int
    day_open_micro: int
    locked: list[str]
    # The bars, in BAR's field order, that orders met: all that their fills were computed from
    # besides the earlier rounds' bars.
    met: list[list[int]] = []


class OrderEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An order on disk before it is sent. ``epoch`` is its approval's, None for an operator's."""

    client_order_id: str
    symbol: str
    ts: int
    origin: str
    side: int
    lots: int
    limit_ticks: int
    epoch: int | None
    reserved_micro: int
    code: str  # why it is smaller than approved, or the action it serves


class RefusedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An approval that the order transaction did not turn into an order."""

    symbol: str
    ts: int
    side: int
    lots: int
    code: str
    epoch: int
    epoch_in_force: int


class CancelledEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An order taken back before it was filled."""

    client_order_id: str
    why: str


class EndedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """The session's last word."""

    status: str
    detail: str
