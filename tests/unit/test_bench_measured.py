"""The benchmark's statistics, tables, fill comparison and page markers."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bench_bars import as_bars, generated, to_and_fro
from benchmarks.measured import (
    BEGIN,
    END,
    Measured,
    compared,
    first_difference,
    one_line,
    ratio,
    replace_marked,
    spread,
    table,
)
from benchmarks.peer_environments import PEERS, pinned, script
from benchmarks.peers.common import seeded
from benchmarks.processes import Contestant, Failed, compete, report_of
from tuning.bar_check import check_bars

FAST = Measured("fast", "event-driven", 1_000, run=(0.5, 0.1, 0.2), load=(1.0,), jit=(0.25,))
SLOW = Measured("slow", "vectorised", 100, run=(1.0, 2.0, 4.0), load=(2.0,), jit=(0.5,))
AWAY = Measured("away", "vectorised", not_run="no package index")


def test_rates_are_bars_over_seconds_in_order() -> None:
    assert FAST.rates == [2_000.0, 5_000.0, 10_000.0]
    assert spread(FAST.rates) == "5,000 [2,000 .. 10,000]"


def test_a_ratio_is_of_medians_within_the_ratios_of_the_ends() -> None:
    assert ratio(FAST, SLOW) == "100.00 [20.00 .. 400.00]"
    assert ratio(FAST, AWAY) == "not known: no package index"


def test_a_table_has_a_line_for_each_row_also_for_one_that_was_not_run() -> None:
    lines = table([FAST, AWAY])
    assert lines[2] == (
        "| fast | event-driven | 1,000 | 5,000 [2,000 .. 10,000] | 1.00 | 0.25 | 0 |"
    )
    assert "not run: no package index" in lines[3]
    assert {line.count("|") for line in lines} == {8}


def test_fills_over_as_many_bars_are_compared_by_their_digest() -> None:
    ours = replace(FAST, digest="a")
    same, others = replace(SLOW, bars=1_000, digest="a"), replace(SLOW, bars=1_000, digest="b")
    shorter = replace(SLOW, digest="b")
    notes = [row.note for row in compared([ours, same, others, shorter, AWAY])]
    assert notes == ["", ", the same", ", OTHERS", "", ""]


def test_the_first_fill_that_differs_is_named() -> None:
    ours = [[5, 1, 10.0], [9, -1, 11.0]]
    assert first_difference(ours, [[5, 1, 10.0], [9, -1, 11.0]]) == ""
    assert first_difference(ours, [[5, 1, 10.0], [8, -1, 11.0]]) == (
        "fill 1: ours sell at 11.0 in bar 9, theirs sell at 11.0 in bar 8"
    )
    assert first_difference(ours, ours[:1]) == "2 fills against 1"


def test_only_what_stands_between_the_markers_is_replaced() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    expected = f"before\n{BEGIN}\nnew\nlines\n{END}\nafter\n"
    assert replace_marked(page, ["new", "lines"]) == expected
    assert replace_marked(expected, ["new", "lines"]) == expected


@pytest.mark.parametrize("page", ["", BEGIN, f"{END} {BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_page_without_one_pair_of_markers_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="needs one"):
        replace_marked(page, [])


def test_the_page_has_its_markers() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/performance.md").read_text()
    assert replace_marked(page, ["x"]).count("\nx\n") == 1


def test_a_complaint_becomes_one_line_without_addresses_or_paths() -> None:
    text = "warning\nerror: no such thing at https://host.example/simple in /srv/me/x | y\nbye\n"
    assert one_line(text, "/srv/me") == "error: no such thing at (address) in ./x / y"
    assert one_line("", "/srv/me") == "no message"


@pytest.mark.parametrize("peer", PEERS)
def test_each_peer_has_its_script_and_pins(peer: str) -> None:
    assert script(peer).is_file()
    assert pinned(peer)[peer.replace("_", "-")]


def test_a_seeded_series_gives_ta_libs_average() -> None:
    import talib

    close = generated(500)["close"].to_numpy()
    values = seeded(close, 20)
    average = np.full(len(values), np.nan)
    average[19] = values[19]
    for i in range(20, len(values)):
        average[i] = average[i - 1] + 2 / 21 * (values[i] - average[i - 1])
    np.testing.assert_allclose(average, talib.EMA(close, 20), rtol=1e-12)


def test_bars_to_and_fro_are_bars_without_a_jump() -> None:
    frame = generated(300)
    bars = as_bars({name: frame[name].to_numpy() for name in frame.columns})
    long = to_and_fro(bars, 1_000)
    assert check_bars(long, 1).number == 1_000
    assert np.array_equal(long[600:900][["open", "close"]], bars[["open", "close"]])
    turned = long[300:600]
    assert np.array_equal(turned["close"], bars["open"][::-1])
    assert turned["open"][0] == bars["close"][-1]


def test_what_runs_and_what_does_not_both_get_a_row() -> None:
    report = {"bars": 100, "run_s": 2.0, "load_s": 1.0, "jit_s": 0.5, "fills": 3}
    works = Contestant(
        "works", "event-driven", [sys.executable, "-c", f"print('{json.dumps(report)}')"]
    )
    breaks = Contestant(
        "breaks", "vectorised", [sys.executable, "-c", "raise ValueError('no luck')"]
    )
    absent = Contestant("absent", "vectorised", not_run="left out")
    done, failed, left = compete([works, breaks, absent], 2, {})
    assert (done.rates, done.fills) == ([50.0, 50.0], 3)
    assert failed.not_run == "ValueError: no luck"
    assert left.not_run == "left out"


def test_a_process_that_reports_nothing_has_failed() -> None:
    with pytest.raises(Failed, match="no message"):
        report_of([sys.executable, "-c", "print('hello')"], None)
