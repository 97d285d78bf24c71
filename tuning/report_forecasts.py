"""The forecasts in a session report: scores, weights, and whether probabilities were meant."""

from __future__ import annotations

import math

from tuning import report_charts as charts
from tuning import report_tables as tables
from tuning.analysis import Analysis
from tuning.calibration import OUTCOMES, Calibration
from tuning.report_calibration import reliability_chart
from tuning.report_parts import chart
from tuning.report_text import interval, number, percent, plural
from tuning.scoring import Scores
from tuning.session_result import SessionResult


def forecasts_section(result: SessionResult, found: Analysis) -> str:
    """Cumulative scores, weights, agents and calibration."""
    scores = found.scores
    down, flat, up = scores.outcomes
    drawn = chart(charts.score_chart(result, scores), "scores") if scores.scored else ""
    return (
        "<h2>The forecasts</h2><p>Every agent forecasts down, flat or up over the next "
        f"{plural(result.horizon, 'bar')} of a symbol. {plural(scores.scored, 'decision')} could "
        f"be scored: {down:,} went down, {flat:,} stayed flat, {up:,} went up. A rising line has "
        "forecast better than knowing nothing; a level one has not spoken."
        f"{_against_equal_weights(scores)}</p>"
        f"{drawn}<h3>Weight of each agent</h3>"
        '<p class="note">The pool raises the weight of who forecasts well. Half of the weight '
        "starts with the plain average of all agents.</p>"
        + chart(charts.weight_chart(result), "weights")
        + tables.agents(scores)
        + _calibration(found.calibration)
    )


def _against_equal_weights(scores: Scores) -> str:
    gain, low, high = scores.pool_gain
    if math.isnan(low):
        return ""
    side = "lower" if gain > 0.0 else "higher"
    return (
        f" The pool's loss was {number(abs(gain), 5)} {side} than that of equal weights "
        f"(equal weights minus pool: 95 % interval {interval(low, high, 5)})."
    )


def calibration_sentence(found: Calibration) -> str:
    """The parts of the Brier loss in words; '' when nothing was scored."""
    if not found.scored:
        return ""
    parts = found.parts
    told = parts.resolution - parts.within_variance + parts.within_covariance
    off, on = number(abs(told), 4), number(parts.reliability, 4)
    text = (
        f"Of the pool's Brier loss of {number(parts.brier, 4)}, {number(parts.uncertainty, 4)} is "
        "the uncertainty of the outcomes themselves. "
    )
    if told > 0.0:
        text += f"Telling them apart took {off} off it, probabilities off the mark put {on} on: "
    else:
        text += (
            f"The forecasts did not tell them apart, which put {off} on; probabilities off the "
            f"mark put another {on} on: "
        )
    if told > parts.reliability:
        return text + "the forecasts beat quoting the average frequencies."
    return text + "quoting the average frequencies would have scored better."


def _calibration(found: Calibration) -> str:
    if not found.scored:
        return ""
    parts = found.parts
    lines = (
        ("Uncertainty of the outcomes", parts.uncertainty),
        ("Resolution between bins", -parts.resolution),
        ("Unreliability", parts.reliability),
        ("Variance of forecasts within bins", parts.within_variance),
        ("Covariance with outcomes within bins", -parts.within_covariance),
        ("Brier loss", parts.brier),
    )
    bins = [
        (
            name.capitalize(),
            percent(row.forecast),
            percent(row.observed),
            f"{percent(row.low)} to {percent(row.high)}",
            f"{row.count:,}",
        )
        for name, rows in zip(OUTCOMES, found.bins, strict=True)
        for row in rows
    ]
    return (
        "<h3>Did the probabilities mean what they said?</h3>"
        '<p class="note">Forecasts in bins of equal counts against how often the outcome came. '
        "On the dashed line a forecast of 40 % comes true in 40 of 100 cases. Bars are 95 % "
        "intervals as if decisions were independent; horizons overlap, so the true ones are "
        "wider.</p>"
        + chart(reliability_chart(found), "reliability")
        + f"<p>{calibration_sentence(found)}</p>"
        + "<details><summary>The parts, and each bin</summary>"
        + tables.table(
            ("Brier loss of the pool", ""),
            [(name, number(value, 5, value != parts.brier)) for name, value in lines],
            left=1,
            total=True,
        )
        + tables.table(
            ("Outcome", "Mean forecast", "Came true", "95 % interval", "Decisions"), bins, left=1
        )
        + "</details>"
    )
