"""Limits are never exceeded, whatever the inputs; reductions are never enlarged nor turned."""

from decimal import Decimal

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from actors.account_checks import ORDER, check_order
from actors.checks import Code, TradingState, Verdict
from actors.costs import CostModel
from actors.judge import INTENT, judge_intent
from actors.limits import RiskLimits
from actors.sizing import SizingParams

APPROVED, REDUCED, DENIED, NO_TRADE = Verdict
PPM = 10**6

limits_st = st.builds(
    RiskLimits,
    allow_short=st.booleans(),
    max_position_fraction=st.floats(0.01, 2),
    max_position_notional=st.integers(1, 10**7),
    max_gross=st.floats(0.01, 3),
    max_daily_loss=st.floats(0.01, 0.99),
    max_drawdown=st.floats(0.01, 0.99),
    collar_bps=st.floats(0.1, 4_000),
    min_order_notional=st.integers(0, 1_000),
    max_order_notional=st.integers(1, 10**7),
    max_order_fraction=st.floats(0.01, 2),
    max_toxicity=st.floats(0, 1),
    max_sigma=st.floats(0.01, 1),
)
lots = st.integers(-(10**5), 10**5)
money = st.integers(-(10**13), 10**14)
states = st.sampled_from([*TradingState, 5])
price = st.integers(1, 10**7)

orders = st.fixed_dictionaries(
    {
        "side": st.sampled_from([1, -1]),
        "lots": st.integers(1, 10**6),
        "limit_price": price,
        "operator": st.sampled_from([0, 0, 1]),
        "reference": price,
        "micro_per_tick": st.sampled_from([1, 100]),
        "state": states,
        "position": lots,
        "open_buys": st.integers(0, 10**5),
        "open_sells": st.integers(0, 10**5),
        "cash_micro": money,
        "reserved_micro": st.integers(0, 10**13),
        "equity_micro": money,
        "peak_micro": money,
        "day_start_micro": money,
        "gross_other_micro": st.integers(0, 10**14),
    }
)


@st.composite
def likely_orders(draw):
    """Orders inside the collar of a healthy account half of the time, so that limits bind."""
    order = draw(orders)
    if draw(st.booleans()):
        order["limit_price"] = order["reference"]
        order["state"] = draw(st.sampled_from([0, 0, 0, 1]))
        order["peak_micro"] = order["day_start_micro"] = order["equity_micro"]
    return order


def record(dtype, fields):
    row = np.zeros(1, dtype)
    for name, value in fields.items():
        row[name] = value
    return row[0]


def ppm(fraction):
    return int(round(fraction * PPM, 3))


@settings(max_examples=400, deadline=None)
@given(limits_st, likely_orders())
def test_an_accepted_order_keeps_every_account_limit(limits, o) -> None:
    costs = CostModel()
    verdict, code, allowed = check_order(limits.record(), costs.record(), record(ORDER, o))
    assert 0 <= allowed <= o["lots"]
    assert (verdict == APPROVED) == (allowed == o["lots"]) == (code == Code.NONE)
    assert (verdict == DENIED) == (allowed == 0)
    if allowed == 0:
        return
    side, unit = o["side"], o["micro_per_tick"]
    before = o["position"] + (o["open_buys"] if side > 0 else -o["open_sells"])
    after = before + side * allowed
    fee = max(costs.commission_min_micro, costs.commission_per_lot_micro * allowed)
    spent = side * allowed * o["limit_price"] * unit + fee
    free = o["cash_micro"] - o["reserved_micro"]
    assert spent <= max(free, 0)
    if o["operator"]:
        assert abs(after) < abs(before)
        assert after * before >= 0
        return
    assert o["state"] in (TradingState.ACTIVE, TradingState.REDUCING)
    assert abs(o["limit_price"] - o["reference"]) * 10**4 <= limits.collar_bps * o["reference"] or (
        side * (o["limit_price"] - o["reference"]) < 0 or o["limit_price"] == 1
    )
    if side < 0 and not limits.allow_short:
        assert after >= 0
    if abs(after) <= abs(before) and after * before >= 0:
        return  # a reduction
    assert o["state"] == TradingState.ACTIVE
    assert o["equity_micro"] > o["day_start_micro"] * (1 - limits.max_daily_loss) - 10
    assert o["equity_micro"] > o["peak_micro"] * (1 - limits.max_drawdown) - 10
    value = abs(after) * max(o["limit_price"], o["reference"]) * unit
    equity = o["equity_micro"]
    assert value <= limits.max_position_notional * PPM
    assert value <= equity * ppm(limits.max_position_fraction) // PPM + 10
    assert value + o["gross_other_micro"] <= equity * ppm(limits.max_gross) // PPM + 10


