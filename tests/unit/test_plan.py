"""What a person may get wrong about a session, each in one clear line before anything starts."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster import plan as plan_module
from cluster.plan import WARM_UP_DATES, Plan, plan_session, session_config
from data.errors import InputError
from data.feed import open_feed
from data.import_job import ImportOptions
from data.importing import import_files

LOAD_ONCE = functools.cache(open_feed)


@pytest.fixture(autouse=True)
def read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each feed is read once for all tests."""
    monkeypatch.setattr(plan_module, "open_feed", LOAD_ONCE)


def plan(first: str | None = None, last: str | None = None, *symbols: str, **more: Any) -> Plan:
    return plan_session(first, last, symbols, more.get("path"), 7)


def day(ts: int) -> str:
    return datetime.fromtimestamp(ts / 1e9, UTC).date().isoformat()


def test_the_default_plan_trades_all_that_follows_the_warm_up() -> None:
    made = plan()
    moments = np.unique(made.feed.bars["ts"])
    assert len(made.feed.bars) == 12_154
    assert made.models_from == made.first_traded == moments[WARM_UP_DATES]
    assert day(made.first_traded) == "2002-03-01"
    # Models see the warm-up alone: no bar at or after the moment they come into force.
    assert int(made.fit_bars["ts"].max()) == moments[WARM_UP_DATES - 1] < made.models_from
    assert len(np.unique(made.fit_bars["ts"])) == WARM_UP_DATES


def test_the_predictor_is_trained_again_each_year_on_all_symbols_past() -> None:
    made = plan(None, "2005-12-30", "IBM")
    assert [day(moment) for moment in made.retrained_at] == [
        "2003-03-01", "2004-03-01", "2005-03-01",
    ]  # fmt: skip
    assert len(np.unique(made.history["symbol"])) == 4  # all that were listed by then
    assert int(made.history["ts"].max()) == int(made.feed.bars["ts"].max())
    assert np.array_equal(made.history[: len(made.fit_bars)], made.fit_bars)
    quarterly = plan_session(None, "2002-12-31", (), None, 7, retrain_months=3)
    assert [day(moment) for moment in quarterly.retrained_at] == [
        "2002-06-01", "2002-09-01", "2002-12-01",
    ]  # fmt: skip
    assert plan_session(None, None, (), None, 7, retrain_months=0).retrained_at == ()


def test_dates_are_included_and_models_do_not_depend_on_them() -> None:
    whole, part = plan(), plan("2005-01-03", "2005-12-30", "MSFT", "AAPL")
    assert part.feed.symbols == ("AAPL", "MSFT")
    stamps = part.feed.bars["ts"]
    assert day(int(stamps.max())) == "2005-12-30"
    traded = stamps[stamps >= part.first_traded]
    assert day(int(traded.min())) == "2005-01-03"
    assert int(stamps.min()) < part.models_from == whole.models_from  # warm-up goes first
    assert np.array_equal(part.fit_bars, whole.fit_bars)
    one_day = plan("2005-06-01", "2005-06-01", "IBM")
    assert day(int(one_day.feed.bars["ts"].max())) == "2005-06-01"
    first = plan("2002-03-01")  # the first date there is, given by hand
    assert (first.feed.bars["ts"] >= first.first_traded).sum() == (
        whole.feed.bars["ts"] >= whole.first_traded
    ).sum()


