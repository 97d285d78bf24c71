"""What a finished session left behind, as plain arrays: all that scoring and reports may read.

Whoever has the journal fills one ``SessionResult``; nothing here reads a clock, a file or a
database, so the same journal always gives the same report. T is the number of rounds, D the number
of decisions in the order of the log, n the number of agents.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.checks import Code, Verdict

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
SmallInts = NDArray[np.signedinteger[Any]]

MICRO = 1_000_000
VERDICTS = tuple(verdict.name.lower() for verdict in Verdict)  # by their numbers
CODES = tuple(code.name for code in Code)
REFUSED = "refused"  # status of an order that its order transaction did not accept


@dataclass(frozen=True)
class OrderRow:
    """One order, or one attempt that the order transaction refused (``status == REFUSED``)."""

    ts: int  # event time, UTC ns
    symbol: str
    side: int  # +1 buy, -1 sell
    lots: int
    status: str
    code: str  # reason code of a refusal, else "NONE"
    origin: str  # "decision" or "operator"


@dataclass(frozen=True)
class FillRow:
    """One fill; all amounts are in the account's currency.

    ``reference`` is the open of the bar that filled it. The price paid beyond it is split by the
    cost model into ``half_spread``, ``slippage`` and ``impact``, what the whole fill paid for
    each; None where it is not known.
    """

    ts: int
    symbol: str
    side: int
    lots: int
    price: Decimal
    fee: Decimal
    reference: Decimal | None = None
    half_spread: Decimal | None = None
    slippage: Decimal | None = None
    impact: Decimal | None = None
    lot: Decimal = Decimal(1)  # units of the instrument in one lot

    @property
    def notional(self) -> Decimal:
        """What was paid or received, without the fee."""
        return self.price * self.lots * self.lot

    @property
    def price_cost(self) -> Decimal | None:
        """What the fill paid beyond its reference price; below 0 when it paid less."""
        if self.reference is None:
            return None
        return self.side * (self.price - self.reference) * self.lots * self.lot


@dataclass(frozen=True)
class QuarantinedRow:
    """One row of data that was stopped at the door. Its ``ts`` is text: it may be unreadable."""

    ts: str
    symbol: str
    reason: str


@dataclass(frozen=True)
class EpochRow:
    """One start of the gate: every approval of an earlier epoch is void from here on."""

    epoch: int
    ts: int  # event time of the first round under this epoch, UTC ns
    cause: str


@dataclass(frozen=True, eq=False)
class SessionResult:
    """A finished session. Raises ValueError when the arrays do not fit each other."""

    session_id: str
    account: str
    mode: str  # historical, paper or live
    symbols: tuple[str, ...]
    agents: tuple[str, ...]
    first_traded: int  # UTC ns; rounds before it are warm-up
    horizon: int  # bars of a symbol's own clock that a forecast looks ahead

    ts: Ints  # (T,) strictly increasing
    equity_micro: Ints  # (T,) mark at each round: the starting cash until trading begins
    buy_and_hold_micro: Ints  # (T,)
    weights: Floats  # (T, n + 1) in force in each round; the last column is the equal-weight expert

    d_ts: Ints  # (D,)
    d_symbol: Ints  # (D,) index into ``symbols``
    d_close: Ints  # (D,) ticks; includes the warm-up, from which volatility is measured
    d_p: Floats  # (D, 3) pooled (down, flat, up); zeros where nobody was awake
    d_votes: Floats  # (D, n, 3); read only where the status is VOTED
    d_status: SmallInts  # (D, n) actors.contract.Status
    # Names are turned into numbers at once: a million of them would be slow and large.
    d_verdict: SmallInts | tuple[str, ...]  # (D,) actors.checks.Verdict, the index into VERDICTS
    d_code: SmallInts | tuple[str, ...]  # (D,) actors.checks.Code
    d_reason: SmallInts | None = None  # (D, n) actors.contract.Reason of each abstention, if known

    orders: tuple[OrderRow, ...] = ()
    fills: tuple[FillRow, ...] = ()
    quarantined: tuple[QuarantinedRow, ...] = ()
    epochs: tuple[EpochRow, ...] = ()
    halted_at: int | None = None  # event time, UTC ns; None when the session ended unhalted
    halt_reason: str = ""
    late_votes: int = 0
    notes: tuple[str, ...] = ()

    bars: int = 0
    wall_seconds: float = math.nan  # nan = not measured, here and below
    pss_mb: float = math.nan
    currency: str = "USD"
    periods_per_year: float = 252.0  # rounds in a year, for annualised figures
    buy_and_hold_rule: str = "the same symbols, bought once with the same money and then held"

    def __post_init__(self) -> None:
        for name, names in (("d_verdict", VERDICTS), ("d_code", CODES)):
            object.__setattr__(self, name, _numbers(name, getattr(self, name), names))
        rounds, decisions, n = len(self.ts), len(self.d_ts), len(self.agents)
        expected: dict[str, tuple[int, ...]] = {
            "ts": (rounds,),
            "equity_micro": (rounds,),
            "buy_and_hold_micro": (rounds,),
            "weights": (rounds, n + 1),
            "d_ts": (decisions,),
            "d_symbol": (decisions,),
            "d_close": (decisions,),
            "d_p": (decisions, 3),
            "d_votes": (decisions, n, 3),
            "d_status": (decisions, n),
            "d_verdict": (decisions,),
            "d_code": (decisions,),
        }
        if self.d_reason is not None:
            expected["d_reason"] = (decisions, n)
        for name, shape in expected.items():
            found = np.shape(getattr(self, name))
            if found != shape:
                raise ValueError(f"SessionResult.{name} has shape {found}, expected {shape}")
        if rounds == 0:
            raise ValueError("SessionResult: a session without rounds has no result")
        if (np.diff(self.ts) <= 0).any():
            raise ValueError("SessionResult.ts must be strictly increasing")
        if (np.diff(self.d_ts) < 0).any():
            raise ValueError("SessionResult.d_ts must not go back in time")
        if ((self.d_symbol < 0) | (self.d_symbol >= len(self.symbols))).any():
            raise ValueError("SessionResult.d_symbol points outside of symbols")

    @property
    def verdicts(self) -> Ints:
        """``d_verdict`` as numbers (D,)."""
        return np.asarray(self.d_verdict)

    @property
    def codes(self) -> Ints:
        """``d_code`` as numbers (D,)."""
        return np.asarray(self.d_code)

    @property
    def verdict_names(self) -> tuple[str, ...]:
        """The verdict of each decision as a word, D of them."""
        return tuple(VERDICTS[i] for i in self.verdicts.tolist())

    @property
    def code_names(self) -> tuple[str, ...]:
        """The reason code of each decision by name, D of them."""
        return tuple(CODES[i] for i in self.codes.tolist())

    @property
    def first_round(self) -> int:
        """Index of the first round that could trade; T when the session never got there."""
        return int(np.searchsorted(self.ts, self.first_traded))

    @property
    def traded_rounds(self) -> slice:
        """Rounds of the performance figures: the traded ones and, as their base, the one before."""
        return slice(max(self.first_round - 1, 0), len(self.ts))

    def in_traded_period(self) -> NDArray[np.bool_]:
        """Which decisions (D,) fell in the traded period."""
        return np.asarray(self.d_ts >= self.first_traded)


def _numbers(field: str, values: object, names: tuple[str, ...]) -> Ints:
    """Indices into ``names``; ValueError for a name or number that is not among them."""
    what = {"d_verdict": "verdicts", "d_code": "codes"}[field]
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu":
        if values.size and not (values.min() >= 0 and values.max() < len(names)):
            raise ValueError(f"SessionResult.{field}: unknown {what} outside 0 to {len(names) - 1}")
        return values
    number = {name: i for i, name in enumerate(names)}
    words = [str(value) for value in np.atleast_1d(np.asarray(values, object))]
    unknown = sorted(set(words) - set(names))
    if unknown:
        raise ValueError(f"SessionResult.{field}: unknown {what} {unknown}")
    return np.array([number[word] for word in words], np.int64)


def money(micro: int) -> Decimal:
    """Micro-units as a Decimal with six places, exactly."""
    return Decimal(int(micro)).scaleb(-6).quantize(Decimal("0.000001"))
