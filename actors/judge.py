"""The gate's judgement of one symbol: from a pooled forecast to an approved change of position.

Intent scope of the limits. The order of the checks, each ending or shrinking what is left:
inputs valid, warm-up, quorum, stale data, dissent, lock; then the wanted position (sizing, no
shorts, concentration at the worst price of the collar, edge against cost, no-trade band); then
trading state, toxicity, volatility, order size, minimum size and rate.

Without a valid forecast (no quorum, stale, dissent) nothing is wanted, so nothing trades. Toxic
flow, wild volatility and the state REDUCING stop increases and let a reduction through.
"""

from __future__ import annotations

import numpy as np

from actors.checks import (
    APPROVED,
    DENIED,
    NO_TRADE,
    Code,
    Verdict,
    check_dissent,
    check_lock,
    check_min_notional,
    check_order_notional,
    check_quorum,
    check_rate,
    check_staleness,
    check_state,
    check_toxicity,
    check_volatility,
    collar_price,
    finite,
    lot_notional,
    then,
)
from actors.costs import half_spread_bps
from actors.sizing import SIZE_OK, inside_band, pays, target_fraction, target_lots
from data.compiled import lean_njit
from data.money import INT64_MAX, floor_ppm

INTENT = np.dtype(
    [
        ("p_down", "<f8"),
        ("p_flat", "<f8"),
        ("p_up", "<f8"),
        ("dissent", "<f8"),
        ("agents_awake", "<i8"),
        ("awake_weight", "<f8"),
        ("sigma", "<f8"),  # per bar; 0 while unknown
        ("toxicity", "<f8"),  # [0, 1]
        ("staleness_seconds", "<f8"),  # session clock - bar ts
        ("trading_allowed", "<i8"),  # 0 before the first traded date
        ("locked", "<i8"),  # 1 after a quarantined bar of a held symbol
        ("state", "<i8"),  # TradingState
        ("equity_micro", "<i8"),
        ("position", "<i8"),  # lots, net, open orders included
        ("close", "<i8"),  # ticks
        ("micro_per_tick", "<i8"),
        ("volume", "<i8"),  # lots of the bar
        ("bid", "<i8"),  # ticks at the bar's close; UNKNOWN without a quote
        ("ask", "<i8"),
        ("orders_last_minute", "<i8"),
    ]
)

# Toxicity that nobody measured: outside its range, so the gate denies the intent as INVALID and
# leaves the position as it is.
UNMEASURED = -1.0

_INVALID, _PRECISION, _WARMING = int(Code.INVALID), int(Code.PRECISION), int(Code.WARMING_UP)
_NO_EDGE, _NO_CHANGE = int(Code.NO_EDGE), int(Code.NO_CHANGE)
_SHORT, _CONCENTRATION = int(Code.SHORT), int(Code.CONCENTRATION)
_NONE = int(Code.NONE)
_REDUCED = int(Verdict.REDUCED)


@lean_njit
def set_forecast(intent, p, dissent, agents_awake, awake_weight, sigma, toxicity):
    """Writes what the pool says of one symbol to an ``INTENT`` record; ``p`` (3,)."""
    intent.p_down = p[0]
    intent.p_flat = p[1]
    intent.p_up = p[2]
    intent.dissent = dissent
    intent.agents_awake = agents_awake
    intent.awake_weight = awake_weight
    intent.sigma = sigma
    intent.toxicity = toxicity


@lean_njit
def set_market(intent, clock_ns, ts, first_traded, close, volume, bid, ask, micro_per_tick):
    """Writes what is known of the symbol's market at the session clock, ns; quotes in ticks."""
    intent.staleness_seconds = (clock_ns - ts) / 1e9
    intent.trading_allowed = 1 if ts >= first_traded else 0
    intent.close = close
    intent.volume = volume
    intent.bid = bid
    intent.ask = ask
    intent.micro_per_tick = micro_per_tick


@lean_njit
def set_account(intent, equity_micro, state, position, locked, orders_last_minute):
    """Writes the account's committed view; ``position`` in lots, open orders included."""
    intent.equity_micro = equity_micro
    intent.state = state
    intent.position = position
    intent.locked = locked
    intent.orders_last_minute = orders_last_minute


@lean_njit
def judge_intent(limits, costs, sizing, intent):
    """Judges one ``INTENT`` record.

    Returns (verdict, code, delta_lots, target_lots, limit_price): the signed change that may be
    ordered, the position that was wanted, and the worst acceptable price in ticks. Delta and price
    are 0 when nothing may trade. OverflowError when an amount leaves int64.
    """
    verdict, code = _admit(limits, intent)
    if verdict != APPROVED:
        return verdict, code, 0, intent.position, 0
    target, clamp = wanted_position(limits, sizing, intent)
    delta = target - intent.position
    code = _worth(costs, sizing, intent, target, delta)
    if code != _NONE:
        # A target that a limit moved onto the position is explained by that limit.
        shown = clamp if code == _NO_CHANGE and clamp != _NONE else code
        return NO_TRADE, shown, 0, target, 0
    side = 1 if delta > 0 else -1
    verdict, code, lots = _shrink(limits, intent, side, abs(delta))
    if lots == 0:
        return verdict, code, 0, target, 0
    if verdict == APPROVED and clamp == _CONCENTRATION and side * target > 0:
        verdict, code = 1, _CONCENTRATION
    return verdict, code, side * lots, target, collar_price(limits, side, intent.close)


