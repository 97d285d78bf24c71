"""The report of a finished session as one JSON object, for programs."""

from __future__ import annotations

import math
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from tuning.analysis import Analysis, analyse
from tuning.bootstrap import Difference
from tuning.calibration import OUTCOMES, Calibration
from tuning.cost_breakdown import LINES, Costs
from tuning.session_result import CODES, REFUSED, VERDICTS, SessionResult, money


def report_json(
    result: SessionResult, report_path: Path | str, analysis: Analysis | None = None
) -> dict[str, Any]:
    """The session as one JSON object; ``analysis`` is ``analyse(result)`` where it is at hand.

    ``final_equity`` and ``buy_and_hold_equity`` are decimal STRINGS with six places, so that no
    float stands for money. ``dates`` counts UTC dates. ``decisions`` counts all decisions of the
    log, the warm-up included. ``orders`` counts accepted orders; ``denied`` counts, by reason code,
    decisions denied by the gate plus orders refused by their order transaction. ``sharpe`` is
    annualised, ``sharpe_ci`` its 95 % interval, ``max_drawdown`` a negative fraction; Brier losses,
    votes and abstentions are of the traded period, weights of the last round. A figure that is not
    defined is null, never 0.

    ``growth_difference_ci`` and ``sharpe_difference_ci`` are 95 % bootstrap intervals of the
    account minus buy-and-hold (annual log growth, annualised Sharpe ratio); the ``..._p`` beside
    them is the share of resamples at or below 0. ``calibration`` holds the parts of the pool's
    Brier loss and the reliability bins of each outcome. ``costs`` holds, per line, the amount (a
    decimal string), basis points of traded notional and the share of gross profit.
    """
    found = analyse(result) if analysis is None else analysis
    account, scores, difference = found.account, found.scores, found.difference
    speed = result.bars / result.wall_seconds if result.wall_seconds > 0.0 else math.nan
    return {
        "session_id": result.session_id,
        "bars": result.bars,
        "dates": len(np.unique(result.ts.astype("datetime64[ns]").astype("datetime64[D]"))),
        "decisions": len(result.d_ts),
        "orders": sum(row.status != REFUSED for row in result.orders),
        "fills": len(result.fills),
        "denied": _denied(result),
        "final_equity": str(money(account.final_micro)),
        "buy_and_hold_equity": str(money(found.benchmark.final_micro)),
        "sharpe": _figure(account.sharpe),
        "sharpe_ci": _interval(*account.sharpe_ci),
        "max_drawdown": _figure(account.max_drawdown),
        "pool_brier": _figure(scores.pool_brier),
        "equal_weight_brier": _figure(scores.equal_weight_brier),
        "agents": {
            agent.name: {
                "votes": agent.votes,
                "abstentions": agent.abstentions,
                "brier": _figure(agent.brier),
                "weight": agent.weight,
            }
            for agent in scores.agents
        },
        **_difference("growth_difference", difference.growth),
        **_difference("sharpe_difference", difference.sharpe),
        "calibration": _calibration(found.calibration),
        "costs": _costs(found.costs),
        "wall_seconds": _figure(result.wall_seconds),
        "bars_per_second": _figure(speed),
        "pss_mb": _figure(result.pss_mb),
        "report": str(report_path),
    }


def _denied(result: SessionResult) -> dict[str, int]:
    by_gate = np.bincount(
        result.codes[result.verdicts == VERDICTS.index("denied")], minlength=len(CODES)
    )
    counts = {CODES[code]: int(n) for code, n in enumerate(by_gate) if n}
    for row in result.orders:
        if row.status == REFUSED:
            counts[row.code] = counts.get(row.code, 0) + 1
    return dict(sorted(counts.items()))


def _figure(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _interval(low: float, high: float) -> list[float] | None:
    return None if math.isnan(low) or math.isnan(high) else [float(low), float(high)]


def _difference(name: str, difference: Difference) -> dict[str, Any]:
    return {
        name: _figure(difference.value),
        f"{name}_ci": _interval(difference.low, difference.high),
        f"{name}_p": _figure(difference.below_zero),
    }


def _calibration(found: Calibration) -> dict[str, Any] | None:
    if not found.scored:
        return None
    return {
        "scored": found.scored,
        **asdict(found.parts),
        "bins": {
            name: [asdict(row) for row in rows]
            for name, rows in zip(OUTCOMES, found.bins, strict=True)
        },
    }


def _costs(costs: Costs) -> dict[str, Any]:
    return {
        "notional": _amount(costs.notional),
        "gross_profit": None if costs.gross_profit is None else _amount(costs.gross_profit),
        **{
            name: None
            if (amount := costs.line(name)) is None
            else {
                "amount": _amount(amount),
                "bps_of_notional": _figure(costs.basis_points(name)),
                "share_of_gross_profit": _figure(costs.share_of_gross(name)),
            }
            for name in (*LINES, "total")
        },
    }


def _amount(value: Decimal) -> str:
    """Plain digits, exactly: every fraction of a currency that the fills hold is kept."""
    return f"{value:f}"