@settings(max_examples=300, deadline=None)
@given(limits_st, likely_orders())
def test_losses_states_and_exposure_never_stop_a_pure_reduction(limits, o) -> None:
    side = o["side"]
    before = o["position"] + (o["open_buys"] if side > 0 else -o["open_sells"])
    assume(side * before < 0)
    o["lots"] = min(o["lots"], abs(before))
    o["limit_price"], o["state"] = o["reference"], TradingState.REDUCING
    o["cash_micro"], o["reserved_micro"] = 10**14, 0
    assume(side < 0 or o["lots"] * o["limit_price"] * o["micro_per_tick"] < 9 * 10**13)
    limits = limits.model_copy(update={"min_order_notional": Decimal(0)})
    result = check_order(limits.record(), CostModel().record(), record(ORDER, o))
    assert result == (APPROVED, Code.NONE, o["lots"])


probability = st.floats(0, 1)
intents = st.fixed_dictionaries(
    {
        "a": probability,
        "b": probability,
        "dissent": st.floats(0, 0.5),
        "agents_awake": st.integers(0, 6),
        "awake_weight": probability,
        "sigma": st.floats(0, 0.5),
        "toxicity": probability,
        "staleness_seconds": st.sampled_from([0.0, 5.0, 100.0]),
        "trading_allowed": st.sampled_from([1, 1, 1, 0]),
        "locked": st.sampled_from([0, 0, 0, 1]),
        "state": st.sampled_from([0, 0, 1, 2, 9]),
        "equity_micro": st.integers(-1, 10**14),
        "position": lots,
        "close": price,
        "micro_per_tick": st.sampled_from([1, 100]),
        "volume": st.integers(0, 10**9),
        "orders_last_minute": st.integers(0, 700),
    }
)


@st.composite
def likely_intents(draw):
    intent = draw(intents)
    a, b = sorted((intent.pop("a"), intent.pop("b")))
    intent |= {"p_down": a, "p_flat": b - a, "p_up": 1 - b}
    if draw(st.booleans()):
        intent |= {"agents_awake": 6, "awake_weight": 1.0, "staleness_seconds": 0.0}
        intent |= {"trading_allowed": 1, "locked": 0, "volume": 10**9, "dissent": 0.1}
        intent |= {"sigma": 0.02, "orders_last_minute": 0}
    return intent


@settings(max_examples=500, deadline=None)
@given(limits_st, likely_intents(), st.sampled_from([1.0, 2.0]))
def test_an_approved_intent_keeps_every_intent_limit(limits, i, multiplier) -> None:
    sizing = SizingParams(risk_multiplier=multiplier)
    verdict, code, delta, target, limit = judge_intent(
        limits.record(), CostModel().record(), sizing.record(), record(INTENT, i)
    )
    if delta == 0:
        assert limit == 0
        assert verdict in (DENIED, NO_TRADE)
        assert code != Code.NONE
        return
    assert verdict in (APPROVED, REDUCED)
    assert (verdict == APPROVED) == (code == Code.NONE)
    assert i["trading_allowed"] == 1
    assert i["locked"] == 0
    assert i["agents_awake"] >= limits.min_agents
    assert i["awake_weight"] >= limits.min_weight_share
    assert i["dissent"] <= limits.max_dissent
    assert i["staleness_seconds"] <= limits.max_staleness_seconds
    assert i["orders_last_minute"] < limits.max_orders_per_minute
    assert i["state"] in (TradingState.ACTIVE, TradingState.REDUCING)
    position, unit = i["position"], i["micro_per_tick"]
    after = position + delta
    # On the way to the target, never past it.
    assert min(position, target) <= after <= max(position, target)
    if not limits.allow_short:
        assert target >= 0
    notional = abs(delta) * i["close"] * unit
    assert notional <= limits.max_order_notional * PPM
    assert notional <= i["equity_micro"] * ppm(limits.max_order_fraction) // PPM + 10
    assert abs(target) * i["close"] * unit <= (
        i["equity_micro"] * ppm(limits.max_position_fraction) // PPM + 10
    )
    side = 1 if delta > 0 else -1
    assert 0 <= side * (limit - i["close"]) <= limits.collar_bps * i["close"] / 10**4 + 1e-6
    if abs(after) > abs(position) or after * position < 0:
        assert i["state"] == TradingState.ACTIVE
        assert i["toxicity"] <= limits.max_toxicity
        assert i["sigma"] <= limits.max_sigma


@settings(max_examples=200, deadline=None)
@given(likely_intents(), st.floats(0, 1), st.floats(0, 1))
def test_more_dissent_or_toxicity_never_wants_more(i, less, more) -> None:
    assume(less <= more)
    limits, costs = RiskLimits().record(), CostModel().record()
    sizing = SizingParams().record()
    i["position"] = 0
    for name in ("toxicity", "dissent"):
        wanted = []
        for value in (less, more):
            row = record(INTENT, {**i, name: value})
            wanted.append(abs(judge_intent(limits, costs, sizing, row)[2]))
        # Impact falls with size, so a smaller order may pay where a larger did not.
        if wanted[0] > 0:
            assert wanted[1] <= wanted[0]
