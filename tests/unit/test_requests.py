"""From a request's text to bars in ticks, and what cannot pass."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from support import by_moment, forecast, plain_config, random_bars, request_body

from data.bars import UNKNOWN
from data.money import from_ticks
from data.records import output_decoder
from serve_apps.requests import (
    FUTURE_NS,
    Asked,
    SymbolTable,
    check_fresh,
    decode,
    parse,
    respond,
    rows_of,
)
from serve_apps.wire import (
    MAX_JSON_BARS,
    BarIn,
    DecideRequest,
    Refused,
    request_decoder,
    response_decoder,
)

CONFIG = plain_config(("AAA", "BBB", "CCC"))
BAR: dict[str, Any] = {
    "symbol": "BBB", "ts": 10, "open": "10", "high": "12.5", "low": "9.0001", "close": "11",
    "volume": 100,
}  # fmt: skip


def ask(*bars: dict[str, Any], quarantined: tuple[str, ...] = ()) -> Asked:
    request = DecideRequest(
        session_id=CONFIG.session_id,
        request_id="r",
        bars=[BarIn(**bar) for bar in bars],
        quarantined=list(quarantined),
    )
    return parse(request, msgspec.json.encode(request), CONFIG)


def test_prices_become_ticks_and_absent_fields_unknown() -> None:
    asked = ask(BAR | {"bid": "10.9999", "trades": 0}, quarantined=("CCC", "AAA", "CCC"))
    row = asked.bars[0]
    assert row.tolist() == (
        10, 1, 100_000, 125_000, 90_001, 110_000, 100, UNKNOWN, 0, 109_999, UNKNOWN, UNKNOWN,
        UNKNOWN,
    )  # fmt: skip
    assert asked.locked == (0, 2)
    assert asked.bar_hashes == (hashlib.sha256(asked.bars.tobytes()).digest(),)


def test_order_of_the_bars_in_the_body_does_not_matter() -> None:
    bars = [BAR, BAR | {"symbol": "AAA", "ts": 11}, BAR | {"symbol": "CCC"}]
    one, two = ask(*bars), ask(*reversed(bars))
    assert one.bars.tolist() == two.bars.tolist()
    assert [(int(b["ts"]), int(b["symbol"])) for b in one.bars] == [(10, 1), (10, 2), (11, 0)]
    assert one.bar_hashes == two.bar_hashes
    assert one.body_hash != two.body_hash


@pytest.mark.parametrize(
    ("change", "title", "word"),
    [
        ({"symbol": "ZZZ"}, "Unknown symbol", "ZZZ"),
        ({"close": "11.00005"}, "Bad price", "PRECISION"),
        ({"close": "eleven"}, "Bad price", "bar BBB 10"),
        ({"close": "NaN"}, "Bad price", "bar BBB 10"),
        ({"high": "Infinity"}, "Bad price", "bar BBB 10"),
        ({"close": "1e30"}, "Bad price", "bar BBB 10"),
        ({"bid": "-0.00001"}, "Bad price", "PRECISION"),
        ({"low": "-9"}, "Bad bar", "non_positive"),
        ({"low": "0"}, "Bad bar", "non_positive"),
        ({"high": "10.5"}, "Bad bar", "crossed"),
        ({"volume": -1}, "Bad bar", "negative_volume"),
        ({"volume": 2**63}, "Bad bar", "bar BBB 10"),
        ({"ts": 2**63}, "Bad bar", "bar BBB"),
        ({"ts": -1}, "Bad bar", "bar BBB"),
        ({"trades": 2**64}, "Bad bar", "bar BBB 10"),
        ({"trades": -1}, "Bad bar", "negative size"),
        ({"bid_size": -5, "bid": "10"}, "Bad bar", "negative size"),
        ({"ask": "-1"}, "Bad bar", "quote"),
        ({"bid": "-0.0001"}, "Bad bar", "quote"),
        ({"high": "1000000001"}, "Bad bar", "larger"),
        ({"volume": 10**400}, "Bad bar", "larger"),
    ],
)
def test_a_bad_bar_is_named(change: dict[str, Any], title: str, word: str) -> None:
    with pytest.raises(Refused, match=word) as caught:
        ask(BAR | change)
    assert (caught.value.problem.status, caught.value.problem.title) == (422, title)
    assert "\n" not in caught.value.problem.detail


def test_a_symbol_once_and_at_least_one_bar() -> None:
    with pytest.raises(Refused, match="at most one bar"):
        ask(BAR, BAR | {"ts": 11})
    with pytest.raises(Refused, match="bars is empty"):
        ask()
    with pytest.raises(Refused, match="'ZZZ'"):
        ask(BAR, quarantined=("ZZZ",))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"session_id":"s","request_id":"r","bars":[],"extra":1}', "bad_request"),
        (b'{"session_id":"s","bars":[]}', "bad_request"),
        (b'{"session_id":"s","request_id":"r","bars":[{"symbol":"A","ts":1.5}]}', "bad_request"),
        (b'{"session_id":"s","request_id":"a\\u0000","bars":[]}', "bad_request"),
        (b'{"session_id":"s","request_id":"","bars":[]}', "bad_request"),
        (b'{"session_id":"\xff","request_id":"r","bars":[]}', "bad_json"),
        (b'{"session_id":"s","request_id":"r","bars":[{"ts":NaN}]}', "bad_json"),
        (b"[]", "bad_request"),
        (b"[" * 100_000, "bad_request"),
        (b"", "bad_json"),
    ],
)
def test_bodies_of_another_shape_are_refused(body: bytes, code: str) -> None:
    with pytest.raises(Refused) as caught:
        decode(body)
    assert (caught.value.problem.status, caught.value.problem.code) == (422, code)


def test_more_bars_than_json_may_hold_belong_into_arrow() -> None:
    with pytest.raises(Refused, match="Arrow") as caught:
        ask(*[BAR] * (MAX_JSON_BARS + 1))
    assert (caught.value.problem.status, caught.value.problem.code) == (413, "too_many_bars")


NOW = 1_795_482_368_000_000_000
PAPER = plain_config(("AAA", "BBB", "CCC"), mode="paper", first_traded=NOW - 3600 * 10**9)


def ask_paper(ts: int, clock_ns: int = NOW) -> Asked:
    bar = BarIn(**BAR | {"ts": ts})
    request = DecideRequest(session_id=PAPER.session_id, request_id="r", bars=[bar])
    asked = parse(request, b"", PAPER, clock_ns)
    check_fresh(asked, SymbolTable(PAPER), clock_ns)
    return asked


@pytest.mark.parametrize(
    ("ts", "code"),
    [
        (NOW + FUTURE_NS + 1, "future_timestamp"),
        (NOW - 60 * 10**9 - 1, "stale_timestamp"),
        (PAPER.first_traded, "stale_timestamp"),
        (NOW // 10**9, "bad_timestamp"),  # seconds
        (NOW // 10**3, "bad_timestamp"),  # microseconds
        (2**63 - 1, "bad_timestamp"),
    ],
)
def test_a_bar_of_a_wrong_time_is_refused(ts: int, code: str) -> None:
    with pytest.raises(Refused) as caught:
        ask_paper(ts)
    assert (caught.value.problem.status, caught.value.problem.code) == (422, code)


def test_bars_of_now_and_of_the_warm_up_pass() -> None:
    for ts in (NOW + FUTURE_NS, NOW, NOW - 60 * 10**9, PAPER.first_traded - 1, NOW - 10**18):
        assert int(ask_paper(ts).bars["ts"][0]) == ts


def test_without_a_clock_nothing_of_a_paper_session_passes() -> None:
    with pytest.raises(Refused, match="ahead"):
        ask_paper(NOW, 0)


@pytest.mark.parametrize("tick", ["0.0001", "0.01", "0.25", "1", "10", "1E+1", "0.05", "1E-8"])
def test_prices_are_written_as_plain_decimals(tick: str) -> None:
    table = SymbolTable(plain_config(("A",), tick=tick))
    for ticks in (0, 1, 7, 12_345, 10**12 + 1, -3):
        text = table.price(ticks)
        assert "E" not in text
        assert Decimal(text) == from_ticks(ticks, Decimal(tick))


def test_what_a_trader_sends_is_what_was_meant() -> None:
    for bars in by_moment(random_bars(20, 3)):
        body = request_body(CONFIG, bars)
        assert parse(request_decoder.decode(body), body, CONFIG).bars.tolist() == bars.tolist()


def test_an_answer_lists_the_asked_decisions_in_order() -> None:
    first, second = by_moment(random_bars(2, 3))
    outputs = [
        output_decoder.decode(forecast(CONFIG, n, bars, lots=n, side=1, limit_ticks=12_345))
        for n, bars in ((1, first), (2, second))
    ]
    keys = [(2, int(second["ts"][0])), (0, int(first["ts"][0]))]
    answer = response_decoder.decode(
        respond(CONFIG, "r", [rows_of(output, keys) for output in reversed(outputs)])
    )
    assert [(v.symbol, v.ts, v.lots) for v in answer.verdicts] == [
        ("AAA", keys[1][1], 1),
        ("CCC", keys[0][1], 2),
    ]
    assert answer.verdicts[0].limit == "1.2345"
    assert answer.round == 1
    assert list(answer.weights)[-1] == "equal_weights"
    assert sum(answer.weights.values()) == pytest.approx(1)
