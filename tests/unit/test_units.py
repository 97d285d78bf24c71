"""Tick and lot: found in decimals, fit for an account, or one line that offers fitting ones."""

from __future__ import annotations

import re
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import InputError
from data.money import Instrument
from data.units import (
    FINEST,
    Units,
    account_units,
    fits,
    float_places,
    found_units,
    parse_unit,
    text_places,
    to_units,
)


@pytest.mark.parametrize(
    ("texts", "places"),
    [
        (["1.50", "2.250"], 2),
        (["61685.99000000", "61686.00000000"], 2),
        (["7", "8."], 0),
        (["0.00001", None], 5),
        ([], 0),
        (["1.5e-05", "0.25"], 6),
        (["1.2345e3"], 1),
        (["1E5", " 5.0e-1 ", "1e-3 shares", "nan", None], 1),
        (["1e-300"], 18),
    ],
)
def test_decimals_of_texts(texts: list[str | None], places: int) -> None:
    assert text_places(pl.Series(texts, dtype=pl.String)) == places


@given(st.integers(0, 6), st.lists(st.integers(1, 10**8), min_size=1, max_size=30))
def test_decimals_of_doubles_hold_every_value(places: int, counts: list[int]) -> None:
    values = np.array(counts) / 10.0**places
    found = float_places(values)
    assert found <= places
    assert np.array_equal(np.rint(values * 10**found) / 10**found, values)


def test_noise_has_no_decimals_and_nonsense_tells_nothing() -> None:
    assert float_places(np.array([1 / 3])) == FINEST
    assert float_places(np.array([np.nan, np.inf, 1e300, 0.25])) == 2
    assert float_places(np.empty(0)) == 0


def test_given_units_stay_and_found_ones_are_told() -> None:
    assert found_units(Decimal("0.5"), None, 3, 2) == Units(
        Decimal("0.5"), Decimal("0.01"), ("lot 0.01: the finest size seen",)
    )
    assert len(found_units(None, None, 3, 2).said) == 2


def test_a_found_lot_may_become_ten_times_coarser() -> None:
    spot = found_units(None, None, 2, 5)
    fit = account_units(spot, False, "USDT")
    assert (fit.tick, fit.lot) == (Decimal("0.01"), Decimal("0.0001"))
    assert any("whole micro-USDT" in line for line in fit.said)
    assert account_units(found_units(None, None, 4, 2), False, "USD").lot == Decimal("0.01")
    with pytest.raises(InputError):  # A given one may not.
        account_units(spot, True, "USDT")


@pytest.mark.parametrize(("tick", "lot"), [("0.000001", "0.01"), ("0.01", "0.00000001")])
def test_what_does_not_fit_is_one_line_with_fitting_offers(tick: str, lot: str) -> None:
    units = Units(Decimal(tick), Decimal(lot))
    with pytest.raises(InputError, match="must be a whole number") as caught:
        account_units(units, True, "USD")
    text = str(caught.value)
    assert "\n" not in text
    offers = re.findall(r"--tick (\S+) --lot (\S+)", text)
    assert offers
    for offered_tick, offered_lot in offers:
        assert Instrument(Decimal(offered_tick), Decimal(offered_lot)).micro_per_tick >= 1


@given(st.integers(-(2**40), 2**40), st.sampled_from(["0.0001", "0.01", "0.5", "0.25", "3", "0.3"]))
def test_whole_units_come_back_exactly(count: int, unit: str) -> None:
    value = np.array([float(Decimal(count) * Decimal(unit))])
    rounded, off = to_units(value, Decimal(unit))
    assert rounded[0] == count
    assert off == 0


def test_other_values_go_to_the_nearest_unit_and_are_counted() -> None:
    rounded, off = to_units(np.array([1.004, 1.006, 1.01, 2.5]), Decimal("0.01"))
    assert rounded.tolist() == [100, 101, 101, 250]
    assert off == 2
    assert to_units(np.array([0.5, 1.5, 2.5]), Decimal(1))[0].tolist() == [0, 2, 2]


def test_what_fits() -> None:
    values = np.array([1.0, 1e14, np.nan, np.inf, -1e14])
    assert fits(values, Decimal("0.01")).tolist() == [True, False, False, False, False]


@pytest.mark.parametrize("text", ["abc", "0", "-1", "nan", "inf", ""])
def test_a_unit_is_a_positive_number(text: str) -> None:
    with pytest.raises(InputError, match=r"--tick .* is not a positive number"):
        parse_unit(text, "--tick")
    assert parse_unit("0.010", "--tick") == Decimal("0.01")
    assert parse_unit(None, "--tick") is None


@pytest.mark.parametrize("text", ["1e400", "1e-20", "1e999999999"])
def test_a_unit_has_a_size_that_can_be_counted(text: str) -> None:
    with pytest.raises(InputError, match=r"--lot '1e.*' is out of range: write") as caught:
        parse_unit(text, "--lot")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tick", ["1e-18", "0.000000000000123456789", "1e12", "1e-12"])
def test_a_tick_that_fits_no_lot_is_one_line(tick: str) -> None:
    with pytest.raises(InputError, match=r"give for example --tick \d") as caught:
        account_units(Units(Decimal(tick), Decimal("1e-20")), True, "USD")
    assert "\n" not in str(caught.value)