def test_a_symbol_that_lists_later_takes_the_datas_warm_up() -> None:
    made = plan(None, None, "FB")
    assert made.models_from == plan().models_from
    assert day(int(made.feed.bars["ts"].min())) == "2012-05-18"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("2001-01-02",), "--from 2001-01-02 lies inside the warm-up: give 2002-03-01 or later"),
        (("2002-02-28",), "inside the warm-up"),
        (("2005-01-01", "2004-01-01"), "leave no bar to trade.*2000-03-01 to 2013-03-01"),
        (("2030-01-01",), "leave no bar to trade"),
        (("9999-12-31",), "leave no bar to trade"),
        ((None, "2001-01-01"), "leave no bar to trade"),
        (("2005-01-01", "2005-01-02"), "leave no bar to trade"),  # a weekend
        (("2005-01-01", "2010-01-01", "FB"), "leave no bar to trade"),  # not listed yet
        (("yesterday",), "--from 'yesterday' is not a date: write YYYY-MM-DD"),
        ((None, "2005-02-30"), "--to '2005-02-30' is not a date"),
        (("",), "--from '' is not a date"),
        ((None, None, "AAPL", "XYZ"), "unknown symbol XYZ: this data holds AAPL"),
        ((None, None, "aapl"), "unknown symbol aapl"),
    ],
)
def test_bad_arguments_are_one_line(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        plan(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("MAX_DRAWDOWN", "abc", "MAX_DRAWDOWN=abc: set it to"),
        ("MAX_DRAWDOWN", "1.5", r"MAX_DRAWDOWN=1.5: set it to .* below 1"),
        ("MAX_DRAWDOWN", "nan", "MAX_DRAWDOWN=nan"),
        ("MAX_DRAWDOWN", "", "MAX_DRAWDOWN="),
        ("RISK_MULTIPLIER", "3", r"RISK_MULTIPLIER=3: set it to .* at most 2"),
        ("RISK_MULTIPLIER", "0.5", "RISK_MULTIPLIER=0.5"),
        ("SAPPHIRE_LIMIT_MIN_AGENTS", "two", "SAPPHIRE_LIMIT_MIN_AGENTS=two"),
        ("SAPPHIRE_LIMIT_MIN_AGENT", "2", "SAPPHIRE_LIMIT_MIN_AGENT: no such limit"),
    ],
)
def test_bad_limits_are_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=words) as caught:
        plan()
    assert "\n" not in str(caught.value)


def test_limits_of_the_environment_reach_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_DRAWDOWN", "0.1")
    monkeypatch.setenv("RISK_MULTIPLIER", "2")
    made = plan()
    config = session_config(made.feed, {}, made.limits, datetime.now(UTC), "historical")
    assert config.limits["max_drawdown"] == 0.1
    assert config.sizing["risk_multiplier"] == 2.0
    # The multiplier loosens no limit: all others are the defaults.
    monkeypatch.undo()
    default = plan().limits.model_dump(mode="json")
    changed = {name for name in default if default[name] != config.limits[name]}
    assert changed == {"max_drawdown", "risk_multiplier"}


def test_short_data_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.csv"
    rows = [f"A,2010-03-{n:02},1,1,1,1,5,1\n" for n in (1, 2, 3)]
    path.write_text("Ticker,Date,Open,High,Low,Close,Volume,Adj Close\n" + "".join(rows))
    with pytest.raises(InputError, match=r"short.csv holds 3 dates: the warm-up alone takes 500"):
        plan(path=str(path))


def test_a_table_of_the_lake_gives_the_session_its_units(tmp_path: Path) -> None:
    start = 1_723_161_600
    rows = [f"{start + n},BTCUSDT,{10 + n % 3},13,9,{11 + n % 2},1.25\n" for n in range(510)]
    path = tmp_path / "bars.csv"
    path.write_text("ts,symbol,open,high,low,close,volume\n" + "".join(rows))
    options = ImportOptions(
        name="coins", clock="1s", stamp="open", tick=Decimal("0.1"), lot=Decimal("0.001"),
        currency="USDT", group="crypto",
    )  # fmt: skip
    import_files(tmp_path / "lake", [path], options)
    made = plan_session(None, None, (), "coins", 7, tmp_path / "lake")
    assert len(np.unique(made.fit_bars["ts"])) == WARM_UP_DATES
    config = session_config(made.feed, {}, made.limits, datetime.now(UTC), "historical")
    assert (config.tick, config.micro_per_tick, config.currency) == ("0.1", 100, "USDT")
    assert (config.group, config.symbols) == ("crypto", ["BTCUSDT"])
    assert config.bars_per_year == config.sizing["bars_per_year"] == 31_536_000
    with pytest.raises(InputError, match=r"'coin' is neither a file nor a table .* holds coins"):
        plan_session(None, None, (), "coin", 7, tmp_path / "lake")


def test_the_samples_session_has_the_units_it_always_had() -> None:
    made = plan()
    config = session_config(made.feed, {}, made.limits, datetime.now(UTC), "historical")
    assert (config.tick, config.micro_per_tick, config.currency) == ("0.0001", 100, "USD")
    assert (config.group, config.bars_per_year) == ("us-equity-daily", 252)
    assert type(config.bars_per_year) is int


def test_two_sessions_have_two_names() -> None:
    made, now = plan(), datetime.now(UTC)
    names = {session_config(made.feed, {}, made.limits, now, "paper").session_id for _ in range(20)}
    assert len(names) == 20
