"""``sapphire backtest``: its options, its report, and what a person may get wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cluster.backtest import BacktestOptions, parse_latency, parse_without, run_backtest
from cluster.warm import generated_bars
from data.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
SHORT = {"last": "2002-06-28", "symbols": ("AAPL", "IBM")}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAPPHIRE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def answer(capsys: pytest.CaptureFixture[str], **options: object) -> dict[str, object]:
    assert run_backtest(BacktestOptions(as_json=True, **options)) == 0  # type: ignore[arg-type]
    return dict(json.loads(capsys.readouterr().out.splitlines()[-1]))


@pytest.mark.parametrize(
    ("text", "meant"),
    [("1", (1, 0)), ("3", (3, 0)), ("250ms", (1, 250_000_000)), ("0ms", (1, 0))],
)
def test_latency_in_bars_or_milliseconds(text: str, meant: tuple[int, int]) -> None:
    assert parse_latency(text) == meant


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "2s", "", "1001", "ms", "1 000"])
def test_another_latency_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--latency"):
        parse_latency(text)


def test_agents_are_left_out_by_name() -> None:
    assert parse_without(None) == ()
    assert parse_without("vpin_hft, market_prediction") == ("vpin_hft", "market_prediction")
    with pytest.raises(InputError, match="--without nobody: the agents are trend_momentum"):
        parse_without("nobody")
    everybody = (
        "trend_momentum,strategy_optimization,financial_sentiment,market_prediction,"
        "volume_microstructure,vpin_hft"
    )
    with pytest.raises(InputError, match="no agent"):
        parse_without(everybody)


def test_the_report_of_a_backtest(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = answer(capsys, **SHORT)
    page = Path(str(first["report"]))
    assert page.parent == home / "reports"
    assert "buy-and-hold" in page.read_text(encoding="utf-8")
    assert re.fullmatch(r"b[0-9a-f]{12}", str(first["session_id"]))
    assert first["calibration"]
    assert first["costs"]
    second = answer(capsys, **SHORT)
    timed = {"wall_seconds", "bars_per_second", "loop_seconds", "loop_bars_per_second"}
    assert {k: v for k, v in first.items() if k not in timed} == {
        k: v for k, v in second.items() if k not in timed
    }


def test_latency_and_left_out_agents_change_the_result(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = answer(capsys, **SHORT)
    slow = answer(capsys, latency="3", **SHORT)
    fewer = answer(capsys, without=("market_prediction",), **SHORT)
    assert plain["final_equity"] != slow["final_equity"]
    assert len({plain["session_id"], slow["session_id"], fewer["session_id"]}) == 3
    assert fewer["agents"]["market_prediction"]["votes"] == 0  # type: ignore[index]


def test_without_a_report_nothing_is_written(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = answer(capsys, **SHORT)
    bare = answer(capsys, report=False, last=SHORT["last"], symbols=SHORT["symbols"])
    assert bare["final_equity"] == kept["final_equity"]
    assert bare["orders"] == kept["orders"]
    assert "report" not in bare


def test_a_file_in_the_contracts_columns(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bars = generated_bars(2, 700, 5)
    path = home.parent / "bars.parquet"
    frame = pl.DataFrame(
        {
            "ts": pl.Series(bars["ts"]).cast(pl.Datetime("ns", "UTC")),
            "symbol": np.array(["AAA", "BBB"])[bars["symbol"]],
            **{name: bars[name] / 10_000 for name in ("open", "high", "low", "close")},
            "volume": bars["volume"],
        }
    )
    frame.write_parquet(path)
    found = answer(capsys, data=str(path), report=False)
    assert found["bars"] == 1_400
    assert found["rounds"] == 700


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--latency", "soon"], "--latency 'soon'"),
        (["--without", "nobody"], "--without nobody"),
        (["--data", "no-such-table"], "no-such-table"),
        (["--data", "no/such/file.csv"], "no/such/file.csv"),
        (["--symbols", "XXXX"], "unknown symbol XXXX"),
        (["--symbols", ","], "names no symbol"),
        (["--from", "2001-01-01"], "inside the warm-up"),
        (["--from", "tomorrow"], "is not a date"),
        (["--warm-up", "100000"], "the warm-up alone takes 100000"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(home: Path, words: list[str], named: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cluster.cli", "backtest", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert named in done.stderr
    assert not home.exists()
