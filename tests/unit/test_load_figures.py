"""What make load says of its runs: quantiles, pace, verdicts, stages, growth, stacks."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from support import forecast, plain_config, random_bars

from actors.checks import Code, Verdict
from actors.contract import Status
from benchmarks.load import decided, profiling, soak, stages
from benchmarks.load.arrow_client import Report
from benchmarks.load.figures import Figures, Must, knee_rate, lines, musts
from benchmarks.load.market import Market, names
from benchmarks.load.wrk import BUCKETS, Outcome, Phase, parse
from benchmarks.measured import replace_marked
from data.door import flaw_of_prices
from data.records import output_decoder
from serve_apps.meter import Meter

FIXED = Phase("fixed", 1_000, 10.0, 64)


def printed(latencies: dict[int, int], **changes: object) -> str:
    said = {
        "sent": 10_000, "answered": 10_000, "arrived": 10_000, "failed": 0, "wrong": 0,
        "replayed": 0, "lost": 0, "starved": 0, "socket_errors": 0, "timeouts": 0,
        "wrk_p50_ms": 1.5, "first_wrong": "", "statuses": {"200": 10_000},
        "latencies": {str(key): count for key, count in latencies.items()},
    }  # fmt: skip
    return f"Running 10s test\nLOAD {json.dumps(said | changes)}\n"


def outcome(phase: Phase = FIXED, ms: float = 20.0, **changes: object) -> Outcome:
    count = round(phase.rate * phase.seconds) or 10_000
    told = {"sent": count, "arrived": count, "answered": count, "statuses": {"200": count}}
    return parse(phase, printed({int(ms * 10): count}, **(told | changes)))


# -- runs -----------------------------------------------------------------------------------


def test_quantiles_are_over_all_slices_and_of_each() -> None:
    one = parse(FIXED, printed({99: 900, 499: 50, BUCKETS + 99: 900, BUCKETS + 999: 150}))
    assert one.quantile_ms(0.5) == pytest.approx(10.0)
    assert one.quantile_ms(0.92) == pytest.approx(50.0)
    assert one.quantile_ms(0.99) == pytest.approx(100.0)
    assert one.slice_quantiles_ms(0.9) == pytest.approx([10.0, 100.0])


def test_without_the_scripts_line_there_is_no_outcome() -> None:
    with pytest.raises(ValueError, match="no LOAD line"):
        parse(FIXED, "wrk: cannot connect\n")


def test_success_counts_failures_wrong_and_unanswered() -> None:
    assert outcome().success == 1.0
    statuses = {"200": 9_990, "503": 10}
    assert outcome(failed=10, statuses=statuses).success == pytest.approx(0.999)
    assert outcome(wrong=100).success == pytest.approx(0.99)
    assert outcome(sent=20_000).success == pytest.approx(0.5)
    assert outcome(sent=0, statuses={}).success == 0.0


def test_a_run_that_is_not_paced_ends_with_requests_in_flight() -> None:
    full = Phase("full", 0, 10.0, 64)
    assert outcome(full, sent=10_064).success == 1.0
    assert outcome(full, lost=10_000).success == pytest.approx(0.5)
    assert outcome(full, socket_errors=10_000).success == pytest.approx(0.5)


def test_answers_that_come_after_the_time_are_not_achieved() -> None:
    late = outcome(arrived=9_000)
    assert late.achieved == pytest.approx(0.9)
    assert late.per_second == pytest.approx(900.0)


def test_the_knee_is_before_the_first_rate_that_was_not_kept() -> None:
    def at(rate: int, ms: float = 20.0, **changes: object) -> Outcome:
        return outcome(replace(FIXED, rate=rate), ms, **changes)

    assert knee_rate([at(1_250), at(1_500), at(1_750, 101.0), at(2_000)]) == 1_500
    assert knee_rate([at(1_250, arrived=12_000)]) == 0
    assert knee_rate([at(1_250, failed=100, statuses={"200": 12_400, "503": 100})]) == 0


# -- verdicts -------------------------------------------------------------------------------


def counted(**changes: int) -> decided.Decided:
    every = dict.fromkeys(("decisions", "enough_voters", "pooled", "judged", "full"), 10_000)
    return decided.Decided(rounds=400, **(every | {"approved": 3_000} | changes))


def figures(**changes: object) -> Figures:
    meter = Meter(lambda: 3, lambda: 0, lambda: 0)
    output = output_decoder.decode(forecast(plain_config(("A",)), 1, random_bars(1, 1)))
    meter.round(output, output.arrays(), {"fan_out": 0.004, "queue": 0.5})
    saturated = outcome(Phase("s", 0, 10.0, 64))
    found = Figures(
        fixed=outcome(),
        decided=counted(),
        stages=stages.read(meter.exposition().decode()),
        cpu=["| processes | CPU µs a request |"],
        single=[outcome(Phase("one", 0, 10.0, 1), 13.0)],
        bare=[[8.0, 9.0, 10.0]],
        saturated={64: [saturated]},
        noop={64: [outcome(Phase("n", 0, 10.0, 64, "noop"), arrived=28_000)]},
        knee=[outcome(replace(FIXED, rate=1_250))],
        arrow=[Report(bars=250_000, requests=1_000, seconds=10.0, latencies_ms=[80.0])],
    )
    return replace(found, **changes)


def unmet(found: Figures) -> list[str]:
    return [must.what for must in musts(found) if not must.met]


def test_a_run_that_reaches_everything_says_so() -> None:
    assert unmet(figures()) == []
    assert len(musts(figures())) == 11


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"fixed": outcome(ms=60.1)}, "P95"),
        ({"fixed": outcome(arrived=9_899)}, "sent and answered"),
        ({"fixed": outcome(failed=11, statuses={"200": 9_989, "503": 11})}, "success"),
        ({"decided": counted(full=9_899)}, "voters"),
        ({"decided": counted(approved=0)}, "approved"),
        ({"decided": decided.Decided()}, "voters"),
        ({"noop": {64: [outcome(Phase("n", 0, 10.0, 64, "noop"), arrived=29_000)]}}, "saturation"),
        ({"bare": [[8.0]]}, "idle"),
        ({"arrow": [Report(bars=199_000, seconds=10.0)]}, "Arrow"),
        ({"arrow": [Report(bars=250_000, seconds=10.0, failed=1)]}, "Arrow"),
        ({"arrow": [Report(bars=250_000, seconds=10.0, wrong=1)]}, "wrong answer"),
        ({"arrow": [Report(bars=250_000, seconds=10.0, replayed=1)]}, "idempotency"),
        ({"single": [outcome(Phase("one", 0, 10.0, 1), 13.0, wrong=1)]}, "wrong answer"),
        ({"fixed": outcome(replayed=1)}, "idempotency"),
    ],
)
def test_each_miss_is_named(changes: dict[str, object], word: str) -> None:
    assert any(word in what for what in unmet(figures(**changes)))


def test_a_slow_tail_misses_only_p99() -> None:
    slow = parse(FIXED, printed({200: 9_800, 1_100: 200}))
    assert [what.rpartition(", ")[2] for what in unmet(figures(fixed=slow))] == ["P99 ≤ 100 ms"]


def test_the_page_has_every_run_and_every_verdict() -> None:
    text = "\n".join(lines(figures()))
    for part in ("1,000/s, 64", "1,250/s", "idle", "saturated", "no-op", "| fan_out | 4.0 |"):
        assert part in text
    assert text.count("- met: ") == 11
    assert Must("it", "3", False).line() == "- NOT MET: it: 3"


def test_two_sections_of_a_page_do_not_touch_each_other() -> None:
    page = "a <b> old <e> z <c> kept <d>"
    assert replace_marked(page, ["new"], "<b>", "<e>") == "a <b>\nnew\n<e> z <c> kept <d>"


# -- the journal, stages, memory, stacks ------------------------------------------------------


def test_decisions_are_counted_by_what_the_journal_says() -> None:
    def arrays(**changes: object):
        payload = forecast(plain_config(("A", "B", "C")), 1, random_bars(1, 3), **changes)
        return output_decoder.decode(payload).arrays()

    voted, abstained = int(Status.VOTED), int(Status.ABSTAINED)
    found = decided.count(
        [
            arrays(status=[voted] * 5 + [abstained]),
            arrays(status=[voted] * 4 + [abstained] * 2, verdict=int(Verdict.DENIED)),
            arrays(status=[voted] * 6, verdict=int(Verdict.DENIED), code=int(Code.NO_LEASE)),
            arrays(status=[voted] * 6, verdict=int(Verdict.NO_TRADE), p=[0.0, 0.0, 0.0]),
        ]
    )
    assert (found.rounds, found.decisions) == (4, 12)
    assert (found.enough_voters, found.pooled, found.judged) == (9, 9, 9)
    assert (found.full, found.approved) == (3, 3)
    assert found.codes == {"none": 9, "no_lease": 3}


def test_stages_are_what_came_between_two_readings() -> None:
    meter = Meter(lambda: 3, lambda: 0, lambda: 0)
    output = output_decoder.decode(forecast(plain_config(("A", "B")), 1, random_bars(1, 2)))
    meter.round(output, output.arrays(), {"input": 4.0})
    before = meter.exposition().decode()
    for seconds in (0.004, 0.004, 0.012):
        meter.round(output, output.arrays(), {"input": seconds})
    found = stages.between(before, meter.exposition().decode())
    assert found["input"].count == 3
    assert found["input"].mean == pytest.approx(0.02 / 3)
    assert 0.003 < found["input"].quantile(0.5) <= 0.005
    assert 0.01 < found["input"].quantile(0.99) <= 0.015
    assert found["bars"].mean == 2.0
    assert "| input | 6.7 |" in "\n".join(stages.rows(found))


def test_growth_is_a_line_through_what_comes_after_settling() -> None:
    at = [10.0 * k for k in range(61)]
    settling = [50.0 + 5.0 * min(t, 120.0) / 12.0 for t in at]
    assert soak.growth(at, settling) == pytest.approx(0.0, abs=1e-9)
    assert soak.growth(at, [100.0 + t / 48.0 for t in at]) == pytest.approx(10.0 / 102.5, rel=1e-6)
    assert math.isnan(soak.growth([0.0, 130.0], [1.0, 1.0]))


def test_the_steepest_process_is_one_that_lasted_and_is_no_server() -> None:
    at = [10.0 * k for k in range(61)]

    def series(name: str, rate: float, count: int = 61) -> soak.Series:
        values = [100.0 + rate * t for t in at][:count]
        return soak.Series(name, at[:count], values, values)

    found = [
        series("steady", 0.001),
        series("agent", -0.01),
        series("agent", 0.0),
        series("postgres", 1.0),
        series("gone", 1.0, 40),
    ]
    name, share = soak.steepest(found)
    assert name == "agent"
    assert share == pytest.approx(-0.01 * 480 / 98.8, rel=1e-6)
    assert len(soak.rows(found)) == 2 + 4


def test_stacks_become_shares_of_threads_and_functions() -> None:
    raw = (
        'thread (7): "rounds";decide (rounds.py:10);commit (store.py:5) 30\n'
        'thread (7): "rounds";decide (rounds.py:11) 10\n'
        'thread (1): "loop";handle (api.py:3) 60\n'
    )
    text = "\n".join(profiling.tables(raw))
    assert "| rounds | 40.0% |" in text
    assert "| decide (rounds.py) | 40.0% | 10.0% |" in text
    assert "| commit (store.py) | 30.0% | 30.0% |" in text


# -- the market -----------------------------------------------------------------------------


def test_the_walk_gives_possible_bars_and_moves_on() -> None:
    market = Market(names(50), 3)
    numbers = np.arange(50)
    before = market.close.copy()
    for k in range(400):
        bars = market.bars(numbers, 1_000 + k)
        assert (bars["open"] == before).all()
        for row in bars:
            prices = [float(row[name]) for name in ("open", "high", "low", "close", "volume")]
            assert flaw_of_prices(*prices) is None
        before = bars["close"].copy()
    assert (market.close != 1_000_000).all()
