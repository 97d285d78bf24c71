"""The fast reading of plain prices gives what Decimal gives, or leaves the price to Decimal."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from support import plain_config

from data.money import to_ticks
from serve_apps.requests import SymbolTable

TICKS = ("0.0001", "0.01", "0.25", "0.05", "1", "10", "1E+1", "1E-8", "0.5000")
TABLES = {tick: SymbolTable(plain_config(("A",), tick=tick)) for tick in TICKS}

plain = st.from_regex(r"[0-9]{1,20}(\.[0-9]{0,10})?", fullmatch=True)
strange = st.text("0123456789.-+_eE ٣²NnaIif", max_size=12)


@given(st.sampled_from(TICKS), plain | strange)
def test_a_fast_price_is_the_exact_price(tick: str, text: str) -> None:
    fast = TABLES[tick].ticks(text)
    if fast >= 0:
        assert fast == to_ticks(Decimal(text), Decimal(tick))


@given(st.sampled_from(TICKS), st.integers(0, 10**13))
def test_a_price_that_we_write_is_read_fast_and_back(tick: str, ticks: int) -> None:
    text = TABLES[tick].price(ticks)
    assert TABLES[tick].ticks(text) in {ticks, -1}
    assert to_ticks(Decimal(text), Decimal(tick)) == ticks
