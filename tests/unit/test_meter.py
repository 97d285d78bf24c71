"""The meter: counts told once, a sliding window, and a state that is computed."""

from __future__ import annotations

import pytest
from support import forecast, plain_config, random_bars

from actors.checks import Code
from actors.contract import Status
from data.records import output_decoder
from data.round_output import RoundOutput
from serve_apps.meter import FEWEST_ANSWERS, WINDOW_S, Meter


class Bench:
    """A meter with hands on its clock."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.shed = 0
        self.meter = Meter(lambda: 3, lambda: 7, lambda: self.shed, clock=lambda: self.now)

    def answers(self, count: int, seconds: float = 0.01, status: int = 200) -> None:
        for _ in range(count):
            self.meter.answered("decide", status, seconds)

    def text(self) -> str:
        return self.meter.exposition().decode()

    def state(self) -> str:
        return self.meter.degradation().state


def output(absent: int = 0, **changes: int) -> RoundOutput:
    """A round of three decisions; the first ``absent`` agents are late."""
    status = [int(Status.LATE)] * absent + [int(Status.VOTED)] * (6 - absent)
    payload = forecast(
        plain_config(("A", "B", "C")), 1, random_bars(1, 3), status=status, **changes
    )
    return output_decoder.decode(payload)


def test_a_round_is_counted_by_agent_and_status() -> None:
    bench = Bench()
    made = output(absent=1, code=int(Code.NO_QUORUM))
    bench.meter.round(made, made.arrays(), {"queue": 0.5, "gate": 0.004, "pool": 0.001})
    text = bench.text()
    assert "sapphire_rounds_total 1.0" in text
    assert 'sapphire_votes_total{agent="trend_momentum",status="late"} 3.0' in text
    assert 'sapphire_votes_total{agent="vpin_hft",status="voted"} 3.0' in text
    assert "sapphire_quorum_failures_total 3.0" in text
    assert "sapphire_round_bars_sum 3.0" in text
    assert 'sapphire_stage_seconds_sum{stage="round"} 0.005' in text
    assert "sapphire_waiting 7.0" in text


def test_answers_and_shed_requests_are_told_once() -> None:
    bench = Bench()
    bench.answers(5)
    bench.answers(2, status=503)
    bench.shed = 2
    for _ in range(2):
        text = bench.text()
        assert 'sapphire_answers_total{route="decide",status="200"} 5.0' in text
        assert 'sapphire_answers_total{route="decide",status="503"} 2.0' in text
        assert "sapphire_shed_total 2.0" in text


def test_few_answers_say_nothing() -> None:
    bench = Bench()
    bench.answers(FEWEST_ANSWERS - 1, status=500)
    found = bench.meter.degradation()
    assert (found.state, found.success, found.p95_ms) == ("idle", None, None)


@pytest.mark.parametrize(
    ("seconds", "status", "reason"),
    [(3.0, 200, "P95"), (0.01, 503, "succeed")],
)
def test_slow_or_failing_answers_degrade_until_they_leave_the_window(
    seconds: float, status: int, reason: str
) -> None:
    bench = Bench()
    bench.answers(90)
    assert bench.state() == "ok"
    bench.answers(10, seconds, status)
    found = bench.meter.degradation()
    assert found.state == "degraded"
    assert reason in found.reasons[0]
    assert len(found.reasons) == 1
    bench.now += WINDOW_S
    bench.answers(FEWEST_ANSWERS)
    assert bench.state() == "ok"


def test_p95_is_the_edge_of_its_bucket_and_never_above_what_was_seen() -> None:
    bench = Bench()
    bench.answers(95, 0.011)
    bench.answers(5, 1.7)
    assert bench.meter.degradation().p95_ms == pytest.approx(15.0)
    bench.answers(1, 1.7)
    assert bench.meter.degradation().p95_ms == pytest.approx(1700.0)


def test_the_quorums_minimum_degrades_for_a_while() -> None:
    bench = Bench()
    bench.answers(50)
    whole, short = output(absent=2), output(absent=3)
    bench.meter.round(whole, whole.arrays(), {})
    assert bench.state() == "ok"
    bench.meter.round(short, short.arrays(), {})
    assert "quorum" in bench.meter.degradation().reasons[0]
    bench.now += 11
    assert bench.state() == "ok"
