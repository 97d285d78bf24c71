"""Small finished sessions for the tests of scoring, report and summary."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np

from actors.contract import Reason, Status
from tuning.session_result import EpochRow, FillRow, OrderRow, QuarantinedRow, SessionResult

DAY = 86_400_000_000_000
START = int(np.datetime64("2001-01-02T21:00", "ns").astype(np.int64))
AGENTS = ("trend_momentum", "financial_sentiment")
WARM_UP, ROUNDS, HORIZON = 30, 120, 5


def session(seed: int = 1, **changes: Any) -> SessionResult:
    """Two symbols, two agents of which the second never speaks, 120 days of which 30 warm-up."""
    rng = np.random.default_rng(seed)
    ts = START + DAY * np.arange(ROUNDS, dtype=np.int64)
    closes = (1e6 * np.exp(np.cumsum(rng.normal(0, 0.02, (ROUNDS, 2)), axis=0))).astype(np.int64)
    equity = np.full(ROUNDS, 10**12, np.int64)
    held = equity.copy()
    equity[WARM_UP:] = (1e12 * np.cumprod(1 + rng.normal(0, 0.01, 90))).astype(np.int64)
    held[WARM_UP:] = (1e12 * np.cumprod(1 + rng.normal(0, 0.01, 90))).astype(np.int64)
    equity[-1], held[-1] = 1_012_345_670_000, 1_100_000_000_000
    votes = np.zeros((2 * ROUNDS, 2, 3))
    votes[:, 0] = rng.dirichlet((2, 2, 2), 2 * ROUNDS)
    status = np.full((2 * ROUNDS, 2), int(Status.ABSTAINED), np.int64)
    status[:, 0] = int(Status.VOTED)
    reason = np.zeros_like(status)
    reason[:, 1] = int(Reason.NO_NEWS)
    verdict = ["denied"] * (2 * WARM_UP) + ["no_trade", "approved"] * (ROUNDS - WARM_UP)
    code = ["WARMING_UP"] * (2 * WARM_UP) + ["NO_EDGE", "NONE"] * (ROUNDS - WARM_UP)
    at = int(ts[WARM_UP + 1])
    base = SessionResult(
        session_id="session-<1>",
        account="paper",
        mode="historical",
        symbols=("AAPL", "IBM"),
        agents=AGENTS,
        first_traded=int(ts[WARM_UP]),
        horizon=HORIZON,
        ts=ts,
        equity_micro=equity,
        buy_and_hold_micro=held,
        weights=np.tile([0.3, 0.2, 0.5], (ROUNDS, 1)),
        d_ts=np.repeat(ts, 2),
        d_symbol=np.tile(np.array([0, 1]), ROUNDS),
        d_close=closes.ravel(),
        d_p=votes[:, 0].copy(),
        d_votes=votes,
        d_status=status,
        d_verdict=tuple(verdict),
        d_code=tuple(code),
        d_reason=reason,
        orders=(
            OrderRow(at, "AAPL", 1, 100, "filled", "NONE", "decision"),
            OrderRow(at, "IBM", 1, 100, "refused", "CASH", "decision"),
            OrderRow(at, "AAPL", -1, 40, "filled", "NONE", "operator"),
        ),
        fills=(
            FillRow(at, "AAPL", 1, 100, Decimal("10.0001"), Decimal("1")),
            FillRow(at + DAY, "AAPL", -1, 40, Decimal("11.5"), Decimal("1.25")),
        ),
        quarantined=(QuarantinedRow("2001-03-01", "IBM", "NAN"),),
        epochs=(EpochRow(1, int(ts[0]), "start"),),
        bars=2 * ROUNDS,
        wall_seconds=4.0,
        pss_mb=1500.0,
    )
    return replace(base, **changes)
