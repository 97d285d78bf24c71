"""The books against Python's unbounded integers, over random sequences of fills."""

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.costs import CostModel
from cloud_trader.account_step import POSITION
from cloud_trader.books import apply_fill, equity_micro
from cloud_trader.fills import next_bar_fill

TICK = 250
fill = st.tuples(
    st.integers(0, 2),
    st.sampled_from([1, -1]),
    st.integers(1, 10_000),
    st.integers(1, 10_000_000),
    st.integers(0, 10_000_000),
)


@settings(deadline=None)
@given(st.lists(fill, max_size=60), st.lists(st.integers(1, 10_000_000), min_size=3, max_size=3))
def test_cash_and_positions_are_initial_and_profit_less_fees(fills, marks) -> None:
    initial = cash = 10**12
    positions, costs, fees, realised = [0] * 3, [0] * 3, 0, 0
    exact_cash = initial
    for symbol, side, lots, price, fee in fills:
        cash, positions[symbol], costs[symbol], gain = apply_fill(
            cash, positions[symbol], costs[symbol], side, lots, price, fee, TICK
        )
        realised += gain
        fees += fee
        exact_cash -= side * lots * price * TICK + fee
    assert cash == exact_cash
    held = [sum(f[1] * f[2] for f in fills if f[0] == s) for s in range(3)]
    assert positions == held
    value = [p * m * TICK for p, m in zip(positions, marks, strict=True)]
    unrealised = sum(v - c for v, c in zip(value, costs, strict=True))
    rows = np.zeros(3, POSITION)
    rows["lots"], rows["mark_ticks"] = positions, marks
    equity = equity_micro(cash, rows, TICK)
    assert equity == exact_cash + sum(value) == initial + realised + unrealised - fees
    assert all(c == 0 for c, p in zip(costs, positions, strict=True) if p == 0)
    assert all(c * p >= 0 for c, p in zip(costs, positions, strict=True))


@settings(deadline=None)
@given(st.integers(1, 10**6), st.integers(1, 10**15), st.integers(1, 10**6))
def test_a_part_releases_its_exact_share_half_to_even(position, cost, lots) -> None:
    closing = min(position, lots)
    _, _, rest, _ = apply_fill(0, position, cost, -1, closing, 1, 0, 1)
    assert cost - rest == round(Fraction(cost * closing, position))


@settings(deadline=None)
@given(
    side=st.sampled_from([1, -1]),
    lots=st.integers(1, 10**6),
    limit=st.integers(1, 2 * 10**6),
    open_price=st.integers(1, 2 * 10**6),
    volume=st.integers(0, 10**8),
    sigma=st.floats(0, 2),
)
def test_a_fill_is_never_better_than_the_open_nor_beyond_limit_or_share(
    side, lots, limit, open_price, volume, sigma
) -> None:
    model = CostModel()
    filled, price, fee = next_bar_fill(
        model.record(), side, lots, limit, open_price, volume, 2.0, sigma, 1
    )
    assert 0 <= filled <= lots
    assert filled * 10 <= volume
    if filled:
        assert side * price >= side * open_price
        assert side * price <= side * limit
        assert price > 0
        assert fee == max(10**6, 5_000 * filled)
    else:
        assert (price, fee) == (0, 0)
