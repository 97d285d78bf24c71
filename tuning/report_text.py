"""Words and numbers of a session report: the verdict in plain sentences, and how figures look."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np

from tuning.bootstrap import Difference
from tuning.performance import Performance
from tuning.scoring import UNIFORM_BRIER, Scores
from tuning.session_result import SessionResult, money

MINUS = "\u2212"
MISSING = "\u2013"
_SIGNS = {"USD": "$", "EUR": "€", "GBP": "£"}


def cash(micro: int, currency: str) -> str:
    """Money to the cent: $1,012,345.67; other currencies by their code."""
    return amount(money(micro), currency)


def amount(value: Decimal, currency: str) -> str:
    """A Decimal amount of money to the cent."""
    sign = MINUS if value < 0 else ""
    unit = _SIGNS.get(currency, f"{currency} ")
    return f"{sign}{unit}{abs(value):,.2f}"


def percent(fraction: float, digits: int = 1, signed: bool = False) -> str:
    """0.1234 -> 12.3 %; a dash when undefined."""
    if math.isnan(fraction):
        return MISSING
    return f"{number(fraction * 100.0, digits, signed)} %"


def number(value: float, digits: int = 2, signed: bool = False) -> str:
    """A number with a true minus sign; a dash when undefined."""
    if math.isnan(value):
        return MISSING
    text = f"{value:+,.{digits}f}" if signed else f"{value:,.{digits}f}"
    if float(text.replace(",", "")) == 0.0:
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def interval(low: float, high: float, digits: int = 2) -> str:
    """[low, high] for people: 'from −0.12 to 0.95'; a dash when undefined."""
    if math.isnan(low) or math.isnan(high):
        return MISSING
    return f"{number(low, digits)} to {number(high, digits)}"


def day(ts: int) -> str:
    """UTC date of a time in nanoseconds."""
    return str(np.datetime64(int(ts), "ns").astype("datetime64[D]"))


def moment(ts: int) -> str:
    """UTC date and time of a time in nanoseconds."""
    return str(np.datetime64(int(ts), "ns").astype("datetime64[s]")).replace("T", " ")


def words(code: str) -> str:
    """NO_EDGE -> no edge."""
    return code.replace("_", " ").lower()


def plural(count: int, one: str, many: str | None = None) -> str:
    """1 order, 2,000 orders."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def verdict(
    result: SessionResult,
    account: Performance,
    benchmark: Performance,
    scores: Scores,
    growth: Difference | None = None,
) -> list[str]:
    """The session in plain sentences, the least welcome news first.

    The first sentence is always the account against buy-and-hold after costs; a halt comes second.
    ``growth`` is the difference of annual log growth between the two, with its interval.
    """
    sentences = [_against_buy_and_hold(result, account, benchmark)]
    if result.halted_at is not None:
        reason = f" ({result.halt_reason})" if result.halt_reason else ""
        sentences.append(
            f"Trading was HALTED on {day(result.halted_at)}{reason}: "
            "no decision order was sent from then on; voting and scoring went on to the end."
        )
    if growth is not None and not math.isnan(growth.low):
        sentences.append(_difference_sentence(growth))
    if account.periods > 0:
        sentences.append(_sharpe_sentence(account))
    sentences.append(_forecast_sentence(scores))
    return sentences


def _against_buy_and_hold(
    result: SessionResult, account: Performance, benchmark: Performance
) -> str:
    ours = cash(account.final_micro, result.currency)
    theirs = cash(benchmark.final_micro, result.currency)
    if account.periods == 0:
        return f"Nothing was traded: the data end before the first traded date. Equity {ours}."
    if account.final_micro < benchmark.final_micro:
        text = f"The committee lost to buy-and-hold after costs: {ours} against {theirs}"
    elif account.final_micro > benchmark.final_micro:
        text = f"The committee beat buy-and-hold after costs: {ours} against {theirs}"
    else:
        text = f"The committee ended level with buy-and-hold after costs, at {ours}"
    if not result.fills:
        text += "; it made no trade"
    return text + "."


def _difference_sentence(growth: Difference) -> str:
    side = "less" if growth.value < 0.0 else "more"
    text = (
        f"It grew {percent(abs(growth.value), 2)} a year {side} than buy-and-hold (log), 95 % "
        f"interval of the difference {percent(growth.low, 1, True)} to "
        f"{percent(growth.high, 1, True)}: "
    )
    if growth.low <= 0.0 <= growth.high:
        return text + "chance alone could explain that."
    return text + "more than chance alone would explain."


def _sharpe_sentence(account: Performance) -> str:
    low, high = account.sharpe_ci
    if math.isnan(account.sharpe) or math.isnan(low):
        return "Its Sharpe ratio is undefined: the equity did not vary enough to measure it."
    text = f"Its Sharpe ratio is {number(account.sharpe)}, 95 % interval {interval(low, high)}: "
    if low > 0.0:
        return text + "a positive return for its risk, more than luck alone would explain."
    if high < 0.0:
        return text + "it lost money, more surely than bad luck alone would explain."
    return text + "this record cannot tell skill from luck."


def _forecast_sentence(scores: Scores) -> str:
    if scores.scored == 0:
        return "No forecast could be scored."
    edge, low, high = scores.pool_edge
    text = (
        f"Its pooled forecasts scored a Brier loss of {scores.pool_brier:.4f} "
        f"(knowing nothing scores {UNIFORM_BRIER:.4f}, equal weights "
        f"{scores.equal_weight_brier:.4f}): "
    )
    if low > 0.0:
        return text + "better than knowing nothing, beyond chance."
    if high < 0.0:
        return text + "worse than knowing nothing, beyond chance."
    side = "better" if edge > 0.0 else "worse"
    return text + f"slightly {side} than knowing nothing, within what chance alone could do."
