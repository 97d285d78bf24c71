from decimal import Decimal

import pytest
from pydantic import ValidationError

from actors.checks import MEANING, Code
from actors.limits import LIMITS, RiskLimits, load_limits, recorded_limits
from data.errors import InputError


def test_defaults_and_their_record() -> None:
    record = RiskLimits().record()
    assert record["max_drawdown_ppm"] == 250_000
    assert record["max_position_ppm"] == 400_000
    assert record["max_daily_loss_ppm"] == 50_000
    assert record["collar_ppm"] == 50_000
    assert record["min_order_notional_micro"] == 100_000_000
    assert record["min_agents"] == 3
    assert set(LIMITS.names or ()) == set(record.dtype.names)


def test_environment_names(monkeypatch) -> None:
    monkeypatch.setenv("MAX_DRAWDOWN", "0.1")
    monkeypatch.setenv("RISK_MULTIPLIER", "1.5")
    monkeypatch.setenv("SAPPHIRE_LIMIT_MAX_GROSS", "0.29")
    monkeypatch.setenv("SAPPHIRE_LIMIT_ALLOW_SHORT", "true")
    limits = load_limits()
    assert (limits.max_drawdown, limits.risk_multiplier, limits.allow_short) == (0.1, 1.5, True)
    # 0.29 * 1e6 is 290000 - epsilon in binary.
    assert limits.record()["max_gross_ppm"] == 290_000


def test_recorded_limits_do_not_listen_to_the_environment(monkeypatch) -> None:
    recorded = RiskLimits(max_drawdown=0.1, risk_multiplier=1.2).model_dump(mode="json")
    for name, value in (("MAX_DRAWDOWN", "0.9"), ("SAPPHIRE_LIMIT_MAX_GROSS", "abc")):
        monkeypatch.setenv(name, value)
    assert recorded_limits(recorded).model_dump(mode="json") == recorded
    del recorded["max_gross"]
    with pytest.raises(InputError, match="max_gross"):
        recorded_limits(recorded)


def test_the_risk_multiplier_changes_no_limit() -> None:
    assert RiskLimits(risk_multiplier=2.0).record() == RiskLimits().record()


def test_every_limit_reaches_the_record() -> None:
    """A limit that is defined and never checked would be a promise without a keeper."""
    for name, field in RiskLimits.model_fields.items():
        if name == "risk_multiplier":
            continue
        default = field.default
        other = (not default) if isinstance(default, bool) else type(default)(default) / 2
        if isinstance(default, int) and not isinstance(default, bool):
            other = default + 1
        changed = RiskLimits(**{name: other})
        assert changed.record() != RiskLimits().record(), name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_DRAWDOWN", "abc"),
        ("MAX_DRAWDOWN", "1.5"),
        ("MAX_DRAWDOWN", "0"),
        ("MAX_DRAWDOWN", ""),
        ("MAX_DRAWDOWN", "nan"),
        ("RISK_MULTIPLIER", "3"),
        ("RISK_MULTIPLIER", "0.5"),
        ("SAPPHIRE_LIMIT_MIN_AGENTS", "two"),
        ("SAPPHIRE_LIMIT_MAX_GROSS", "inf"),
        ("SAPPHIRE_LIMIT_MIN_ORDER_NOTIONAL", "0.1234567"),
        ("SAPPHIRE_LIMIT_MAX_GROS", "0.5"),
    ],
)
def test_bad_values_are_named_in_one_line(monkeypatch, name, value) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError) as caught:
        load_limits()
    line = str(caught.value)
    assert line.startswith(name)
    assert "\n" not in line
    assert "set it to" in line or "use one of" in line


def test_limits_are_frozen() -> None:
    limits = RiskLimits()
    with pytest.raises(ValidationError):
        limits.max_gross = 5.0  # type: ignore[misc]
    assert isinstance(limits.max_order_notional, Decimal)


def test_every_code_has_a_meaning() -> None:
    assert set(MEANING) == set(Code)
    assert all(text and "\n" not in text for text in MEANING.values())