@lean_njit
def judge_table(
    limits,
    costs,
    sizing,
    table,
    net_lots,
    locked,
    room,
    p,
    clock_ns,
    first_traded,
    micro_per_tick,
    equity_micro,
    state,
    orders_last_minute,
):
    """Judges every row of ``table`` (``data.round_output.DECISION``) on one account view, in place.

    ``net_lots`` and ``locked`` int64, one a row; ``room`` one ``INTENT`` record and ``p`` (3,) to
    work in.
    """
    intent = room[0]
    for i in range(len(table)):
        row = table[i]
        for k in range(3):
            p[k] = row.p[k]
        set_forecast(
            intent,
            p,
            row.dissent,
            row.agents_awake,
            row.awake_weight,
            row.sigma,
            row.toxicity,
        )
        set_market(
            intent,
            clock_ns,
            row.ts,
            first_traded,
            row.close,
            row.volume,
            row.bid,
            row.ask,
            micro_per_tick,
        )
        set_account(intent, equity_micro, state, net_lots[i], locked[i], orders_last_minute)
        verdict, code, delta, target, limit = judge_intent(limits, costs, sizing, intent)
        may_trade = verdict <= _REDUCED and delta != 0
        row.verdict = verdict
        row.code = code
        row.side = 0
        row.lots = 0
        row.limit_ticks = 0
        if may_trade:
            row.side = 1 if delta > 0 else -1
            row.lots = abs(delta)
            row.limit_ticks = limit
        row.target_lots = target
        row.net_lots = net_lots[i]


@lean_njit
def _admit(limits, intent):
    """Is there a forecast that may be acted on? Returns (verdict, code)."""
    if intent.trading_allowed != 1 or intent.sigma == 0.0:
        return NO_TRADE, _WARMING
    if intent.close <= 0 or intent.micro_per_tick <= 0:
        return DENIED, _PRECISION
    verdict, code, lots = check_quorum(limits, intent.agents_awake, intent.awake_weight, 1)
    verdict, code, lots = then(
        verdict, code, check_staleness(limits, intent.staleness_seconds, lots)
    )
    verdict, code, lots = then(verdict, code, check_lock(intent.locked, lots))
    if lots == 1 and not _valid(intent):
        return DENIED, _INVALID
    verdict, code, lots = then(verdict, code, check_dissent(limits, intent.dissent, lots))
    return verdict, code


@lean_njit
def _valid(intent):
    total = intent.p_down + intent.p_flat + intent.p_up
    lowest = min(intent.p_down, intent.p_flat, intent.p_up)
    return (
        lowest >= 0.0
        and abs(total - 1.0) <= 1e-6
        and finite(intent.sigma)
        and intent.sigma > 0.0
        and 0.0 <= intent.toxicity <= 1.0
        and 0.0 <= intent.dissent <= 1.0
        and intent.equity_micro > 0
        and abs(intent.position) <= INT64_MAX // 4
    )


@lean_njit
def wanted_position(limits, sizing, intent):
    """Lots that the forecast deserves within the limits, and the code of the limit that bound."""
    lot_micro = lot_notional(intent.close, intent.micro_per_tick)
    fraction = target_fraction(
        sizing, intent.p_down, intent.p_up, intent.sigma, intent.dissent, intent.toxicity
    )
    target = target_lots(fraction, intent.equity_micro, lot_micro)
    if target < 0 and limits.allow_short == 0:
        return 0, _SHORT
    if target == 0:
        return 0, _NONE
    side = 1 if target > 0 else -1
    # At the worst price that the order may pay, so that the account's check agrees.
    worst = max(collar_price(limits, side, intent.close), intent.close)
    cap = floor_ppm(intent.equity_micro, limits.max_position_ppm)
    most = cap // lot_notional(worst, intent.micro_per_tick)
    if abs(target) > most:
        return side * most, _CONCENTRATION
    return target, _NONE


@lean_njit
def _worth(costs, sizing, intent, target, delta):
    """NONE when the change is worth its cost, else why it is not."""
    lot_micro = lot_notional(intent.close, intent.micro_per_tick)
    if delta == 0:
        return _NO_CHANGE
    # Leaving for good is no fine tuning: the band does not hold a position that nobody wants.
    leaving = target == 0 or (target > 0) != (intent.position > 0)
    small = inside_band(sizing, delta, intent.equity_micro, lot_micro)
    if small and not (leaving and intent.position != 0):
        return _NO_CHANGE
    verdict = pays(
        sizing,
        costs,
        intent.p_down,
        intent.p_up,
        half_spread_bps(costs, intent.bid, intent.ask),
        intent.sigma,
        abs(delta),
        intent.volume,
        lot_micro,
    )
    return _NONE if verdict == SIZE_OK else _NO_EDGE


@lean_njit
def _shrink(limits, intent, side, lots):
    """The checks on a wanted change; returns (verdict, code, lots left)."""
    position = intent.position
    lot_micro = lot_notional(intent.close, intent.micro_per_tick)
    verdict, code, lots = check_state(intent.state, position, side, lots)
    verdict, code, lots = then(
        verdict, code, check_toxicity(limits, intent.toxicity, position, side, lots)
    )
    verdict, code, lots = then(
        verdict, code, check_volatility(limits, intent.sigma, position, side, lots)
    )
    verdict, code, lots = then(
        verdict, code, check_order_notional(limits, intent.equity_micro, lot_micro, lots)
    )
    verdict, code, lots = then(
        verdict, code, check_min_notional(limits, lot_micro, position, side, lots)
    )
    verdict, code, lots = then(verdict, code, check_rate(limits, intent.orders_last_minute, lots))
    return verdict, code, lots
