"""One decision's story in words, and ids that are none."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from cluster.why import show, why
from data.errors import InputError
from serve_apps.reading_records import (
    ApprovalReading,
    BarReading,
    DecisionReading,
    FillReading,
    Judgement,
    NewsReading,
    OrderReading,
    VoteReading,
)
from serve_apps.story import DecisionId, parse_id

JUDGED = Judgement(
    p=[0.2, 0.3, 0.5], dissent=0.12, sigma=0.015, agents_awake=2, awake_weight=0.8, toxicity=0.1,
    verdict="approved", code="none", meaning="nothing to object", side=1, lots=120,
    target_lots=100, net_lots=-20, limit="101.5000",
)  # fmt: skip
STORY = DecisionReading(
    id="s1:AAA:5", session_id="s1", mode="paper", symbol="AAA", ts=5,
    time="1970-01-01T00:00:00.000000005Z", horizon=5, cell=0, round=7, state="decided", epoch=3,
    bar=BarReading(
        open="1.0", high="2.0", low="0.5", close="1.5", volume=1_000, buy_volume=400,
        trades=None, bid="1.4", ask="1.6", bid_size=None, ask_size=None,
    ),
    news=[NewsReading(id="n1", ts=4, text="[red]profit[/red]")],
    votes=[
        VoteReading(agent="trend", status="voted", reason="none", p=[0.1, 0.2, 0.7], weight=0.3,
                    evidence={"slope": 0.123456, "gap": None}),
        VoteReading(agent="mood", status="abstained", reason="no_news", p=None, weight=0.2,
                    evidence={}),
        VoteReading(agent="flow", status="late", reason="none", p=None, weight=0.1, evidence={}),
    ],
    equal_weight=0.4, judgement=JUDGED,
    approval=ApprovalReading(side=1, max_lots=120, limit="101.5000", epoch=3, net_lots=-20,
                             expires_at="2026-11-25T00:00:00Z"),
    orders=[
        OrderReading(client_order_id="o1", side=1, lots=120, limit="101.5000", status="filled",
                     filled_lots=120, fills=[
                         FillReading(fill_id="f", ts=6, lots=120, price="101.2000", fee="0.50"),
                     ]),
    ],
)  # fmt: skip


def told(**changes: object) -> str:
    out = io.StringIO()
    show(msgspec.structs.replace(STORY, **changes), Console(file=out, width=300))
    return out.getvalue()


def test_the_story_names_every_part() -> None:
    text = told()
    for words in (
        "round 7 of session s1 (paper, cell 0)", "closed at 1.5", "400 bought at the ask",
        "[red]profit[/red]", "slope 0.1235", "no news", "late", "Down 20.0%, flat 30.0%, up 50.0%",
        "approved: buy 120 lots, limit 101.5000", "-20 lots held", "at most 120 lots",
        "Order o1", "120 at 101.2000, fee 0.50",
    ):  # fmt: skip
        assert words in text


@pytest.mark.parametrize(
    ("judgement", "words"),
    [
        ({"verdict": "no_trade", "code": "no_edge", "meaning": "it does not pay", "side": 0},
         "no trade (-20 lots held or on order, 100 wanted); no_edge: it does not pay."),
        ({"verdict": "reduced", "code": "order_notional", "meaning": "too large"},
         "order_notional: too large."),
        ({"agents_awake": 0}, "Nobody was awake"),
    ],
)  # fmt: skip
def test_verdicts_in_words(judgement: dict[str, object], words: str) -> None:
    assert words in told(judgement=msgspec.structs.replace(JUDGED, **judgement))


def test_what_did_not_follow() -> None:
    assert "sent no order" in told(orders=[])
    assert "No approval" in told(orders=[], approval=None)


@pytest.mark.parametrize(("state", "word"), [("open", "still open"), ("aborted", "aborted")])
def test_a_round_without_verdicts(state: str, word: str) -> None:
    text = told(state=state, judgement=None, votes=[], epoch=None, equal_weight=None)
    assert "No verdict" in text
    assert word in text


NO_IDS = ("", "x", "a:b", "a:b:c", "a:b:-1", "a:b:1.5", ":b:1", "a::1", f"a:b:{2**63}", "a\n:b:1",
          "a:b\0:1", "a:b:1\n", "a:b:٣")  # fmt: skip


@pytest.mark.parametrize("text", NO_IDS)
def test_an_id_that_is_none_is_one_line(text: str) -> None:
    with pytest.raises(InputError, match="SESSION:SYMBOL:TS") as caught:
        why(text)
    assert "\n" not in str(caught.value)


def test_a_symbol_may_hold_what_separates() -> None:
    name = DecisionId("s1", "BINANCE:BTC/USD", 5)
    assert parse_id(str(name)) == name
